//! The `dates:` block, and its check.

use schemars::JsonSchema;
use serde::Deserialize;

use super::moment::Rules;
use super::named::Named;
use super::pattern::Pattern;
use super::reader::{DateReader, Format, Kind};
use crate::component::Problems;
use crate::settings::{BoundedInt, Timezone};

/// How dates are read: the `dates` block of a transform, and of a single field, whose keys override the transform's.
///
/// ```yaml
/// dates:
///   timezone: America/New_York
///   formats: ["%m/%d/%Y", excel_serial]
///   null_values: ["0000-00-00", "9999-12-31", "n/a"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateSettings {
    /// Formats to try, in order, before ISO 8601 (`2024-01-15`, `2024-01-15T09:30:00Z`, `20240115`). Each is a strftime
    /// pattern (`%m/%d/%Y`, `%d.%m.%Y %H:%M`, `%d-%b-%Y`) or one of `excel_serial` (days since Excel's
    /// epoch), `epoch_seconds`, `epoch_milliseconds` (since 1970 in UTC), `odata` (`/Date(1462060800000)/`). The
    /// first pattern that matches is used; a numeric format is used only if its date is plausible.
    #[schemars(example = ["%m/%d/%Y", "excel_serial"])]
    pub formats: Option<Vec<String>>,
    /// Whether ISO 8601 is read, too, where no format matches. `false` needs `formats`. Default: `true`.
    #[schemars(example = false)]
    pub iso8601: Option<bool>,
    /// The time zone of dates without an offset: an IANA name such as `America/New_York`, or a fixed offset such as
    /// `+02:00`. No default: a wrong guess moves people's last day.
    #[schemars(example = "America/New_York")]
    pub timezone: Option<Timezone>,
    /// Values that mean "no date", compared case-insensitively and without surrounding white space. A date here matches that
    /// day in every notation, also in date and timestamp columns; a number matches that number. Empty values always mean
    /// "no date".
    #[schemars(example = ["0000-00-00", "9999-12-31", "n/a"])]
    pub null_values: Option<Vec<String>>,
    /// What to do with a local time that does not exist because clocks go forward. Default: `later`.
    #[schemars(example = OnDstChange::Reject)]
    pub on_gap: Option<OnDstChange>,
    /// What to do with a local time that occurs twice because clocks go back. Default: `earlier`.
    #[schemars(example = OnDstChange::Reject)]
    pub on_overlap: Option<OnDstChange>,
    /// The pivot of two-digit years (`%y`): years below it are 20yy, the others 19yy. Required with `%y`.
    #[schemars(example = 70)]
    pub century_pivot: Option<BoundedInt<0, 100>>,
}

/// What to do with a local time that a DST change skips or repeats. A plain date, which is midnight, is
/// never rejected for it: it is the later of a skipped time and the earlier of a repeated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnDstChange {
    /// A skipped 02:30 becomes 01:30; of a time that occurs twice it is the first, still in daylight saving time.
    Earlier,
    /// A skipped 02:30 becomes 03:30; of a time that occurs twice it is the second, in standard time.
    Later,
    /// The row is rejected.
    Reject,
}

impl DateSettings {
    /// These settings, with those of `base` for the keys not set here. Lists are replaced, not joined.
    #[must_use]
    pub(crate) fn merged_over(&self, base: &Self) -> Self {
        let (own, base) = (self.clone(), base.clone());
        Self {
            formats: own.formats.or(base.formats),
            iso8601: own.iso8601.or(base.iso8601),
            timezone: own.timezone.or(base.timezone),
            null_values: own.null_values.or(base.null_values),
            on_gap: own.on_gap.or(base.on_gap),
            on_overlap: own.on_overlap.or(base.on_overlap),
            century_pivot: own.century_pivot.or(base.century_pivot),
        }
    }

    /// Adds a problem for each invalid key. For the two halves of a [`merged_over`](Self::merged_over), so that a problem
    /// appears where it was written; if neither has any, [`reader`](Self::reader) finds the rest.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        self.compile_formats(self.pivot().or(Some(0)), problems);
    }

    /// The reader for these settings; `None` if there are problems, all of which are added.
    pub(crate) fn reader(&self, problems: &mut Problems<'_>) -> Option<DateReader> {
        let before = problems.len();
        let formats = self.compile_formats(self.pivot(), problems);
        let iso8601 = self.iso8601.unwrap_or(true);
        if !iso8601 && formats.is_empty() && problems.len() == before {
            problems
                .at("iso8601")
                .add("`false` needs at least one format in `formats`: no date could be read");
        }
        let Some(timezone) = &self.timezone else {
            problems.at("timezone").add_with_hint(
                "is missing: dates without an offset need a time zone",
                "set the zone in which the HR system means its dates, such as `timezone: America/New_York`, or a fixed \
                 offset such as `timezone: \"+02:00\"`",
            );
            return None;
        };
        let rules = Rules {
            zone: timezone.zone().clone(),
            on_gap: self.on_gap.unwrap_or(OnDstChange::Later),
            on_overlap: self.on_overlap.unwrap_or(OnDstChange::Earlier),
            null_days: Vec::new(),
        };
        let pivot = self.pivot();
        let null_values = self.null_values.as_deref().unwrap_or_default();
        (problems.len() == before).then(|| DateReader::new(formats, iso8601, rules, null_values, pivot))
    }

    fn pivot(&self) -> Option<u64> {
        self.century_pivot.map(BoundedInt::get)
    }

    fn compile_formats(&self, pivot: Option<u64>, problems: &mut Problems<'_>) -> Vec<Format> {
        let mut compiled = Vec::new();
        let given = self.formats.as_deref().unwrap_or_default();
        let mut problems = problems.at("formats");
        for (index, source) in given.iter().enumerate() {
            let mut here = problems.at_index(index);
            if given[..index].contains(source) {
                here.add(format!("`{source}` occurs twice"));
                continue;
            }
            let kind = match Named::from_name(source) {
                Some(named) => Ok(Kind::Named(named)),
                None => Pattern::compile(source, pivot).map(Kind::Pattern),
            };
            let name = source.clone();
            match kind {
                Ok(kind) => compiled.push(Format { name, kind }),
                Err((message, hint)) => here.add_with_hint(message, hint),
            }
        }
        compiled
    }
}
