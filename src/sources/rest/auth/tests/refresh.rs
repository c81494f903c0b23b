//! Refresh tokens and their rotation.

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

/// Requests two tokens, as a run does whose first token is rejected.
async fn request_twice(auth: &Authenticator) {
    let (_, credentials) = authorized(auth, "https://api.contoso.com/x").await.unwrap();
    assert!(auth.renew(&credentials));
    authorization(auth).await.unwrap();
    auth.finish().await;
}

#[tokio::test]
async fn stores_a_new_token_privately_for_the_next_run() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    let server = server([
        rotates("a1", "r1-marker"),
        rotates("a2", "r2-marker"),
        gives("a3"),
        gives("a4"),
    ])
    .await;
    request_twice(&fixture.build(config(&server, kept())).unwrap()).await;
    let file = fixture.path().join("state/refresh.json");
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
    let auth = fixture.build(config(&server, kept())).unwrap();
    request_twice(&auth).await;
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
async fn prefers_a_newly_configured_token() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    let server = server([
        rotates("a1", "r1-marker"),
        rotates("a2", "n1-marker"),
        gives("a3"),
    ])
    .await;
    authorization(&fixture.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    fixture.secret("refresh", "n0-marker");
    authorization(&fixture.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    authorization(&fixture.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    assert_eq!(sent(server), ["r0-marker", "n0-marker", "n1-marker"]);
}

#[tokio::test]
async fn ignores_the_file_of_another_client() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    let server = server([rotates("a1", "r1-marker"), gives("a2")]).await;
    authorization(&fixture.build(config(&server, kept())).unwrap())
        .await
        .unwrap();
    let other = with(config(&server, kept()), &json!({"client_id": "other"}));
    authorization(&fixture.build(other).unwrap()).await.unwrap();
    assert_eq!(sent(server), ["r0-marker", "r0-marker"]);
}

#[tokio::test]
async fn serializes_concurrent_exchanges() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0");
    let count = 6;
    let steps = (1..=count).map(|n| rotates("a", &format!("r{n}")));
    let server = server(steps).await;
    let all: Vec<_> = (0..count)
        .map(|_| fixture.build(config(&server, kept())).unwrap())
        .collect();
    for result in futures::future::join_all(all.iter().map(authorization)).await {
        result.unwrap();
    }
    let expected: Vec<_> = (0..count).map(|n| format!("r{n}")).collect();
    assert_eq!(sent(server), expected);
}

#[tokio::test]
async fn completes_an_exchange_that_nobody_waits_for() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0");
    let answer = Reply::new(200).json(&json!({"access_token": "a", "refresh_token": "r1"}));
    let server = server([Step::Trickle(answer, Duration::from_millis(1)), gives("a2")]).await;
    let auth = fixture.build(config(&server, kept())).unwrap();
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
async fn keeps_new_tokens_in_memory_unless_ignored() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0");
    for (rotation, expected) in [(Value::Null, ["r0", "r1"]), (json!("ignore"), ["r0", "r0"])] {
        let server = server([rotates("a1", "r1"), rotates("a2", "r2")]).await;
        request_twice(&fixture.build(config(&server, rotation)).unwrap()).await;
        assert_eq!(sent(server), expected);
    }
}

#[tokio::test]
async fn requests_nothing_if_the_next_token_cannot_be_stored() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    fixture.secret("state", "a file where the folder should be");
    let server = server([]).await;
    let auth = fixture.build(config(&server, kept())).unwrap();
    let text = shown(&authorization(&auth).await.unwrap_err());
    assert!(
        text.contains("cannot store the refresh token in") && text.contains("refresh.json"),
        "{text}"
    );
    server.finish();
}

#[tokio::test]
async fn rejects_and_keeps_a_foreign_file() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    std::fs::create_dir(fixture.path().join("state")).unwrap();
    let server = server([]).await;
    for content in ["{\"other\": \"marker\"}", "marker"] {
        fixture.secret("state/refresh.json", content);
        let auth = fixture.build(config(&server, kept())).unwrap();
        let text = shown(&authorization(&auth).await.unwrap_err());
        assert!(text.contains("does not contain a stored refresh token"), "{text}");
        let now = std::fs::read_to_string(fixture.path().join("state/refresh.json")).unwrap();
        assert_eq!(now, content);
    }
    server.finish();
}

#[tokio::test]
async fn explains_a_rejected_refresh_token() {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    for (rotation, expected) in [
        (Value::Null, "set `rotation: {file: …}`"),
        (kept(), "it then replaces the one in the file"),
    ] {
        let reply = Reply::new(400)
            .json(&json!({"error": "invalid_grant", "error_description": "r0-marker is used"}));
        let server = server([reply.into()]).await;
        let auth = fixture.build(config(&server, rotation)).unwrap();
        let text = shown(&authorization(&auth).await.unwrap_err());
        assert!(
            text.contains(expected) && text.contains("[hidden] is used"),
            "{text}"
        );
        server.finish();
    }
}
