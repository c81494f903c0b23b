//! Parses the settings once, for `validate`, `build` and `check`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::config::{AddedColumn, FileConfig};
use super::extension::{Extension, NEEDS_RANGES};
use super::file_name::{NameTemplate, RunNames};
use super::job::{ContentHash, Job, JobContext};
use super::post_process::{FileActions, OnFailure, OnSuccess, PostProcessor};
use super::select::{OrderBy, Selection};
use super::source::FileSource;
use super::state::ProcessedFiles;
use crate::codec::{Codec, Compression, Decoder};
use crate::component::{
    CheckStep, Description, Problems, SkipsUnchanged, Source, SourceConfig, SourceContext, SourceTraits,
    problems_error,
};
use crate::error::{Error, Result};
use crate::format::{self, Access, Added};
use crate::secret::SecretFiles;
use crate::storage::{self, FileInfo, FilePattern, Location, STANDARD_INPUT, Storage};

/// How far the clock of a server may be off, and how coarse its times may be: servers without NTP drift by minutes.
const CLOCK_MARGIN: Duration = Duration::from_mins(10);

#[async_trait]
impl SourceConfig for FileConfig {
    fn traits(&self) -> SourceTraits {
        let skips = !self.uses_stdin() && self.is_incremental();
        SourceTraits {
            uses_stdin: self.uses_stdin(),
            keeps_position: self.keeps_position(),
            skips_unchanged: skips.then_some(SkipsUnchanged {
                max_duration: Duration::MAX,
                remedy: "set its `select.incremental: false`",
            }),
            ..SourceTraits::default()
        }
    }

    /// Files are read again, but an older snapshot must not be sent after a newer one that was delivered.
    fn rewind(&self, before: Option<String>, after: Option<&str>) -> Result<Option<String>> {
        if !self.select.newest {
            return Ok(before);
        }
        let mut state = ProcessedFiles::load(before.as_deref())?;
        state.keep_newest_of(ProcessedFiles::load(after)?);
        Ok(Some(state.to_text()))
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        self.parse_into(Timestamp::UNIX_EPOCH, problems);
    }

    async fn build(&self, cx: SourceContext) -> Result<Box<dyn Source>> {
        let now = Timestamp::now();
        let plan = self.parse(now)?;
        let cancel = cx.run.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::interrupted()),
            source = self.source(plan, cx) => source,
        }
    }

    async fn check(&self, cx: SourceContext) -> Vec<CheckStep> {
        self.check_steps(&cx).await
    }
}

inventory::submit! {
    Description::source::<FileConfig>(
        "file",
        "reads files on the local disk, in remote storage or from standard input",
    )
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) location: Location,
    pub(super) pattern: FilePattern,
    pub(super) selection: Selection,
    actions: FileActions,
}

impl FileConfig {
    fn uses_stdin(&self) -> bool {
        self.path == STANDARD_INPUT
    }

    fn keeps_position(&self) -> bool {
        !self.uses_stdin()
            && (self.is_incremental() || self.on_success != OnSuccess::Keep || self.select.newest)
    }

    pub(super) fn parse(&self, now: Timestamp) -> Result<Plan> {
        let mut found = Vec::new();
        match self.parse_into(now, &mut Problems::new(&mut found)) {
            Some(plan) if found.is_empty() => Ok(plan),
            _ => Err(problems_error("", found)),
        }
    }

    /// Adds a problem for each invalid setting. `None` if `path` is invalid.
    pub(super) fn parse_into(&self, now: Timestamp, problems: &mut Problems<'_>) -> Option<Plan> {
        let location = self.parse_location(problems);
        self.check_format(location.as_ref(), problems);
        let pattern = location
            .as_ref()
            .and_then(|location| self.parse_pattern(location, now, &mut problems.at("path")));
        // The other settings are checked without a valid `path` too.
        let local = Location::Local(String::new());
        let known_location = location.as_ref().unwrap_or(&local);
        let selection = self.parse_selection(known_location, &mut problems.at("select"));
        let names = RunNames {
            run: "run".into(),
            now,
        };
        let marker = selection.marker.clone();
        let actions = FileActions::parse(&self.on_success, &self.on_failure, marker, names, problems);
        self.check_actions(known_location, problems);
        for (name, added) in &self.add_columns {
            if *added == AddedColumn::Date && !self.has_date_in_name() {
                problems.at("add_columns").at(name).add_with_hint(
                    "`path` has no date",
                    "add the date to `path` as `{any_date:%Y%m%d}`, or use `modified`",
                );
            }
        }
        Some(Plan {
            location: location?,
            pattern: pattern?,
            selection,
            actions,
        })
    }

    fn has_date_in_name(&self) -> bool {
        self.path.contains("{any_date")
    }

    fn parse_location(&self, problems: &mut Problems<'_>) -> Option<Location> {
        if self.path.is_empty() {
            problems
                .at("path")
                .add("empty; give a path, a pattern, a URL, or `-` for standard input");
            return None;
        }
        let location = Location::validate(&self.path, &mut problems.at("path"))?;
        self.storage.validate(&location, problems);
        Some(location)
    }

    fn parse_pattern(
        &self,
        location: &Location,
        now: Timestamp,
        problems: &mut Problems<'_>,
    ) -> Option<FilePattern> {
        let timezone = self.select.timezone.clone().unwrap_or_default();
        let offset = self.select.date_offset.map_or(Duration::ZERO, |offset| offset.0);
        let offset = SignedDuration::try_from(offset).unwrap_or(SignedDuration::MAX);
        let pattern = match FilePattern::new(location.path(), now, timezone.zone(), offset) {
            Ok(pattern) => pattern,
            Err(message) => {
                problems.add(message);
                return None;
            }
        };
        if pattern.is_pattern()
            && let Err(error) = glob::Pattern::new(pattern.glob())
        {
            problems.add_with_hint(
                format!("invalid pattern: {} (at character {})", error.msg, error.pos + 1),
                "`[` starts a set of characters; write a literal `[` as `[[]`",
            );
        }
        Some(pattern)
    }

    fn parse_selection(&self, location: &Location, problems: &mut Problems<'_>) -> Selection {
        let select = &self.select;
        if select.order_by == Some(OrderBy::DateInName) && !self.has_date_in_name() {
            problems.at("order_by").add_with_hint(
                "`date_in_name` requires a date in the name",
                "add it to `path` as `{any_date:%Y%m%d}`",
            );
        }
        let uses_date = self.path.contains("{date");
        for (key, given) in [
            ("date_offset", select.date_offset.is_some()),
            ("timezone", select.timezone.is_some()),
        ] {
            if given && !uses_date {
                problems.at(key).add_with_hint(
                    "has no effect: `path` has no `{date:…}`",
                    "add the day of the run to `path` as `{date:%Y%m%d}`",
                );
            }
        }
        let marker = select.marker.as_deref().map(NameTemplate::marker).transpose();
        let marker = marker.unwrap_or_else(|error| {
            problems.at("marker").add_with_hint(error.message, error.hint);
            None
        });
        let backend = location.backend();
        let default_quiet_period = backend.map_or(Duration::ZERO, |backend| backend.quiet_period);
        Selection {
            settings: select.clone(),
            incremental: self.is_incremental(),
            order_by: select.order_by.unwrap_or(match self.has_date_in_name() {
                true => OrderBy::DateInName,
                false => OrderBy::Name,
            }),
            marker,
            quiet_period: select
                .quiet_period
                .map_or(default_quiet_period, |period| period.0),
            clock_margin: backend.map_or(Duration::ZERO, |_| CLOCK_MARGIN),
        }
    }

    fn check_actions(&self, location: &Location, problems: &mut Problems<'_>) {
        let why = match location {
            Location::StandardInput => "not supported for standard input",
            Location::Remote(remote) => match remote.backend.read_only {
                Some(why) => why,
                None => return,
            },
            Location::Local(_) => return,
        };
        for (key, given) in [
            ("on_success", self.on_success != OnSuccess::Keep),
            ("on_failure", self.on_failure != OnFailure::Keep),
        ] {
            if given {
                problems.at(key).add(why);
            }
        }
        let select = &self.select;
        for (key, given) in [
            ("incremental", select.incremental.is_some()),
            ("quiet_period", select.quiet_period.is_some()),
            ("marker", select.marker.is_some()),
        ] {
            if given && *location == Location::StandardInput {
                problems.at("select").at(key).add(why);
            }
        }
    }

    fn check_format(&self, location: Option<&Location>, problems: &mut Problems<'_>) {
        self.codec_settings().validate(problems);
        let stdin = self.uses_stdin();
        let extension = match location {
            // The dots of a host are not extensions.
            Some(Location::Remote(remote)) => Extension::of(&remote.path),
            _ => Extension::of(&self.path),
        };
        let detects = !self.path.is_empty() && !stdin && !extension.open;
        match &self.format {
            Some(format) => format.format.validate(&mut problems.at("format")),
            None if stdin => problems.at("format").add_with_hint(
                "required: standard input has no extension to detect the format by",
                format!("set it to one of {}", format::names()),
            ),
            // Members of an archive have their own names.
            None if extension.codecs.contains(&Codec::Zip) => {}
            None if detects && extension.format().is_none() => problems
                .at("format")
                .add_with_hint(extension.unknown(), extension.hint()),
            None => {}
        }
        let format = self.format.clone().or_else(|| extension.format());
        let Some(format) = format.filter(|format| format.registration.access == Access::Ranges) else {
            return;
        };
        let name = format.registration.name;
        if stdin {
            problems.at("format").add_with_hint(
                format!("`{name}` cannot be read from standard input"),
                NEEDS_RANGES,
            );
        }
        let encoded = match &self.compression {
            Some(compression) => !compression.codecs().is_empty(),
            None => detects && !extension.codecs.is_empty(),
        };
        if encoded {
            problems.at("compression").add_with_hint(
                format!("`{name}` cannot be read from a compressed or encrypted file"),
                NEEDS_RANGES,
            );
        }
    }

    fn is_incremental(&self) -> bool {
        self.select
            .incremental
            .unwrap_or_else(|| self.path.contains("://"))
    }

    pub(super) fn decoder(&self, cx: &SourceContext) -> Result<Decoder> {
        let run = &cx.run;
        Decoder::new(
            &self.codec_settings(),
            &run.base,
            &SecretFiles::of(run),
            run.scratch_folder(),
        )
    }

    pub(super) async fn connect(&self, location: &Location, cx: &SourceContext) -> Result<Arc<dyn Storage>> {
        let context = storage::Context {
            base: cx.run.base.clone(),
            secret_files: SecretFiles::of(&cx.run),
            cancel: cx.run.cancel.clone(),
        };
        self.storage.connect(location, &context).await
    }

    async fn source(&self, plan: Plan, cx: SourceContext) -> Result<Box<dyn Source>> {
        let (pattern, mut selection, mut actions) = (plan.pattern, plan.selection, plan.actions);
        let storage = self.connect(&plan.location, &cx).await?;
        let only_reads = cx.run.partial;
        if only_reads {
            // A preview shows rows in any case.
            selection.incremental = false;
            selection.quiet_period = Duration::ZERO;
        }
        let keeps_state = self.keeps_position() && !only_reads;
        let mut state = match keeps_state {
            true => ProcessedFiles::load(cx.position.load().await?.as_deref())?,
            false => ProcessedFiles::default(),
        };
        let selected = selection.select(&*storage, &pattern, &mut state).await?;
        if selected.nothing_new {
            cx.counts.nothing_new();
        }
        actions.names.run = cx.run.id.clone();
        actions.check_targets(&pattern, &selected.files)?;
        let processor = PostProcessor {
            storage,
            state,
            actions,
            pending: selected.pending,
            listed_at: selected.listed_at,
            newest: selected.newest.map(|rank| (pattern.glob().to_owned(), rank)),
            active: keeps_state && !cx.run.dry_run,
            position: cx.position.clone(),
            rejects: cx.rejects.clone(),
        };
        if let Some(error) = selected.refused {
            // Pending files do not wait for a new one.
            processor.only_pending().await?;
            return Err(error);
        }
        let context = Arc::new(JobContext {
            format: self.format.clone(),
            decoder: self.decoder(&cx)?,
            scratch: cx.run.scratch_folder(),
        });
        let jobs = selected.files.into_iter().map(|file| {
            let known_hash = processor.state.hash_of(&file).filter(|_| selection.incremental);
            let mut job = self.job(file, &processor.storage, &pattern, &context)?;
            job.known_hash = known_hash;
            job.hash = processor.active.then(ContentHash::default);
            Ok::<_, Error>(job)
        });
        let jobs = jobs.collect::<Result<_>>()?;
        Ok(Box::new(FileSource {
            moves_failed: !cx.run.dry_run && !only_reads,
            cx,
            jobs,
            processor,
        }))
    }

    fn job(
        &self,
        file: FileInfo,
        storage: &Arc<dyn Storage>,
        pattern: &FilePattern,
        context: &Arc<JobContext>,
    ) -> Result<Job> {
        let extension = Extension::of(&file.name);
        let codecs = match self.compression.as_ref().map(Compression::codecs) {
            Some(codecs) => codecs.to_vec(),
            // The name of standard input says nothing.
            None if self.uses_stdin() => Vec::new(),
            None => extension.codecs.clone(),
        };
        // Except for the members of an archive, the format is known before anything is read.
        if !codecs.contains(&Codec::Zip) {
            extension.format_of(&file.name, context.format.as_ref(), !codecs.is_empty())?;
        }
        let text = |text: Option<String>| Added::Text(text.map(Into::into));
        let added = self.add_columns.iter().map(|(name, column)| {
            let date = || pattern.date_in_name(file.file_name());
            let added = match column {
                AddedColumn::Name => Added::Text(Some(file.name.clone())),
                AddedColumn::Date => text(date().map(|date| date.to_string())),
                AddedColumn::Modified => text(file.modified.map(|time| time.to_string())),
                AddedColumn::Row => Added::Row,
            };
            (name.clone(), added)
        });
        Ok(Job {
            added: added.collect(),
            file,
            storage: storage.clone(),
            prefetched: Default::default(),
            codecs,
            context: context.clone(),
            known_hash: None,
            hash: None,
        })
    }
}
