//! Refresh tokens and their rotation.

use std::time::Duration;

use super::*;
use crate::disk::private_file::mode;

fn rotates(access: &str, refresh: &str) -> Step {
    Reply::ok(json!({"expires_in": 3600, "access_token": access, "refresh_token": refresh})).into()
}

/// A service, and a fixture whose refresh token is `r0-marker`.
fn start(steps: impl IntoIterator<Item = Step>) -> (Server, Fixture) {
    let fixture = Fixture::new();
    fixture.secret("refresh", "r0-marker");
    (Server::script(steps), fixture)
}

fn config(server: &Server, rotation: &Value) -> Value {
    json!({
        "type": "oauth2_refresh_token", "token_url": format!("{}/token", server.url()), "client_id": "app",
        "refresh_token": {"file": "refresh"}, "rotation": rotation,
    })
}

fn stored(server: &Server) -> Value {
    config(server, &json!({"file": "state/refresh.json"}))
}

fn sent(server: Server) -> Vec<String> {
    let tokens = server.finish().into_iter().map(|request| {
        let form = form(&request);
        form["refresh_token"].as_str().unwrap().replace("-marker", "")
    });
    tokens.collect()
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
    let steps = [
        rotates("a1", "r1-marker"),
        rotates("a2", "r2-marker"),
        gives("a3"),
        gives("a4"),
    ];
    let (server, fixture) = start(steps);
    request_twice(&fixture.build(stored(&server)).unwrap()).await;
    let file = fixture.folder.path().join("state/refresh.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("r2-marker") && !text.contains("r0-marker") && text.ends_with("}\n"),
        "{text}"
    );
    let folder = file.parent().unwrap();
    #[cfg(unix)]
    for (path, expected) in [(&*file, 0o600), (folder, 0o700)] {
        assert_eq!(mode(&path.metadata().unwrap()), expected);
    }
    request_twice(&fixture.build(stored(&server)).unwrap()).await;
    let now = std::fs::read_to_string(&file).unwrap();
    assert_eq!(now, text, "nothing new, nothing written");
    assert_eq!(sent(server), ["r0", "r1", "r2", "r2"]);
}

#[tokio::test]
async fn ignores_the_file_of_another_token_or_client() {
    let steps = [rotates("a1", "r1"), rotates("a2", "n1"), gives("a3"), gives("a4")];
    let (server, fixture) = start(steps);
    let other = with(stored(&server), &json!({"client_id": "other"}));
    for (configured, config) in [
        ("r0", stored(&server)),
        ("n0", stored(&server)),
        ("n0", stored(&server)),
        ("n0", other),
    ] {
        fixture.secret("refresh", configured);
        authorization(&fixture.build(config).unwrap()).await.unwrap();
    }
    assert_eq!(sent(server), ["r0", "n0", "n1", "n0"]);
}

#[tokio::test]
async fn serializes_concurrent_exchanges() {
    let (server, fixture) = start((1..=6).map(|n| rotates("a", &format!("r{n}"))));
    let all: Vec<_> = (0..6).map(|_| fixture.build(stored(&server)).unwrap()).collect();
    for result in futures::future::join_all(all.iter().map(authorization)).await {
        result.unwrap();
    }
    assert_eq!(sent(server), ["r0", "r1", "r2", "r3", "r4", "r5"]);
}

#[tokio::test]
async fn completes_an_exchange_that_nobody_waits_for() {
    let answer = Reply::ok(json!({"access_token": "a", "refresh_token": "r1"}));
    let slow = Step::Trickle(answer, Duration::from_millis(1));
    let (server, fixture) = start([slow, gives("a2")]);
    let auth = fixture.build(stored(&server)).unwrap();
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
    for (rotation, expected) in [(Value::Null, ["r0", "r1"]), (json!("ignore"), ["r0", "r0"])] {
        let (server, fixture) = start([rotates("a1", "r1"), rotates("a2", "r2")]);
        let config = config(&server, &rotation);
        request_twice(&fixture.build(config).unwrap()).await;
        assert_eq!(sent(server), expected);
    }
}

#[tokio::test]
async fn requests_nothing_if_the_next_token_cannot_be_stored() {
    let (server, fixture) = start([]);
    fixture.secret("state", "a file where the folder should be");
    let (_, text) = fixture.failure(stored(&server)).await;
    assert!(text.contains("cannot store the refresh token in"), "{text}");
    assert!(text.contains("refresh.json"), "{text}");
    std::fs::remove_file(fixture.folder.path().join("state")).unwrap();
    std::fs::create_dir(fixture.folder.path().join("state")).unwrap();
    for content in ["{\"other\": \"marker\"}", "marker"] {
        fixture.secret("state/refresh.json", content);
        let (_, text) = fixture.failure(stored(&server)).await;
        assert!(text.contains("does not contain a stored refresh token"), "{text}");
        let now = std::fs::read_to_string(fixture.folder.path().join("state/refresh.json")).unwrap();
        assert_eq!(now, content);
    }
    server.finish();
}

#[tokio::test]
async fn explains_a_rejected_refresh_token() {
    let file = json!({"file": "state/refresh.json"});
    for (rotation, expected) in [
        (Value::Null, "set `rotation: {file: …}`"),
        (file, "it then replaces the one in the file"),
    ] {
        let reply = json!({"error": "invalid_grant", "error_description": "r0-marker is used"});
        let (server, fixture) = start([Reply::new(400).json(&reply).into()]);
        let (_, text) = fixture.failure(config(&server, &rotation)).await;
        let holds = text.contains(expected) && text.contains("[hidden] is used");
        assert!(holds, "{text}");
        server.finish();
    }
}
