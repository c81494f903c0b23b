//! Requests as they are sent, and what is wrong with settings and values.

use proptest::prelude::*;
use reqwest::header::HeaderName;
use serde_json::json;

use super::super::template::Kind;
use super::*;

fn names() -> Names {
    let mut names = Names::default();
    names.add("pod", Kind::Fixed);
    names.add("id", Kind::Key);
    names.add("ids", Kind::Group);
    names.add("start", Kind::Window);
    names
}

fn plan_at(base: &str, config: Value) -> Result<RequestPlan, Vec<String>> {
    let config: RequestConfig = serde_json::from_value(config).expect("it decodes");
    let mut found = Vec::new();
    let plan = RequestPlan::new(base, &config, &names(), &mut Problems::new(&mut found));
    assert_eq!(plan.is_none(), !found.is_empty());
    let shown = |problem: &crate::component::Problem| {
        format!("{problem} ({})", problem.hint.as_deref().unwrap_or("-"))
    };
    plan.ok_or_else(|| found.iter().map(shown).collect())
}

fn plan(config: Value) -> RequestPlan {
    plan_at("https://api.contoso.com/v1", config).unwrap()
}

fn one(name: &str, value: Value) -> Values {
    let mut values = Values::default();
    values.set(name.into(), value);
    values
}

fn header(name: &'static str) -> InjectInto {
    InjectInto::Header(HeaderNameSetting(HeaderName::from_static(name)))
}

fn build(config: Value, values: &Values) -> Result<Request, String> {
    let built = plan(config).build(values, &[], None);
    built.map_err(|error| error.to_string())
}

fn body(built: &Request) -> &str {
    std::str::from_utf8(built.body().unwrap().as_bytes().unwrap()).unwrap()
}

/// Base URL, path, URL.
const URLS: &str = "
https://a.example/v1 → people → https://a.example/v1/people
https://a.example/v1/ → people → https://a.example/v1/people
https://a.example/v1/ → /people → https://a.example/v1/people
https://a.example → people/ → https://a.example/people/
https://a.example/v1/ →  → https://a.example/v1/
https://a.example →  → https://a.example/
https://{pod}.a.example/{pod} → x → https://us-1.a.example/us-1/x
http://127.0.0.1:8080/api → x → http://127.0.0.1:8080/api/x
";

fn cells<const N: usize>(table: &str) -> impl Iterator<Item = [&str; N]> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut cells = line.split(" → ");
        [(); N].map(|()| cells.next().unwrap())
    })
}

#[test]
fn appends_the_path_to_the_base_url() {
    for [base, path, expected] in cells(URLS) {
        let plan = plan_at(base, json!({"path": path})).unwrap();
        let built = plan.build(&one("pod", json!("us-1")), &[], None);
        assert_eq!(built.unwrap().url().as_str(), expected);
    }
}

/// A value as JSON, and the segment of the path that it becomes.
const SEGMENTS: &str = r#"
7 → 7
"a/b" → a%2Fb
"../x?y#z" → ..%2Fx%3Fy%23z
"a%2Fb\\c" → a%252Fb%5Cc
"Zoë" → Zo%C3%AB
"#;

#[test]
fn encodes_values_for_their_position() {
    for [value, segment] in cells(SEGMENTS) {
        let built = build(
            json!({"path": "employees/{id}/jobs"}),
            &one("id", serde_json::from_str(value).unwrap()),
        );
        let expected = format!("https://api.contoso.com/v1/employees/{segment}/jobs");
        assert_eq!(built.unwrap().url().as_str(), expected);
    }
    let query = json!({
        "$filter": "changed ge datetimeoffset'{start}'", "page[limit]": 500, "created": ">01-01-1900",
        "between": "={{01-01-1900,01-01-1901}}", "q": "a&b=c+d #1", "status": ["t", "f"], "all": true, "empty": "",
    });
    let built = build(
        json!({"query": query}),
        &one("start", json!("2021-01-05T15:16:23Z")),
    )
    .unwrap();
    assert_eq!(
        built.url().query().unwrap(),
        "$filter=changed%20ge%20datetimeoffset%272021-01-05T15:16:23Z%27&page%5Blimit%5D=500&created=%3E01-01-1900\
         &between=%3D%7B01-01-1900,01-01-1901%7D&q=a%26b%3Dc%2Bd%20%231&status=t&status=f&all=true&empty="
    );
    let config = json!({"json": {"id": "{id}", "text": "no. {id}"}});
    for (value, expected) in [
        (json!(7), r#"{"id":7,"text":"no. 7"}"#),
        (json!("\"},{\"x"), r#"{"id":"\"},{\"x","text":"no. \"},{\"x"}"#),
    ] {
        let built = build(config.clone(), &one("id", value)).unwrap();
        assert_eq!((built.method(), body(&built)), (&Method::POST, expected));
    }
    let config = json!({"path": "people/{ids}", "json": {"text": "ids: {ids}", "deep": [{"x": "{ids}"}], "brace": "{{"}});
    let built = build(config, &one("ids", json!(["a", 7]))).unwrap();
    assert_eq!(built.url().path(), "/v1/people/a,7");
    assert_eq!(
        body(&built),
        r#"{"text":"ids: a,7","deep":[{"x":["a",7]}],"brace":"{"}"#
    );
}

/// Settings, a value, and what the error says.
const REJECTED: &str = r#"
{"path":"e/{id}"} → "" → is empty
{"path":"e/{id}"} → "." → `.` or `..`
{"path":"e/{id}"} → ".." → `.` or `..`
{"path":".{id}"} → "." → another path
{"query":{"q":"Number='{id}'"}} → "marker' or 'a' eq 'a" → apostrophe
{"query":{"ids":"{ids}"}} → ["marker,b"] → separator `,`
{"headers":{"X-Id":"{id}"}} → "a\r\nX-Evil: marker" → `{id}`
"#;

#[test]
fn rejects_values_that_would_change_the_request() {
    for [config, value, expected] in cells(REJECTED) {
        let value: Value = serde_json::from_str(value).unwrap();
        let name = if value.is_array() { "ids" } else { "id" };
        let config = serde_json::from_str(config).unwrap();
        let error = build(config, &one(name, value)).unwrap_err();
        assert!(error.contains(expected) && !error.contains("marker"), "{error}");
    }
    let plan = plan_at("https://{pod}.contoso.com", json!({})).unwrap();
    for value in ["evil.example/", "a.b", "a@b", "", "x:1"] {
        let error = plan.build(&one("pod", json!(value)), &[], None).unwrap_err();
        assert!(
            error.to_string().contains("`{pod}` is part of the host"),
            "{error}"
        );
    }
}

#[test]
fn injects_the_values_of_a_page() {
    let get = plan(json!({"query": {"a": 1, "page": [1, 2], "b": 2}, "headers": {"X-Page": "1"}}));
    let inject = |place, value| get.build(&Values::default(), &[(place, value)], None);
    for (name, value, expected) in [
        ("page", json!("3 &"), "a=1&page=3%20%26&b=2"),
        ("new", json!(4), "a=1&page=1&page=2&b=2&new=4"),
    ] {
        let built = inject(InjectInto::Query(name.into()), value).unwrap();
        assert_eq!(built.url().query(), Some(expected));
    }
    let built = inject(header("x-page"), json!(9)).unwrap();
    assert_eq!(built.headers()["X-Page"], "9");
    let cursor = || InjectInto::Body("page.cursor".into());
    for (config, expected) in [
        (
            json!({"json": {"page": {"size": 5}}}),
            r#"{"page":{"size":5,"cursor":"n"}}"#,
        ),
        (json!({"method": "POST"}), r#"{"page":{"cursor":"n"}}"#),
        (
            json!({"form": {"a": "x y", "page.cursor": "old"}}),
            "a=x+y&page.cursor=n",
        ),
    ] {
        let built = plan(config).build(&Values::default(), &[(cursor(), json!("n"))], None);
        assert_eq!(body(&built.unwrap()), expected);
    }
    let wrong =
        plan(json!({"json": {"page": "x"}})).build(&Values::default(), &[(cursor(), json!("n"))], None);
    assert!(wrong.unwrap_err().to_string().contains("`page.cursor`"));

    let config = RequestConfig::default();
    let mut found = Vec::new();
    for place in [
        cursor(),
        InjectInto::Body("a..b".into()),
        header("host"),
        header("authorization"),
        InjectInto::Query(String::new()),
        InjectInto::Query("ok".into()),
    ] {
        config.check_place(&place, &mut Problems::new(&mut found));
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "body: a GET request has no body to inject the value into",
            "body: a GET request has no body to inject the value into",
            "body: `a..b` is not a place in the body: give names joined by dots, such as `page.cursor`",
            "header: pagination cannot use the header `host`",
            "header: pagination cannot use the header `authorization`",
            "query: a parameter name must not be empty",
        ]
    );
}

#[test]
fn shows_no_values_of_rows() {
    let plan = plan(json!({"path": "employees/{id}/jobs"}));
    for url in [
        "https://u:p@api.contoso.com/v1/employees/person-marker/jobs?x=1#f",
        "https://api.contoso.com/next/person-marker",
    ] {
        let shown = plan.shown(&Url::parse(url).unwrap());
        assert_eq!(shown, "GET https://api.contoso.com/v1/employees/{id}/jobs");
    }
}

/// The problems of the request below, each as it starts.
const PROBLEMS: &str = "
base_url: the base URL contains a user name or a password (put credentials into `auth`)
base_url: the path contains `?` or `#` (put parameters into `query`)
request.path: the path contains `.` or `..` as a segment
request.path: the path contains `?` or `#`
request.query.since: unknown placeholder `{strat}` (did you mean `start`?)
request.query.n: expected a string, an integer or a boolean, found null
request.query.f: expected a string, an integer or a boolean, found a number with a fraction (put
request.query.l: empty list
request.query.o: expected a string, an integer or a boolean, found a mapping (a list repeats
request.query.b: `{` without `}`
request.headers.Authorization: the value of this header is a credential
request.headers.Host: the header `Host` is set by
request.headers.X: a header value may contain
request.headers.Y: `{` without `}`
request.headers.a b: invalid header name `a b`
request.json.a[0]: invalid placeholder
request.json.b: `}` without `{`
request: `json` and `form` are mutually exclusive
";

/// Base URL, request, part of the problem.
const WRONG: &str = r#"
http://api.contoso.com → {} → https://
ftp://api.contoso.com → {} → must start with
api.contoso.com → {} → must start with
{pod}://x → {} → must start with
https://{pod} → {} → last two labels
https://api.{pod}.com → {} → last two labels
https://{id}.contoso.com → {} → `{id}` cannot be part of the host
https://api.contoso.com?x=1 → {} → `?`
https:// → {} → invalid base URL
https://api.contoso.com:{pod}/ → {} → invalid base URL
https://a.example → {"path": "https://evil.example/x"} → expected a path
https://a.example → {"path": "//evil.example/x"} → expected a path
https://a.example → {"method": "GET", "json": {}} → a GET request has no body
https://a.example → {"json": {"a": ["{}"]}} → request.json.a[0]: invalid placeholder
https://a.example → {"path": "{id:%Y}"} → has a format
"#;

#[test]
fn reports_all_problems_at_once() {
    let found = plan_at(
        "https://user:pw@api.contoso.com/v1?x=1",
        json!({
            "method": "GET",
            "path": "a/../b?c=d",
            "query": {"since": "{strat}", "n": null, "f": 1.5, "l": [], "o": {"a": 1}, "b": "{ x"},
            "headers": {"Authorization": "Bearer marker", "Host": "x", "a b": "x", "X": "ü", "Y": "{id"},
            "json": {"a": ["{}"], "b": "}"},
            "form": {},
        }),
    );
    let found = found.unwrap_err();
    let expected: Vec<&str> = PROBLEMS.trim().lines().collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(expected) && !found.contains("marker"),
            "{found}"
        );
    }
    for [base, config, expected] in cells(WRONG) {
        let found = plan_at(base, serde_json::from_str(config).unwrap())
            .unwrap_err()
            .join("; ");
        assert!(found.contains(expected), "{base}: {found}");
    }
    assert!(plan_at("http://localhost:1/{pod}", json!({})).is_ok());
    let names = names();
    let config = json!({"path": "{id}", "headers": {"X": "{start}"}, "json": [{"a": "{ids}"}]});
    let config: RequestConfig = serde_json::from_value(config).unwrap();
    let base = "https://{pod}.a.example";
    assert!(RequestPlan::new(base, &config, &names, &mut Problems::new(&mut Vec::new())).is_some());
    let uses: Vec<_> = names.uses().iter().map(ToString::to_string).collect();
    assert_eq!(uses, ["id", "ids", "pod", "start"]);
}

proptest! {
    #[test]
    fn no_value_changes_the_structure_of_a_url(value in ".{1,12}|[./%?#\\\\a]{1,6}") {
        let plan = plan(json!({"path": "a/{id}/x{id}y/z", "query": {"q": "{id}", "r": "1"}}));
        match plan.build(&one("id", json!(value)), &[], None) {
            Err(error) => prop_assert!(value == "." || value == "..", "{error}"),
            Ok(built) => {
                let url = built.url();
                prop_assert_eq!(url.host_str(), Some("api.contoso.com"));
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 5);
                prop_assert_eq!((segments[0], segments[1], segments[4]), ("v1", "a", "z"));
                let form = format!("k={}", segments[2].replace('+', "%2B"));
                let decoded = url::form_urlencoded::parse(form.as_bytes()).next().unwrap().1;
                prop_assert_eq!(&*decoded, &value);
                prop_assert!(url.fragment().is_none());
                let pairs: Vec<_> = url.query_pairs().into_owned().collect();
                prop_assert_eq!(pairs, [("q".to_owned(), value), ("r".to_owned(), "1".to_owned())]);
            }
        }
    }
}
