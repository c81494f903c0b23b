//! The login: each method in the settings once, in order.

use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Answer, Prompt};
use russh::keys::HashAlg;
use russh::keys::key::PrivateKeyWithHashAlg;
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::connect::{Client, CloseReason};
use super::error::{Cause, SftpError};
use super::identity::Credential;
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::secret::Secret;

/// The user and the login methods.
#[derive(Debug)]
pub(super) struct Logins {
    pub(super) user: String,
    /// In the order in which they are tried.
    pub(super) credentials: Vec<Credential>,
    /// Whether RSA keys may sign with SHA-1 if the server accepts nothing better.
    pub(super) allow_sha1: bool,
    /// Limit of the wait for a response.
    pub(super) timeout: Duration,
}

/// Outcome of one method.
enum Outcome {
    LoggedIn,
    Rejected { remaining: MethodSet, partial: bool },
}

impl Logins {
    /// Logs in.
    pub(super) async fn log_in(
        &self,
        ssh: &mut Handle<Client>,
        server: &str,
        reason: &CloseReason,
    ) -> Result<(), SftpError> {
        let mut tried = vec![false; self.credentials.len()];
        let mut rejected = Vec::new();
        let mut remaining: Option<MethodSet> = None;
        loop {
            let next = self.credentials.iter().enumerate().find(|(index, credential)| {
                !tried[*index]
                    && remaining
                        .as_ref()
                        .is_none_or(|methods| methods.contains(&credential.method()))
            });
            let Some((index, credential)) = next else {
                let error = self.rejected(server, &rejected, remaining.as_ref());
                return Err(SftpError::Permanent(error));
            };
            tried[index] = true;
            let outcome = timeout(self.timeout, self.try_one(credential, ssh, server)).await;
            let outcome = outcome.unwrap_or_else(|_| {
                let cause = format!("no response within {:?}", self.timeout);
                Err(SftpError::LoginUnanswered(cause))
            });
            match outcome? {
                Outcome::LoggedIn => return Ok(()),
                Outcome::Rejected {
                    remaining: now,
                    partial,
                } => {
                    // The library reports this for a closed connection too.
                    if now.is_empty() && !partial && !reason.is_no_auth_method() && ssh.is_closed() {
                        return Err(match reason.message() {
                            Some(message) => SftpError::Permanent(
                                self.rejected(server, &[credential.key()], None)
                                    .with_source(Cause(format!("the server reported: {message}"))),
                            ),
                            None => SftpError::LoginUnanswered(reason.text()),
                        });
                    }
                    if !partial {
                        rejected.push(credential.key());
                    }
                    remaining = Some(now);
                }
            }
        }
    }

    async fn try_one(
        &self,
        credential: &Credential,
        ssh: &mut Handle<Client>,
        server: &str,
    ) -> Result<Outcome, SftpError> {
        let result = match credential {
            Credential::Password(password) => ssh.authenticate_password(&self.user, password.expose()).await,
            Credential::Key(key) => {
                let hash = match key.algorithm().is_rsa() {
                    true => self.rsa_hash(ssh, server).await?,
                    false => None,
                };
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                ssh.authenticate_publickey(&self.user, key).await
            }
            Credential::KeyboardInteractive(password) => return self.answer(password, ssh, server).await,
        };
        match result.map_err(|error| unanswered(&error))? {
            AuthResult::Success => Ok(Outcome::LoggedIn),
            AuthResult::Failure {
                remaining_methods: remaining,
                partial_success: partial,
            } => Ok(Outcome::Rejected { remaining, partial }),
        }
    }

    /// The hash of RSA signatures: the best that the server announces.
    async fn rsa_hash(&self, ssh: &Handle<Client>, server: &str) -> Result<Option<HashAlg>, SftpError> {
        match ssh
            .best_supported_rsa_hash()
            .await
            .map_err(|error| unanswered(&error))?
        {
            Some(Some(hash)) => Ok(Some(hash)),
            Some(None) | None if self.allow_sha1 => {
                tracing::warn!("the RSA login key signs with SHA-1 (`ssh-rsa`), as `algorithms` allows");
                Ok(None)
            }
            // It would be rejected, and accounts lock after a few failures.
            Some(None) => Err(SftpError::Permanent(
                self.error(server)
                    .with_source(Cause(
                        "it accepts RSA keys with SHA-1 only, and the key was not sent".to_owned(),
                    ))
                    .with_hint("use an Ed25519 key, or ask for an update of the server")
                    .with_hint("until then, `algorithms: {host_key: [ssh-rsa]}` enables it, with a warning"),
            )),
            // No announcement: the server may still accept SHA-2.
            None => Ok(Some(HashAlg::Sha512)),
        }
    }

    /// Answers a prompt for the password.
    async fn answer(
        &self,
        password: &Secret,
        ssh: &mut Handle<Client>,
        server: &str,
    ) -> Result<Outcome, SftpError> {
        let mut is_answered = false;
        let mut answer = ssh
            .authenticate_keyboard_interactive_start(&self.user, None)
            .await
            .map_err(|error| unanswered(&error))?;
        loop {
            let prompts = match answer {
                Answer::Success => return Ok(Outcome::LoggedIn),
                Answer::Failure {
                    remaining_methods: remaining,
                    partial_success: partial,
                } => return Ok(Outcome::Rejected { remaining, partial }),
                Answer::InfoRequest { prompts, .. } => prompts,
            };
            let responses = match &prompts[..] {
                // Just a message.
                [] => Vec::new(),
                [prompt] if is_password_prompt(prompt) && !is_answered => {
                    is_answered = true;
                    vec![password.expose().to_owned()]
                }
                [prompt] if is_password_prompt(prompt) => {
                    return Err(SftpError::Permanent(
                        self.rejected(server, &["keyboard_interactive"], None)
                            .with_source(Cause("it asks for the password a second time".to_owned())),
                    ));
                }
                prompts => {
                    let prompts = prompts.iter().map(|prompt| clean(&prompt.prompt, 80));
                    let prompts = quoted(prompts);
                    return Err(SftpError::Permanent(
                        self.error(server)
                            .with_source(Cause(format!("it asks for something other than a password: {prompts}")))
                            .with_hint(
                                "no person is there to answer: have the account set up for a private key, or without a \
                                 second factor",
                            ),
                    ));
                }
            };
            answer = ssh
                .authenticate_keyboard_interactive_respond(responses)
                .await
                .map_err(|error| unanswered(&error))?;
        }
    }

    fn error(&self, server: &str) -> Error {
        let message = format!("{server} rejected the login of `{}`", self.user);
        Error::new(ErrorKind::Refused, message)
    }

    /// The server rejected every method that could be tried.
    fn rejected(&self, server: &str, rejected: &[&str], remaining: Option<&MethodSet>) -> Error {
        let mut error = self.error(server);
        if !rejected.is_empty() {
            error = error.with_hint(format!(
                "tried {}, each once; not retried, because accounts lock",
                quoted(rejected.iter())
            ));
        }
        if let Some(remaining) = remaining.filter(|methods| !methods.is_empty()) {
            let accepted = remaining.iter().map(|method| match method {
                MethodKind::Password => "password",
                MethodKind::PublicKey => "private_key",
                MethodKind::KeyboardInteractive => "keyboard_interactive",
                other => other.into(),
            });
            error = error.with_hint(format!("the server accepts {}", quoted(accepted)));
        }
        error.with_hint(
            "check user, password or key with the operator of the server; that its list of allowed addresses contains the \
             public address of this machine; and that the account is not locked",
        )
    }
}

fn unanswered(error: &russh::Error) -> SftpError {
    SftpError::LoginUnanswered(error.to_string())
}

/// Whether the prompt asks for the password.
fn is_password_prompt(prompt: &Prompt) -> bool {
    const OTHER_PROMPTS: [&str; 7] = [
        "code",
        "token",
        "otp",
        "one-time",
        "verification",
        "passcode",
        "pin:",
    ];
    let text = prompt.prompt.to_lowercase();
    !prompt.echo && !OTHER_PROMPTS.iter().any(|other| text.contains(other))
}

fn quoted(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hidden_password_prompts_only() {
        for (prompt, echo, expected) in [
            ("Password: ", false, true),
            ("(hr@files) Passwort:", false, true),
            ("Password: ", true, false),
            ("Verification code: ", false, false),
            ("Enter PASSCODE:", false, false),
            ("One-time password (OATH): ", false, false),
        ] {
            let prompt = Prompt {
                prompt: prompt.to_owned(),
                echo,
            };
            assert_eq!(is_password_prompt(&prompt), expected, "{}", prompt.prompt);
        }
    }
}
