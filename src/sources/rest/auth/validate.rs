//! Looks at the settings without the network and without reading secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::TextOrSecret;
use super::config::{ApiKey, AuthConfig, Basic, BodyKind, CredentialsPlace, TokenAnswer, TokenRequest};
use crate::config::{HumanDuration, Problems};
use crate::http::address::service_url;
use crate::http::auth::response::KeyPath;
use crate::sources::rest::template::is_unset;

const LONGEST_ASSERTION: Duration = Duration::from_secs(3600);

impl AuthConfig {
    /// Whether there is a token that can be asked for anew.
    pub(crate) fn has_token(&self) -> bool {
        !matches!(
            self,
            Self::None {} | Self::Basic(_) | Self::Bearer(_) | Self::ApiKey(_)
        )
    }

    /// Notes what is wrong, all of it at once.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        match self {
            Self::None {} | Self::Bearer(_) => {}
            Self::Basic(basic) => basic.validate(problems),
            Self::ApiKey(key) => key.validate(problems),
            Self::ClientCredentials(config) => {
                config.request().validate(problems);
                text("client_id", Some(&config.client_id), problems);
                authorization_twice(config.credentials, &config.headers, problems);
            }
            Self::RefreshToken(config) => {
                config.request().validate(problems);
                text("client_id", Some(&config.client_id), problems);
                authorization_twice(config.credentials, &config.headers, problems);
            }
            Self::Password(config) => {
                config.request().validate(problems);
                text("client_id", config.client_id.as_ref(), problems);
                text("username", Some(&config.username), problems);
                authorization_twice(config.credentials, &config.headers, problems);
                if config.client_secret.is_some() && config.client_id.is_none() {
                    problems
                        .at("client_id")
                        .add("`client_secret` is given and `client_id` is not");
                }
                if config.credentials == CredentialsPlace::BasicHeader && config.client_id.is_none() {
                    problems
                        .at("client_id")
                        .add("`credentials: basic_header` is given and `client_id` is not");
                }
            }
            Self::JwtBearer(config) => {
                config.request().validate(problems);
                text("client_id", config.client_id.as_ref(), problems);
                text("issuer", Some(&config.issuer), problems);
                text("subject", Some(&config.subject), problems);
                lifetime(config.lifetime, problems);
            }
            Self::SamlBearer(config) => {
                config.request().validate(problems);
                text("client_id", Some(&config.client_id), problems);
                text("subject", Some(&config.subject), problems);
                lifetime(config.lifetime, problems);
                if config.audience.trim().is_empty() {
                    problems.at("audience").add("`audience` is empty");
                }
                if config.issuer.is_none() && config.client_id.text().is_none() {
                    problems.at("issuer").add_with_hint(
                        "`issuer` is not given, and `client_id` is a secret",
                        "the issuer stands in the assertion for all to read: give it as a text",
                    );
                }
            }
        }
    }
}

impl Basic {
    fn validate(&self, problems: &mut Problems<'_>) {
        if self.username.text().is_some_and(|name| name.contains(':')) {
            problems
                .at("username")
                .add("the user name of HTTP Basic must not hold a colon");
        }
        match (&self.password, &self.placeholder_password) {
            (None, None) => problems.at("password").add_with_hint(
                "`password` is required and not there",
                "where the service takes any text, because the user name is the key: `placeholder_password: x`",
            ),
            (Some(_), Some(_)) => problems
                .at("placeholder_password")
                .add("give either `password` or `placeholder_password`"),
            _ => {}
        }
    }
}

impl ApiKey {
    fn validate(&self, problems: &mut Problems<'_>) {
        match (&self.header, &self.query) {
            (None, None) => problems.add_with_hint(
                "neither `header` nor `query` is given",
                "for example `header: X-Api-Key`, as the service's documentation says",
            ),
            (Some(_), Some(_)) => problems.at("query").add("give either `header` or `query`"),
            (Some(name), None) => header_name("header", name, problems),
            (None, Some(name)) if name.is_empty() => problems.at("query").add("`query` is empty"),
            (None, Some(_)) if self.prefix.is_some() => {
                problems.at("prefix").add("`prefix` goes with `header` only");
            }
            (None, Some(_)) => {}
        }
        if self
            .prefix
            .as_ref()
            .is_some_and(|prefix| HeaderValue::from_str(prefix).is_err())
        {
            problems
                .at("prefix")
                .add("the prefix holds a character that cannot stand in a header");
        }
    }
}

impl TokenRequest<'_> {
    fn validate(&self, problems: &mut Problems<'_>) {
        if !is_unset(self.token_url, problems)
            && let Err(problem) = service_url(self.token_url)
        {
            problems.at("token_url").add(problem);
        }
        for (name, value) in self.headers {
            let mut here = problems.at("headers");
            header_name(name, name, &mut here);
            if value
                .text()
                .is_some_and(|text| HeaderValue::from_str(text).is_err())
            {
                here.at(name)
                    .add("the value holds a character that cannot stand in a header");
            }
        }
        if self.body == BodyKind::Form && !self.json.is_empty() {
            problems.at("json").add_with_hint(
                "`json` goes with `body: json` only",
                "give `body: json`, or use `form`",
            );
        }
        for name in self.json.keys().filter(|name| self.form.contains_key(*name)) {
            problems
                .at("json")
                .at(name)
                .add(format!("`{name}` is in `form` as well"));
        }
        self.response.validate(&mut problems.at("response"));
    }
}

impl TokenAnswer {
    fn validate(&self, problems: &mut Problems<'_>) {
        for (key, path) in [
            ("access_token", &self.access_token),
            ("expires_in", &self.expires_in),
            ("refresh_token", &self.refresh_token),
        ] {
            if let Err(problem) = KeyPath::parse(path) {
                problems.at(key).add(problem);
            }
        }
        if self.default_lifetime.0.is_zero() {
            problems.at("default_lifetime").add_with_hint(
                "no time at all is too short: a token would be asked for with each request",
                "give at least some seconds",
            );
        }
    }
}

fn text(key: &str, value: Option<&TextOrSecret>, problems: &mut Problems<'_>) {
    if value
        .and_then(TextOrSecret::text)
        .is_some_and(|text| text.trim().is_empty())
    {
        problems.at(key).add(format!("`{key}` is empty"));
    }
}

fn header_name(key: &str, name: &str, problems: &mut Problems<'_>) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        problems
            .at(key)
            .add(format!("`{name}` cannot be the name of a header"));
    }
}

fn authorization_twice(
    place: CredentialsPlace,
    headers: &BTreeMap<String, TextOrSecret>,
    problems: &mut Problems<'_>,
) {
    let name = headers
        .keys()
        .find(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
    if let (CredentialsPlace::BasicHeader, Some(name)) = (place, name) {
        problems
            .at("headers")
            .at(name)
            .add("`credentials: basic_header` sets this header already");
    }
}

fn lifetime(lifetime: HumanDuration, problems: &mut Problems<'_>) {
    if lifetime.0 < Duration::from_secs(1) || lifetime.0 > LONGEST_ASSERTION {
        problems
            .at("lifetime")
            .add(format!("{lifetime} is not between 1s and 1h"));
    }
}
