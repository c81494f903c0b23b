use super::*;
use crate::http::transport::{Proxy, TransportConfig};
use serde_json::json;
use test_server::{Reply, Request, Server, Step};

const SECRET: &str = "s3cret-marker+/=";

fn provider(server: &Server, version: TokenVersion) -> ClientCredentialsProvider {
    let client = TransportConfig {
        tls: false,
        proxy: Proxy::Direct,
        ..Default::default()
    }
    .client()
    .unwrap();
    ClientCredentialsProvider::new(
        client,
        ClientCredentials {
            authority: server.url().parse().unwrap(),
            tenant_id: "contoso.com".to_owned(),
            client_id: "app".to_owned(),
            client_secret: Secret::new(SECRET),
            resource: "https://contoso.com/service".to_owned(),
            version,
        },
    )
}

async fn play(step: impl Into<Step>) -> (Result<Token, TokenFailure>, Request) {
    ask(step, TokenVersion::V1).await
}

async fn ask(step: impl Into<Step>, version: TokenVersion) -> (Result<Token, TokenFailure>, Request) {
    let server = Server::script([step.into()]);
    let result = provider(&server, version).fetch().await;
    let shown = format!("{result:?}");
    assert!(
        !shown.contains("s3cret-marker") && !shown.contains("tok3n-marker"),
        "{shown}"
    );
    (result, server.finish().remove(0))
}

fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn version_1_names_the_resource_and_gives_numbers_as_texts() {
    let reply = Reply::new(200).json(&json!({
        "token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599", "expires_on": "1700000000",
        "not_before": "1699996100", "resource": "https://contoso.com/service", "access_token": "tok3n-marker",
    }));
    let (token, request) = ask(reply, TokenVersion::V1).await;
    let token = token.unwrap();
    assert_eq!(token.secret().expose(), "tok3n-marker");
    let left = token.expires() - tokio::time::Instant::now();
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3599));
    assert_eq!(
        (&*request.method, &*request.path),
        ("POST", "/contoso.com/oauth2/token?api-version=1.0")
    );
    assert_eq!(
        request.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let expected = [
        ("client_id", "app"),
        ("client_secret", SECRET),
        ("grant_type", "client_credentials"),
        ("resource", "https://contoso.com/service"),
        ("tenant_id", "contoso.com"),
    ];
    assert_eq!(form(&request), pairs(&expected));
}

#[tokio::test]
async fn version_2_names_the_scope_and_gives_numbers() {
    let reply = Reply::new(200)
        .json(&json!({"token_type": "bearer", "expires_in": 60, "access_token": "tok3n-marker"}));
    let (token, request) = ask(reply, TokenVersion::V2).await;
    assert!(token.unwrap().expires() <= tokio::time::Instant::now() + Duration::from_secs(60));
    assert_eq!(request.path, "/contoso.com/oauth2/v2.0/token");
    let expected = [
        ("client_id", "app"),
        ("client_secret", SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "https://contoso.com/service/.default"),
    ];
    assert_eq!(form(&request), pairs(&expected));
}

#[tokio::test]
async fn a_tenant_cannot_change_the_path() {
    let server = Server::script(Vec::<Step>::new());
    let mut provider = provider(&server, TokenVersion::V1);
    provider.credentials.tenant_id = "../evil?x=1#".to_owned();
    let url = provider.credentials.url();
    assert_eq!(url.path(), "/..%2Fevil%3Fx=1%23/oauth2/token");
    assert_eq!(url.query(), Some("api-version=1.0"));
}

#[tokio::test]
async fn an_error_is_read_whether_numbers_are_numbers_or_texts() {
    for codes in [json!([7_000_215]), json!(["7000215"])] {
        let reply = Reply::new(401).json(&json!({
            "error": "invalid_client",
            "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: t-1\r\n",
            "error_codes": codes, "timestamp": "2025-01-02 03:04:05Z", "trace_id": "t-1", "correlation_id": "c-2",
        }));
        let TokenFailure::Refused(error) = play(reply).await.0.unwrap_err() else {
            panic!()
        };
        let expected = OAuthError {
            status: 401,
            error: "invalid_client".to_owned(),
            description: Some("AADSTS7000215: Invalid client secret provided. Trace ID: t-1".to_owned()),
            codes: vec![7_000_215],
            trace_id: Some("t-1".to_owned()),
            correlation_id: Some("c-2".to_owned()),
            timestamp: Some("2025-01-02 03:04:05Z".to_owned()),
            retry_after: None,
        };
        assert_eq!(*error, expected);
        assert_eq!(
            error.ids(),
            ["correlation_id: c-2"],
            "what the description says is not said twice"
        );
    }
}

#[tokio::test]
async fn the_code_of_the_description_counts_where_no_list_is() {
    let reply =
        Reply::new(400).json(&json!({"error": "invalid_request", "error_description": "AADSTS90002: no"}));
    let TokenFailure::Refused(error) = play(reply).await.0.unwrap_err() else {
        panic!()
    };
    assert_eq!(error.codes, [90_002]);
}

#[tokio::test]
async fn texts_are_cleaned_cut_and_never_echo_the_secret() {
    let long = format!("\u{1b}[2J{SECRET} {}", "é".repeat(600));
    let reply = Reply::new(400).json(&json!({"error": format!("bad {SECRET}"), "error_description": long}));
    let TokenFailure::Refused(error) = play(reply).await.0.unwrap_err() else {
        panic!()
    };
    assert_eq!(error.error, "bad [hidden]");
    let description = error.description.unwrap();
    assert!(
        description.starts_with("[2J[hidden] é") && description.ends_with('…'),
        "{description}"
    );
    assert_eq!(description.chars().count(), 501);
}

#[tokio::test]
async fn passing_causes_are_tried_again_and_refusals_are_not() {
    let oauth = json!({"error": "temporarily_unavailable", "error_description": "AADSTS7000215: codes decide nothing"});
    for (status, again) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (302, false),
        (408, true),
        (429, true),
        (500, true),
        (503, true),
    ] {
        for reply in [
            Reply::new(status).json(&oauth),
            Reply::new(status).body("no JSON"),
        ] {
            let failure = play(reply).await.0.unwrap_err();
            assert_eq!(failure.verdict() != Verdict::Stop, again, "{status} {failure:?}");
        }
    }
    let failure = play(Step::CloseAfterBody).await.0.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::Retry { after: None });
    assert!(!failure.is_unknown(), "asking twice does nothing twice");
}

#[tokio::test]
async fn retry_after_is_handed_on() {
    for reply in [
        Reply::new(429).json(&json!({"error": "slow_down"})),
        Reply::new(503),
    ] {
        let failure = play(reply.header("retry-after", "7")).await.0.unwrap_err();
        assert_eq!(
            failure.verdict(),
            Verdict::Retry {
                after: Some(Duration::from_secs(7))
            }
        );
    }
}

#[tokio::test]
async fn a_success_without_a_usable_token_says_what_is_wrong() {
    let cases = [
        (Reply::new(200), "is no JSON object"),
        (Reply::new(200).body("[]"), "is no JSON object"),
        (Reply::new(200).json(&json!({})), "holds no `access_token`"),
        (
            Reply::new(200).json(&json!({"access_token": ""})),
            "holds no `access_token`",
        ),
        (
            Reply::new(200).json(&json!({"access_token": 5, "x": "tok3n-marker"})),
            "holds an `access_token` that is no text",
        ),
        (
            Reply::new(200).json(&json!({"access_token": "tok3n-marker\r\nx"})),
            "cannot go into a header",
        ),
        (
            Reply::new(200).json(&json!({"access_token": "tok3n-marker", "token_type": "mac"})),
            "of the type `mac`",
        ),
        (
            Reply::new(200)
                .header("content-type", "text/html")
                .body("<html><title>Sign in</title>"),
            "is a web page with the title `Sign in`",
        ),
    ];
    for (reply, expected) in cases {
        let failure = play(reply).await.0.unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure} / {expected}");
        assert_eq!(failure.verdict(), Verdict::Stop);
    }
}

#[tokio::test]
async fn a_token_whose_answer_breaks_off_is_asked_for_again() {
    let whole = Reply::new(200).json(&json!({"access_token": "tok3n-marker"}));
    let failure = play(whole.truncate(9)).await.0.unwrap_err();
    assert!(failure.is_passing(), "{failure:?}");
}

#[tokio::test]
async fn a_token_of_unknown_lifetime_is_not_kept() {
    let (token, _) =
        play(Reply::new(200).json(&json!({"access_token": "tok3n-marker", "expires_in": "soon"}))).await;
    assert!(token.unwrap().expires() <= tokio::time::Instant::now());
}

#[tokio::test]
async fn the_date_of_any_answer_is_handed_on() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let ok = Reply::new(200).json(&json!({"access_token": "t", "expires_in": 1}));
    for reply in [
        ok,
        Reply::new(401).json(&json!({"error": "invalid_client"})),
        Reply::new(503),
    ] {
        let server = Server::script([reply.header("date", date)]);
        let (_, seen) = provider(&server, TokenVersion::V1).request().await;
        assert_eq!(seen, Some(httpdate::parse_http_date(date).unwrap()));
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let server = Server::script(Vec::<Step>::new());
    let shown = format!("{:?}", provider(&server, TokenVersion::V1));
    assert!(!shown.contains("s3cret-marker"), "{shown}");
}
