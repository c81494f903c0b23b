//! The login: each method in the settings once, in order.

use std::sync::atomic::Ordering;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Answer, Prompt};
use russh::keys::HashAlg;
use russh::keys::key::PrivateKeyWithHashAlg;
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::connect::{Client, CloseReason};
use super::identity::Credential;
use super::server::{Server, SftpError};
use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::secret::Secret;
use crate::suggest::quoted;

impl Server {
    pub(super) async fn log_in(
        &self,
        ssh: &mut Handle<Client>,
        reason: &CloseReason,
    ) -> Result<(), SftpError> {
        let limit = self.settings.timeout.get();
        let mut untried: Vec<&Credential> = self.credentials.iter().collect();
        let mut rejected = Vec::new();
        let mut remaining: Option<MethodSet> = None;
        loop {
            let is_accepted = |credential: &&Credential| {
                let methods = remaining.as_ref();
                methods.is_none_or(|methods| methods.contains(&credential.method()))
            };
            let Some(next) = untried.iter().position(is_accepted) else {
                return Err(SftpError::Permanent(self.rejected(&rejected, remaining.as_ref())));
            };
            let credential = untried.remove(next);
            let result = timeout(limit, self.try_one(credential, ssh)).await;
            let result =
                result.unwrap_or_else(|_| Err(self.unanswered(format!("no response within {limit:?}"))));
            let AuthResult::Failure {
                remaining_methods: methods,
                partial_success: partial,
            } = result?
            else {
                return Ok(());
            };
            // The library reports this for a closed connection too.
            if methods.is_empty() && !partial && ssh.is_closed() && !reason.lock().no_auth_method {
                let message = reason.lock().message.clone();
                return Err(match message {
                    Some(message) => SftpError::Permanent(
                        self.rejected(&[credential.key()], None)
                            .with_source(format!("the server reported: {message}")),
                    ),
                    None => self.unanswered(reason.text("the server closed the connection")),
                });
            }
            if !partial {
                rejected.push(credential.key());
            }
            remaining = Some(methods);
        }
    }

    async fn try_one(
        &self,
        credential: &Credential,
        ssh: &mut Handle<Client>,
    ) -> Result<AuthResult, SftpError> {
        let user = &self.user;
        let result = match credential {
            Credential::Password(password) => ssh.authenticate_password(user, password.expose()).await,
            Credential::Key(key) => {
                let hash = match key.algorithm().is_rsa() {
                    true => self.rsa_hash(ssh).await?,
                    false => None,
                };
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                ssh.authenticate_publickey(user, key).await
            }
            Credential::KeyboardInteractive(password) => return self.answer(password, ssh).await,
        };
        result.map_err(|error| self.unanswered(error.to_string()))
    }

    /// The hash of RSA signatures: the best that the server announces.
    async fn rsa_hash(&self, ssh: &Handle<Client>) -> Result<Option<HashAlg>, SftpError> {
        let announced = ssh.best_supported_rsa_hash().await;
        match announced.map_err(|error| self.unanswered(error.to_string()))? {
            Some(Some(hash)) => Ok(Some(hash)),
            Some(None) | None if self.settings.algorithms.enables("ssh-rsa") => {
                tracing::warn!("the RSA login key signs with SHA-1 (`ssh-rsa`), as `algorithms` allows");
                Ok(None)
            }
            // It would be rejected, and accounts lock after a few failures.
            Some(None) => Err(SftpError::Permanent(
                self.login_error()
                    .with_source("it accepts RSA keys with SHA-1 only, and the key was not sent")
                    .with_hint("use an Ed25519 key, or ask for an update of the server")
                    .with_hint("until then, `algorithms: {host_key: [ssh-rsa]}` enables it, with a warning"),
            )),
            // No announcement: the server may still accept SHA-2.
            None => Ok(Some(HashAlg::Sha512)),
        }
    }

    async fn answer(&self, password: &Secret, ssh: &mut Handle<Client>) -> Result<AuthResult, SftpError> {
        let failed = |error: russh::Error| self.unanswered(error.to_string());
        let mut is_answered = false;
        let started = ssh.authenticate_keyboard_interactive_start(&self.user, None);
        let mut answer = started.await.map_err(failed)?;
        loop {
            let prompts = match answer {
                Answer::Success => return Ok(AuthResult::Success),
                Answer::Failure {
                    remaining_methods,
                    partial_success,
                } => {
                    return Ok(AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    });
                }
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
                    let error = self.rejected(&["keyboard_interactive"], None);
                    let error = error.with_source("it asks for the password a second time");
                    return Err(SftpError::Permanent(error));
                }
                prompts => {
                    let prompts = quoted(prompts.iter().map(|prompt| clean(&prompt.prompt, 80)));
                    return Err(SftpError::Permanent(
                        self.login_error()
                            .with_source(format!("it asks for something other than a password: {prompts}"))
                            .with_hint(
                                "no person is there to answer: have the account set up for a private key, or without a \
                                 second factor",
                            ),
                    ));
                }
            };
            let responded = ssh.authenticate_keyboard_interactive_respond(responses);
            answer = responded.await.map_err(failed)?;
        }
    }

    fn login_error(&self) -> Error {
        let message = format!("{} rejected the login of `{}`", self.name, self.user);
        Error::new(ErrorKind::Refused, message)
    }

    /// The server rejected every method that could be tried.
    fn rejected(&self, rejected: &[&str], remaining: Option<&MethodSet>) -> Error {
        let mut error = self.login_error();
        if !rejected.is_empty() {
            let tried = quoted(rejected);
            let hint = format!("tried {tried}, each once; not retried, because accounts lock");
            error = error.with_hint(hint);
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

    /// The server closed the connection during the login, which may count as a failed one.
    fn unanswered(&self, cause: String) -> SftpError {
        let (user, server) = (&self.user, &self.name);
        let message = format!("the server did not answer the login of `{user}` at {server}");
        if self.logged_in.load(Ordering::Relaxed) {
            return SftpError::Transient(Error::new(ErrorKind::Transient, message).with_source(cause));
        }
        SftpError::Permanent(
            Error::new(ErrorKind::Refused, message)
                .with_source(cause)
                .with_hint(
                    "some servers reject a login this way, and accounts lock, so it is not retried: check user, password \
                     or key, and run again if they are right",
                ),
        )
    }
}

fn is_password_prompt(prompt: &Prompt) -> bool {
    const OTHER_PROMPTS: [&str; 6] = ["code", "token", "otp", "one-time", "verification", "pin:"];
    let text = prompt.prompt.to_lowercase();
    !prompt.echo && !OTHER_PROMPTS.iter().any(|other| text.contains(other))
}
