//! Requests, replies and the steps of a script.

use std::time::Duration;

use serde_json::Value;

#[derive(Debug, Clone)]
pub enum Step {
    Reply(Reply),
    /// Closes the connection without reading the request's body.
    CloseBeforeBody,
    /// Reads the request and closes the connection without a reply.
    CloseAfterBody,
    /// Reads the request and never replies.
    Stall,
    /// Sends the reply byte by byte with this pause in between.
    Trickle(Reply, Duration),
    /// Announces `length` bytes of body, sends those of the reply, and closes.
    Truncated {
        reply: Reply,
        length: usize,
    },
    /// Sends these bytes instead of a reply, and closes.
    Garbage(Vec<u8>),
    Unexpected,
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl<S: Into<Step>> From<Option<S>> for Step {
    fn from(step: Option<S>) -> Self {
        step.map_or(Self::Unexpected, Into::into)
    }
}

/// A reply. `$URL` in a header or in a body of text becomes the server's URL.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        let code = http::StatusCode::from_u16(status).ok();
        let reason = code.and_then(|code| code.canonical_reason());
        Self {
            status,
            reason: reason.unwrap_or_default().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn ok(body: impl Into<Value>) -> Self {
        Self::new(200).json(&body.into())
    }

    /// 200 with a text as JSON body, byte for byte.
    pub fn text(body: &str) -> Self {
        Self::new(200)
            .header("content-type", "application/json")
            .body(body)
    }

    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// Sets a header; replaces one of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Announces the body's length, sends only the first `sent` bytes, and closes.
    pub fn truncate(mut self, sent: usize) -> Step {
        let length = self.body.len();
        self.body.truncate(sent);
        Step::Truncated { reply: self, length }
    }

    /// Sends the body, and closes before the announced end of it.
    pub fn break_after_body(self) -> Step {
        let length = self.body.len() + 1;
        Step::Truncated { reply: self, length }
    }

    pub(crate) fn at(mut self, url: &str) -> Self {
        for (_, value) in &mut self.headers {
            *value = value.replace("$URL", url);
        }
        if let Ok(text) = std::str::from_utf8(&self.body)
            && text.contains("$URL")
        {
            self.body = text.replace("$URL", url).into_bytes();
        }
        self
    }

    pub(crate) fn head(&self, length: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(self.status, 100..=199 | 204 | 304) {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// The body; empty when the step did not read it.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    /// `GET /path?query`, and the body after a space if there is one.
    pub fn line(&self) -> String {
        let line = format!("{} {} {}", self.method, self.path, self.text());
        line.trim_end_matches(' ').to_owned()
    }
}
