//! The summary of a run, for people.

use std::fmt::Write as _;
use std::path::Path;

use anstyle::Style;
use indicatif::{HumanBytes, HumanCount};

use super::failure::one_line;
use super::output::{BAD, DIM, GOOD, WARN, batch_label, count, duration, list};
use crate::component::{BatchOutcome, Totals};
use crate::pipeline::{ExitCode, RunReport};
use crate::table::Table;

/// Reasons to list; the others are in the rejects file.
const MAX_REASONS: usize = 10;

/// The report as text: the result in one line, then rows, batches, time and files.
pub(super) fn text(report: &RunReport) -> String {
    let (style, headline) = headline(report);
    let mut text = format!("{style}{headline}{style:#}\n");
    text.push_str(&counters(report));
    text.push_str(&reasons(report));
    text.push_str(&possible_duplicates(report));
    text.push_str(&files(report));
    if !report.conserved {
        let _ = writeln!(
            text,
            "{BAD}The rows do not add up:{BAD:#} this is a bug in hrsink; please report it with the run report"
        );
    }
    text
}

fn headline(report: &RunReport) -> (Style, String) {
    let rows = &report.rows;
    let accepted = count(rows.accepted, "row", "rows");
    let ended_with = |code: ExitCode| report.exit_code == code as u8;
    if ended_with(ExitCode::Interrupted) || ended_with(ExitCode::Terminated) {
        return (WARN, format!("Interrupted: {}", delivered(rows)));
    }
    if ended_with(ExitCode::TooManyRejects) {
        let sent = if report.dry_run {
            "Dry run, nothing was sent".to_owned()
        } else {
            format!("{accepted} delivered")
        };
        let (share, allowed) = (percent(report.rejects.ratio), percent(report.rejects.max_ratio));
        let why = format!("{share} of the rows were rejected; `rejects.max_ratio` allows {allowed}");
        return (BAD, format!("{sent}, but {why}"));
    }
    if !ended_with(ExitCode::Delivered) {
        let headline = match (rows.read, rows.accepted) {
            (0, _) if ended_with(ExitCode::Guarded) => "Failed: the input has no rows".to_owned(),
            (0, _) => "Failed before any row was read".to_owned(),
            (_, 0) => format!("Failed: {}", delivered(rows)),
            _ => format!("Incomplete: {}", delivered(rows)),
        };
        return (BAD, headline);
    }
    if report.dry_run {
        let batches = match report.batches.len() as u64 {
            0 => String::new(),
            batches => format!("; {} would have been", count(batches, "batch", "batches")),
        };
        return (GOOD, format!("Dry run: nothing was sent{batches}"));
    }
    let mut outcomes = report.batches.iter().map(|batch| batch.outcome);
    match (rows.read, rows.accepted) {
        (0, _) => (WARN, "Nothing to do: no rows were read".to_owned()),
        (_, 0) if rows.skipped > 0 && rows.rejected == 0 => {
            (GOOD, "Nothing to do: every row was already delivered".to_owned())
        }
        (_, 0) => (WARN, "Nothing to do: no rows are left to deliver".to_owned()),
        _ if report.not_saved > 0 => {
            let saved = HumanCount(rows.accepted.saturating_sub(report.not_saved));
            let text = format!("Accepted, but not all rows were saved: {saved} of {accepted}");
            (WARN, text)
        }
        _ if outcomes.any(|outcome| outcome == BatchOutcome::Accepted) => {
            (GOOD, format!("Upload successful: {accepted}"))
        }
        _ => (GOOD, format!("Done: {accepted}")),
    }
}

/// `30 rows delivered, 10 not delivered, 5 unknown`
fn delivered(rows: &Totals) -> String {
    let mut text = format!("{} delivered", count(rows.accepted, "row", "rows"));
    for (rows, what) in [
        (rows.refused + rows.not_sent, "not delivered"),
        (rows.unknown, "unknown"),
    ] {
        if rows > 0 {
            let _ = write!(text, ", {} {what}", HumanCount(rows));
        }
    }
    text
}

/// Rows that the service may have received twice.
fn possible_duplicates(report: &RunReport) -> String {
    let mut text = String::new();
    let earlier = &report.earlier_unknown;
    if !earlier.is_empty() {
        let batches = count(earlier.len() as u64, "batch", "batches");
        let rows = count(earlier.iter().map(|batch| batch.rows).sum(), "row", "rows");
        let resent = earlier.iter();
        let resent = resent.map(|batch| batch.resent_rows + batch.resent_unreported);
        let resent = match resent.sum() {
            0 => "none of their rows were sent again in this run".to_owned(),
            n => count(n, "row was", "rows were") + " sent again and may be duplicated",
        };
        let _ = writeln!(
            text,
            "{WARN}{batches} of earlier runs with {rows} had an unknown outcome;{WARN:#} {resent}:"
        );
    }
    for batch in earlier.iter().take(MAX_REASONS) {
        let (run, scenario, sent) = (&batch.run, &batch.scenario, &batch.sent);
        let label = batch_label(batch.number, batch.part);
        let rows = count(batch.rows, "row", "rows");
        let resent = HumanCount(batch.resent_rows);
        let _ = write!(
            text,
            "  batch {label} of run {run} ({scenario}), sent {sent}: {rows}, {resent} sent again"
        );
        if batch.resent_unreported > 0 {
            let rows = HumanCount(batch.resent_unreported);
            let _ = write!(text, ", {rows} by a run that crashed");
        }
        text.push('\n');
    }
    if earlier.len() > MAX_REASONS {
        let more = earlier.len() - MAX_REASONS;
        let _ = writeln!(text, "  and {more} more, in the run report");
    }
    let repeated = report.batches.iter();
    let repeated =
        repeated.filter(|batch| batch.outcome == BatchOutcome::Accepted && batch.unknown_attempts > 0);
    let repeated: u64 = repeated.map(|batch| batch.rows).sum();
    if repeated > 0 {
        let rows = count(repeated, "row was", "rows were");
        let _ = writeln!(
            text,
            "{WARN}{rows} accepted after a request without a response{WARN:#} and may be duplicated"
        );
    }
    text
}

fn counters(report: &RunReport) -> String {
    let rows = &report.rows;
    let not_sent = if report.dry_run {
        "would have been sent"
    } else if report.exit_code == ExitCode::Guarded as u8 {
        "a guard or a held batch stopped the run"
    } else {
        "the upload failed, or the run stopped first"
    };
    let mut table = Table::plain();
    for (name, value, about) in [
        ("read", rows.read, ""),
        ("copied", rows.copied, "sent to more than one component"),
        ("derived", rows.derived, "made by a query"),
        ("combined", rows.combined, "replaced by the new rows of a query"),
        ("filtered", rows.filtered, "removed by `where` or a query"),
        ("rejected", rows.rejected, "not sent; see the reasons below"),
        (
            "skipped",
            rows.skipped,
            "delivered unchanged before, or duplicates",
        ),
        ("accepted", rows.accepted, ""),
        ("refused", rows.refused, "refused by the service"),
        ("unknown", rows.unknown, "no response: the service may have them"),
        ("not sent", rows.not_sent, not_sent),
    ] {
        if value > 0 || name == "read" {
            table.push([name, &format!("{:>12}", HumanCount(value).to_string()), about]);
        }
    }
    let mut text = table.render(None);
    // A split batch counts as its parts.
    let whole = report.batches.iter();
    let whole = whole.filter(|batch| batch.outcome != BatchOutcome::Split);
    let (batches, bytes) = whole.fold((0, 0), |(n, bytes), batch| (n + 1, bytes + batch.bytes));
    let attempts: u64 = report.batches.iter().map(|batch| u64::from(batch.attempts)).sum();
    if batches > 0 {
        let counted = count(batches, "batch", "batches");
        let _ = write!(text, "{counted}, {}, ", HumanBytes(bytes));
    }
    if batches > 0 && attempts > batches {
        let _ = write!(text, "{} requests, ", HumanCount(attempts));
    }
    text += &duration(report.duration_ms);
    if rows.read > 0 {
        let rate = rows.read * 1_000 / report.duration_ms.max(1);
        let _ = write!(text, " ({} rows/s)", HumanCount(rate));
    }
    text.push('\n');
    text
}

fn reasons(report: &RunReport) -> String {
    let reasons = &report.rejects.by_reason;
    if reasons.is_empty() {
        return String::new();
    }
    let rows = reasons.iter().take(MAX_REASONS).map(|reason| {
        let code = reason.code.as_str().to_owned();
        [reason.field.clone(), code, HumanCount(reason.rows).to_string()]
    });
    let mut text = "\n".to_owned() + &list("Rejected rows by field and reason", rows, None);
    if reasons.len() > MAX_REASONS {
        let _ = writeln!(text, "  and {} more reasons", reasons.len() - MAX_REASONS);
    }
    text
}

fn files(report: &RunReport) -> String {
    let rejects = report.rejects.path.iter();
    let rejects = rejects.map(|path| ("rejected rows and reasons".to_owned(), path));
    let outputs = report.outputs.iter().map(|output| {
        let what = format!("{}: {}", output.component, one_line(&output.what));
        (what, &output.path)
    });
    let mut files = rejects.chain(outputs).peekable();
    let mut text = String::new();
    if files.peek().is_some() {
        let shown = |path: &Path| path.strip_prefix(".").unwrap_or(path).display().to_string();
        let rows = files.map(|(what, path)| [what, shown(path)]);
        text = "\n".to_owned() + &list("Files", rows, None);
    }
    let _ = writeln!(text, "{DIM}run {}{DIM:#}", report.run_id);
    text
}

/// A ratio in percent, with enough decimals that a small one is not shown as zero.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let mut decimals = usize::from(percent.fract() != 0.0);
    while decimals < 6 && percent > 0.0 && format!("{percent:.decimals$}").parse() == Ok(0.0) {
        decimals += 1;
    }
    format!("{percent:.decimals$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headline_claims_only_accepted_rows() {
        use ExitCode::{Delivered, Guarded, Interrupted, Transient};
        let rows = |read, skipped, accepted, unknown, not_sent| Totals {
            read,
            skipped,
            accepted,
            unknown,
            not_sent,
            ..Totals::default()
        };
        let nothing = |why| format!("Nothing to do: {why}");
        let (filtered, skipped, partly) = (rows(2, 0, 0, 0, 0), rows(2, 2, 0, 0, 0), rows(6, 0, 1, 3, 2));
        let counts = "1 row delivered, 2 not delivered, 3 unknown";
        for (exit, rows, expected) in [
            (Delivered, Totals::default(), nothing("no rows were read")),
            (Delivered, filtered, nothing("no rows are left to deliver")),
            (Delivered, skipped, nothing("every row was already delivered")),
            (Transient, partly, format!("Incomplete: {counts}")),
            (Interrupted, partly, format!("Interrupted: {counts}")),
            (Guarded, Totals::default(), "Failed: the input has no rows".into()),
        ] {
            let report = RunReport {
                exit_code: exit as u8,
                rows,
                ..RunReport::default()
            };
            assert_eq!(headline(&report).1, expected);
        }
    }

    #[test]
    fn percent_distinguishes_small_ratios_from_zero() {
        let shown = [0.25, 0.9996, 1.0 / 7.0, 0.0001].map(percent);
        assert_eq!(shown, ["25%", "100.0%", "14.3%", "0.01%"]);
    }
}
