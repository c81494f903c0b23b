//! A server that knows exactly what it will be asked, and a pipeline that asks it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt;
use hrsink::config::PipelineConfig;
use hrsink::config::document::Notation;
use hrsink::pipeline::{Observer, RunOptions, RunReport, run};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /path?query`, byte for byte, with the body behind it if there is one.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the server answers. `$URL` in a header or a body becomes its own URL.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The connection breaks behind the body.
    breaks: bool,
    wait: Duration,
}

pub(crate) fn raw(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        body: body.into(),
        breaks: false,
        wait: Duration::ZERO,
    }
}

pub(crate) fn text(body: &str) -> Answer {
    raw(200, "application/json", body)
}

pub(crate) fn ok(body: Value) -> Answer {
    text(&body.to_string())
}

pub(crate) fn status(status: u16) -> Answer {
    raw(status, "application/json", "")
}

/// A page of people with these ids.
pub(crate) fn people(ids: impl IntoIterator<Item = u64>) -> Value {
    ids.into_iter().map(|id| json!({"id": id})).collect()
}

impl Answer {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn breaks(mut self) -> Self {
        self.breaks = true;
        self
    }

    pub(crate) fn late(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    async fn send(self, url: &str) -> Response {
        tokio::time::sleep(self.wait).await;
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value.replace("$URL", url));
        }
        let body = match String::from_utf8(self.body) {
            Ok(text) => text.replace("$URL", url).into_bytes(),
            Err(error) => error.into_bytes(),
        };
        let body = if self.breaks {
            let pieces = futures::stream::iter([Ok(Bytes::from(body)), Err("broken")]);
            Body::from_stream(pieces.then(|piece| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                piece
            }))
        } else {
            Body::from(body)
        };
        response.body(body).unwrap()
    }
}

type Answering = dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// A server on loopback, until dropped.
pub(crate) struct Stand {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    left: Arc<Mutex<VecDeque<(String, Answer)>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stand {
    /// Gives these answers to these requests, in this order; anything else is answered with 599 and remembered.
    pub(crate) async fn script<L: Into<String>>(script: impl IntoIterator<Item = (L, Answer)>) -> Self {
        let left: VecDeque<_> = script
            .into_iter()
            .map(|(line, answer)| (line.into(), answer))
            .collect();
        let left = Arc::new(Mutex::new(left));
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let (coming, noted) = (left.clone(), wrong.clone());
        let mut stand = Self::by(move |asked| {
            let mut coming = coming.lock().unwrap();
            let answer = match coming.front() {
                Some((line, _)) if *line == asked.line => coming.pop_front().unwrap().1,
                wanted => {
                    let wanted = wanted.map(|(line, _)| line.clone());
                    noted
                        .lock()
                        .unwrap()
                        .push(format!("{} instead of {wanted:?}", asked.line));
                    status(599)
                }
            };
            async move { answer }
        })
        .await;
        stand.left = left;
        stand.wrong = wrong;
        stand
    }

    /// Answers each request by itself.
    pub(crate) async fn by<F: Future<Output = Answer> + Send + 'static>(
        answer: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> Self {
        let answer: Arc<Answering> = Arc::new(move |asked| Box::pin(answer(asked)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (own, noted) = (url.clone(), asked.clone());
        let app = Router::new().fallback(move |request: Request| {
            let (answer, own, noted) = (answer.clone(), own.clone(), noted.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let mut line = format!("{} {}", head.method, head.uri);
                if !body.is_empty() {
                    line = format!("{line} {}", String::from_utf8_lossy(&body));
                }
                let asked = Asked {
                    line,
                    headers: head.headers,
                };
                noted.lock().unwrap().push(asked.clone());
                Ok::<_, Infallible>(answer(asked).await.send(&own).await)
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            asked,
            left: Arc::default(),
            wrong: Arc::default(),
            task,
        }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// Fails unless everything was asked, and nothing else.
    #[track_caller]
    pub(crate) fn done(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let left = self.left.lock().unwrap();
        assert!(left.is_empty(), "not asked: {:?}", left.front());
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pipeline with the source `api`, and a column of its rows as it arrives in a file.
pub(crate) struct Reading {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) source: Value,
    show: String,
    /// How many rejects are too many.
    pub(crate) max_ratio: f64,
    pub(crate) options: RunOptions,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) report: Option<RunReport>,
    pub(crate) rows: Vec<String>,
    /// All that a person gets to read: report, and for the program what it wrote.
    pub(crate) told: String,
}

impl Reading {
    /// `settings` over a source that reads `$URL/v1/people`, one answer.
    pub(crate) fn new(stand: &Stand, settings: Value) -> Self {
        let mut source = json!({
            "type": "rest", "base_url": format!("{}/v1", stand.url), "request": {"path": "people"},
            "retry": {"initial_backoff": "1ms", "max_backoff": "2ms", "max_attempts": 3},
        });
        for (key, value) in settings.as_object().unwrap() {
            source[key] = value.clone();
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            source,
            show: "id".to_owned(),
            max_ratio: 1.0,
            options: RunOptions::default(),
        }
    }

    /// The expression whose value comes back for each row. Default `id`.
    pub(crate) fn show(mut self, expression: &str) -> Self {
        self.show = expression.to_owned();
        self
    }

    fn pipeline(&self) -> Value {
        json!({
            "sources": {"api": self.source},
            "transforms": {"leavers": {
                "type": "hr_schema",
                "inputs": ["api"],
                "scenario": "employee_resignation",
                "dates": {"timezone": "UTC"},
                "fields": {
                    "EmailAddress": format!("concat(cast({} as varchar), '@contoso.com')", self.show),
                    "ResignationDate": "'2026-03-02'",
                    "LastWorkingDate": "'2026-03-02'",
                },
            }},
            "sinks": {"out": {"type": "file", "inputs": ["leavers"], "path": "out.csv"}},
            "rejects": {"max_ratio": self.max_ratio},
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rows(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("out.csv")).unwrap_or_default();
        text.lines()
            .skip(1)
            .map(|line| line.split('@').next().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn config(&self) -> Result<PipelineConfig, hrsink::config::LoadError> {
        PipelineConfig::parse(
            &self.pipeline().to_string(),
            Notation::Json,
            &self.path("pipeline.json"),
            &|_| None,
        )
    }

    /// Runs it.
    pub(crate) async fn run(&self) -> Ran {
        let _ = std::fs::remove_file(self.path("out.csv"));
        let config = self.config().unwrap_or_else(|error| panic!("{error:#?}"));
        let observer = Observer::default();
        let run = run(&config, self.options.clone(), &observer);
        let report = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap();
        assert!(report.conserved, "{report:#?}");
        Ran {
            code: report.exit_code,
            told: format!("{report:#?}"),
            report: Some(report),
            rows: self.rows(),
        }
    }

    /// Runs the program on it, with these variables.
    pub(crate) async fn program(&self, env: &[(&str, &str)]) -> Ran {
        self.command(&["run", "pipeline.json", "--report", "report.json"], env)
            .await
    }

    /// Runs the program with these arguments.
    pub(crate) async fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        std::fs::write(self.path("pipeline.json"), self.pipeline().to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hrsink"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("HRSINK_LOG")
            .envs(env.iter().copied())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let report = std::fs::read_to_string(self.path("report.json")).unwrap_or_default();
        Ran {
            code: u8::try_from(output.status.code().unwrap()).unwrap(),
            report: None,
            rows: self.rows(),
            told: format!(
                "{}{}{report}",
                String::from_utf8(output.stdout).unwrap(),
                String::from_utf8(output.stderr).unwrap()
            ),
        }
    }
}

impl Ran {
    /// The ids, if the run went well.
    #[track_caller]
    pub(crate) fn good(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{}", self.told);
        self.rows.iter().map(String::as_str).collect()
    }

    /// Fails unless the run ended so and told all of this.
    #[track_caller]
    pub(crate) fn failed(&self, code: u8, told: &[&str]) {
        assert_eq!(self.code, code, "{}", self.told);
        for told in told {
            assert!(self.told.contains(told), "`{told}` is not in {}", self.told);
        }
    }
}
