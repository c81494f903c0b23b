//! Requests as they are sent, and what is wrong with settings and values.

use proptest::prelude::*;
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

fn build(config: Value, values: &Values) -> Result<Request, String> {
    let built = plan(config).build(values, &[], None);
    built.map_err(|error| error.to_string())
}

fn body(built: &Request) -> &str {
    std::str::from_utf8(built.body().unwrap().as_bytes().unwrap()).unwrap()
}

/// Base URL, path, URL.
const URLS: &str = "
https://a.example/v1/ → /people → https://a.example/v1/people
https://a.example → people/ → https://a.example/people/
https://a.example/v1/ →  → https://a.example/v1/
https://a.example →  → https://a.example/
https://{pod}.a.example/{pod} → x → https://us-1.a.example/us-1/x
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

#[test]
fn encodes_values_for_their_position() {
    let query = json!({
        "$filter": "changed ge datetimeoffset'{start}'", "page[limit]": 500, "created": ">01-01-1900",
        "between": "={{01-01-1900,01-01-1901}}", "q": "a&b=c+d #1", "status": ["t", "f"], "all": true, "empty": "",
    });
    let start = one("start", json!("2021-01-05T15:16:23Z"));
    let built = build(json!({"query": query}), &start).unwrap();
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
        let holds = error.to_string().contains("`{pod}` is part of the host");
        assert!(holds, "{error}");
    }
}

#[test]
fn injects_the_values_of_a_page() {
    let get = plan(json!({"query": {"a": 1, "page": [1, 2], "b": 2}}));
    for (name, value, expected) in [
        ("page", json!("3 &"), "a=1&page=3%20%26&b=2"),
        ("new", json!(4), "a=1&page=1&page=2&b=2&new=4"),
    ] {
        let set = [(InjectInto::Query(name.into()), value)];
        let built = get.build(&Values::default(), &set, None).unwrap();
        assert_eq!(built.url().query(), Some(expected));
    }
    let cursor = [(InjectInto::Body("page.cursor".into()), json!("n"))];
    let inject = |config| plan(config).build(&Values::default(), &cursor, None);
    let created = inject(json!({"method": "POST"})).unwrap();
    assert_eq!(body(&created), r#"{"page":{"cursor":"n"}}"#);
    let form = inject(json!({"form": {"a": "x y", "page.cursor": "old"}})).unwrap();
    assert_eq!(body(&form), "a=x+y&page.cursor=n");
    let wrong = inject(json!({"json": {"page": "x"}})).unwrap_err();
    assert!(wrong.to_string().contains("`page.cursor`"));

    let mut found = Vec::new();
    for place in [InjectInto::Body("a..b".into()), InjectInto::Query(String::new())] {
        RequestConfig::default().check_place(&place, &mut Problems::new(&mut found));
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "body: a GET request has no body to inject the value into",
            "body: `a..b` is not a path in the body: use names joined by dots, such as `page.cursor`",
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

/// Base URL, request, and the only problem, as it starts.
const PROBLEMS: &str = r#"
http://api.contoso.com → {} → base_url: the base URL must start with `https://`, so
ftp://api.contoso.com → {} → base_url: the base URL must start with
{pod}://x → {} → base_url: the base URL must start with
https://{pod} → {} → base_url: the last two labels
https://api.{pod}.com → {} → base_url: the last two labels
https://{id}.contoso.com → {} → base_url: `{id}` cannot be part of the host
https://api.contoso.com?x=1 → {} → base_url: the base URL contains `?`
https://api.contoso.com/v1?x=1 → {} → base_url: the path contains `?` or `#` (put parameters into `query`)
https://user:marker@a.example → {} → base_url: the base URL contains a user name or a password
https:// → {} → base_url: invalid base URL
https://api.contoso.com:{pod}/ → {} → base_url: invalid base URL
https://a.example → {"path": "https://evil.example/x"} → request.path: expected a path
https://a.example → {"path": "//evil.example/x"} → request.path: expected a path
https://a.example → {"path": "a/../b"} → request.path: the path contains `.` or `..` as a segment
https://a.example → {"path": "{id:%Y}"} → request.path: `{id:%Y}` has a format
https://a.example → {"query": {"q": "{strat}"}} → request.query.q: unknown placeholder `{strat}` (did you mean `start`?)
https://a.example → {"query": {"q": null}} → request.query.q: expected a string, an integer or a boolean, found null
https://a.example → {"query": {"q": 1.5}} → request.query.q: expected a string, an integer or a boolean, found a number (put
https://a.example → {"query": {"q": []}} → request.query.q: empty list
https://a.example → {"query": {"q": {"a": 1}}} → request.query.q: expected a string, an integer or a boolean, found an object (a list repeats
https://a.example → {"headers": {"X-Api-Key": "marker"}} → request.headers.X-Api-Key: the value of this header is a credential
https://a.example → {"headers": {"Host": "x"}} → request.headers.Host: the header `Host` is set by
https://a.example → {"headers": {"X": "ü"}} → request.headers.X: a header value may contain
https://a.example → {"headers": {"a b": "x"}} → request.headers.a b: invalid header name `a b`
https://a.example → {"json": {"a": ["{}"]}} → request.json.a[0]: invalid placeholder
https://a.example → {"json": {}, "form": {}} → request: `json` and `form` are mutually exclusive
https://a.example → {"method": "GET", "json": {}} → request.method: a GET request has no body
"#;

#[test]
fn reports_problems_by_key() {
    for [base, config, expected] in cells(PROBLEMS) {
        let found = plan_at(base, serde_json::from_str(config).unwrap()).unwrap_err();
        assert!(
            found.len() == 1 && found[0].starts_with(expected) && !found[0].contains("marker"),
            "{base}: {found:?}"
        );
    }
    assert!(plan_at("http://localhost:1/{pod}", json!({})).is_ok());
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
