//! Log lines on standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::{output, progress};

pub(super) fn level_parser() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]);
    levels.try_map(|level| level.parse::<LevelFilter>())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

static JSON: AtomicBool = AtomicBool::new(false);

/// Whether every line of standard error must be JSON.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Starts logging. The default level is `warn` for text and `info` for JSON and for commands whose output is their log.
pub(super) fn start(level: Option<LevelFilter>, format: LogFormat, always_info: bool) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let default = match format {
        LogFormat::Text if !always_info => LevelFilter::WARN,
        LogFormat::Text | LogFormat::Json => LevelFilter::INFO,
    };
    let level = level.unwrap_or(default);
    // Other crates log at most warnings: an HTTP library could log headers with a token.
    let wanted = filter_fn(move |event| {
        let own = event.target().starts_with("hrsink");
        *event.level() <= level && (own || *event.level() <= tracing::Level::WARN)
    })
    .with_max_level_hint(level);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(line)
            .with_filter(wanted)
            .boxed(),
        // The errors of a run are printed at its end with their hints.
        LogFormat::Text => fmt::layer()
            .with_ansi(output::stderr_has_color())
            .with_target(level >= LevelFilter::DEBUG)
            .with_writer(line)
            .with_filter(filter_fn(|event| {
                !(event.target() == "hrsink::pipeline::run" && *event.level() == tracing::Level::ERROR)
            }))
            .with_filter(wanted)
            .boxed(),
    };
    // Fails only if the host program has installed a subscriber.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(layer));
}

/// Writes each event at once, without disturbing the progress line.
struct Line(Vec<u8>);

fn line() -> Line {
    Line(Vec::with_capacity(256))
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A failure to write a log line cannot be reported.
        let _ = progress::suspended(|| anstream::stderr().lock().write_all(&self.0));
    }
}
