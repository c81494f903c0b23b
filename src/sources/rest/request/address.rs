//! Base URL and path: where a request goes, whatever the values are.
//!
//! Both are cut into segments when the pipeline file is checked. A value becomes a part of one segment or of one label
//! of the host, encoded or refused, so that no value can lead to another path or another host.

use url::{Host, Url};

use super::super::template::{Kind, Names, Part, Template, Values};
use super::encode;
use crate::config::Problems;
use crate::error::{Error, Result};

/// The URL of a request without its query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    scheme: &'static str,
    authority: Template,
    segments: Vec<Template>,
    /// Of each segment: whether values of rows go into it.
    personal: Vec<bool>,
}

impl Address {
    /// Checks base URL and path; `problems` points at the source, whose keys are `base_url` and `request.path`.
    pub(super) fn new(
        base_url: &str,
        path: &str,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let base = Self::base(base_url, names, &mut problems.at("base_url"));
        let path = {
            let mut request = problems.at("request");
            Self::path(path, names, &mut request.at("path"))
        };
        let (scheme, authority, mut segments) = base?;
        let more = path?;
        // An empty last segment is a `/` at the end: of the base URL it counts only if nothing follows.
        if !more.is_empty() && segments.last().is_some_and(|last| last.plain() == Some("")) {
            segments.pop();
        }
        segments.extend(more);
        let personal = segments
            .iter()
            .map(|segment| {
                segment
                    .names()
                    .any(|name| names.kind(name).is_some_and(Kind::is_from_rows))
            })
            .collect();
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
        let template = Template::check(text.trim(), names, problems)?;
        let first = match template.parts().first() {
            Some(Part::Text(text)) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        let (scheme, length) = if first.starts_with("https://") {
            ("https", "https://".len())
        } else if first.starts_with("http://") {
            ("http", "http://".len())
        } else {
            // The text is not repeated: it may hold credentials.
            problems.add_with_hint(
                "the base URL does not begin with `https://`",
                "such as `https://api.contoso.com/v1`",
            );
            return None;
        };
        let mut pieces = split(&template, length).into_iter();
        let authority = pieces.next().unwrap_or_default();
        let segments: Vec<_> = pieces.collect();
        let before = problems.len();
        check_authority(scheme, &authority, names, problems);
        for segment in &segments {
            check_segment(segment, problems);
        }
        (problems.len() == before).then_some((scheme, authority, segments))
    }

    fn path(text: &str, names: &Names, problems: &mut Problems<'_>) -> Option<Vec<Template>> {
        let text = text.trim();
        if text.contains("://") || text.starts_with("//") {
            problems.add_with_hint(
                "the path is a whole URL",
                "scheme and host belong into `base_url`; every request of a source goes to its base URL",
            );
            return None;
        }
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Some(Vec::new());
        }
        let template = Template::check(text, names, problems)?;
        let segments = split(&template, 0);
        let before = problems.len();
        for segment in &segments {
            check_segment(segment, problems);
        }
        (problems.len() == before).then_some(segments)
    }

    /// Names of the placeholders in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &std::sync::Arc<str>> {
        self.authority
            .names()
            .chain(self.segments.iter().flat_map(Template::names))
    }

    /// The URL for these values.
    ///
    /// # Errors
    /// A value that cannot stand where it should: it is empty, a step up, or no part of a host's name.
    pub(super) fn url(&self, values: &Values) -> Result<Url> {
        let authority = self.authority.fill_with(values, |name, value, out| {
            let label = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !label {
                return Err(Error::config(format!(
                    "a value of `{{{name}}}` stands in the host of the base URL and has other characters than letters, \
                     digits and `-`"
                )));
            }
            out.push_str(value);
            Ok(())
        })?;
        let mut text = format!("{}://{authority}", self.scheme);
        for segment in &self.segments {
            text.push('/');
            let at = text.len();
            text.push_str(&segment.fill_with(values, |name, value, out| {
                if value.is_empty() {
                    return Err(Error::input(format!(
                        "a value of `{{{name}}}` in the path is empty"
                    )));
                }
                encode::segment(value, out);
                Ok(())
            })?);
            if is_dots(&text[at..])
                && let Some(name) = segment.names().next()
            {
                return Err(Error::input(format!(
                    "a value of `{{{name}}}` would make `.` or `..` of a segment of the path: another path"
                )));
            }
        }
        Url::parse(&text)
            .map_err(|error| Error::config("the base URL and the path make no URL").with_source(error))
    }

    /// The path as the user wrote it, that of the base URL included.
    pub(super) fn named(&self) -> String {
        self.segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect()
    }

    /// `url` without user, query and fragment, and with placeholders where values of rows stand.
    pub(super) fn shown(&self, url: &Url) -> String {
        let host = &url[..url::Position::BeforePath];
        let host = match host.split_once('@') {
            Some((_, host)) => format!("{}://{host}", url.scheme()),
            None => host.to_owned(),
        };
        if !self.personal.contains(&true) {
            return format!("{host}{}", url.path());
        }
        let found: Vec<_> = url.path().split('/').skip(1).collect();
        let same_shape = found.len() == self.segments.len();
        let mut text = host;
        for (at, segment) in self.segments.iter().enumerate() {
            text.push('/');
            match found.get(at) {
                Some(found) if same_shape && !self.personal[at] => text.push_str(found),
                _ => text.push_str(&segment.to_string()),
            }
        }
        text
    }
}

/// Cuts a template at each `/` after the first `skip` bytes of it, which are text.
fn split(template: &Template, skip: usize) -> Vec<Template> {
    let mut all = Vec::new();
    let mut now = Vec::new();
    for (at, part) in template.parts().iter().enumerate() {
        match part {
            Part::Name(_) => now.push(part.clone()),
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
            "the base URL has a user name or a password in it",
            "credentials belong into `auth`",
        );
        return;
    }
    let sample: String = authority
        .parts()
        .iter()
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Name(_) => "x",
        })
        .collect();
    let url = match Url::parse(&format!("{scheme}://{sample}")) {
        // What ends a host otherwise than a `/` would make another URL of the rest.
        Ok(url) if !text.contains(['?', '#', '\\']) => url,
        Ok(_) => {
            problems.add_with_hint(
                "the base URL has a `?`, a `#` or a `\\` in it",
                "parameters belong into `query`",
            );
            return;
        }
        Err(error) => {
            problems.add(format!("the base URL is not valid: {error}"));
            return;
        }
    };
    if scheme == "http" && !is_loopback(&url) {
        problems.add_with_hint(
            "the base URL must begin with `https://`: credentials and HR data would be readable on the way",
            "`http://` is for a server on this machine",
        );
    }
    for name in authority.names() {
        if names.kind(name) != Some(Kind::Fixed) {
            problems.add_with_hint(
                format!("`{{{name}}}` cannot stand in the host: its values are not written in this file"),
                "a host's name takes placeholders of `each.values` only",
            );
        }
    }
    // `https://{tenant}.example.com`, not `https://{host}`: a value chooses within a domain that is written down.
    if authority.names().next().is_some() {
        let labels: Vec<_> = text.rsplit('.').take(2).collect();
        if labels.len() < 2 || labels.iter().any(|label| label.contains('{')) {
            problems.add_with_hint(
                "the last two labels of the host must be written out",
                "such as `https://{tenant}.contoso.com`",
            );
        }
    }
}

fn check_segment(segment: &Template, problems: &mut Problems<'_>) {
    for part in segment.parts() {
        if let Part::Text(text) = part {
            if text.contains(['?', '#']) {
                problems.add_with_hint(
                    "the path has a `?` or a `#` in it",
                    "parameters belong into `query`",
                );
            }
            if text.contains('\\') || text.contains(char::is_control) {
                problems.add("the path has a `\\` or a control character in it");
            }
        }
    }
    if segment.plain().is_some_and(is_dots) {
        problems.add("the path has a `.` or `..` as a segment");
    }
}

/// Whether a segment is one that the URL standard takes for a step, encoded or not.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
