//! The summary of a run, for people.

use std::fmt::Write as _;
use std::path::Path;

use anstyle::Style;
use indicatif::{HumanBytes, HumanCount};

use super::failure::one_line;
use super::output::{BAD, DIM, GOOD, HEAD, WARN, count, duration};
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

/// The result in one line, and its color.
fn headline(report: &RunReport) -> (Style, String) {
    let rows = &report.rows;
    let accepted = count(rows.accepted, "row", "rows");
    if report.exit_code == ExitCode::Interrupted as u8 || report.exit_code == ExitCode::Terminated as u8 {
        return (WARN, format!("Interrupted: {}", delivered(rows)));
    }
    if report.exit_code == ExitCode::TooManyRejects as u8 {
        let sent = if report.dry_run {
            "Dry run, nothing was sent".to_owned()
        } else {
            format!("{accepted} delivered")
        };
        let share = percent(report.rejects.ratio);
        let allowed = percent(report.rejects.max_ratio);
        return (
            BAD,
            format!("{sent}, but {share} of the rows were rejected; `rejects.max_ratio` allows {allowed}"),
        );
    }
    if report.exit_code != ExitCode::Delivered as u8 {
        let headline = match (rows.read, rows.accepted) {
            (0, _) if report.exit_code == ExitCode::Guarded as u8 => {
                "Failed: the input has no rows".to_owned()
            }
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
    let uploaded = report
        .batches
        .iter()
        .filter(|batch| batch.outcome == BatchOutcome::Accepted);
    match (rows.read, rows.accepted) {
        (0, _) => (WARN, "Nothing to do: no rows were read".to_owned()),
        (_, 0) if rows.skipped > 0 && rows.rejected == 0 => {
            (GOOD, "Nothing to do: every row was already delivered".to_owned())
        }
        (_, 0) => (WARN, "Nothing to do: no rows are left to deliver".to_owned()),
        _ if uploaded.count() > 0 => (GOOD, format!("Upload successful: {accepted}")),
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
    if !report.earlier_unknown.is_empty() {
        let (rows, resent) = report
            .earlier_unknown
            .iter()
            .fold((0, 0), |(rows, resent), batch| {
                (
                    rows + batch.rows,
                    resent + batch.resent_rows + batch.resent_unreported,
                )
            });
        let _ = writeln!(
            text,
            "{WARN}{} of earlier runs with {} had an unknown outcome;{WARN:#} {}:",
            count(report.earlier_unknown.len() as u64, "batch", "batches"),
            count(rows, "row", "rows"),
            match resent {
                0 => "none of their rows were sent again in this run".to_owned(),
                1 => "1 row was sent again and may be duplicated".to_owned(),
                rows => format!("{} rows were sent again and may be duplicated", HumanCount(rows)),
            },
        );
        for batch in report.earlier_unknown.iter().take(MAX_REASONS) {
            let part = if batch.part == 0 {
                String::new()
            } else {
                format!(".{}", batch.part)
            };
            let _ = writeln!(
                text,
                "  batch {}{part} of run {} ({}), sent {}: {}, {} sent again{}",
                batch.number,
                batch.run,
                batch.scenario,
                batch.sent,
                count(batch.rows, "row", "rows"),
                HumanCount(batch.resent_rows),
                match batch.resent_unreported {
                    0 => String::new(),
                    rows => format!(", {} by a run that crashed", HumanCount(rows)),
                }
            );
        }
        let more = report.earlier_unknown.len().saturating_sub(MAX_REASONS);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more, in the run report");
        }
    }
    let repeated: u64 = report
        .batches
        .iter()
        .filter(|batch| batch.outcome == BatchOutcome::Accepted && batch.unknown_attempts > 0)
        .map(|batch| batch.rows)
        .sum();
    if repeated > 0 {
        let _ = writeln!(
            text,
            "{WARN}{} were accepted after a request without a response{WARN:#} and may be duplicated",
            count(repeated, "row", "rows")
        );
    }
    text
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
    let not_sent = if report.dry_run {
        "would have been sent"
    } else if report.exit_code == ExitCode::Guarded as u8 {
        "a guard or a held batch stopped the run"
    } else {
        "the upload failed, or the run stopped first"
    };
    line("read", rows.read, "");
    line("copied", rows.copied, "sent to more than one component");
    line("derived", rows.derived, "made by a query");
    line(
        "combined",
        rows.combined,
        "consumed by a query that makes new rows",
    );
    line("filtered", rows.filtered, "removed by `where` or a query");
    line("rejected", rows.rejected, "not sent; see the reasons below");
    line(
        "skipped",
        rows.skipped,
        "already delivered unchanged, or duplicates in the input",
    );
    line("accepted", rows.accepted, "");
    line("refused", rows.refused, "refused by the service");
    line(
        "unknown",
        rows.unknown,
        "no response; the service may have accepted them",
    );
    line("not sent", rows.not_sent, not_sent);
    let mut text = table.render(None);
    // A split batch counts as its parts.
    let whole = report
        .batches
        .iter()
        .filter(|batch| batch.outcome != BatchOutcome::Split);
    let (batches, bytes) = whole.fold((0, 0), |(n, bytes), batch| (n + 1, bytes + batch.bytes));
    if batches > 0 {
        let attempts: u64 = report.batches.iter().map(|batch| u64::from(batch.attempts)).sum();
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
    let time = duration(report.duration_ms);
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
    for reason in reasons.iter().take(MAX_REASONS) {
        table.push([
            &reason.field,
            reason.code.as_str(),
            &HumanCount(reason.rows).to_string(),
        ]);
    }
    let mut text = format!(
        "\n{HEAD}Rejected rows by field and reason{HEAD:#}\n{}",
        table.render(None)
    );
    if reasons.len() > MAX_REASONS {
        let _ = writeln!(text, "  and {} more reasons", reasons.len() - MAX_REASONS);
    }
    text
}

/// The files that the run wrote.
fn files(report: &RunReport) -> String {
    let mut table = Table::plain();
    let mut line = |what: &str, path: &Path| {
        table.push([
            what,
            &path.strip_prefix(".").unwrap_or(path).display().to_string(),
        ]);
    };
    if let Some(path) = &report.rejects.path {
        line("rejected rows and reasons", path);
    }
    for output in &report.outputs {
        line(
            &format!("{}: {}", output.component, one_line(&output.what)),
            &output.path,
        );
    }
    if report.rejects.path.is_none() && report.outputs.is_empty() {
        return format!("{DIM}run {}{DIM:#}\n", report.run_id);
    }
    format!(
        "\n{HEAD}Files{HEAD:#}\n{}{DIM}run {}{DIM:#}\n",
        table.render(None),
        report.run_id
    )
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
    use crate::component::BatchReport;
    use crate::pipeline::RejectsReport;

    fn ended(exit: ExitCode, batches: &[BatchOutcome], rows: Totals) -> String {
        let batch = |outcome: &BatchOutcome| BatchReport {
            sink: "purview".into(),
            number: 1,
            part: 0,
            scenario: "employee_resignation".into(),
            rows: 1,
            bytes: 1,
            outcome: *outcome,
            attempts: 1,
            unknown_attempts: 0,
            resent_rows: 0,
            status: None,
            request_ids: Vec::new(),
            answer: None,
            duration_ms: 1,
            error: None,
        };
        let report = RunReport {
            report_version: 1,
            hrsink_version: String::new(),
            run_id: "id".into(),
            pipeline: "hr.yaml".into(),
            dry_run: false,
            started: String::new(),
            finished: String::new(),
            duration_ms: 1,
            exit_code: exit as u8,
            conserved: rows.conserved(),
            rows,
            components: Vec::new(),
            batches: batches.iter().map(batch).collect(),
            rejects: RejectsReport {
                path: None,
                ratio: 0.0,
                max_ratio: 0.1,
                by_reason: Vec::new(),
            },
            outputs: Vec::new(),
            earlier_unknown: Vec::new(),
            guards: Default::default(),
            error: None,
            further_errors: Vec::new(),
        };
        let text = anstream::adapter::strip_str(&text(&report)).to_string();
        text.lines().next().unwrap_or_default().to_owned()
    }

    fn rows(read: u64, accepted: u64) -> Totals {
        Totals {
            read,
            accepted,
            ..Totals::default()
        }
    }

    #[test]
    fn headline_claims_only_accepted_rows() {
        use BatchOutcome::{Accepted, Unknown};
        use ExitCode::{Delivered, Guarded, Interrupted, Transient};
        let filtered = Totals {
            filtered: 2,
            ..rows(2, 0)
        };
        let skipped = Totals {
            skipped: 2,
            ..rows(2, 0)
        };
        let unknown = Totals {
            unknown: 3,
            not_sent: 2,
            ..rows(6, 1)
        };
        for (exit, batches, rows, expected) in [
            (Delivered, &[Accepted][..], rows(1, 1), "Upload successful: 1 row"),
            (Delivered, &[], rows(1_000, 1_000), "Done: 1,000 rows"),
            (Delivered, &[], rows(0, 0), "Nothing to do: no rows were read"),
            (
                Delivered,
                &[],
                filtered,
                "Nothing to do: no rows are left to deliver",
            ),
            (
                Delivered,
                &[],
                skipped,
                "Nothing to do: every row was already delivered",
            ),
            (
                Transient,
                &[Accepted, Unknown],
                unknown,
                "Incomplete: 1 row delivered, 2 not delivered, 3 unknown",
            ),
            (
                Interrupted,
                &[Unknown],
                unknown,
                "Interrupted: 1 row delivered, 2 not delivered, 3 unknown",
            ),
            (Transient, &[], rows(0, 0), "Failed before any row was read"),
            (Guarded, &[], rows(0, 0), "Failed: the input has no rows"),
        ] {
            assert_eq!(ended(exit, batches, rows), expected);
        }
    }

    #[test]
    fn percent_distinguishes_small_ratios_from_zero() {
        assert_eq!(percent(0.25), "25%");
        assert_eq!(percent(0.9996), "100.0%");
        assert_eq!(percent(1.0 / 7.0), "14.3%");
        assert_eq!(percent(0.0001), "0.01%");
    }
}
