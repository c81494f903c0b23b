//! Files in memory behind HTTP: a web server, and with lists, copies and deletes a bucket of Google Cloud Storage.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use test_server::{Reply, Request, Server};

pub(crate) const BUCKET: &str = "hr-data";
/// The key of a service account that needs no token.
pub(crate) const KEY: &str =
    r#"{"client_email": "a@b", "private_key": "", "private_key_id": "", "disable_oauth": true}"#;

type Files = BTreeMap<String, Vec<u8>>;

pub(crate) struct Objects {
    server: Server,
    files: Arc<Mutex<Files>>,
}

impl Objects {
    pub(crate) fn start() -> Self {
        let files = Arc::<Mutex<Files>>::default();
        let shared = files.clone();
        let server = Server::handler(move |request: Request| {
            let reply = reply(&mut shared.lock().unwrap(), &request);
            async { reply }
        });
        Self { server, files }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        let mut files = self.files.lock().unwrap();
        files.insert(key.to_owned(), content.to_owned());
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }
}

fn reply(files: &mut Files, request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let key = key_of(path);
    let query: BTreeMap<_, _> = request.query().into_iter().collect();
    if query.contains_key("list-type") {
        return list(files, &query["prefix"], query.contains_key("delimiter"));
    }
    if let Some(source) = request.header("x-goog-copy-source") {
        let is_new = request.header("x-goog-if-generation-match") == Some("0");
        return match files.get(&key_of(source)).cloned() {
            Some(_) if is_new && files.contains_key(&key) => Reply::new(412),
            Some(content) => {
                files.insert(key, content);
                Reply::new(200)
            }
            None => Reply::new(404),
        };
    }
    if request.method == "DELETE" {
        return Reply::new(if files.remove(&key).is_some() { 204 } else { 404 });
    }
    let Some(content) = files.get(&key) else {
        return Reply::new(404);
    };
    let tag = tag(content);
    if request.header("if-match").is_some_and(|wanted| wanted != tag) {
        return Reply::new(412);
    }
    let reply = match request
        .header("range")
        .map(|range| range_of(range, content.len()))
    {
        None => Reply::new(200).body(&**content),
        Some((start, end)) if start < end => Reply::new(206)
            .header(
                "content-range",
                &format!("bytes {start}-{}/{}", end - 1, content.len()),
            )
            .body(&content[start..end]),
        Some(_) => Reply::new(416),
    };
    reply
        .header("etag", &tag)
        .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
}

/// The key in `/hr-data/KEY`.
fn key_of(path: &str) -> String {
    let path = percent_decode_str(path).decode_utf8().unwrap();
    let path = path.trim_start_matches('/').trim_start_matches(BUCKET);
    path.trim_start_matches('/').to_owned()
}

fn range_of(range: &str, length: usize) -> (usize, usize) {
    let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (
        start.parse().unwrap(),
        length.min(last.parse::<usize>().unwrap() + 1),
    )
}

fn tag(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:x}\"", hasher.finish())
}

fn list(files: &Files, prefix: &str, in_folder: bool) -> Reply {
    let mut listed = String::new();
    for (key, content) in files {
        let is_listed = |rest: &str| !(in_folder && rest.contains('/'));
        if key.strip_prefix(prefix).is_some_and(is_listed) {
            listed += &format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>{}</ETag>\
                 <LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
                content.len(),
                tag(content),
            );
        }
    }
    Reply::new(200).body(format!("<ListBucketResult>{listed}</ListBucketResult>"))
}
