//! What a run did, for a person.

use std::fmt::Write as _;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};

use super::failure::one_line;
use super::output::{BAD, DIM, GOOD, HEAD, WARN};
use anstyle::Style;
use crate::component::{BatchOutcome, Role};
use crate::pipeline::{ExitCode, RunReport};
use crate::table::Table;

/// Reasons to name; the others are in the rejects file.
const MOST_REASONS: usize = 10;

/// The report as text: the outcome in one line, then rows, batches, time and what was left behind.
pub(super) fn text(report: &RunReport) -> String {
    let (style, headline) = headline(report);
    let mut text = format!("{style}{headline}{style:#}\n");
    text.push_str(&counters(report));
    text.push_str(&reasons(report));
    text.push_str(&places(report));
    if !report.conserved {
        let _ = writeln!(
            text,
            "{BAD}The rows do not add up:{BAD:#} this is a bug in hrsink; please report it with the run report"
        );
    }
    text
}

/// One line that says how it ended, and its colour.
fn headline(report: &RunReport) -> (Style, String) {
    let rows = &report.rows;
    let accepted = count(rows.accepted, "row", "rows");
    let open = rows.refused + rows.unknown + rows.not_sent;
    if report.exit_code == ExitCode::Interrupted as u8 || report.exit_code == ExitCode::Terminated as u8 {
        return (WARN, format!("Interrupted: {accepted} delivered, {} not", HumanCount(open)));
    }
    if report.exit_code == ExitCode::TooManyRejects as u8 {
        let sent = if report.dry_run {
            "Dry run, nothing was sent".to_owned()
        } else {
            format!("{accepted} delivered")
        };
        let share = percent(report.rejects.ratio);
        let allowed = percent(report.rejects.max_ratio);
        return (BAD, format!("{sent}, but {share} of the rows were rejected; `rejects.max_ratio` allows {allowed}"));
    }
    if report.exit_code != ExitCode::Delivered as u8 {
        let headline = match (rows.read, rows.accepted) {
            (0, _) => "Failed before any row was read".to_owned(),
            (_, 0) => "Failed: no row was delivered".to_owned(),
            _ => format!("Incomplete: {accepted} delivered, {} not", HumanCount(open)),
        };
        return (BAD, headline);
    }
    if report.dry_run {
        let batches = count(report.batches.len() as u64, "batch", "batches");
        return (GOOD, format!("Dry run: nothing was sent; {batches} would have been"));
    }
    let uploaded = report.batches.iter().filter(|batch| batch.outcome == BatchOutcome::Accepted);
    match (rows.read, rows.accepted) {
        (0, _) => (WARN, "Nothing to do: no rows were read".to_owned()),
        (_, 0) if rows.skipped > 0 && rows.rejected == 0 => {
            (GOOD, "Nothing to do: every row was delivered before".to_owned())
        }
        (_, 0) => (WARN, "Nothing to do: no row was left to deliver".to_owned()),
        _ if uploaded.count() > 0 => (GOOD, format!("Upload successful: {accepted}")),
        _ => (GOOD, format!("Done: {accepted}")),
    }
}

/// The counters that are not zero.
fn counters(report: &RunReport) -> String {
    let rows = &report.rows;
    let mut table = Table::plain();
    let mut line = |name: &str, value: u64, about: &str| {
        if value > 0 || name == "read" {
            table.push([name, &format!("{:>12}", HumanCount(value).to_string()), about]);
        }
    };
    let sinks = report.components.iter().filter(|component| component.role == Role::Sink).count();
    let not_sent = if report.dry_run { "would have been sent" } else { "read, but the run stopped before" };
    line("read", rows.read, "");
    line("copied", rows.copied, if sinks > 1 { "gone to more than one component" } else { "" });
    line("filtered", rows.filtered, "left out by a `where` or a query");
    line("rejected", rows.rejected, "put aside with a reason");
    line("skipped", rows.skipped, "delivered before, unchanged");
    line("accepted", rows.accepted, "");
    line("refused", rows.refused, "the service said no");
    line("unknown", rows.unknown, "no answer came; the service may have taken them");
    line("not sent", rows.not_sent, not_sent);
    let mut text = table.render(None);
    let sent = report.batches.iter().filter(|batch| batch.outcome != BatchOutcome::NotSent);
    let (batches, bytes) = report.batches.iter().fold((0, 0), |(n, bytes), batch| (n + 1, bytes + batch.bytes));
    if batches > 0 {
        let attempts: u64 = sent.map(|batch| u64::from(batch.attempts)).sum();
        let requests = if attempts > batches {
            format!(", {} requests", HumanCount(attempts))
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "{}, {}{requests}, {}",
            count(batches, "batch", "batches"),
            HumanBytes(bytes),
            speed(report)
        );
    } else {
        let _ = writeln!(text, "{}", speed(report));
    }
    text
}

fn speed(report: &RunReport) -> String {
    let time = match report.duration_ms {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms => humantime::format_duration(std::time::Duration::from_secs(ms / 1_000)).to_string(),
    };
    if report.rows.read == 0 {
        return time;
    }
    let rate = report.rows.read * 1_000 / report.duration_ms.max(1);
    format!("{time} ({} rows/s)", HumanCount(rate))
}

fn reasons(report: &RunReport) -> String {
    let reasons = &report.rejects.by_reason;
    if reasons.is_empty() {
        return String::new();
    }
    let mut table = Table::plain();
    for reason in reasons.iter().take(MOST_REASONS) {
        table.push([&reason.field, reason.code.as_str(), &HumanCount(reason.rows).to_string()]);
    }
    let mut text = format!("\n{HEAD}Rejected rows by field and reason{HEAD:#}\n{}", table.render(None));
    if reasons.len() > MOST_REASONS {
        let _ = writeln!(text, "  and {} more reasons", reasons.len() - MOST_REASONS);
    }
    text
}

/// What the run left on this machine.
fn places(report: &RunReport) -> String {
    let mut table = Table::plain();
    let mut line = |what: &str, path: &Path| table.push([what, &path.strip_prefix(".").unwrap_or(path).display().to_string()]);
    if let Some(path) = &report.rejects.path {
        line("rejected rows with their reasons", path);
    }
    for output in &report.outputs {
        line(&format!("{}: {}", output.component, one_line(&output.what)), &output.path);
    }
    if report.rejects.path.is_none() && report.outputs.is_empty() {
        return format!("{DIM}run {}{DIM:#}\n", report.run_id);
    }
    format!("\n{HEAD}Left on this machine{HEAD:#}\n{}{DIM}run {}{DIM:#}\n", table.render(None), report.run_id)
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(n), if n == 1 { one } else { many })
}

/// A share in percent, with as many decimals as tell it from 0 and 100.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent == percent.round() {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}
