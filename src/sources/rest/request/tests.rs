//! Requests as they leave, and what is said of those that are wrong.

use proptest::prelude::*;
use serde_json::json;

use super::super::template::{Filling, Kind};
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
    plan.ok_or_else(|| {
        found
            .iter()
            .map(|p| format!("{p} ({})", p.hint.as_deref().unwrap_or("-")))
            .collect()
    })
}

fn plan(config: Value) -> RequestPlan {
    plan_at("https://api.contoso.com/v1", config).unwrap()
}

fn one(name: &str, value: Value) -> Values {
    let mut values = Values::default();
    values.set(name.into(), Filling::One(value));
    values
}

fn group(values: &Value) -> Values {
    let mut all = Values::default();
    all.set(
        "ids".into(),
        Filling::Many {
            values: values.as_array().unwrap().clone(),
            separator: ",".into(),
        },
    );
    all
}

fn url(config: Value, values: &Values) -> String {
    plan(config)
        .build(values, &PageRequest::default())
        .unwrap()
        .url
        .to_string()
}

fn body(built: &Built) -> String {
    String::from_utf8(built.body.as_ref().unwrap().bytes.to_vec()).unwrap()
}

#[test]
fn the_path_goes_on_from_the_base_url() {
    for (base, path, expected) in [
        (
            "https://a.example/v1",
            "employees",
            "https://a.example/v1/employees",
        ),
        (
            "https://a.example/v1/",
            "employees",
            "https://a.example/v1/employees",
        ),
        (
            "https://a.example/v1/",
            "/employees",
            "https://a.example/v1/employees",
        ),
        ("https://a.example", "employees/", "https://a.example/employees/"),
        ("https://a.example/v1/", "", "https://a.example/v1/"),
        ("https://a.example", "", "https://a.example/"),
        (
            "https://{pod}.a.example/{pod}",
            "x",
            "https://us-1.a.example/us-1/x",
        ),
        ("http://127.0.0.1:8080/api", "x", "http://127.0.0.1:8080/api/x"),
    ] {
        let plan = plan_at(base, json!({"path": path})).unwrap();
        let built = plan
            .build(&one("pod", json!("us-1")), &PageRequest::default())
            .unwrap();
        assert_eq!(built.url.as_str(), expected);
    }
}

#[test]
fn queries_of_the_vendors_arrive_as_they_are_written() {
    let start = one("start", json!("2021-01-05T15:16:23Z"));
    let query = json!({
        "$filter": "lastModifiedDateTime ge datetimeoffset'{start}'",
        "page[limit]": 500,
        "dateTimeCreated": ">01-01-1900",
        "between": "={{01-01-1900,01-01-1901}}",
        "q": "a&b=c+d #1",
        "status": ["t", "f"],
        "onlyData": true,
        "empty": "",
    });
    let built = plan(json!({"query": query}))
        .build(&start, &PageRequest::default())
        .unwrap();
    assert_eq!(
        built.url.query().unwrap(),
        "$filter=lastModifiedDateTime%20ge%20datetimeoffset%272021-01-05T15:16:23Z%27&page%5Blimit%5D=500\
         &dateTimeCreated=%3E01-01-1900&between=%3D%7B01-01-1900,01-01-1901%7D&q=a%26b%3Dc%2Bd%20%231&status=t&status=f\
         &onlyData=true&empty="
    );
    let read: Vec<_> = built.url.query_pairs().into_owned().collect();
    assert_eq!(
        read[0].1,
        "lastModifiedDateTime ge datetimeoffset'2021-01-05T15:16:23Z'"
    );
    assert_eq!(read[3].1, "={01-01-1900,01-01-1901}");
    assert_eq!(read[4].1, "a&b=c+d #1");
}

#[test]
fn a_value_is_one_segment_of_the_path() {
    let config = json!({"path": "employees/{id}/tables/jobInfo"});
    for (value, segment) in [
        (json!(7), "7"),
        (json!("a/b"), "a%2Fb"),
        (json!("../x?y#z"), "..%2Fx%3Fy%23z"),
        (json!("a%2Fb\\c"), "a%252Fb%5Cc"),
        (json!("Zoë"), "Zo%C3%AB"),
    ] {
        let expected = format!("https://api.contoso.com/v1/employees/{segment}/tables/jobInfo");
        assert_eq!(url(config.clone(), &one("id", value)), expected);
    }
    for (value, says) in [("", "is empty"), (".", "`.` or `..`"), ("..", "`.` or `..`")] {
        let error = plan(config.clone())
            .build(&one("id", json!(value)), &PageRequest::default())
            .unwrap_err();
        assert!(
            error.to_string().contains("`{id}`") && error.to_string().contains(says),
            "{error}"
        );
    }
    let error = plan(json!({"path": ".{id}"}))
        .build(&one("id", json!(".")), &PageRequest::default())
        .unwrap_err();
    assert!(error.to_string().contains("another path"));
}

#[test]
fn a_value_in_the_host_stays_a_label() {
    let plan = plan_at("https://{pod}.contoso.com", json!({})).unwrap();
    for value in ["evil.example/", "a.b", "a@b", "", "x:1"] {
        let error = plan
            .build(&one("pod", json!(value)), &PageRequest::default())
            .unwrap_err();
        assert!(
            error.to_string().contains("`{pod}` stands in the host"),
            "{error}"
        );
    }
}

#[test]
fn an_expression_cannot_be_changed_by_a_value() {
    let plan = plan(json!({"query": {"q": "PersonNumber='{id}'", "note": "{id}"}}));
    let built = plan
        .build(&one("id", json!("1001")), &PageRequest::default())
        .unwrap();
    assert_eq!(built.url.query(), Some("q=PersonNumber%3D%271001%27&note=1001"));
    let error = plan
        .build(&one("id", json!("x' or 'a' eq 'a")), &PageRequest::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("apostrophe") && !error.to_string().contains("eq"),
        "{error}"
    );
}

#[test]
fn a_group_is_a_joined_text_a_list_or_a_repeated_parameter() {
    let ids = group(&json!(["a", 7]));
    let config = json!({
        "method": "POST",
        "path": "people/{ids}",
        "query": {"joined": "in {ids}", "one_each": ["{ids}"]},
        "json": {"employeeIds": "{ids}", "text": "ids: {ids}", "deep": [{"x": "{ids}"}], "brace": "{{", "n": 1},
    });
    let built = plan(config).build(&ids, &PageRequest::default()).unwrap();
    assert_eq!(
        built.url.as_str(),
        "https://api.contoso.com/v1/people/a,7?joined=in%20a,7&one_each=a&one_each=7"
    );
    assert_eq!(
        body(&built),
        r#"{"employeeIds":["a",7],"text":"ids: a,7","deep":[{"x":["a",7]}],"brace":"{","n":1}"#
    );
    assert_eq!(built.headers["content-type"], "application/json");
    let error = plan(json!({"query": {"ids": "{ids}"}}))
        .build(&group(&json!(["a,b"])), &PageRequest::default())
        .unwrap_err();
    assert!(error.to_string().contains("separator `,`"), "{error}");
}

#[test]
fn json_takes_values_as_they_are() {
    let config = json!({"json": {"id": "{id}", "text": "no. {id}"}});
    let built = plan(config.clone())
        .build(&one("id", json!(7)), &PageRequest::default())
        .unwrap();
    assert_eq!(built.method, Method::POST);
    assert_eq!(body(&built), r#"{"id":7,"text":"no. 7"}"#);
    let built = plan(config)
        .build(&one("id", json!("\"},{\"x")), &PageRequest::default())
        .unwrap();
    assert_eq!(body(&built), r#"{"id":"\"},{\"x","text":"no. \"},{\"x"}"#);
}

#[test]
fn a_page_sets_its_places() {
    let page = |place, value| PageRequest {
        url: None,
        set: vec![(place, value)],
    };
    let get = plan(json!({"query": {"a": 1, "page": [1, 2], "b": 2}, "headers": {"X-Page": "1"}}));
    let built = get
        .build(
            &Values::default(),
            &page(InjectInto::Query("page".into()), json!("3 &")),
        )
        .unwrap();
    assert_eq!(built.url.query(), Some("a=1&page=3%20%26&b=2"));
    let built = get
        .build(
            &Values::default(),
            &page(InjectInto::Query("new".into()), json!(4)),
        )
        .unwrap();
    assert_eq!(built.url.query(), Some("a=1&page=1&page=2&b=2&new=4"));
    let built = get
        .build(
            &Values::default(),
            &page(InjectInto::Header("x-page".into()), json!(9)),
        )
        .unwrap();
    assert_eq!(built.headers["X-Page"], "9");
    let body_page = page(InjectInto::Body("page.cursor".into()), json!("n"));
    assert!(get.build(&Values::default(), &body_page).is_err());

    let post = |config| plan(config).build(&Values::default(), &body_page);
    assert_eq!(
        body(&post(json!({"json": {"page": {"size": 5}}})).unwrap()),
        r#"{"page":{"size":5,"cursor":"n"}}"#
    );
    assert_eq!(
        body(&post(json!({"method": "POST"})).unwrap()),
        r#"{"page":{"cursor":"n"}}"#
    );
    let error = post(json!({"json": {"page": "x"}})).unwrap_err();
    assert!(error.to_string().contains("`page.cursor`"), "{error}");
    let built = post(json!({"form": {"a": "x y", "page.cursor": "old"}})).unwrap();
    assert_eq!(body(&built), "a=x+y&page.cursor=n");
    assert_eq!(built.headers["content-type"], "application/x-www-form-urlencoded");
}

#[test]
fn a_link_is_followed_as_it_is() {
    let plan = plan(json!({"path": "x/{id}", "query": {"a": 1}, "headers": {"Accept": "application/json"}}));
    let follow = |link: &str, set| {
        let ask = PageRequest {
            url: Some(link.to_owned()),
            set,
        };
        plan.build(&one("id", json!(1)), &ask)
    };
    let link = "https://api.contoso.com:8443/odata/v2/Emp?$skiptoken=eyJ%252B&b=a+b%20c";
    let built = follow(link, Vec::new()).unwrap();
    assert_eq!(built.url.as_str(), link);
    assert_eq!(built.headers["accept"], "application/json");
    let built = follow(link, vec![(InjectInto::Query("b".into()), json!("z"))]).unwrap();
    assert_eq!(built.url.query(), Some("$skiptoken=eyJ%252B&b=z"));
    let built = follow("?page=2", Vec::new()).unwrap();
    assert_eq!(built.url.as_str(), "https://api.contoso.com/v1/x/1?page=2");
    for link in [
        "http://api.contoso.com/x",
        "https://u:p@api.contoso.com/",
        "ftp://a/b",
        "https://",
    ] {
        let error = follow(link, Vec::new()).unwrap_err();
        assert!(!error.to_string().contains("contoso"), "{error}");
    }
}

#[test]
fn secrets_and_values_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "hunter2-marker\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut plan = plan(json!({
        "path": "employees/{id}/jobs",
        "headers": {"US-Customer-Api-Key": {"file": "key"}, "REST-Framework-Version": 4},
    }));
    let values = one("id", json!("person-marker"));
    assert!(plan.build(&values, &PageRequest::default()).is_err());
    plan.read_secrets(folder.path(), &SecretFiles::default()).unwrap();
    let built = plan.build(&values, &PageRequest::default()).unwrap();
    assert_eq!(built.headers["us-customer-api-key"], "hunter2-marker");
    assert_eq!(built.headers["rest-framework-version"], "4");
    assert!(!format!("{plan:?} {:?} {values:?}", built.headers).contains("marker"));
    assert_eq!(
        plan.shown(&Url::parse("https://u:p@api.contoso.com/v1/employees/person-marker/jobs?x=1#f").unwrap()),
        "GET https://api.contoso.com/v1/employees/{id}/jobs"
    );
    assert_eq!(
        plan.shown(&Url::parse("https://api.contoso.com/next/person-marker").unwrap()),
        "GET https://api.contoso.com/v1/employees/{id}/jobs"
    );
}

#[test]
fn a_header_takes_no_line_ends() {
    let plan = plan(json!({"headers": {"X-Id": "{id}"}}));
    let error = plan
        .build(&one("id", json!("a\r\nX-Evil: marker")), &PageRequest::default())
        .unwrap_err();
    assert!(error.to_string().contains("`{id}`"), "{error}");
    assert!(!error.to_string().contains("marker"), "{error}");
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
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
    )
    .unwrap_err();
    let expected = [
        "base_url: the base URL has a user name or a password in it (credentials belong into `auth`)",
        "base_url: the path has a `?` or a `#` in it (parameters belong into `query`)",
        "request.path: the path has a `.` or `..` as a segment (-)",
        "request.path: the path has a `?` or a `#` in it (parameters belong into `query`)",
        "request.query.since: `{strat}` is not a placeholder that is known here (did you mean `start`?)",
        "request.query.n: expected a text, a whole number or a boolean, found nothing (write `\"\"` for an empty value)",
        "request.query.f: expected a text, a whole number or a boolean, found a number with a fraction (write a number \
         with a fraction in quotes, as it is to be sent)",
        "request.query.l: an empty list: the parameter would not be sent; leave it out (-)",
        "request.query.o: expected a text, a whole number or a boolean, found a mapping (a list of texts repeats the \
         parameter)",
        "request.query.b: a `{` without its `}`; a brace itself is written twice: `{{` (-)",
        "request.headers.Authorization: the header's value is a credential, and is given by reference, never as text in \
         the file (the text found here is not repeated) (`{env: NAME}` or `{file: PATH}`; credentials of the usual kinds \
         belong into `auth`)",
        "request.headers.Host: the header `Host` follows from the request and cannot be set (-)",
        "request.headers.X: a header's value is of printable ASCII characters only (-)",
        "request.headers.Y: a `{` without its `}`; a brace itself is written twice: `{{` (-)",
        "request.headers.a b: `a b` cannot be the name of a header (-)",
        "request: a request has one body: `json` or `form`, not both (-)",
    ];
    assert_eq!(found, expected);
    let found = plan_at(
        "https://a.example",
        json!({"method": "GET", "json": {"a": ["{}"], "b": "}"}}),
    )
    .unwrap_err();
    assert_eq!(
        found,
        [
            "request.json.a[0]: `{}` is no placeholder, which is a name of letters, digits and `_` between braces; a \
             brace itself is written twice: `{{` and `}}` (-)",
            "request.json.b: a `}` without its `{`; a brace itself is written twice: `}}` (-)",
            "request.method: a GET request has no body (leave `method` out, or give POST)",
        ]
    );
}

#[test]
fn a_base_url_is_https_and_written_down() {
    for (base, says) in [
        ("http://api.contoso.com", "https://"),
        ("ftp://api.contoso.com", "does not begin"),
        ("api.contoso.com", "does not begin"),
        ("{pod}://x", "does not begin"),
        ("https://{pod}", "last two labels"),
        ("https://api.{pod}.com", "last two labels"),
        ("https://{id}.contoso.com", "`{id}` cannot stand in the host"),
        ("https://api.contoso.com/v1?x=1", "`?`"),
        ("https://api.contoso.com?x=1", "`?`"),
        ("https://", "not valid"),
        ("https://api.contoso.com:{pod}/", "not valid"),
    ] {
        let found = plan_at(base, json!({})).unwrap_err().join("; ");
        assert!(found.contains(says), "{base}: {found}");
    }
    for path in ["https://evil.example/x", "//evil.example/x"] {
        let found = plan_at("https://a.example", json!({"path": path})).unwrap_err();
        assert!(
            found[0].starts_with("request.path: the path is a whole URL"),
            "{found:?}"
        );
    }
    assert!(plan_at("http://localhost:1/{pod}", json!({})).is_ok());
}

#[test]
fn placeholders_are_found_wherever_they_are() {
    let plan = plan_at(
        "https://{pod}.a.example",
        json!({"path": "{id}", "headers": {"X": "{start}"}, "json": [{"a": "{ids}"}]}),
    )
    .unwrap();
    let uses: Vec<_> = plan.uses().iter().map(|name| name.to_string()).collect();
    assert_eq!(uses, ["id", "ids", "pod", "start"]);
}

#[test]
fn a_place_that_cannot_be_is_noted() {
    let mut found = Vec::new();
    let plan = plan(json!({}));
    for place in [
        InjectInto::Body("a".into()),
        InjectInto::Header("host".into()),
        InjectInto::Query(String::new()),
        InjectInto::Query("ok".into()),
    ] {
        plan.check_place(&place, &mut Problems::new(&mut found));
    }
    assert_eq!(found.len(), 3);
}

proptest! {
    #[test]
    fn no_value_changes_the_shape_of_a_url(value in ".{1,12}|[./%?#\\\\a]{1,6}") {
        let plan = plan(json!({"path": "a/{id}/x{id}y/z", "query": {"q": "{id}", "r": "1"}}));
        match plan.build(&one("id", json!(value)), &PageRequest::default()) {
            Err(error) => prop_assert!(value == "." || value == "..", "{error}"),
            Ok(built) => {
                let url = built.url;
                prop_assert_eq!(url.host_str(), Some("api.contoso.com"));
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 5);
                prop_assert_eq!((segments[0], segments[1], segments[4]), ("v1", "a", "z"));
                let decoded = url::form_urlencoded::parse(format!("k={}", segments[2].replace('+', "%2B")).as_bytes())
                    .next().unwrap().1.into_owned();
                prop_assert_eq!(&decoded, &value);
                prop_assert!(url.fragment().is_none());
                let pairs: Vec<_> = url.query_pairs().into_owned().collect();
                prop_assert_eq!(pairs, [("q".to_owned(), value), ("r".to_owned(), "1".to_owned())]);
            }
        }
    }

    #[test]
    fn a_template_is_read_as_it_is_shown(text in "[a{}b_ ]{0,12}|[^{}]{0,8}(\\{\\{|\\}\\}|\\{name\\})[^{}]{0,8}") {
        use super::super::template::Template;
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(template.to_string(), text);
        }
    }
}
