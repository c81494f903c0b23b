//! The login: each way that the settings name, in their order, once.

use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Answer, Prompt};
use russh::keys::HashAlg;
use russh::keys::key::PrivateKeyWithHashAlg;
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::identity::Login;
use super::transport::{Client, Ending};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::secret::Secret;

/// Who logs in, and how.
#[derive(Debug)]
pub(super) struct Logins {
    pub(super) user: String,
    /// In the order in which they are tried.
    pub(super) ways: Vec<Login>,
    /// Whether RSA keys may sign with SHA-1 where a server names nothing better.
    pub(super) sha1: bool,
    /// Longest wait for an answer.
    pub(super) patience: Duration,
}

/// Why a login did not come about.
pub(super) enum Failed {
    /// The server said no, or asked for what cannot be answered.
    Refused(Error),
    /// The connection ended before an answer came: it may count as a refused login.
    Unanswered(String),
}

/// What became of one way.
enum Outcome {
    In,
    Refused { left: MethodSet, partial: bool },
}

impl Logins {
    /// Logs in.
    pub(super) async fn log_in(
        &self,
        handle: &mut Handle<Client>,
        place: &str,
        ending: &Ending,
    ) -> Result<(), Failed> {
        let mut tried = vec![false; self.ways.len()];
        let mut refused = Vec::new();
        let mut left: Option<MethodSet> = None;
        loop {
            let next = self.ways.iter().enumerate().find(|(index, way)| {
                !tried[*index] && left.as_ref().is_none_or(|left| left.contains(&way.method()))
            });
            let Some((index, way)) = next else {
                return Err(Failed::Refused(self.refused(place, &refused, left.as_ref())));
            };
            tried[index] = true;
            let outcome = match timeout(self.patience, self.try_one(way, handle, place)).await {
                Ok(outcome) => outcome?,
                Err(_) => {
                    return Err(Failed::Unanswered(format!(
                        "no answer came in {:?}",
                        self.patience
                    )));
                }
            };
            match outcome {
                Outcome::In => return Ok(()),
                Outcome::Refused { left: now, partial } => {
                    // The library says this too of a connection that has ended.
                    if now.is_empty() && !partial && !ending.is_out_of_methods() && handle.is_closed() {
                        return match ending.said() {
                            Some(said) => Err(Failed::Refused(
                                self.refused(place, &[way.key()], None)
                                    .with_source(Said(format!("the server says: {said}"))),
                            )),
                            None => Err(Failed::Unanswered(ending.text())),
                        };
                    }
                    if !partial {
                        refused.push(way.key());
                    }
                    left = Some(now);
                }
            }
        }
    }

    async fn try_one(
        &self,
        way: &Login,
        handle: &mut Handle<Client>,
        place: &str,
    ) -> Result<Outcome, Failed> {
        let result = match way {
            Login::Password(password) => handle.authenticate_password(&self.user, password.expose()).await,
            Login::Key(key) => {
                let hash = match key.algorithm().is_rsa() {
                    true => self.rsa_hash(handle, place).await?,
                    false => None,
                };
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                handle.authenticate_publickey(&self.user, key).await
            }
            Login::Keyboard(password) => return self.answer(password, handle, place).await,
        };
        match result {
            Ok(AuthResult::Success) => Ok(Outcome::In),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => Ok(Outcome::Refused {
                left: remaining_methods,
                partial: partial_success,
            }),
            Err(error) => Err(Failed::Unanswered(error.to_string())),
        }
    }

    /// What an RSA key signs with: the best of what the server announces.
    async fn rsa_hash(&self, handle: &Handle<Client>, place: &str) -> Result<Option<HashAlg>, Failed> {
        let announced = handle
            .best_supported_rsa_hash()
            .await
            .map_err(|error| Failed::Unanswered(error.to_string()))?;
        Ok(match announced {
            Some(Some(hash)) => Some(hash),
            Some(None) | None if self.sha1 => {
                tracing::warn!("the RSA login key signs with SHA-1 (`ssh-rsa`), which `algorithms` allows");
                None
            }
            // It would refuse, and an account has only so many refusals.
            Some(None) => {
                return Err(Failed::Refused(
                    self.error(place)
                        .with_source(Said(
                            "it takes RSA keys with SHA-1 only, and the key was not sent".to_owned(),
                        ))
                        .with_hint("use an Ed25519 key, or ask for the server to be brought up to date")
                        .with_hint(
                            "until then, `algorithms: {host_key: [ssh-rsa]}` allows it, with a warning",
                        ),
                ));
            }
            // One that announces nothing may be old, or just silent.
            None => Some(HashAlg::Sha512),
        })
    }

    /// Answers the question for a password.
    async fn answer(
        &self,
        password: &Secret,
        handle: &mut Handle<Client>,
        place: &str,
    ) -> Result<Outcome, Failed> {
        let gone = |error: russh::Error| Failed::Unanswered(error.to_string());
        let mut answered = false;
        let mut answer = handle
            .authenticate_keyboard_interactive_start(&self.user, None)
            .await
            .map_err(gone)?;
        loop {
            let prompts = match answer {
                Answer::Success => return Ok(Outcome::In),
                Answer::Failure {
                    remaining_methods,
                    partial_success,
                } => {
                    return Ok(Outcome::Refused {
                        left: remaining_methods,
                        partial: partial_success,
                    });
                }
                Answer::InfoRequest { prompts, .. } => prompts,
            };
            let responses = match &prompts[..] {
                // A message only.
                [] => Vec::new(),
                [prompt] if is_for_password(prompt) && !answered => {
                    answered = true;
                    vec![password.expose().to_owned()]
                }
                [prompt] if is_for_password(prompt) => {
                    return Err(Failed::Refused(
                        self.refused(place, &["keyboard_interactive"], None)
                            .with_source(Said("it asks for the password a second time".to_owned())),
                    ));
                }
                prompts => {
                    let asked: Vec<String> = prompts
                        .iter()
                        .map(|prompt| format!("`{}`", clean(&prompt.prompt, 80)))
                        .collect();
                    return Err(Failed::Refused(
                        self.error(place)
                            .with_source(Said(format!(
                                "it asks for something other than a password: {}",
                                asked.join(", ")
                            )))
                            .with_hint(
                                "nobody is there to answer: have the account set up for a private key, or without a second \
                                 factor",
                            ),
                    ));
                }
            };
            answer = handle
                .authenticate_keyboard_interactive_respond(responses)
                .await
                .map_err(gone)?;
        }
    }

    fn error(&self, place: &str) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!("{place} refuses the login of `{}`", self.user),
        )
    }

    /// The server said no to all that could be tried.
    fn refused(&self, place: &str, refused: &[&str], left: Option<&MethodSet>) -> Error {
        let mut error = self.error(place);
        if !refused.is_empty() {
            error = error.with_hint(format!(
                "it was tried with {}, each once; it is not tried again, because accounts lock",
                listed(refused.iter().copied())
            ));
        }
        if let Some(left) = left.filter(|left| !left.is_empty()) {
            let taken = left.iter().map(|method| match method {
                MethodKind::Password => "password",
                MethodKind::PublicKey => "private_key",
                MethodKind::KeyboardInteractive => "keyboard_interactive",
                other => other.into(),
            });
            error = error.with_hint(format!("the server takes {}", listed(taken)));
        }
        error.with_hint(
            "check user, password or key with whoever runs the server; that the address this machine goes out by is on its \
             list of allowed ones; and that the account is not locked",
        )
    }
}

/// Whether the server asks for the password.
fn is_for_password(prompt: &Prompt) -> bool {
    const OTHERS: [&str; 7] = [
        "code",
        "token",
        "otp",
        "one-time",
        "verification",
        "passcode",
        "pin:",
    ];
    let text = prompt.prompt.to_lowercase();
    !prompt.echo && !OTHERS.iter().any(|other| text.contains(other))
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hidden_question_for_a_password_is_answered() {
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
            assert_eq!(is_for_password(&prompt), expected, "{}", prompt.prompt);
        }
    }
}
