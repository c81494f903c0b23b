//! A server that asks questions, which `sshd` does only with PAM. Files come from OpenSSH's own `sftp-server`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session};
use russh::{Channel, ChannelId, Preferred, cipher, kex};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// What the server asks, in order, and what the right answers are.
#[derive(Clone)]
pub(crate) struct Questions(pub(crate) Vec<(&'static str, &'static str)>);

/// A server on loopback, until dropped.
pub(crate) struct OtherServer {
    pub(crate) port: u16,
    /// Fingerprint of its host key.
    pub(crate) fingerprint: String,
    /// Answers that came.
    pub(crate) answers: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl OtherServer {
    /// Takes any account that answers these questions.
    pub(crate) async fn asks(questions: &[(&'static str, &'static str)]) -> Self {
        Self::start(Questions(questions.to_vec()), Preferred::default()).await
    }

    /// Knows only an old key exchange and an old cipher.
    pub(crate) async fn old(questions: &[(&'static str, &'static str)]) -> Self {
        let preferred = Preferred {
            kex: Cow::Owned(vec![kex::DH_G14_SHA1]),
            cipher: Cow::Owned(vec![cipher::AES_256_CBC]),
            ..Preferred::default()
        };
        Self::start(Questions(questions.to_vec()), preferred).await
    }

    async fn start(questions: Questions, preferred: Preferred) -> Self {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = Arc::new(Config {
            keys: vec![key],
            preferred,
            auth_rejection_time: std::time::Duration::from_millis(1),
            ..Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = answers.clone();
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let client = Client {
                    questions: questions.clone(),
                    asked: 0,
                    answers: noted.clone(),
                    channels: HashMap::new(),
                };
                let config = config.clone();
                sessions.spawn(async move {
                    if let Ok(session) = russh::server::run_stream(config, stream, client).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Self {
            port,
            fingerprint,
            answers,
            task,
        }
    }
}

impl Drop for OtherServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Client {
    questions: Questions,
    asked: usize,
    answers: Arc<Mutex<Vec<String>>>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        if let Some(mut response) = response {
            let answer = response.next().unwrap_or_default();
            let answer = String::from_utf8(answer.to_vec()).unwrap();
            let is_right = answer == self.questions.0[self.asked].1;
            self.answers.lock().unwrap().push(answer);
            self.asked += 1;
            if !is_right {
                return Ok(Auth::reject());
            }
        }
        Ok(match self.questions.0.get(self.asked) {
            None => Auth::Accept,
            Some((question, _)) => Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![(Cow::Borrowed(*question), false)].into(),
            },
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        assert_eq!(name, "sftp");
        session.channel_success(id)?;
        let channel = self.channels.remove(&id).unwrap();
        // It ends when its input does.
        let (ours, its) = std::os::unix::net::UnixStream::pair().unwrap();
        let output = its.try_clone().unwrap();
        let mut server = std::process::Command::new(SFTP_SERVER)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .spawn()
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
        tokio::spawn(async move {
            let _ = copy_bidirectional(&mut channel.into_stream(), &mut ours).await;
            drop(ours);
            let _ = tokio::task::spawn_blocking(move || server.wait()).await;
        });
        Ok(())
    }
}
