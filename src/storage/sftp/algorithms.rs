//! The SSH algorithms that are offered: secure ones, fastest first, then those that the settings enable for old servers.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::Problems;
use crate::suggest::suggestion;

/// Names of weak algorithms to enable. They are offered last, and their use is logged as a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SftpAlgorithms {
    /// Key exchange.
    #[schemars(example = ["diffie-hellman-group14-sha1"])]
    pub(super) kex: Vec<String>,
    /// Host keys and signatures; `ssh-rsa` also lets RSA login keys sign with SHA-1.
    #[schemars(example = ["ssh-rsa"])]
    pub(super) host_key: Vec<String>,
    /// Encryption.
    #[schemars(example = ["aes256-cbc"])]
    pub(super) cipher: Vec<String>,
    /// Message authentication.
    #[schemars(example = ["hmac-sha1"])]
    pub(super) mac: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Kind {
    pub(super) key: &'static str,
    description: &'static str,
    /// Always offered, in order of preference.
    pub(super) standard: &'static [&'static str],
    /// Offered if the settings enable them.
    pub(super) weak: &'static [&'static str],
}

pub(super) static KEX: Kind = Kind {
    key: "kex",
    description: "key exchange",
    standard: &[
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
    ],
    weak: &[
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group1-sha1",
    ],
};

pub(super) static HOST_KEY: Kind = Kind {
    key: "host_key",
    description: "host key algorithm",
    standard: &[
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ],
    weak: &["ssh-rsa"],
};

pub(super) static CIPHER: Kind = Kind {
    key: "cipher",
    description: "cipher",
    // Processors accelerate AES-GCM; 128 bits are a fifth faster than 256.
    standard: &[
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
    ],
    weak: &["aes128-cbc", "aes192-cbc", "aes256-cbc"],
};

pub(super) static MAC: Kind = Kind {
    key: "mac",
    description: "MAC",
    standard: &[
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    ],
    weak: &["hmac-sha1-etm@openssh.com", "hmac-sha1"],
};

impl SftpAlgorithms {
    pub(super) fn lists(&self) -> [(&'static Kind, &[String]); 4] {
        [
            (&KEX, &self.kex),
            (&HOST_KEY, &self.host_key),
            (&CIPHER, &self.cipher),
            (&MAC, &self.mac),
        ]
    }

    /// Reports names that are not those of weak algorithms; `problems` is at these settings.
    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        for (kind, names) in self.lists() {
            let mut problems = problems.at(kind.key);
            for (index, name) in names.iter().enumerate() {
                let mut problems = problems.at_index(index);
                if kind.weak.contains(&&**name) {
                    continue;
                }
                if kind.standard.contains(&&**name) {
                    problems.add_with_hint(
                        format!("`{name}` is always enabled"),
                        "remove it: `algorithms` lists weak ones only",
                    );
                    continue;
                }
                let message = format!("`{name}` is not a known {}", kind.description);
                match suggestion(name, kind.weak.iter().copied()) {
                    Some(hint) => problems.add_with_hint(message, hint),
                    None => problems.add(message),
                }
            }
        }
    }
}
