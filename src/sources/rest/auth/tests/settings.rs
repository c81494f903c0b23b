//! Settings, and the types that need no token.

use super::*;

#[tokio::test]
async fn adds_constant_credentials() {
    let fixture = Fixture::new();
    fixture.secret("key", "k3y-marker");
    let key = json!({"file": "key"});
    for (config, name, expected, secrets) in [
        (
            json!({"type": "basic", "username": "id", "password": key}),
            "authorization",
            Some("Basic aWQ6azN5LW1hcmtlcg=="),
            2,
        ),
        // The user name is the key.
        (
            json!({"type": "basic", "username": key}),
            "authorization",
            Some("Basic azN5LW1hcmtlcjp4"),
            2,
        ),
        (
            json!({"type": "bearer", "token": key}),
            "authorization",
            Some("Bearer k3y-marker"),
            1,
        ),
        (
            json!({"type": "api_key", "header": "X-Api-Key", "value": key, "prefix": "Key "}),
            "x-api-key",
            Some("Key k3y-marker"),
            1,
        ),
        (json!({"type": "none"}), "authorization", None, 0),
    ] {
        let auth = fixture.build(config.clone()).unwrap();
        let (request, credentials) = authorized(&auth, "https://api.contoso.com/x").await.unwrap();
        let header = request.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header, expected, "{config}");
        assert_eq!(request.headers().len(), usize::from(expected.is_some()));
        assert_eq!(auth.secrets().len(), secrets, "{config}");
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
    let password = json!({
        "type": "oauth2_password", "token_url": "https://contoso.com", "username": "u", "password": secret,
        "client_secret": secret,
    });
    for (config, expected) in [
        (
            json!({"type": "basic", "username": "a:b", "token": secret}),
            &["auth.token", "auth.username"][..],
        ),
        (json!({"type": "basic", "username": "a"}), &["auth.password"]),
        (json!({"type": "api_key", "value": secret}), &["auth"]),
        (
            json!({"type": "api_key", "value": secret, "query": "k", "prefix": "p"}),
            &["auth.prefix"],
        ),
        (
            json!({
                "type": "oauth2_client_credentials", "token_url": "http://contoso.com", "client_id": " ",
                "credentials": "basic_header", "headers": {"a b": "x", "authorization": "y"},
                "parameters": {"a": 1}, "token_path": "data..token",
            }),
            &[
                "auth.client_secret",
                "auth.client_id",
                "auth.token_url",
                "auth.headers.a b",
                "auth.headers.authorization",
                "auth.parameters.a",
                "auth.token_path",
            ],
        ),
        (password, &["auth.client_secret"]),
        (
            json!({
                "type": "saml2_bearer", "token_url": "https://contoso.com", "client_id": secret, "subject": "s",
                "private_key": secret, "algorithm": "ES256",
            }),
            &["auth.algorithm", "auth.audience", "auth.issuer"],
        ),
    ] {
        let parsed: AuthConfig = serde_json::from_value(config.clone()).unwrap();
        let mut found: Vec<String> = problems(&parsed)
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{config}");
    }
}

#[test]
fn rejects_other_values_without_showing_secrets() {
    for (config, expected) in [
        (json!({"type": "none", "tokn": 1}), "unknown field"),
        (
            json!({"type": "bearer", "token": "marker"}),
            "must be a reference",
        ),
        (
            json!({"type": "basic", "username": 5}),
            "a text, or a secret by reference",
        ),
        (
            json!({"type": "basic", "username": "a", "password": "marker"}),
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
    for (config, setting) in [
        (json!({"type": "bearer", "token": {"file": "broken"}}), "`token`"),
        (
            json!({"type": "api_key", "header": "x", "value": {"file": "broken"}}),
            "`value`",
        ),
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
