//! A part of what there is: previews, row limits, recordings; and what a run says once it has read all.

use serde_json::{Value, json};

use crate::stand::{Answer, Asked, Reading, Stand, ok, people, status};

/// Five pages of five people; the first page lacks the key `termDate`, as services leave out what is empty.
async fn sparse() -> Stand {
    Stand::by(|asked: Asked| async move {
        let page: u64 = asked.line.rsplit_once("page=").unwrap().1.parse().unwrap();
        let person = |n: u64| match page {
            1 => json!({"id": n, "email": format!("emp.{n}@contoso.com")}),
            _ => json!({"id": n, "email": format!("emp.{n}@contoso.com"), "termDate": "2026-03-02"}),
        };
        match page {
            1..=5 => ok((page * 10..page * 10 + 5).map(person).collect()),
            _ => ok(json!([])),
        }
    })
    .await
}

fn paged() -> Value {
    json!({"pagination": {"type": "page"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_has_the_keys_of_all_rows_that_it_shows() {
    let stand = sparse().await;
    let reading = Reading::new(&stand, paged());
    let args = ["preview", "pipeline.json", "--source", "api", "--rows", "20"];
    let ran = reading.command(&args, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.told);
    assert!(!ran.told.contains("reject"), "{}", ran.told);
    assert!(ran.told.contains("termDate"), "{}", ran.told);
    assert!(stand.lines().len() < 20, "it stops when it has enough");
    let fields = ran.told.split_once("fields:").map(|(_, fields)| fields);
    let fields = fields.unwrap_or_else(|| panic!("no mapping is suggested: {}", ran.told));
    assert!(fields.contains("EmailAddress: lower(trim(email))"), "{fields}");
    assert!(fields.contains("LastWorkingDate: termDate"), "{fields}");
    assert!(
        !ran.told.contains("emp.10@"),
        "addresses are masked: {}",
        ran.told
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_used_is_looked_for_beyond_the_rows_wanted() {
    let stand = sparse().await;
    for limit in [2, 20] {
        let mut reading = Reading::new(&stand, paged()).show("coalesce(termDate, 'none')");
        reading.options.limit = Some(limit);
        let ran = reading.run().await;
        assert_eq!(ran.good().len() as u64, limit);
        assert_eq!(ran.rows[0], "none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_what_was_only_asked_for_ahead_is_none() {
    let stand = Stand::by(|asked: Asked| async move {
        match asked.line.as_str() {
            "GET /v1/ids" => ok(people(1..=7)),
            "GET /v1/people/3" => status(403),
            line => ok(json!({"n": line.len()})),
        }
    })
    .await;
    let settings = json!({
        "request": {"path": "people/{id}"},
        "for_each": {"parent": {"request": {"path": "ids"}}, "key": {"id": "$.id"}},
    });
    for _ in 0..5 {
        let mut reading = Reading::new(&stand, settings.clone());
        reading.options.limit = Some(2);
        assert_eq!(reading.run().await.good(), ["1", "2"]);
        reading.options.limit = Some(3);
        reading.run().await.failed(5, &["403"]);
    }
    let reading = Reading::new(&stand, settings);
    let args = ["preview", "pipeline.json", "--source", "api", "--rows", "2"];
    let ran = reading.command(&args, &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_has_no_value_in_it() {
    let stand =
        Stand::by(|_| async { ok(json!([{"id": 7, "email": "emp.7@contoso.com", "name": "Marker"}])) }).await;
    let query = json!({"path": "people", "query": {"of": "emp.7@contoso.com"}});
    let mut reading = Reading::new(&stand, json!({"request": query}));
    let folder = reading.path("support");
    reading.options.record = Some(folder.clone());
    assert_eq!(reading.run().await.good(), ["7"]);
    let runs: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(runs.len(), 1);
    let pages = std::fs::read_dir(runs[0].as_ref().unwrap().path()).unwrap();
    let pages: Vec<String> = pages
        .map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap())
        .collect();
    assert_eq!(pages.len(), 1, "{pages:?}");
    for kept in ["\"email\"", "\"name\"", "/v1/people", "200"] {
        assert!(pages[0].contains(kept), "{kept}: {}", pages[0]);
    }
    for masked in ["emp.7", "Marker"] {
        assert!(!pages[0].contains(masked), "{masked}: {}", pages[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_record_has_is_told_once() {
    let page = |ids: std::ops::Range<u64>| -> Answer { ok(people(ids)) };
    let script = || {
        [
            ("GET /v1/people?page=1", page(1..3)),
            ("GET /v1/people?page=2", page(3..5)),
            ("GET /v1/people?page=3", ok(json!([]))),
        ]
    };
    for (more, told) in [
        (json!({"records": {"columns": {"term": "$.trem"}}}), "`$.trem`"),
        (json!({"columns": {"id": "integer", "trem": "text"}}), "trem"),
    ] {
        let stand = Stand::script(script()).await;
        let mut settings = paged();
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let ran = Reading::new(&stand, settings).program(&[]).await;
        stand.done();
        assert_eq!(ran.code, 0, "{}", ran.told);
        assert_eq!(ran.told.matches(told).count(), 1, "{}", ran.told);
    }
    let stand = Stand::script(script()).await;
    let mut settings = paged();
    settings["records"] = json!({"columns": {"number": "$.id"}});
    settings["columns"] = json!({"id": "integer"});
    let ran = Reading::new(&stand, settings).program(&[]).await;
    assert!(!ran.told.contains("spells"), "{}", ran.told);
}
