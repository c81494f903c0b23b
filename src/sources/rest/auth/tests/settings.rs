//! Settings, and the types that need no token.

use super::super::super::test_cases::cases;
use super::*;

#[tokio::test]
async fn adds_constant_credentials() {
    let fixture = Fixture::new();
    fixture.secret("key", "k3y-marker");
    // The last number counts secrets. In the second, the user name is the key.
    for (config, expected) in cases(
        "
        {type: basic, username: id, password: {file: key}} | authorization: Basic aWQ6azN5LW1hcmtlcg==, 2;
        {type: basic, username: {file: key}} | authorization: Basic azN5LW1hcmtlcjp4, 2;
        {type: bearer, token: {file: key}} | authorization: Bearer k3y-marker, 1;
        {type: api_key, header: X-Api-Key, value: {file: key}, prefix: 'Key '} | x-api-key: Key k3y-marker, 1;
        {type: none} | , 0;",
    ) {
        let auth = fixture.build(config.clone()).unwrap();
        let (request, credentials) = authorized(&auth, "https://api.contoso.com/x").await.unwrap();
        let headers = request.headers().iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let found = format!(
            "{}, {}",
            headers.concat(),
            auth.secrets(&Credentials::default()).len()
        );
        assert_eq!(found, expected, "{config}");
        assert!(!auth.renew(&credentials), "there is no token to renew");
    }
}

#[tokio::test]
async fn adds_a_query_key_once_and_keeps_the_rest_of_the_url() {
    let fixture = Fixture::new();
    fixture.secret("key", "k&y-marker");
    let config = json!({"type": "api_key", "query": "api key", "value": {"file": "key"}});
    let auth = fixture.build(config).unwrap();
    let url = "https://api.contoso.com/x?b=%253D&a=1";
    let (request, _) = authorized(&auth, url).await.unwrap();
    assert_eq!(request.url().query(), Some("b=%253D&a=1&api+key=k%26y-marker"));
    let (again, _) = authorized(&auth, request.url().as_str()).await.unwrap();
    assert_eq!(again.url(), request.url());
    let shown = crate::http::address::shown(request.url());
    assert_eq!(shown, "https://api.contoso.com/x");
}

#[test]
fn reports_all_problems_by_key() {
    for (config, expected) in cases(
        "
        {type: basic, username: 'a:b', token: {env: NAME}} | token username;
        {type: basic, username: a} | password;
        {type: api_key, value: {env: NAME}} |;
        {type: api_key, value: {env: NAME}, query: k, prefix: p} | prefix;
        {type: oauth2_client_credentials, token_url: 'http://contoso.com', client_id: ' ',
            token_path: data..token, credentials: basic_header, headers: {a b: x, authorization: b64},
            parameters: {a: 1}}
            | client_id client_secret headers.a b headers.authorization parameters.a token_path token_url;
        {type: oauth2_password, token_url: 'https://contoso.com', username: u, password: {env: NAME},
            client_secret: {env: NAME}} | client_secret;
        {type: saml2_bearer, token_url: 'https://contoso.com', client_id: {env: NAME}, subject: s,
            private_key: {env: NAME}, key_id: k} | audience issuer key_id;",
    ) {
        let parsed: AuthConfig = serde_json::from_value(config.clone()).unwrap();
        let found = problems(&parsed);
        let mut found: Vec<&str> = found.iter().map(|problem| &problem.path[4..]).collect();
        found.sort_unstable();
        assert_eq!(
            found.join(" ").replace(" .", " ").trim_start_matches('.'),
            expected,
            "{config}"
        );
    }
}

#[test]
fn rejects_other_values_without_showing_secrets() {
    for (config, expected) in cases(
        "
        {type: none, tokn: 1} | unknown field;
        {type: bearer, token: marker} | must be a reference;
        {type: basic, username: 5} | a text, or a secret by reference;
        {type: basic, username: a, password: marker} | must be a reference;
        {type: api_key, header: a b} | not a valid header name;
        {type: oauth3} | oauth2_client_credentials;
        {type: jwt_bearer, lifetime: 2h} | duration out of range;
        {type: oauth2_refresh_token, rotation: file} |;",
    ) {
        let error = serde_json::from_value::<AuthConfig>(config)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&expected) && !error.contains("marker"), "{error}");
    }
}

#[tokio::test]
async fn names_the_setting_of_a_secret_with_a_line_break() {
    let fixture = Fixture::new();
    fixture.secret("broken", "two\nmarker");
    for (config, setting) in cases(
        "
        {type: bearer, token: {file: broken}} | `token`;
        {type: api_key, header: x, value: {file: broken}} | `value`;",
    ) {
        let error = shown(&fixture.build(config).unwrap_err());
        assert!(
            error.contains(&setting) && error.contains("line break"),
            "{error}"
        );
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
