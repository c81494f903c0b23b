//! The one thread that owns the connection, with group commit.
//!
//! Requests that arrive during a commit share the next transaction, and get no answer before it is durable. A failed
//! request is rolled back alone; a failed commit is everyone's failure.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{LedgerError, SqliteError};
use crate::error::{Error, Result};

const MAX_GROUP: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The thread. Dropping it waits until all requests are done and the file is closed.
#[derive(Debug)]
pub(super) struct Writer {
    path: Arc<Path>,
    queue: Option<mpsc::Sender<Box<dyn Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: Arc<Path>) -> Result<Self> {
        let (queue, requests) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || serve(connection, &requests))
            .map_err(|error| Error::unexpected("cannot start the ledger's thread").with_source(error))?;
        Ok(Self {
            path,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Does `work` in a transaction and returns its result once it is durable. Dropping the future does not cancel it.
    pub(super) async fn call<T, F>(&self, access: Access, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let request = Call {
            access,
            path: self.path.clone(),
            work: Some(work),
            result: None,
            answer,
        };
        if let Some(queue) = &self.queue {
            // If the thread has ended, `answered` fails.
            let _ = queue.send(Box::new(request));
        }
        // On a thread that the runtime knows, so that a paused clock does not advance meanwhile.
        tokio::task::spawn_blocking(|| answered.blocking_recv())
            .await
            .map_err(|error| Error::task_failed("waiting for the ledger", &error))?
            .unwrap_or_else(|_| {
                Err(Error::unexpected("the ledger's thread has ended")
                    .with_hint("please report this: it should not happen"))
            })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported to the caller of the request.
            let _ = thread.join();
        }
    }
}

trait Request: Send {
    fn access(&self) -> Access;

    /// Executes it and keeps the result. The error is `None` if it is not SQLite's.
    fn execute(&mut self, connection: &Connection) -> std::result::Result<(), Option<SqliteError>>;

    /// Returns the result, or the failure of the transaction, to the caller.
    fn answer(self: Box<Self>, failed: Option<&SqliteError>);
}

struct Call<T, F> {
    access: Access,
    path: Arc<Path>,
    work: Option<F>,
    result: Option<Result<T, LedgerError>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, LedgerError> + Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn execute(&mut self, connection: &Connection) -> std::result::Result<(), Option<SqliteError>> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match self.result.insert(work(connection)) {
            Ok(_) => Ok(()),
            Err(LedgerError::Sqlite(error)) => Err(Some(error.clone())),
            Err(LedgerError::Other(_)) => Err(None),
        }
    }

    fn answer(self: Box<Self>, failed: Option<&SqliteError>) {
        let doing = match self.access {
            Access::Read => "read",
            Access::Write => "write to",
        };
        let result = match (self.result, failed) {
            (Some(Err(error)), _) => Err(error.on(&self.path, doing)),
            (_, Some(error)) => Err(error.clone().on(&self.path, doing)),
            (Some(Ok(value)), None) => Ok(value),
            // Dropping the sender reports that the thread has ended.
            (None, None) => return,
        };
        // The caller may be gone.
        let _ = self.answer.send(result);
    }
}

fn serve(connection: Connection, requests: &mpsc::Receiver<Box<dyn Request>>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(MAX_GROUP - 1));
        let failed = commit(&connection, &mut group).err();
        for request in group {
            request.answer(failed.as_ref());
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(error = %error, "cannot close the ledger");
    }
}

fn commit(connection: &Connection, group: &mut [Box<dyn Request>]) -> std::result::Result<(), SqliteError> {
    let writes = group.iter().any(|request| request.access() == Access::Write);
    connection.execute_batch(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
    let done = execute(connection, group);
    if done.is_err() && !connection.is_autocommit() {
        // If this fails too, the next BEGIN reports it.
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

fn execute(connection: &Connection, group: &mut [Box<dyn Request>]) -> std::result::Result<(), SqliteError> {
    for request in group {
        connection.execute_batch("SAVEPOINT request")?;
        match request.execute(connection) {
            Ok(()) => connection.execute_batch("RELEASE request")?,
            // A full disk, for example, ends the whole transaction, with what the others wrote.
            Err(Some(error)) if connection.is_autocommit() => return Err(error),
            Err(_) => connection.execute_batch("ROLLBACK TO request; RELEASE request")?,
        }
    }
    Ok(connection.execute_batch("COMMIT")?)
}
