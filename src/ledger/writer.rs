//! The one thread that has the connection, and the group commit.
//!
//! A commit that outlives a power cut waits for the disk. Work that came in while one was under way is done together in
//! the next, and nobody has an answer before what they wrote is on disk. Work that fails leaves nothing behind and does
//! not disturb the others; a commit that fails is everyone's failure.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::{Fault, Said};
use crate::error::{Error, Result};

/// Most pieces of work in one transaction.
const MOST: usize = 256;

/// What a piece of work does with the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Looks only.
    Read,
    /// Writes.
    Write,
}

/// The thread. Dropping it waits until all work is done and the file is closed.
#[derive(Debug)]
pub(super) struct Writer {
    path: Arc<Path>,
    queue: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: Arc<Path>) -> Result<Self> {
        let (queue, work) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || work_off(connection, &work))
            .map_err(|error| Error::unexpected("cannot start the ledger's thread").with_source(error))?;
        Ok(Self {
            path,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Does `work` in a transaction and gives its result once that is on disk. Dropping the future does not take the
    /// work back.
    pub(super) async fn call<T, F>(&self, access: Access, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let task = Task {
            access,
            path: self.path.clone(),
            work: Some(work),
            result: None,
            answer,
        };
        if let Some(queue) = &self.queue {
            // If the thread has gone, `answered` tells.
            let _ = queue.send(Box::new(task));
        }
        // A thread that the runtime knows of waits, so that a paused clock does not run ahead meanwhile.
        tokio::task::spawn_blocking(|| answered.blocking_recv())
            .await
            .map_err(|error| Error::broken_off("waiting for the ledger", &error))?
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
            // Its panic was told where its work was waited for.
            let _ = thread.join();
        }
    }
}

/// A piece of work, its result and who waits for it.
trait Work: Send {
    fn access(&self) -> Access;

    /// Does it and keeps the result; the failure if it failed.
    fn apply(&mut self, connection: &Connection) -> std::result::Result<(), Option<Said>>;

    /// Gives the result, or the failure of the whole transaction.
    fn answer(self: Box<Self>, failed: Option<&Said>);
}

struct Task<T, F> {
    access: Access,
    path: Arc<Path>,
    work: Option<F>,
    result: Option<Result<T, Fault>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn apply(&mut self, connection: &Connection) -> std::result::Result<(), Option<Said>> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match self.result.insert(work(connection)) {
            Ok(_) => Ok(()),
            Err(Fault::Sqlite(said)) => Err(Some(said.clone())),
            Err(Fault::Other(_)) => Err(None),
        }
    }

    fn answer(self: Box<Self>, failed: Option<&Said>) {
        let doing = match self.access {
            Access::Read => "read",
            Access::Write => "write to",
        };
        let result = match (self.result, failed) {
            (Some(Err(fault)), _) => Err(fault.on(&self.path, doing)),
            (_, Some(said)) => Err(said.clone().on(&self.path, doing)),
            (Some(Ok(value)), None) => Ok(value),
            // Dropping the sender says that the thread has ended.
            (None, None) => return,
        };
        // Whoever waited may have gone; the work is done all the same.
        let _ = self.answer.send(result);
    }
}

fn work_off(connection: Connection, work: &mpsc::Receiver<Box<dyn Work>>) {
    while let Ok(first) = work.recv() {
        let mut group = vec![first];
        group.extend(work.try_iter().take(MOST - 1));
        let failed = commit(&connection, &mut group).err();
        for task in group {
            task.answer(failed.as_ref());
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(error = %error, "the ledger was not closed properly");
    }
}

/// Does all of `group` in one transaction.
fn commit(connection: &Connection, group: &mut [Box<dyn Work>]) -> std::result::Result<(), Said> {
    let writes = group.iter().any(|task| task.access() == Access::Write);
    connection.execute_batch(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
    let done = apply(connection, group);
    if done.is_err() && !connection.is_autocommit() {
        // If even this fails, the next BEGIN will tell.
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

fn apply(connection: &Connection, group: &mut [Box<dyn Work>]) -> std::result::Result<(), Said> {
    for task in group {
        connection.execute_batch("SAVEPOINT task")?;
        match task.apply(connection) {
            Ok(()) => connection.execute_batch("RELEASE task")?,
            // A full disk, for one, ends the whole transaction, and what the others wrote has gone with it.
            Err(Some(said)) if connection.is_autocommit() => return Err(said),
            Err(_) => connection.execute_batch("ROLLBACK TO task; RELEASE task")?,
        }
    }
    Ok(connection.execute_batch("COMMIT")?)
}
