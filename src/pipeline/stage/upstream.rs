//! Keeps a failure from looking like the end of the rows.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use crate::component::Output;
use crate::error::Result;

/// Runs a source or a transform that sends to `out`. When it fails, the run is cancelled before the receivers see their
/// input end: a sink that waits for all rows would take it for the end of a complete input.
///
/// For that a clone of the output is kept until the component has ended, or waits for something else after it has let
/// go of its own, as a source does that waits for delivery: that one is taken to have sent all it wants to. It must do
/// so in its own task. A thread that drops the last clone and waits, without waking the task, waits for ever.
pub(crate) async fn upstream<W>(
    out: Output,
    cancel: &CancellationToken,
    work: impl FnOnce(Output) -> W,
) -> Result<()>
where
    W: Future<Output = Result<()>>,
{
    let mut work = pin!(work(out.clone()));
    let mut kept = Some(out);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        match &polled {
            Poll::Ready(result) => {
                if result.is_err() {
                    cancel.cancel();
                }
                kept = None;
            }
            Poll::Pending => {
                kept.take_if(|kept| kept.is_last());
            }
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::component::{Counts, Input, channel};
    use crate::error::Error;

    fn output(cancel: &CancellationToken) -> (Output, Input) {
        let (sender, input) = channel(1, Counts::default());
        let out = Output::source(vec![(sender, 0)], Counts::default(), cancel.clone(), None);
        (out, input)
    }

    #[tokio::test]
    async fn a_failure_is_known_before_the_rows_end() {
        let cancel = CancellationToken::new();
        let (out, mut input) = output(&cancel);
        let receiver = &mut input;
        let fail = |out: Output| async move {
            // As a reader on another thread does: its output is gone before anybody knows that it failed.
            tokio::task::spawn_blocking(move || drop(out)).await.unwrap();
            assert!(receiver.next().now_or_never().is_none(), "the input has ended");
            Err(Error::input("half a file"))
        };
        upstream(out, &cancel, fail).await.unwrap_err();
        assert!(cancel.is_cancelled());
        assert!(input.next().await.is_none());
    }

    #[tokio::test]
    async fn a_source_that_waits_for_delivery_is_not_kept_waiting() {
        let cancel = CancellationToken::new();
        let (out, mut input) = output(&cancel);
        let (delivered, wait) = tokio::sync::oneshot::channel();
        let source = |out: Output| async move {
            drop(out);
            wait.await.unwrap();
            Ok(())
        };
        let sink = async {
            assert!(input.next().await.is_none());
            assert!(!cancel.is_cancelled());
            delivered.send(()).unwrap();
        };
        let (result, ()) = tokio::join!(upstream(out, &cancel, source), sink);
        result.unwrap();
    }
}
