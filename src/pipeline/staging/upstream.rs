//! Makes a failure distinct from the end of the rows.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use crate::component::Output;
use crate::error::Result;

/// Runs a source or a transform that sends to `out`. When it fails, the run is cancelled before the receivers see their
/// input end: a staged sink would take that for the end of a complete input.
///
/// For that, a clone of the output is kept until the component ends, or waits for something else after it dropped its
/// own, as a source does that waits for delivery. The drop must happen in the component's own task.
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
    use crate::component::{Counts, channel};
    use crate::error::Error;

    #[tokio::test]
    async fn cancels_the_run_before_the_rows_of_a_failed_source_end() {
        let cancel = CancellationToken::new();
        let (sender, mut input) = channel(1, Counts::default());
        let out = Output::source(vec![(sender, 0)], Counts::default(), cancel.clone(), None);
        let receiver = &mut input;
        let fail = |out: Output| async move {
            // As a reader on another thread: its output closes before the failure is known.
            tokio::task::spawn_blocking(move || drop(out)).await.unwrap();
            assert!(receiver.next().now_or_never().is_none(), "the input has ended");
            Err(Error::input("half a file"))
        };
        upstream(out, &cancel, fail).await.unwrap_err();
        assert!(cancel.is_cancelled());
        assert!(input.next().await.is_none());
    }
}
