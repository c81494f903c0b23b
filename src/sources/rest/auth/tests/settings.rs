//! Settings, and the types that need no token.

use super::super::super::test_cases::cases;
use super::*;

#[tokio::test]
async fn adds_constant_credentials() {
    let fixture = Fixture::new();
    fixture.secret("key", "k3y-marker");
    for (config, expected) in cases(
        "
        {type: basic, username: {file: key}} | Basic azN5LW1hcmtlcjp4;
        {type: bearer, token: {file: key}} | Bearer k3y-marker;
        {type: api_key, header: Authorization, value: {file: key}, prefix: 'Key '} | Key k3y-marker;",
    ) {
        let auth = fixture.build(config).unwrap();
        assert_eq!(authorization(&auth).await.unwrap(), expected);
        let hidden = auth.secrets(&Credentials::default());
        assert!(hidden.iter().any(|secret| secret.expose() == "k3y-marker"));
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
        let actual = found.join(" ").replace(" .", " ");
        assert_eq!(actual.trim_start_matches('.'), expected, "{config}");
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
    let config = json!({"type": "bearer", "token": {"file": "broken"}});
    let error = shown(&fixture.build(config).unwrap_err());
    assert!(error.contains("`token` contains a character"), "{error}");
}
