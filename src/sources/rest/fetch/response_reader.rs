//! Takes an answer's records while it comes, and holds them back until it is whole or too large for that.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::extract::{BodyError, Extraction, Finished};
use super::super::rows::Message;
use super::Attempt;
use crate::http::rate_limit::Permit;
use crate::http::transport::Failure;

/// Bytes of a page's records that wait for its end.
const HELD: usize = 8 << 20;

/// Bytes of records in a block.
const BLOCK: usize = 1 << 20;

/// A page's records on their way.
pub(super) struct ResponseReader<'a> {
    pub(super) page: Arc<str>,
    pub(super) extraction: Option<Extraction>,
    pub(super) text: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) blocks: Vec<Message>,
    /// Bytes in `blocks`.
    pub(super) held: usize,
    /// The body's first bytes, for rules that look at it.
    pub(super) head: Vec<u8>,
    /// How many of them.
    pub(super) most_head: usize,
    /// Bytes of the body so far.
    pub(super) length: usize,
    pub(super) given_on: bool,
    /// The request's place among those of its host.
    pub(super) permit: Option<Permit>,
    pub(super) out: &'a mpsc::Sender<Message>,
}

impl ResponseReader<'_> {
    /// Takes the whole answer.
    pub(super) async fn read(mut self, response: reqwest::Response) -> (Result<Finished, Attempt>, Self) {
        let finished = self.take(response).await;
        (finished, self)
    }

    async fn take(&mut self, mut response: reqwest::Response) -> Result<Finished, Attempt> {
        let mut failed = None;
        loop {
            let piece = response.chunk().await.map_err(|error| Attempt::BrokenOff {
                cause: Failure::of(error).to_string(),
                given_on: self.given_on,
            })?;
            let Some(piece) = piece else { break };
            let room = self.most_head.saturating_sub(self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..room]);
            self.length += piece.len();
            if let Some(error) = failed.take() {
                if self.head.len() < self.most_head {
                    failed = Some(error);
                    continue;
                }
                return Err(error);
            }
            let (text, ends) = (&mut self.text, &mut self.ends);
            let extraction = self.extraction.as_mut().ok_or(Attempt::Stopped)?;
            let given_on = self.given_on;
            // What is wrong may be told further on, to rules and people.
            failed = extraction
                .feed(&piece, &mut |record: &[u8]| -> Result<(), BodyError> {
                    text.extend_from_slice(record);
                    ends.push(text.len());
                    Ok(())
                })
                .map_err(|error| Attempt::Body { error, given_on })
                .err();
            if failed.is_none() && self.text.len() >= BLOCK {
                self.cut();
                if self.held > HELD {
                    self.give_on().await?;
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let extraction = self.extraction.take().ok_or(Attempt::Stopped)?;
        let (text, ends) = (&mut self.text, &mut self.ends);
        let given_on = self.given_on;
        let finished = extraction
            .finish(&mut |record: &[u8]| -> Result<(), BodyError> {
                text.extend_from_slice(record);
                ends.push(text.len());
                Ok(())
            })
            .map_err(|error: BodyError| Attempt::Body { error, given_on })?;
        self.cut();
        Ok(finished)
    }

    fn cut(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        self.held += self.text.len();
        self.blocks.push(Message::Records {
            page: self.page.clone(),
            text: std::mem::take(&mut self.text),
            ends: std::mem::take(&mut self.ends),
        });
    }

    async fn give_on(&mut self) -> Result<(), Attempt> {
        self.given_on = true;
        // Whoever is to take these may be waiting for a request to the same host.
        self.permit = None;
        for block in self.blocks.drain(..) {
            self.out.send(block).await.map_err(|_| Attempt::Stopped)?;
        }
        self.held = 0;
        Ok(())
    }
}
