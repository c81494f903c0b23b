//! Base URL and path.
//!
//! Both are split into segments when the pipeline file is checked. A value becomes part of one segment or of one label
//! of the host, encoded or rejected, so that no value can lead to another path or host.

use std::sync::Arc;

use url::Url;

use super::super::template::{Kind, Names, Part, Template, Values, check, fill_with, names};
use super::pairs::encode;
use crate::component::Problems;
use crate::error::{Error, Result};
use crate::http::address::is_loopback;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    scheme: &'static str,
    authority: Template,
    pub(super) segments: Vec<Template>,
    /// For each segment, whether it contains values of rows.
    personal: Vec<bool>,
}

impl Address {
    /// Checks base URL and path; `problems` points at the source, whose keys are `base_url` and `request.path`.
    pub(super) fn new(
        base_url: &str,
        path: &str,
        known: &Names,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let base = Self::base(base_url, known, &mut problems.at("base_url"));
        let path = {
            let mut request = problems.at("request");
            Self::path(path, known, &mut request.at("path"))
        };
        let (scheme, authority, mut segments) = base?;
        let more = path?;
        // The base URL's final `/` counts only if no path follows.
        if !more.is_empty() && segments.last().is_some_and(|last| last.literal() == Some("")) {
            segments.pop();
        }
        segments.extend(more);
        let is_from_rows = |name: &Arc<str>| matches!(known.kind(name), Some(Kind::Key | Kind::Group));
        let personal = segments.iter().map(|segment| names(segment).any(is_from_rows));
        let personal = personal.collect();
        Some(Self {
            scheme,
            authority,
            segments,
            personal,
        })
    }

    fn base(
        text: &str,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Option<(&'static str, Template, Vec<Template>)> {
        let template = check(text.trim(), names, problems)?;
        let first = match template.parts().first() {
            Some(Part::Text(text)) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        let schemes = ["https", "http"].into_iter();
        let mut schemes = schemes.filter(|scheme| first.starts_with(&format!("{scheme}://")));
        let Some(scheme) = schemes.next() else {
            // The text may contain credentials and is not repeated.
            problems.add_with_hint(
                "the base URL must start with `https://`",
                "such as `https://api.contoso.com/v1`",
            );
            return None;
        };
        let mut pieces = split(&template, scheme.len() + "://".len()).into_iter();
        let authority = pieces.next().unwrap_or_default();
        let segments: Vec<_> = pieces.collect();
        let before = problems.len();
        check_authority(scheme, &authority, names, problems);
        check_segments(&segments, problems);
        (problems.len() == before).then_some((scheme, authority, segments))
    }

    fn path(text: &str, names: &Names, problems: &mut Problems<'_>) -> Option<Vec<Template>> {
        let text = text.trim();
        if text.contains("://") || text.starts_with("//") {
            problems.add_with_hint(
                "expected a path, found a URL",
                "put scheme and host into `base_url`; all requests of a source go to its base URL",
            );
            return None;
        }
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Some(Vec::new());
        }
        let template = check(text, names, problems)?;
        let segments = split(&template, 0);
        let before = problems.len();
        check_segments(&segments, problems);
        (problems.len() == before).then_some(segments)
    }

    pub(super) fn url(&self, values: &Values) -> Result<Url> {
        let authority = fill_with(&self.authority, values, |name, value, out| {
            let label = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !label {
                return Err(Error::config(format!(
                    "a value of `{{{name}}}` is part of the host name in `base_url` and may contain letters, digits and \
                     `-` only"
                )));
            }
            out.push_str(value);
            Ok(())
        })?;
        let mut text = format!("{}://{authority}", self.scheme);
        for segment in &self.segments {
            text.push('/');
            let at = text.len();
            text.push_str(&fill_with(segment, values, |name, value, out| {
                if value.is_empty() {
                    return Err(Error::input(format!(
                        "a value of `{{{name}}}` in the path is empty"
                    )));
                }
                // A comma stays: it separates the keys of a batch.
                encode(value, b",", out);
                Ok(())
            })?);
            if is_dots(&text[at..])
                && let Some(name) = names(segment).next()
            {
                return Err(Error::input(format!(
                    "a value of `{{{name}}}` would turn a segment of the path into `.` or `..`, which is another path"
                )));
            }
        }
        Url::parse(&text)
            .map_err(|error| Error::config("base URL and path do not form a valid URL").with_source(error))
    }

    pub(super) fn shown(&self, url: &Url) -> String {
        let host = url.origin().ascii_serialization();
        if !self.personal.contains(&true) {
            return format!("{host}{}", url.path());
        }
        let found: Vec<_> = url.path().split('/').skip(1).collect();
        let same_shape = found.len() == self.segments.len();
        let segments = self.segments.iter().enumerate();
        let segments = segments.map(|(at, segment)| match found.get(at) {
            Some(found) if same_shape && !self.personal[at] => format!("/{found}"),
            _ => format!("/{segment}"),
        });
        host + &segments.collect::<String>()
    }
}

/// Splits a template at each `/` after the first `skip` bytes, which are text.
fn split(template: &Template, skip: usize) -> Vec<Template> {
    let mut all = Vec::new();
    let mut now = Vec::new();
    for (at, part) in template.parts().iter().enumerate() {
        match part {
            Part::Placeholder(_) => now.push(part.clone()),
            Part::Text(text) => {
                let text = if at == 0 { &text[skip..] } else { text };
                for (at, piece) in text.split('/').enumerate() {
                    if at > 0 {
                        all.push(Template::of(std::mem::take(&mut now)));
                    }
                    if !piece.is_empty() {
                        now.push(Part::Text(piece.to_owned()));
                    }
                }
            }
        }
    }
    all.push(Template::of(now));
    all
}

fn check_authority(scheme: &str, authority: &Template, names: &Names, problems: &mut Problems<'_>) {
    let text = authority.to_string();
    if text.contains('@') {
        problems.add_with_hint(
            "the base URL contains a user name or a password",
            "put credentials into `auth`",
        );
        return;
    }
    let sample = authority.parts().iter().map(|part| match part {
        Part::Text(text) => text,
        Part::Placeholder(_) => "x",
    });
    let sample: String = sample.collect();
    let url = match Url::parse(&format!("{scheme}://{sample}")) {
        // Other characters that end a host would change what follows.
        Ok(url) if !text.contains(['?', '#', '\\']) => url,
        Ok(_) => {
            problems.add_with_hint(
                "the base URL contains `?`, `#` or `\\`",
                "put parameters into `query`",
            );
            return;
        }
        Err(error) => {
            problems.add(format!("invalid base URL: {error}"));
            return;
        }
    };
    if scheme == "http" && !is_loopback(&url) {
        problems.add_with_hint(
            "the base URL must start with `https://`, so that credentials and HR data are encrypted",
            "`http://` is allowed for servers on this machine only",
        );
    }
    for name in self::names(authority) {
        if names.kind(name) != Some(Kind::Fixed) {
            problems.add_with_hint(
                format!("`{{{name}}}` cannot be part of the host: its values are not in this file"),
                "a host name may contain placeholders of `for_each.values` only",
            );
        }
    }
    // `https://{tenant}.example.com`, not `https://{host}`: values select within a domain that the file names.
    if self::names(authority).next().is_some() {
        let labels: Vec<_> = text.rsplit('.').take(2).collect();
        if labels.len() < 2 || labels.iter().any(|label| label.contains('{')) {
            problems.add_with_hint(
                "the last two labels of the host must not contain placeholders",
                "such as `https://{tenant}.contoso.com`",
            );
        }
    }
}

fn check_segments(segments: &[Template], problems: &mut Problems<'_>) {
    for segment in segments {
        for part in segment.parts() {
            let Part::Text(text) = part else { continue };
            if text.contains(['?', '#']) {
                problems.add_with_hint("the path contains `?` or `#`", "put parameters into `query`");
            }
            if text.contains('\\') || text.contains(char::is_control) {
                problems.add("the path contains `\\` or a control character");
            }
        }
        if segment.literal().is_some_and(is_dots) {
            problems.add("the path contains `.` or `..` as a segment");
        }
    }
}

/// Whether a segment is `.` or `..` for the URL standard, encoded or not.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}
