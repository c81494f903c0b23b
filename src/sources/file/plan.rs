//! From the settings to what is read: the checks of all of them together, and the files.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::config::{AddedColumn, FileConfig};
use super::extension::{Extension, NEEDS_RANGES};
use super::job::{Job, JobContext, Prefetch};
use super::post_process::finisher::{PostProcessing, PostProcessor};
use super::post_process::{FileActions, OnSuccess};
use super::select::{self, Order, QuietPeriod, ReadAgain, Selection, Take, trigger_name};
use super::source::FileSource;
use super::state::ProcessedFiles;
use crate::codec::{self, Codec, Decoder};
use crate::component::{CheckStep, Description, Source, SourceConfig, SourceContext};
use crate::config::Problems;
use crate::error::{Error, Result};
use crate::format::{self, Access, Added};
use crate::storage::object::StoreSettings;
use crate::storage::{FileInfo, FilePattern, Location, STANDARD_INPUT, Scheme, Settings, Storage};

/// Until when a file on an SFTP server may still be being written: vendors write over lines that stall.
const SFTP_SETTLE: Duration = Duration::from_secs(30);

/// How far a server's clock may be off, and how coarse its times may be. Servers without a time service drift by minutes,
/// and many tell the minute only: a file that seems quiet for less than this may be in the middle of its upload.
const CLOCK_MARGIN: Duration = Duration::from_mins(10);

#[typetag::deserialize(name = "file")]
#[async_trait]
impl SourceConfig for FileConfig {
    fn uses_stdin(&self) -> bool {
        self.path == STANDARD_INPUT
    }

    fn keeps_position(&self) -> bool {
        !self.uses_stdin()
            && (self.read_again() == ReadAgain::Changed
                || self.after != OnSuccess::Leave
                || self.take == Take::Newest)
    }

    /// Files come again; but an older snapshot must not go out after a newer one that was delivered and is gone.
    fn rewound(&self, before: Option<String>, after: Option<&str>) -> Result<Option<String>> {
        if self.take != Take::Newest {
            return Ok(before);
        }
        let mut memory = ProcessedFiles::load(before.as_deref())?;
        memory.keep_newest_of(ProcessedFiles::load(after)?);
        Ok(Some(memory.text()))
    }

    fn leaves_out_for(&self) -> Option<(Duration, &'static str)> {
        let leaves_out = !self.uses_stdin() && self.read_again() == ReadAgain::Changed;
        leaves_out.then_some((Duration::MAX, "give it `read_again: always`"))
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        self.check_path(problems);
        self.check_format(problems);
        self.check_choice(problems);
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let address = Location::parse(&self.path).map_err(|(message, hint)| {
            let error = Error::config(format!("`path` {message}"));
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        let now = Timestamp::now();
        let wanted = self.wanted(&address, now).map_err(Error::config)?;
        let cancel = cx.run.cancel.clone();
        let plan = self.plan(cx, &address, &wanted, now);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::interrupted()),
            source = plan => source,
        }
    }

    async fn check(&self, cx: SourceContext) -> Vec<CheckStep> {
        self.steps(&cx).await
    }
}

inventory::submit! {
    Description::source::<FileConfig>(
        "file",
        "reads CSV, Parquet, NDJSON and JSON files: local, SFTP, S3, Azure Blob, Google Cloud Storage, HTTPS, standard input",
    )
}

impl FileConfig {
    /// Notes what is wrong with the path, and with the settings of its place.
    fn check_path(&self, problems: &mut Problems<'_>) {
        if self.path.is_empty() {
            problems
                .at("path")
                .add("is empty; give a path, a pattern, an address, or `-` for standard input");
            return;
        }
        let Some(address) = Location::validate(&self.path, &mut problems.at("path")) else {
            return;
        };
        match self.wanted(&address, Timestamp::UNIX_EPOCH) {
            Ok(wanted) if wanted.is_pattern() => {
                if let Err(error) = glob::Pattern::new(wanted.glob()) {
                    problems.at("path").add_with_hint(
                        format!(
                            "is not a valid pattern: {} (at character {})",
                            error.msg,
                            error.pos + 1
                        ),
                        "`[` begins a set of characters; a `[` itself is written `[[]`",
                    );
                }
            }
            Ok(_) => {}
            Err(message) => problems.at("path").add(message),
        }
        if let Err(message) = self.dates.zone() {
            problems.at("dates").at("zone").add(message);
        }
        let scheme = address.scheme();
        let blocks = [
            ("sftp", self.sftp.is_some(), Scheme::Sftp, "sftp://"),
            ("s3", self.s3.is_some(), Scheme::S3, "s3://"),
            ("azure", self.azure.is_some(), Scheme::Azure, "az://"),
            ("gcs", self.gcs.is_some(), Scheme::Gcs, "gs://"),
            ("https", self.https.is_some(), Scheme::Http, "https://"),
        ];
        for (key, given, of, written) in blocks {
            if given && scheme != Some(of) {
                problems.at(key).add_with_hint(
                    format!("is for addresses that begin with `{written}`, and `path` is none"),
                    "take it out, or correct `path`",
                );
            }
        }
        if let Location::Remote(remote) = &address {
            match remote.scheme {
                Scheme::Sftp => match &self.sftp {
                    Some(sftp) => sftp.validate(remote, &mut problems.at("sftp")),
                    None => problems.at("sftp").add_with_hint(
                        "is missing: it says how to log in and which host key the server has",
                        "see docs/sftp.md for an example",
                    ),
                },
                _ => self.stores().validate(remote, problems),
            }
        }
    }

    /// Notes what is wrong with the format and the packing.
    fn check_format(&self, problems: &mut Problems<'_>) {
        self.codec_settings().validate(problems);
        let standard_input = self.uses_stdin();
        let extension = match Location::parse(&self.path) {
            // The dots of a host tell nothing.
            Ok(Location::Remote(remote)) => Extension::of(&remote.path),
            _ => Extension::of(&self.path),
        };
        let tells = !self.path.is_empty() && !standard_input && !extension.open;
        match &self.format {
            None if standard_input => {
                problems.at("format").add_with_hint(
                    "standard input has no extension to detect the format by",
                    format!("set `format` to one of {}", format::names()),
                );
            }
            // What is in an archive has names of its own.
            None if extension.layers.contains(&Codec::Zip) => {}
            None if tells && extension.format().is_none() => {
                problems
                    .at("format")
                    .add_with_hint(extension.unknown(), extension.hint());
            }
            None => {}
            Some(format) => format.validate(&mut problems.at("format")),
        }
        let format = self.format.clone().or_else(|| extension.format());
        if let Some(format) = format.filter(|format| format.access() == Access::Ranges) {
            let name = format.name();
            if standard_input {
                problems.at("format").add_with_hint(
                    format!("`{name}` cannot be read from standard input"),
                    NEEDS_RANGES,
                );
            }
            let packed = match &self.packing {
                Some(packing) => !packing.layers().is_empty(),
                None => tells && !extension.layers.is_empty(),
            };
            if packed {
                problems.at("packing").add_with_hint(
                    format!("`{name}` cannot be read from a packed file"),
                    NEEDS_RANGES,
                );
            }
        }
    }

    /// Notes what is wrong with the choice of files and what is done with them.
    fn check_choice(&self, problems: &mut Problems<'_>) {
        let dated = self.path.contains("{any_date");
        if self.order == Some(Order::Date) && !dated {
            problems.at("order").add_with_hint(
                "`date` needs a date in the name",
                "write it as `{any_date:%Y%m%d}` in `path`",
            );
        }
        if self.dates.lag.is_some() && !self.path.contains("{date") {
            problems.at("dates").at("lag").add_with_hint(
                "nothing in `path` uses it",
                "write the day of the run as `{date:%Y%m%d}` in `path`",
            );
        }
        if let Some(trigger) = &self.trigger {
            let names = ["a.csv", "b.csv"].map(|name| trigger_name(trigger, name));
            if trigger.contains('/') || names[0] == names[1] || names[0] == "a.csv" {
                problems.at("trigger").add_with_hint(
                    format!("`{trigger}` names no file of its own beside each file"),
                    "put the file's name into it: `{name}.done` or `{stem}.ok`",
                );
            }
        }
        if self.dates.zone.is_some() && !self.path.contains("{date") {
            problems.at("dates").at("zone").add_with_hint(
                "nothing in `path` uses it",
                "write the day of the run as `{date:%Y%m%d}` in `path`",
            );
        }
        if self.scheme() == Some(Scheme::Http) {
            let keys = [
                ("after", self.after != OnSuccess::Leave),
                (
                    "on_failure",
                    self.on_failure != super::post_process::OnFailure::Leave,
                ),
            ];
            for (key, _) in keys.into_iter().filter(|(_, given)| *given) {
                problems
                    .at(key)
                    .add("cannot be: files on a web server are neither moved nor removed");
            }
        }
        if self.max_files == 0 {
            problems.at("max_files").add("must be at least 1");
        }
        self.after.validate(&mut problems.at("after"));
        self.on_failure.validate(&mut problems.at("on_failure"));
        let address = Location::parse(&self.path);
        if matches!(address, Ok(Location::StandardInput)) {
            let keys = [
                ("after", self.after != OnSuccess::Leave),
                (
                    "on_failure",
                    self.on_failure != super::post_process::OnFailure::Leave,
                ),
                ("read_again", self.read_again.is_some()),
                ("settle", self.settle.is_some()),
                ("trigger", self.trigger.is_some()),
            ];
            for (key, _) in keys.into_iter().filter(|(_, given)| *given) {
                problems.at(key).add("is for files, and standard input is none");
            }
        }
        for (name, added) in &self.add_columns {
            if *added == AddedColumn::Date && !dated {
                problems.at("add_columns").at(name).add_with_hint(
                    "there is no date in the name",
                    "write it as `{any_date:%Y%m%d}` in `path`, or add `modified`",
                );
            }
        }
    }

    fn codec_settings(&self) -> codec::Settings<'_> {
        codec::Settings {
            packing: self.packing.as_ref(),
            zip: self.zip.as_ref(),
            pgp: self.pgp.as_ref(),
            max_compression_ratio: self.max_compression_ratio,
        }
    }

    pub(super) fn unpacker(&self, cx: &SourceContext) -> Result<Decoder> {
        Decoder::new(
            &self.codec_settings(),
            &cx.run.base,
            &cx.run.secret_files,
            cx.run.scratch_folder(),
        )
    }

    pub(super) fn stores(&self) -> StoreSettings<'_> {
        StoreSettings {
            s3: self.s3.as_ref(),
            azure: self.azure.as_ref(),
            gcs: self.gcs.as_ref(),
            https: self.https.as_ref(),
        }
    }

    /// The names that are asked for.
    pub(super) fn wanted(&self, address: &Location, now: Timestamp) -> Result<FilePattern, String> {
        let path = match address {
            Location::StandardInput => STANDARD_INPUT,
            Location::Local(path) => path,
            Location::Remote(remote) => &remote.path,
        };
        // What is wrong with the zone is said at its own key.
        let zone = self.dates.zone().unwrap_or(jiff::tz::TimeZone::UTC);
        FilePattern::new(path, now, &zone, self.dates.lag())
    }

    fn scheme(&self) -> Option<Scheme> {
        Location::parse(&self.path)
            .ok()
            .and_then(|address| address.scheme())
    }

    fn read_again(&self) -> ReadAgain {
        self.read_again.unwrap_or(match self.scheme() {
            Some(_) => ReadAgain::Changed,
            None => ReadAgain::Always,
        })
    }

    /// How files are chosen. `looks_only`: in a run that only looks at rows.
    pub(super) fn choice(&self, wanted: &FilePattern, looks_only: bool) -> Selection {
        let scheme = self.scheme();
        Selection {
            take: self.take,
            read_again: if looks_only {
                ReadAgain::Always
            } else {
                self.read_again()
            },
            order: self.order.unwrap_or(if wanted.has_dates() {
                Order::Date
            } else {
                Order::Name
            }),
            trigger: self.trigger.clone(),
            settle: QuietPeriod {
                wait: match (&self.settle, scheme) {
                    _ if looks_only => Duration::ZERO,
                    (Some(settle), _) => settle.0,
                    (None, Some(Scheme::Sftp)) => SFTP_SETTLE,
                    (None, _) => Duration::ZERO,
                },
                margin: match scheme {
                    Some(_) => CLOCK_MARGIN,
                    None => Duration::ZERO,
                },
            },
            max_files: self.max_files,
            max_file_bytes: self.max_file_bytes.map(|size| size.0),
            if_missing: self.if_missing,
            if_nothing_new: self.if_nothing_new,
        }
    }

    /// Finds the files and says how each is read.
    async fn plan(
        &self,
        cx: SourceContext,
        address: &Location,
        wanted: &FilePattern,
        now: Timestamp,
    ) -> Result<Box<dyn Source>> {
        let settings = Settings {
            sftp: self.sftp.as_ref(),
            stores: self.stores(),
        };
        let place = address.connect(settings, &cx).await?;
        let looks_only = cx.run.partial;
        let keeps = self.keeps_position();
        // Whoever wants to look at rows wants to see some.
        let mut memory = match keeps && !looks_only {
            true => ProcessedFiles::load(cx.position.load().await?.as_deref())?,
            false => ProcessedFiles::default(),
        };
        let choice = self.choice(wanted, looks_only);
        let chosen = select::choose(&*place, wanted, &choice, &mut memory).await?;
        if chosen.nothing_new {
            cx.counts.nothing_new();
        }
        let afterwards = FileActions {
            after: self.after.clone(),
            on_failure: self.on_failure.clone(),
            trigger: self.trigger.clone(),
            run: cx.run.id.clone(),
            now,
        };
        afterwards.leads_away(wanted, &chosen.files)?;
        let keeping = PostProcessing {
            memory,
            afterwards,
            pending: chosen.pending,
            listed: chosen.listed,
            newest: chosen.newest.map(|rank| (wanted.glob().to_owned(), rank)),
            active: keeps && !cx.run.dry_run && !looks_only,
            acts: !cx.run.dry_run && !looks_only,
        };
        if let Some(error) = chosen.refused {
            // What is still to be done with files of earlier runs does not wait for a new one.
            let finisher = PostProcessor {
                place,
                keeping,
                position: cx.position.clone(),
                rejects: cx.rejects.clone(),
            };
            finisher.only_pending().await?;
            return Err(error);
        }
        let tools = Arc::new(JobContext {
            format: self.format.clone(),
            unpacker: self.unpacker(&cx)?,
            scratch: cx.run.scratch_folder(),
        });
        let jobs = chosen
            .files
            .into_iter()
            .map(|file| {
                let known = (choice.read_again == ReadAgain::Changed)
                    .then(|| keeping.memory.hash_of(&file))
                    .flatten();
                Ok(Job {
                    known,
                    ..self.job(file, place.clone(), wanted, &tools)?
                })
            })
            .collect::<Result<_>>()?;
        Ok(Box::new(FileSource::new(cx, place, jobs, keeping)))
    }

    /// How to read one file.
    fn job(
        &self,
        file: FileInfo,
        place: Arc<dyn Storage>,
        wanted: &FilePattern,
        tools: &Arc<JobContext>,
    ) -> Result<Job> {
        let extension = Extension::of(&file.name);
        let layers = match &self.packing {
            Some(packing) => packing.layers().to_vec(),
            // What standard input is called tells nothing.
            None if self.uses_stdin() => Vec::new(),
            None => extension.layers.clone(),
        };
        // Members of a zip have formats of their own. All others are known before anything is read.
        if !layers.contains(&Codec::Zip) {
            extension.format_of(&file.name, tools.format.as_ref(), !layers.is_empty())?;
        }
        let added = self
            .add_columns
            .iter()
            .map(|(name, column)| {
                let added = match column {
                    AddedColumn::Name => Added::Text(Some(file.name.clone())),
                    AddedColumn::Date => Added::Text(
                        wanted
                            .date_in_name(file.file_name())
                            .map(|date| date.to_string().into()),
                    ),
                    AddedColumn::Modified => Added::Text(file.modified.map(|time| time.to_string().into())),
                    AddedColumn::Row => Added::Row,
                };
                (name.clone(), added)
            })
            .collect();
        Ok(Job {
            file,
            place,
            added,
            ahead: Prefetch::default(),
            layers,
            tools: tools.clone(),
            known: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_on_servers_settle_and_are_not_taken_by_their_time_alone() {
        let settle = |path: &str, settle: Option<u64>| {
            let mut config = FileConfig::of_path(path);
            config.settle = settle.map(|seconds| crate::config::HumanDuration(Duration::from_secs(seconds)));
            let settle = config.choice(&FilePattern::plain(path), false).settle;
            (settle.wait.as_secs(), settle.margin.as_secs())
        };
        assert_eq!(settle("sftp://files.contoso.com/out/*.csv", None), (30, 600));
        assert_eq!(settle("sftp://files.contoso.com/out/*.csv", Some(0)), (0, 600));
        assert_eq!(settle("s3://exports/*.csv", Some(5)), (5, 600));
        assert_eq!(settle("s3://exports/*.csv", None).0, 0);
        assert_eq!(settle("out/*.csv", Some(5)), (5, 0));
        assert_eq!(settle("out/*.csv", None), (0, 0));
    }
}
