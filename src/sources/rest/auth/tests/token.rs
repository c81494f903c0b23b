//! Token requests.

use super::*;

#[tokio::test]
async fn sends_each_form_of_token_request() {
    let fixture = Fixture::new();
    fixture.secret("extra", "extra-marker");
    let extra = json!({"file": "extra"});
    let client = json!({"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET});
    let in_header = json!({
        "credentials": "basic_header", "client_id": "a b",
        "parameters": {"resource": "hr", "pin": extra, "grant_type": "other"},
        "headers": {"X-Partner": "p", "X-Key": extra},
    });
    // `a+b:` and the secret, form-encoded.
    let basic = "Basic YStiOnMzY3JldC1tYXJrZXIlMkIlMkYlM0QlMjJ4JTIy";
    let json = json!({
        "body": "json", "token_path": "data.token",
        "parameters": {"scope": {"userId": extra, "list": [extra, 1], "file": {"a": 1}}},
    });
    let nested = json!({"userId": "extra-marker", "list": ["extra-marker", 1], "file": {"a": 1}});
    for (more, headers, body) in [
        (
            in_header,
            &[
                ("authorization", basic),
                ("x-partner", "p"),
                ("x-key", "extra-marker"),
            ][..],
            json!({"grant_type": "other", "resource": "hr", "pin": "extra-marker"}),
        ),
        (
            json,
            &[("content-type", "application/json")],
            with(client, &json!({"scope": nested})),
        ),
    ] {
        let answer = json!({"access_token": TOKEN, "expires_in": 60, "data": {"token": TOKEN}});
        let server = Server::script([Reply::ok(answer)]);
        let auth = fixture.build(with(credentials(&server), &more)).unwrap();
        assert_eq!(authorization(&auth).await.unwrap(), format!("Bearer {TOKEN}"));
        let request = server.finish().remove(0);
        assert_eq!((&*request.method, &*request.path), ("POST", "/token?version=1"));
        for (name, value) in headers {
            assert_eq!(request.header(name), Some(*value));
        }
        let sent = serde_json::from_slice(&request.body).unwrap_or_else(|_| form(&request));
        assert_eq!(sent, body);
        let hidden = auth.secrets(&Credentials::default());
        for secret in [TOKEN, SECRET, "extra-marker"] {
            assert!(hidden.iter().any(|hidden| hidden.expose() == secret));
        }
    }
}

#[tokio::test]
async fn explains_answers_without_a_token() {
    let fixture = Fixture::new();
    let page = "<html><title>Sign in</title>";
    let redirect = Reply::new(302).header("location", "https://login.contoso.com/x?secret=marker");
    let unknown = format!("unknown \u{1b}[2J client_secret={SECRET}");
    let unknown = json!({"error": "invalid_client", "error_description": unknown});
    let wrong = json!({"success": false, "error": {"code": 1, "message": "wrong client"}});
    let replies = [
        Reply::new(401).json(&unknown),
        Reply::new(200).body(page),
        Reply::new(403).body(page),
        redirect,
        Reply::new(415).body("no"),
        Reply::ok(wrong),
        Reply::new(400).body(format!("you sent {SECRET}")),
    ];
    let expected = [
        "responded 401 invalid_client: unknown [2J client_secret=[hidden] | check `client_id` and the secret",
        "a web page with the title `Sign in` instead | check `token_url`",
        "403 Forbidden; the body is a web page | proxy answered",
        "302 Found | it redirects to https://login.contoso.com | redirects are not followed",
        "check `body`",
        "has no `access_token`: wrong client | check `token_path`",
        "400 Bad Request; body: you sent [hidden] | as a form or as JSON",
    ];
    for (reply, expected) in replies.into_iter().zip(expected) {
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
