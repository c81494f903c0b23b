//! Token requests.

use super::*;

#[tokio::test]
async fn requests_one_token_for_concurrent_requests() {
    let fixture = Fixture::new();
    let server = Server::script([gives(TOKEN)]);
    let config = with(
        credentials(&server),
        &json!({"scope": "https://graph.microsoft.com/.default"}),
    );
    let auth = fixture.build(config).unwrap();
    let all = futures::future::join_all((0..5).map(|_| authorization(&auth))).await;
    for header in all {
        assert_eq!(header.unwrap(), format!("Bearer {TOKEN}"));
    }
    let held: Vec<_> = auth.secrets(&Credentials::default());
    assert!(held.iter().any(|secret| secret.expose() == TOKEN));
    assert!(held.iter().any(|secret| secret.expose() == SECRET));
    let request = server.finish().remove(0);
    assert_eq!((&*request.method, &*request.path), ("POST", "/token?version=1"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(
        form(&request),
        json!({
            "grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET,
            "scope": "https://graph.microsoft.com/.default",
        })
    );
}

#[tokio::test]
async fn sends_credentials_in_a_header_and_more_parameters_and_headers() {
    let fixture = Fixture::new();
    fixture.secret("extra", "extra-marker");
    let server = Server::script([gives(TOKEN)]);
    let config = with(
        credentials(&server),
        &json!({
            "credentials": "basic_header", "client_id": "a b",
            "parameters": {"resource": "hr", "pin": {"file": "extra"}, "grant_type": "other"},
            "headers": {"X-Partner": "p", "X-Key": {"file": "extra"}},
        }),
    );
    let auth = fixture.build(config).unwrap();
    authorization(&auth).await.unwrap();
    let request = server.finish().remove(0);
    // `a+b:` and the secret, form-encoded.
    assert_eq!(
        request.header("authorization"),
        Some("Basic YStiOnMzY3JldC1tYXJrZXIlMkIlMkYlM0QlMjJ4JTIy")
    );
    assert_eq!(
        (request.header("x-partner"), request.header("x-key")),
        (Some("p"), Some("extra-marker"))
    );
    assert_eq!(
        form(&request),
        json!({"grant_type": "other", "resource": "hr", "pin": "extra-marker"})
    );
}

#[tokio::test]
async fn sends_json_with_secrets_at_any_depth() {
    let fixture = Fixture::new();
    fixture.secret("user", "user-marker");
    let step = Reply::new(200).json(&json!({"success": true, "data": {"token": TOKEN}}));
    let server = Server::script([step]);
    let config = with(
        credentials(&server),
        &json!({
            "body": "json",
            "parameters": {"scope": {"userId": {"file": "user"}, "list": [{"file": "user"}, 1], "file": {"a": 1}}},
            "token_path": "data.token",
        }),
    );
    let auth = fixture.build(config).unwrap();
    assert_eq!(authorization(&auth).await.unwrap(), format!("Bearer {TOKEN}"));
    authorization(&auth).await.unwrap();
    assert!(
        auth.secrets(&Credentials::default())
            .iter()
            .any(|secret| secret.expose() == "user-marker")
    );
    let request = server.finish().remove(0);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET,
            "scope": {"userId": "user-marker", "list": ["user-marker", 1], "file": {"a": 1}},
        })
    );
}

#[tokio::test]
async fn sends_a_password_with_more_parameters() {
    let fixture = Fixture::new();
    let server = Server::script([gives(TOKEN)]);
    let config = json!({
        "type": "oauth2_password", "token_url": server.url(), "client_id": "c", "username": "integration",
        "password": {"file": "secret"}, "parameters": {"companyId": "contoso"},
    });
    authorization(&fixture.build(config).unwrap()).await.unwrap();
    let expected = json!({
        "grant_type": "password", "client_id": "c", "username": "integration", "password": SECRET,
        "companyId": "contoso",
    });
    assert_eq!(form(&server.finish()[0]), expected);
}

#[tokio::test]
async fn explains_answers_without_a_token() {
    let fixture = Fixture::new();
    let page = "<html><title>Sign in</title>";
    let redirect = Reply::new(302).header("location", "https://login.contoso.com/x?secret=marker");
    let unknown = format!("unknown \u{1b}[2J client_secret={SECRET}");
    let unknown = json!({"error": "invalid_client", "error_description": unknown});
    let wrong = json!({"success": false, "error": {"code": 1, "message": "wrong client"}});
    for (reply, expected) in [
        (
            Reply::new(401).json(&unknown),
            "responded 401 invalid_client: unknown [2J client_secret=[hidden] | check `client_id` and the secret",
        ),
        (
            Reply::new(200).body(page),
            "a web page with the title `Sign in` instead | check `token_url`",
        ),
        (
            Reply::new(403).body(page),
            "403 Forbidden; the body is a web page | proxy answered",
        ),
        (
            redirect,
            "302 Found | it redirects to https://login.contoso.com | redirects are not followed",
        ),
        (
            Reply::new(404),
            "404 Not Found, with an empty body | check `token_url`",
        ),
        (Reply::new(415).body("no"), "check `body`"),
        (
            Reply::ok(wrong),
            "has no `access_token`: wrong client | check `token_path`",
        ),
        (
            Reply::ok(json!({"error": "invalid_scope"})),
            "responded 200 invalid_scope | check `scope`",
        ),
        (
            Reply::new(400).body(format!("you sent {SECRET}")),
            "400 Bad Request; body: you sent [hidden] | as a form or as JSON",
        ),
    ] {
        let server = Server::script([reply]);
        let auth = fixture.build(credentials(&server)).unwrap();
        // A final rejection is remembered.
        for _ in 0..2 {
            let error = authorization(&auth).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let text = shown(&error);
            let url = format!("cannot get an access token with POST {}/token:", server.url());
            assert!(text.starts_with(&url), "{text}");
            for part in expected.split(" | ") {
                assert!(text.contains(part), "{text} / {part}");
            }
        }
        server.finish();
    }
}

#[tokio::test]
async fn shares_tokens_between_equal_settings() {
    let server = Server::script([gives("one"), gives("two"), gives("three")]);
    let fixture = Fixture::new();
    let build = |config: Value, way: &str| {
        let config: AuthConfig = serde_json::from_value(config).unwrap();
        config.build(&fixture.run, &client(), way).unwrap()
    };
    let same = credentials(&server);
    let (a, b) = (build(same.clone(), "tls"), build(same.clone(), "tls"));
    let (first, second) = tokio::join!(authorization(&a), authorization(&b));
    assert_eq!([first.unwrap(), second.unwrap()], ["Bearer one", "Bearer one"]);
    let other = build(with(same.clone(), &json!({"scope": "x"})), "tls");
    assert_eq!(authorization(&other).await.unwrap(), "Bearer two");
    let bound = build(same, "another certificate");
    assert_eq!(authorization(&bound).await.unwrap(), "Bearer three");
    let shown = format!(
        "{:?}",
        fixture.run.services.get::<crate::http::auth::SharedTokens>()
    );
    assert!(shown.contains("SharedTokens(3)"), "{shown}");
    assert!(!shown.contains("marker") && !shown.contains("secret"), "{shown}");
}
