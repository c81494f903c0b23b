//! Refresh tokens, and what becomes of those that take their place.

use super::*;

fn rotates(access: &str, refresh: &str) -> Step {
    Reply::new(200)
        .json(&json!({"expires_in": 3600, "access_token": access, "refresh_token": refresh}))
        .into()
}

fn config(server: &Server, rotation: Value) -> Value {
    let config = json!({
        "type": "oauth2_refresh_token", "token_url": format!("{}/token", server.url()), "client_id": "app",
        "refresh_token": {"file": "refresh"},
    });
    match rotation {
        Value::Null => config,
        rotation => with(config, &json!({"rotation": rotation})),
    }
}

fn kept() -> Value {
    json!({"file": "state/refresh.json"})
}

/// The refresh tokens that were sent.
fn sent(server: Server) -> Vec<String> {
    let requests = server.finish();
    requests
        .iter()
        .map(|request| form(request)["refresh_token"].as_str().unwrap().to_owned())
        .collect()
}

/// Asks for a token twice, as a run that is refused once does.
async fn ask_twice(auth: &Authenticator) {
    let (_, granted) = authorized(auth, "https://api.contoso.com/x").await.unwrap();
    assert!(auth.renew(&granted));
    authorization(auth).await.unwrap();
    auth.finish().await;
}

#[tokio::test]
async fn a_new_token_is_kept_for_its_owner_and_used_by_the_next_run() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    let server = server([
        rotates("a1", "r1-marker"),
        rotates("a2", "r2-marker"),
        gives("a3"),
        gives("a4"),
    ])
    .await;
    ask_twice(&place.build(config(&server, kept())).unwrap()).await;
    let file = place.path().join("state/refresh.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("r2-marker") && !text.contains("r0-marker") && text.ends_with("}\n"),
        "{text}"
    );
    #[cfg(unix)]
    {
        assert_eq!(crate::disk::private_file::mode(&file.metadata().unwrap()), 0o600);
        assert_eq!(
            crate::disk::private_file::mode(&file.parent().unwrap().metadata().unwrap()),
            0o700
        );
    }
    let auth = place.build(config(&server, kept())).unwrap();
    ask_twice(&auth).await;
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        text,
        "nothing new, nothing written"
    );
    assert_eq!(sent(server), ["r0-marker", "r1-marker", "r2-marker", "r2-marker"]);
    let mut names: Vec<_> = std::fs::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["refresh.json", "refresh.json.lock"]);
}

#[tokio::test]
async fn a_token_that_is_configured_anew_counts() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    let server = server([
        rotates("a1", "r1-marker"),
        rotates("a2", "n1-marker"),
        gives("a3"),
    ])
    .await;
    authorization(&place.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    place.secret("refresh", "n0-marker");
    authorization(&place.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    authorization(&place.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    assert_eq!(sent(server), ["r0-marker", "n0-marker", "n1-marker"]);
}

#[tokio::test]
async fn the_file_of_another_client_is_not_used() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    let server = server([rotates("a1", "r1-marker"), gives("a2")]).await;
    authorization(&place.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    let other = with(config(&server, kept()), &json!({"client_id": "other"}));
    authorization(&place.build(other).unwrap()).await.unwrap();
    assert_eq!(sent(server), ["r0-marker", "r0-marker"]);
}

#[tokio::test]
async fn two_at_once_lose_no_token() {
    let place = InjectInto::new();
    place.secret("refresh", "r0");
    let count = 6;
    let steps = (1..=count).map(|n| rotates("a", &format!("r{n}")));
    let server = server(steps).await;
    let all: Vec<_> = (0..count)
        .map(|_| place.build(config(&server, kept())).unwrap())
        .collect();
    for result in futures::future::join_all(all.iter().map(authorization)).await {
        result.unwrap();
    }
    let expected: Vec<_> = (0..count).map(|n| format!("r{n}")).collect();
    assert_eq!(sent(server), expected);
}

#[tokio::test]
async fn who_gives_up_waiting_loses_no_token() {
    let place = InjectInto::new();
    place.secret("refresh", "r0");
    let answer = Reply::new(200).json(&json!({"access_token": "a", "refresh_token": "r1"}));
    let server = server([Step::Trickle(answer, Duration::from_millis(1)), gives("a2")]).await;
    let auth = place.build(config(&server, kept())).unwrap();
    let mut waiting = Box::pin(authorization(&auth));
    while server.requests().is_empty() {
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    auth.finish().await;
    authorization(&auth).await.unwrap();
    assert_eq!(sent(server), ["r0", "r1"]);
}

#[tokio::test]
async fn without_a_file_a_new_token_counts_until_the_end_unless_it_is_to_be_ignored() {
    let place = InjectInto::new();
    place.secret("refresh", "r0");
    for (rotation, expected) in [(Value::Null, ["r0", "r1"]), (json!("ignore"), ["r0", "r0"])] {
        let server = server([rotates("a1", "r1"), rotates("a2", "r2")]).await;
        ask_twice(&place.build(config(&server, rotation)).unwrap()).await;
        assert_eq!(sent(server), expected);
    }
}

#[tokio::test]
async fn nothing_is_asked_when_the_next_token_could_not_be_kept() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    place.secret("state", "a file where the folder should be");
    let server = server([]).await;
    let auth = place.build(config(&server, kept())).unwrap();
    let text = shown(&authorization(&auth).await.unwrap_err());
    assert!(
        text.contains("cannot store the refresh token in") && text.contains("refresh.json"),
        "{text}"
    );
    server.finish();
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    std::fs::create_dir(place.path().join("state")).unwrap();
    let server = server([]).await;
    for content in ["{\"other\": \"marker\"}", "marker"] {
        place.secret("state/refresh.json", content);
        let auth = place.build(config(&server, kept())).unwrap();
        let text = shown(&authorization(&auth).await.unwrap_err());
        assert!(text.contains("does not contain a stored refresh token"), "{text}");
        let now = std::fs::read_to_string(place.path().join("state/refresh.json")).unwrap();
        assert_eq!(now, content);
    }
    server.finish();
}

#[tokio::test]
async fn a_refused_refresh_token_says_what_to_do() {
    let place = InjectInto::new();
    place.secret("refresh", "r0-marker");
    for (rotation, expected) in [
        (Value::Null, "set `rotation: {file: …}`"),
        (kept(), "it then counts in place of the one in the file"),
    ] {
        let reply = Reply::new(400)
            .json(&json!({"error": "invalid_grant", "error_description": "r0-marker is used"}));
        let server = server([reply.into()]).await;
        let auth = place.build(config(&server, rotation)).unwrap();
        let text = shown(&authorization(&auth).await.unwrap_err());
        assert!(
            text.contains(expected) && text.contains("[hidden] is used"),
            "{text}"
        );
        server.finish();
    }
}
