//! The progress line on standard error.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::count;
use crate::pipeline::Observer;

/// The visible line. Other output to the terminal must suspend it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

pub(super) fn suspended<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// The progress of a run. Removed when dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    observer: Observer,
    started: Instant,
}

impl Progress {
    /// Starts the line; standard error must be a terminal.
    pub(super) fn start(observer: Observer) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self {
            bar,
            observer,
            started: Instant::now(),
        }
    }

    pub(super) fn show(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.set_message(line(&self.observer, seconds));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.bar.finish_and_clear();
    }
}

fn line(observer: &Observer, seconds: f64) -> String {
    let rows = observer.totals();
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let speed = observer.sent_bytes() as f64 / 1_000_000.0 / seconds.max(0.001);
    let mut line = format!("{} rows read", HumanCount(rows.read));
    if observer.pages() > 0 {
        line.push_str(&format!(" from {}", count(observer.pages(), "page", "pages")));
    }
    let in_flight = observer.in_flight();
    if observer.sent_bytes() > 0 || in_flight > 0 {
        line.push_str(&format!(", {speed:.1} MB/s sent, {in_flight} in flight"));
    }
    if rows.rejected > 0 {
        line.push_str(&format!(", {} rejected", HumanCount(rows.rejected)));
    }
    line
}
