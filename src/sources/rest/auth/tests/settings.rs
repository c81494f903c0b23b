//! Settings, and the types that need no token.

use super::*;

#[tokio::test]
async fn adds_constant_credentials() {
    let fixture = Fixture::new();
    fixture.secret("key", "k3y-marker");
    let key = json!({"file": "key"});
    let basic = |more: Value| with(json!({"type": "basic"}), &more);
    let api_key = json!({"type": "api_key", "header": "X-Api-Key", "value": key, "prefix": "Key "});
    for (config, header, secrets) in [
        (
            basic(json!({"username": "id", "password": key})),
            "authorization: Basic aWQ6azN5LW1hcmtlcg==",
            2,
        ),
        // The user name is the key.
        (
            basic(json!({"username": key})),
            "authorization: Basic azN5LW1hcmtlcjp4",
            2,
        ),
        (
            json!({"type": "bearer", "token": key}),
            "authorization: Bearer k3y-marker",
            1,
        ),
        (api_key, "x-api-key: Key k3y-marker", 1),
        (json!({"type": "none"}), "", 0),
    ] {
        let auth = fixture.build(config.clone()).unwrap();
        let (request, credentials) = authorized(&auth, "https://api.contoso.com/x").await.unwrap();
        let headers = request.headers().iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(headers.concat(), header, "{config}");
        assert_eq!(auth.secrets(&Credentials::default()).len(), secrets, "{config}");
        assert!(!auth.renew(&credentials), "there is no token to renew");
    }
}

#[tokio::test]
async fn adds_a_query_key_once_and_keeps_the_rest_of_the_url() {
    let fixture = Fixture::new();
    fixture.secret("key", "k&y-marker");
    let auth = fixture
        .build(json!({"type": "api_key", "query": "api key", "value": {"file": "key"}}))
        .unwrap();
    let (request, _) = authorized(&auth, "https://api.contoso.com/x?b=%253D&a=1")
        .await
        .unwrap();
    assert_eq!(request.url().query(), Some("b=%253D&a=1&api+key=k%26y-marker"));
    let (again, _) = authorized(&auth, request.url().as_str()).await.unwrap();
    assert_eq!(again.url(), request.url());
    assert_eq!(
        crate::http::address::shown(request.url()),
        "https://api.contoso.com/x"
    );
}

#[test]
fn reports_all_problems_by_key() {
    let secret = json!({"env": "NAME"});
    let client = json!({
        "type": "oauth2_client_credentials", "token_url": "http://contoso.com", "client_id": " ",
        "credentials": "basic_header", "headers": {"a b": "x", "authorization": "y"},
        "parameters": {"a": 1}, "token_path": "data..token",
    });
    let password = json!({
        "type": "oauth2_password", "token_url": "https://contoso.com", "username": "u", "password": secret,
        "client_secret": secret,
    });
    let saml = json!({
        "type": "saml2_bearer", "token_url": "https://contoso.com", "client_id": secret, "subject": "s",
        "private_key": secret, "algorithm": "ES256",
    });
    let basic = |more: Value| with(json!({"type": "basic"}), &more);
    let api_key = |more: Value| with(json!({"type": "api_key", "value": secret}), &more);
    for (config, expected) in [
        (
            basic(json!({"username": "a:b", "token": secret})),
            "token username",
        ),
        (basic(json!({"username": "a"})), "password"),
        (api_key(json!({})), ""),
        (api_key(json!({"query": "k", "prefix": "p"})), "prefix"),
        (
            client,
            "client_id client_secret headers.a b headers.authorization parameters.a token_path token_url",
        ),
        (password, "client_secret"),
        (saml, "algorithm audience issuer"),
    ] {
        let parsed: AuthConfig = serde_json::from_value(config.clone()).unwrap();
        let found = problems(&parsed).into_iter();
        let mut found: Vec<String> = found
            .map(|problem| {
                problem
                    .path
                    .trim_start_matches("auth")
                    .trim_matches('.')
                    .to_owned()
            })
            .collect();
        found.sort();
        let found = found.join(" ");
        assert_eq!(found, expected, "{config}");
    }
}

#[test]
fn rejects_other_values_without_showing_secrets() {
    let basic = |more: Value| with(json!({"type": "basic"}), &more);
    for (config, expected) in [
        (json!({"type": "none", "tokn": 1}), "unknown field"),
        (
            json!({"type": "bearer", "token": "marker"}),
            "must be a reference",
        ),
        (basic(json!({"username": 5})), "a text, or a secret by reference"),
        (
            basic(json!({"username": "a", "password": "marker"})),
            "must be a reference",
        ),
        (
            json!({"type": "api_key", "header": "a b"}),
            "not a valid header name",
        ),
        (json!({"type": "oauth3"}), "oauth2_client_credentials"),
        (
            json!({"type": "jwt_bearer", "lifetime": "2h"}),
            "duration out of range",
        ),
        (json!({"type": "oauth2_refresh_token", "rotation": "file"}), ""),
    ] {
        let error = serde_json::from_value::<AuthConfig>(config)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected) && !error.contains("marker"), "{error}");
    }
}

#[tokio::test]
async fn names_the_setting_of_a_secret_with_a_line_break() {
    let fixture = Fixture::new();
    fixture.secret("broken", "two\nmarker");
    let broken = json!({"file": "broken"});
    let api_key = json!({"type": "api_key", "header": "x", "value": broken});
    for (config, setting) in [
        (json!({"type": "bearer", "token": broken}), "`token`"),
        (api_key, "`value`"),
    ] {
        let error = shown(&fixture.build(config).unwrap_err());
        assert!(error.contains(setting) && error.contains("line break"), "{error}");
    }
}

#[test]
fn accepts_the_examples_of_the_docs() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        auth: AuthConfig,
        #[serde(default)]
        tls: crate::http::settings::TlsSettings,
    }
    let page = include_str!("../../../../../docs/src/how-to/rest-auth.md");
    let mut kinds = std::collections::HashSet::new();
    for example in page.split("```yaml\n").skip(1) {
        let text = example.split("```").next().unwrap();
        let text = text
            .replace("API-SERVER", "api.contoso.com")
            .replace("LEARNING-HOST", "contoso.com");
        let example: Example =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(problems(&example.auth), Vec::new(), "{text}");
        let mut found = Vec::new();
        example.tls.validate(&mut Problems::new(&mut found));
        assert_eq!(found, Vec::new(), "{text}");
        kinds.insert(example.auth.kind as usize);
    }
    assert_eq!(kinds.len(), 8, "every type but `none`");
}
