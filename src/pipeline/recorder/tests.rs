use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::*;

fn header_map(headers: &[(&'static str, &str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn recorded(url: &str, headers: &[(&'static str, &str)], body: &[u8], complete: bool) -> String {
    page(&Exchange {
        source: "hr",
        method: "GET",
        url: &Url::parse(url).unwrap(),
        status: 200,
        headers: &header_map(headers),
        body,
        complete,
    })
    .unwrap()
}

fn body(body: &str) -> Value {
    let page = recorded("https://hr.contoso.com/", &[], body.as_bytes(), true);
    serde_json::from_str::<Value>(&page).unwrap()["body"].clone()
}

#[test]
fn masks_values_and_keeps_the_structure() {
    let page = body(
        r#"{"data":[{"workEmail":"sarad@contoso.com","last_day":"2024-05-31","salary":-52000.5,"active":true,
        "manager":null,"when":"/Date(1462060800000)/","note":"r\u00e9sign\u00e9 \"oui\""}],"total":12,"access_token":"eyJhbGciOi.J9"}"#,
    );
    insta::assert_snapshot!(format!("{page:#}"), @r#"
    {
      "data": [
        {
          "workEmail": "xxxxx@xxxxxxx.xxx",
          "last_day": "9999-99-99",
          "salary": -99999.9,
          "active": true,
          "manager": null,
          "when": "/Xxxx(9999999999999)/",
          "note": "xxxxxxx \"xxx\""
        }
      ],
      "total": 99,
      "access_token": "xxXxxXxxXx.X9"
    }
    "#);
}

#[test]
fn masks_keys_that_are_values() {
    let page =
        body(r#"{"4711":{"a":1},"sarad@contoso.com":2,"8f0f7f3e-98bb-4f6c-9a32-0f2c1b2a3c4d":3,"E100":4}"#);
    let keys: Vec<&String> = page.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "9999",
            "xxxxx@xxxxxxx.xxx",
            "9x9x9x9x-99xx-9x9x-9x99-9x9x9x9x9x9x",
            "X999"
        ]
    );
    let people: Vec<String> = (0..250)
        .map(|i| format!(r#""person {}":{i}"#, "x".repeat(i)))
        .collect();
    let text = json::mask(&format!("{{{},\"deep\":{{\"kept\":1}}}}", people.join(",")));
    assert!(!text.contains("person") && !text.contains("deep"), "{text}");
}

#[test]
fn keeps_pagination_in_urls_and_headers() {
    let page = recorded(
        "https://svc:hunter2@hr.contoso.com:8443/v1/employees/4711/tables/Jobs('sarad')?page=3&limit=200&token=abcdef&q=Sara%20D&id=12#x",
        &[
            ("content-type", "application/json"),
            ("retry-after", "30"),
            ("x-ratelimit-remaining", "7"),
            ("set-cookie", "session=hunter2"),
            (
                "link",
                "<https://hr.contoso.com/v1/e?cursor=secret1&page=4>; rel=\"next\"",
            ),
        ],
        b"{}",
        true,
    );
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(
        page["url"],
        "https://hr.contoso.com:8443/v1/employees/9999/tables/Jobs('xxxxx')?page=3&limit=200&token=xxxxxx&q=Xxxx X&id=99"
    );
    assert_eq!(page["headers"]["content-type"][0], "application/json");
    assert_eq!(page["headers"]["retry-after"][0], "30");
    assert_eq!(page["headers"]["x-ratelimit-remaining"][0], "7");
    assert_eq!(page["headers"]["set-cookie"][0], "xxxxxxx=xxxxxx9");
    assert_eq!(
        page["headers"]["link"][0],
        "<https://hr.contoso.com/v1/e?cursor=xxxxxx9&page=4>; rel=\"next\""
    );
}

#[test]
fn truncates_bodies_that_are_not_json() {
    let html = format!("<html><body>Sara Davis {}</body>", "a".repeat(500));
    let page = recorded(
        "https://hr.contoso.com/",
        &[("content-type", "text/html")],
        html.as_bytes(),
        true,
    );
    let page: Value = serde_json::from_str(&page).unwrap();
    let shown = page["body"].as_str().unwrap();
    assert!(shown.starts_with("<xxxx><xxxx>Xxxx Xxxxx xxx"), "{shown}");
    let actual = (shown.chars().count(), page["body_bytes"].as_u64());
    assert_eq!(actual, (201, Some(html.len() as u64)));
}

#[test]
fn masks_truncated_pages() {
    let page = recorded(
        "https://hr.contoso.com/",
        &[],
        br#"{"data":[{"name":"Sara","mail":"sarad@con"#,
        false,
    );
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["body"], r#"{"data":[{"name":"Xxxx","mail":"xxxxx@xxx""#);
    assert_eq!(page["body_complete"], false);

    let large = format!("[{}\"Sara\"]", "\"Sara\",".repeat(200_000));
    let page = recorded("https://hr.contoso.com/", &[], large.as_bytes(), true);
    assert!(page.contains("body_truncated_at") && !page.contains("Sara"));
    for close in ["".to_owned(), "]".repeat(100_000)] {
        let deep = format!("{}\"Sara\"{close}", "[".repeat(100_000));
        assert!(!recorded("https://hr.contoso.com/", &[], deep.as_bytes(), true).contains("Sara"));
    }
}

#[test]
fn stores_private_files_and_counts_pages() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = PageRecorder::new(folder.path().join("support/run"));
    let url = Url::parse("https://hr.contoso.com/v1/employees").unwrap();
    let record = |source| {
        let exchange = Exchange {
            source,
            method: "GET",
            url: &url,
            status: 200,
            headers: &HeaderMap::new(),
            body: b"[]",
            complete: true,
        };
        recorder.page(&exchange).unwrap();
    };
    let reported = || -> Vec<String> {
        let outputs = Outputs::default();
        recorder.report(&outputs);
        outputs.all().into_iter().map(|output| output.what).collect()
    };
    ["hr/one", "hr/one", "two"].into_iter().for_each(record);
    let actual = reported();
    assert_eq!(actual, ["2 recorded pages, masked", "1 recorded page, masked"]);
    let folder = &recorder.folder;
    for name in ["hr_one-000001.json", "hr_one-000002.json", "two-000003.json"] {
        let file = folder.join(name).metadata().unwrap();
        #[cfg(unix)]
        assert_eq!(crate::disk::private_file::mode(&file), 0o600);
        assert!(file.is_file());
    }
    #[cfg(unix)]
    let actual = crate::disk::private_file::mode(&folder.metadata().unwrap());
    assert_eq!(actual, 0o700);
    recorder.state().pages = MAX_PAGES;
    record("two");
    assert_eq!(reported()[1], "1 recorded page, masked; 1 more were not stored");
}

/// A text that is not part of every page.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-wyzA-WYZ]{3,40}",
        "\\PC{3,40}",
        "[0-8]{3,20}",
        "[a-w\\\\\"\n]{3,20}"
    ]
}

proptest! {
    /// No run of letters and digits remains, in the complete page or in a part of it.
    #[test]
    fn removes_every_text_of_a_response(texts in [value(), value()], cut in any::<prop::sample::Index>()) {
        let page = serde_json::json!({"key_a": [texts[0], {"key_b": texts[1]}], "key_c": null}).to_string();
        let masked = json::mask(&page);
        serde_json::from_str::<Value>(&masked).unwrap();
        let part: String = page.chars().take(cut.index(page.len())).collect();
        let part = json::mask(&part);
        for word in texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric())) {
            let is_mask = word.chars().all(|c| "xX9".contains(c));
            let is_known = word.len() < 3 || "key_a key_b key_c null".contains(word);
            prop_assert!(is_mask || is_known || !(masked.contains(word) || part.contains(word)), "{}", word);
        }
    }
}
