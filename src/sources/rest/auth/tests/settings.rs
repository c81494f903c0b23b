//! What is taken from the pipeline file, what is refused there, and the kinds that need no token.

use super::*;

#[tokio::test]
async fn kinds_without_a_token_add_what_they_say() {
    let place = InjectInto::new();
    place.secret("key", "k3y-marker");
    let add = async |config: Value| {
        let auth = place.build(config).unwrap();
        let (request, granted) = authorized(&auth, "https://api.contoso.com/x?b=%253D&a=1")
            .await
            .unwrap();
        assert!(!auth.renew(&granted), "there is nothing to renew");
        (request, auth.secrets())
    };
    let basic = |user: Value| json!({"type": "basic", "username": user, "password": {"file": "key"}});
    let (request, secrets) = add(basic(json!("id"))).await;
    assert_eq!(request.headers()["authorization"], "Basic aWQ6azN5LW1hcmtlcg==");
    let secrets: Vec<&str> = secrets.iter().map(crate::secret::Secret::expose).collect();
    assert_eq!(secrets, ["k3y-marker", "aWQ6azN5LW1hcmtlcg=="]);

    let config = json!({"type": "basic", "username": {"file": "key"}, "placeholder_password": "x"});
    let (request, secrets) = add(config).await;
    assert_eq!(request.headers()["authorization"], "Basic azN5LW1hcmtlcjp4");
    assert_eq!(secrets.len(), 2, "`x` is in every sentence");

    let (request, _) = add(json!({"type": "bearer", "token": {"file": "key"}})).await;
    assert_eq!(request.headers()["authorization"], "Bearer k3y-marker");

    let config =
        json!({"type": "api_key", "header": "X-Api-Key", "value": {"file": "key"}, "prefix": "Key "});
    let (request, _) = add(config).await;
    assert_eq!(request.headers()["x-api-key"], "Key k3y-marker");
    assert!(request.headers().get("authorization").is_none());

    let (request, _) = add(json!({"type": "none"})).await;
    assert!(request.headers().is_empty());
}

#[tokio::test]
async fn a_key_in_the_query_is_added_once_and_the_rest_stays_as_it_is() {
    let place = InjectInto::new();
    place.secret("key", "k&y-marker");
    let auth = place
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
fn every_problem_is_found_at_once_with_its_key() {
    let found = |config: Value| -> Vec<String> {
        let config: AuthConfig = serde_json::from_value(config).unwrap();
        problems(&config)
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    };
    let secret = json!({"env": "NAME"});
    assert_eq!(
        found(json!({"type": "basic", "username": "a:b"})),
        ["auth.username", "auth.password"]
    );
    assert_eq!(
        found(json!({"type": "basic", "username": "a", "password": secret, "placeholder_password": "x"})),
        ["auth.placeholder_password"]
    );
    assert_eq!(found(json!({"type": "api_key", "value": secret})), ["auth"]);
    assert_eq!(
        found(json!({"type": "api_key", "value": secret, "header": "a b"})),
        ["auth.header"]
    );
    assert_eq!(
        found(json!({"type": "api_key", "value": secret, "query": "k", "prefix": "p"})),
        ["auth.prefix"]
    );
    assert_eq!(
        found(json!({
            "type": "oauth2_client_credentials", "token_url": "http://contoso.com", "client_id": " ",
            "client_secret": secret, "credentials": "basic_header", "headers": {"a b": "x", "authorization": "y"},
            "json": {"a": 1}, "form": {"a": "1"},
            "response": {"access_token": "data..token", "default_lifetime": "0s"},
        })),
        [
            "auth.token_url",
            "auth.headers.a b",
            "auth.json",
            "auth.json.a",
            "auth.response.access_token",
            "auth.response.default_lifetime",
            "auth.client_id",
            "auth.headers.authorization",
        ]
    );
    assert_eq!(
        found(json!({
            "type": "oauth2_password", "token_url": "https://contoso.com", "username": "u", "password": secret,
            "client_secret": secret,
        })),
        ["auth.client_id"]
    );
    assert_eq!(
        found(json!({
            "type": "saml2_bearer", "token_url": "https://contoso.com", "client_id": secret, "subject": "s",
            "audience": "", "private_key": secret, "lifetime": "2h",
        })),
        ["auth.lifetime", "auth.audience", "auth.issuer"]
    );
}

#[test]
fn what_is_not_known_is_refused_and_a_secret_as_text_is_not_repeated() {
    for (config, expected) in [
        (json!({"type": "none", "token": 1}), "unknown field"),
        (json!({"type": "bearer", "token": "marker"}), "by reference"),
        (
            json!({"type": "bearer", "token": {"env": "A"}, "prefix": "x"}),
            "unknown field",
        ),
        (
            json!({"type": "basic", "username": 5, "password": {"env": "A"}}),
            "a text, or a secret by reference",
        ),
        (
            json!({"type": "basic", "username": "a", "password": "marker"}),
            "by reference",
        ),
        (json!({"type": "oauth3"}), "oauth2_client_credentials"),
        (
            json!({
                "type": "oauth2_refresh_token", "token_url": "https://contoso.com", "client_id": "a",
                "refresh_token": {"env": "A"}, "rotation": "file",
            }),
            "rotation",
        ),
    ] {
        let kind = config.clone();
        match serde_json::from_value::<AuthConfig>(config) {
            Ok(_) => panic!("{kind} is taken"),
            Err(error) if expected == "rotation" => drop(error),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(expected) && !error.contains("marker"), "{error}");
            }
        }
    }
}

#[test]
fn the_schema_can_be_made_and_knows_each_kind() {
    let schema = serde_json::to_string(&schemars::schema_for!(AuthConfig)).unwrap();
    for kind in [
        "none",
        "basic",
        "bearer",
        "api_key",
        "oauth2_client_credentials",
        "oauth2_refresh_token",
        "oauth2_password",
        "jwt_bearer",
        "saml2_bearer",
    ] {
        assert!(schema.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

#[tokio::test]
async fn a_secret_with_a_line_break_is_named_not_shown() {
    let place = InjectInto::new();
    place.secret("broken", "two\nmarker");
    for (config, setting) in [
        (json!({"type": "bearer", "token": {"file": "broken"}}), "`token`"),
        (
            json!({"type": "api_key", "header": "x", "value": {"file": "broken"}}),
            "`value`",
        ),
    ] {
        let error = shown(&place.build(config).unwrap_err());
        assert!(error.contains(setting) && error.contains("line break"), "{error}");
    }
}

#[test]
fn the_examples_of_the_page_are_good() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        auth: AuthConfig,
        #[serde(default)]
        tls: crate::http::settings::TlsSettings,
    }
    let page = include_str!("../../../../../docs/rest-auth.md");
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
        kinds.insert(std::mem::discriminant(&example.auth));
    }
    assert_eq!(kinds.len(), 8, "every kind but `none`");
}
