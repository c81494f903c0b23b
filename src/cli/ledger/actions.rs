//! The commands that change the ledger.

use indicatif::HumanBytes;
use jiff::Timestamp;

use super::{ForgetArgs, PruneArgs, ResolveArgs, RewindArgs};
use crate::cli::ledger_path::{ledger_of, open};
use crate::cli::output::{self, count, hint, warning};
use crate::cli::{Ended, block_on};
use crate::error::{Error, Result};
use crate::ledger::maintenance::{BatchSelector, Compaction, Deleted};
use crate::ledger::pipeline_name;
use crate::suggest::quoted;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    number: u64,
    part: u32,
}

/// Reads `3` or `3.2`.
pub(super) fn batch_label(text: &str) -> std::result::Result<Label, String> {
    let positive = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let label = match text.split_once('.') {
        None => positive(text).map(|number| (number, 0)),
        Some((number, part)) => positive(number).zip(positive(part)),
    };
    let label = label.and_then(|(number, part)| {
        let part = u32::try_from(part).ok()?;
        Some(Label { number, part })
    });
    label.ok_or_else(|| "a batch is a number such as `3`, or `3.2` for a part of one".to_owned())
}

/// The outcome of a batch as found in the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ResolvedOutcome {
    /// The service accepted it: its rows count as delivered
    Accepted,
    /// The service did not accept it: its rows are sent again
    NotAccepted,
}

pub(super) fn resolve(args: &ResolveArgs) -> Ended {
    let path = args.ledger.path()?;
    let pick = BatchSelector {
        run: args.run.clone(),
        sink: args.sink.clone(),
        number: args.batch.number,
        part: args.batch.part,
    };
    let accepted = args.outcome == ResolvedOutcome::Accepted;
    let batch = block_on(async {
        let ledger = open(&path).await?;
        let batch = ledger.find_batch(pick).await?;
        ledger.resolve(&batch, accepted).await?;
        Ok::<_, Error>(batch)
    })??;
    let rows = count(batch.rows, "row", "rows");
    let what = if accepted {
        format!("its {rows} count as accepted")
    } else {
        format!("its {rows} count as never sent; the next run sends those that are still in the input")
    };
    let label = output::batch_label(batch.number, batch.part);
    let (sink, scenario) = (&batch.sink, &batch.scenario);
    output::print(&format!(
        "Batch {label} of the sink `{sink}` ({scenario}): {what}\n"
    ))?;
    Ok(0)
}

pub(super) fn forget(args: &ForgetArgs) -> Ended {
    let path = args.ledger.path()?;
    let (job, forgotten) = block_on(async {
        let ledger = open(&path).await?;
        let (job, scenarios) = find(&ledger.jobs().await?, &args.job, args.scenario.as_deref())?;
        let mut all = Deleted::default();
        for scenario in &scenarios {
            let forgotten = ledger.forget(&job, scenario, !args.yes).await?;
            all.batches += forgotten.batches;
            all.rows += forgotten.rows;
            // Scenarios may share sources, which are forgotten once.
            all.sources = if args.yes {
                all.sources + forgotten.sources
            } else {
                all.sources.max(forgotten.sources)
            };
        }
        Ok::<_, Error>((job, all))
    })??;
    let rows = count(forgotten.rows, "row", "rows");
    let batches = count(forgotten.batches, "batch", "batches");
    let what = format!("{rows} in {batches} that the job `{job}` has accepted");
    if !args.yes {
        return Err(Error::config(format!("this forgets {what}"))
            .with_hint(format!(
                "the next run would {}send the rows that are still in the input again",
                reread(forgotten.sources, "read")
            ))
            .with_hint("use `--yes` to do it")
            .into());
    }
    output::print(&format!(
        "Forgotten: {what}; the next run {}sends the rows that are still in the input again\n",
        reread(forgotten.sources, "reads")
    ))?;
    Ok(0)
}

pub(super) fn rewind(args: &RewindArgs) -> Ended {
    let path = ledger_of(&args.file)?;
    let pipeline = pipeline_name(&args.file);
    let rewound = block_on(async {
        let ledger = open(&path).await?;
        let all = ledger.rewind(&pipeline, None, true).await?;
        if all.is_empty() {
            let file = args.file.display();
            let error = Error::config(format!("no source of `{file}` has a saved position"));
            return Err(error.with_hint("the next run reads all of them from the start"));
        }
        if let Some(source) = &args.source
            && !all.contains(source)
        {
            let error = Error::config(format!("the source `{source}` has no saved position"));
            return Err(error.with_hint(format!("sources with one: {}", quoted(&all))));
        }
        ledger.rewind(&pipeline, args.source.as_deref(), false).await
    })??;
    let (sources, them) = (rewound.join(", "), if rewound.len() == 1 { "it" } else { "them" });
    output::print(&format!(
        "Rewound: {sources}; the next run reads {them} from the start and skips rows that the job has accepted\n"
    ))?;
    Ok(0)
}

/// How many sources are read from the start again.
fn reread(sources: u64, read: &str) -> String {
    match sources {
        0 => String::new(),
        n => format!("{read} {} from the start and ", count(n, "source", "sources")),
    }
}

/// The job with the name `wanted`, or the only one that contains it, and its scenarios.
fn find(known: &[(String, String)], wanted: &str, scenario: Option<&str>) -> Result<(String, Vec<String>)> {
    let mut jobs: Vec<&str> = known.iter().map(|(job, _)| &**job).collect();
    jobs.dedup();
    let fitting: Vec<&str> = match jobs.iter().find(|job| **job == wanted) {
        Some(job) => vec![*job],
        None => jobs.iter().copied().filter(|job| job.contains(wanted)).collect(),
    };
    let job = match fitting[..] {
        [job] => job,
        [] => return Err(not_in_ledger(&format!("the job `{wanted}`"))),
        _ => {
            let error = Error::config(format!("more than one job contains `{wanted}`"));
            return Err(error.with_hint(format!("specify one: {}", quoted(&fitting))));
        }
    };
    let scenarios = known.iter().filter(|(of, _)| of == job);
    let scenarios = scenarios.map(|(_, scenario)| scenario);
    let scenarios = scenarios.filter(|name| scenario.is_none_or(|wanted| wanted == *name));
    let scenarios: Vec<String> = scenarios.cloned().collect();
    match scenario {
        Some(scenario) if scenarios.is_empty() => Err(not_in_ledger(&format!(
            "rows of `{scenario}` for the job `{job}`"
        ))),
        _ => Ok((job.to_owned(), scenarios)),
    }
}

fn not_in_ledger(what: &str) -> Error {
    Error::config(format!("the ledger does not contain {what}"))
        .with_hint("`hrsink ledger stats` lists its jobs")
}

pub(super) fn prune(args: &PruneArgs) -> Ended {
    let path = args.ledger.path()?;
    let before = Timestamp::now()
        .checked_sub(args.older_than)
        .map_err(|_| Error::config("`--older-than` is too long"))?;
    let (pruned, compacted) = block_on(async {
        let ledger = open(&path).await?;
        let pruned = ledger.prune(before, args.rows, args.dry_run).await?;
        let compacted = match args.dry_run {
            true => Ok(Compaction::NotNeeded),
            false => ledger.compact().await,
        };
        Ok::<_, Error>((pruned, compacted))
    })??;
    let did = if args.dry_run { "Would delete" } else { "Deleted" };
    let runs = count(pruned.runs, "run", "runs");
    let batches = count(pruned.batches, "batch", "batches");
    let mut text = format!("{did} the history of {runs} with {batches}\n");
    if args.rows {
        let forgot = if args.dry_run { "Would forget" } else { "Forgot" };
        text.push_str(&format!("{forgot} {}\n", count(pruned.rows, "row", "rows")));
        if pruned.rows > 0 {
            text.push_str(&warning(&format!(
                "the next run {}sends those that are still in the input again, unless they were accepted later",
                reread(pruned.sources, "reads")
            )));
        }
    }
    let not_compacted = |why| {
        let text = format!("the file was not compacted{why}; run `prune` again later");
        hint(&text)
    };
    text += &match compacted {
        Ok(Compaction::Done { before, after }) => {
            let (before, after) = (HumanBytes(before), HumanBytes(after));
            format!("The file shrank from {before} to {after}\n")
        }
        Ok(Compaction::NotNeeded) => String::new(),
        Ok(Compaction::Postponed) => not_compacted(" because a run is in progress".to_owned()),
        Err(error) => not_compacted(format!(": {}", error.chain())),
    };
    output::print(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_batch_labels() {
        assert_eq!(batch_label("3"), Ok(Label { number: 3, part: 0 }));
        assert_eq!(batch_label("3.2"), Ok(Label { number: 3, part: 2 }));
        for wrong in ["", "0", "3.", ".2", "3.0", "-1", "a", "1.2.3"] {
            assert!(batch_label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn finds_a_job_by_a_unique_part() {
        let known = [("a 11", "x"), ("a 11", "y"), ("a 12", "x"), ("1", "z")]
            .map(|(job, scenario)| (job.to_owned(), scenario.to_owned()));
        let find = |wanted, scenario| find(&known, wanted, scenario);
        let actual = find("11", None).unwrap();
        assert_eq!(actual, ("a 11".to_owned(), vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(find("11", Some("y")).unwrap().1, ["y"]);
        assert_eq!(find("1", None).unwrap().0, "1", "an exact name wins");
        for (job, scenario, message) in [
            ("a", None, "more than one"),
            ("b", None, "does not contain the job"),
            ("11", Some("z"), "rows of `z`"),
        ] {
            let error = find(job, scenario).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
