//! The upload as an HTTP request.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, Request};
use url::Url;
use uuid::Uuid;

use super::cloud::Endpoints;
use crate::secret::Secret;

/// Where a job's uploads go. Holds no secret.
pub(crate) fn upload_url(endpoints: &Endpoints, job_id: Uuid) -> Url {
    let mut url = endpoints.ingestion.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("api").push("signals");
    }
    url.set_query(Some(&format!("jobid={job_id}")));
    url
}

/// The name a batch is uploaded under: tells the scenario, the run and the number to whoever reads the job's log.
///
/// Of the run's id the last eight characters are taken: its first ones are a time, and the same for runs that begin
/// within a minute. `part` is 0 for a whole batch.
pub(crate) fn file_name(scenario: &str, run_id: &str, number: u64, part: u32) -> String {
    let tail = run_id
        .char_indices()
        .rev()
        .nth(7)
        .map_or(run_id, |(at, _)| &run_id[at..]);
    let part = match part {
        0 => String::new(),
        part => format!(".{part}"),
    };
    safe(&format!("hrsink-{scenario}-{tail}-{number:05}{part}.csv"))
}

/// Only what no server and no file system takes amiss.
fn safe(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// `POST {ingestion}/api/signals?jobid={job}` with one part named `file`. The payload is shared, not copied, and its
/// length is known, so the request carries a `Content-Length`.
///
/// # Errors
/// The token cannot go into a header.
pub(crate) fn upload(
    client: &Client,
    url: &Url,
    token: &Secret,
    file_name: &str,
    payload: Bytes,
) -> reqwest::Result<Request> {
    let length = payload.len() as u64;
    let part = Part::stream_with_length(Body::from(payload), length)
        .file_name(safe(file_name))
        .mime_str("text/csv")?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        // An empty value is refused as unauthorised; a token with such characters is refused when it is fetched.
        .unwrap_or(HeaderValue::from_static(""));
    bearer.set_sensitive(true);
    client
        .post(url.clone())
        .header(AUTHORIZATION, bearer)
        .multipart(Form::new().part("file", part))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::m365_hr::cloud::Cloud;

    #[test]
    fn the_url_is_the_jobs() {
        let job = Uuid::parse_str("b8be4a7d-e338-43eb-a69e-c513cd458eba").unwrap();
        assert_eq!(
            upload_url(&Cloud::Worldwide.endpoints(), job).as_str(),
            "https://webhook.ingestion.office.com/api/signals?jobid=b8be4a7d-e338-43eb-a69e-c513cd458eba"
        );
        let below = Endpoints::new(
            "http://localhost:1",
            "https://r.example",
            "http://localhost:1/base/",
        )
        .unwrap();
        assert!(
            upload_url(&below, job)
                .as_str()
                .starts_with("http://localhost:1/base/api/signals?jobid=b8be")
        );
    }

    #[test]
    fn the_file_name_tells_scenario_run_and_number() {
        assert_eq!(
            file_name(
                "employee_resignation",
                "0197b0a2-7c1e-7000-8000-0123456789ab",
                7,
                0
            ),
            "hrsink-employee_resignation-456789ab-00007.csv"
        );
        assert_eq!(file_name("a/b\"\r\nx", "é", 1, 2), "hrsink-a_b___x-_-00001.2.csv");
    }

    #[test]
    fn the_token_is_marked_sensitive() {
        let client = crate::http::transport::TransportConfig {
            tls: false,
            ..Default::default()
        }
        .client()
        .unwrap();
        let url = Url::parse("http://localhost/").unwrap();
        let request = upload(
            &client,
            &url,
            &Secret::new("tok3n-marker"),
            "a.csv",
            Bytes::from_static(b"x"),
        )
        .unwrap();
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        assert!(!format!("{request:?}").contains("tok3n-marker"));
    }
}
