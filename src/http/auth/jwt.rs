//! The signed JWT that is exchanged for an access token (RFC 7523).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::signing::SigningKey;
use crate::error::{Error, Result};
use crate::secret::Secret;

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Makes one assertion for each request: `iat` is now, and `jti` a new random number.
pub(crate) struct JwtGrant {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audience: String,
    pub(crate) lifetime: Duration,
    /// More claims; they replace the others.
    pub(crate) claims: Map<String, Value>,
    pub(crate) key_id: Option<String>,
    pub(crate) key: SigningKey,
}

impl JwtGrant {
    pub(crate) fn assertion(&self) -> Result<Secret> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| Error::unexpected("this machine's clock is before 1970"))?;
        let now = now.as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = Value::from(id.as_str());
        }
        let mut claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.lifetime.as_secs(),
            "jti": Uuid::new_v4().to_string(),
        });
        for (name, value) in &self.claims {
            claims[name.as_str()] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut jwt = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(jwt.as_bytes())?;
        jwt.push('.');
        jwt.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(Secret::new(jwt))
    }
}

#[cfg(test)]
mod tests {
    use test_server::certificates::rsa_pem;

    use super::*;

    #[test]
    fn holds_the_claims_and_an_id() {
        let claims = json!({"aud": ["a", "b"], "scope": "hr"});
        let grant = JwtGrant {
            issuer: "app".to_owned(),
            subject: "integration@contoso.com".to_owned(),
            audience: "https://login.contoso.com/token".to_owned(),
            lifetime: Duration::from_secs(300),
            claims: claims.as_object().unwrap().clone(),
            key_id: Some("k1".to_owned()),
            key: SigningKey::from_pem(&Secret::new(rsa_pem()), "").unwrap(),
        };
        let jwt = grant.assertion().unwrap();
        let part = |at: usize| -> Value {
            let text = jwt.expose().split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let mut claims = part(1);
        assert_eq!(claims["jti"].take().as_str().unwrap().len(), 36);
        let made = claims["iat"].as_u64().unwrap();
        let expected = json!({
            "iss": "app", "sub": "integration@contoso.com", "aud": ["a", "b"], "scope": "hr",
            "iat": made, "exp": made + 300, "jti": null,
        });
        assert_eq!(claims, expected);
    }
}
