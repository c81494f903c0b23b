//! What users write about dates.

use schemars::JsonSchema;
use serde::Deserialize;

/// How dates are read: the `dates:` block of a transform, and of a single field, whose keys win over the
/// transform's.
///
/// ```yaml
/// dates:
///   timezone: America/New_York
///   formats: ["%m/%d/%Y", excel_serial]
///   null_values: ["0000-00-00", "9999-12-31", "n/a"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DateSettings {
    /// Formats to try, in order, after ISO 8601. Each is a pattern of `strftime` (`%m/%d/%Y`, `%d.%m.%Y %H:%M`,
    /// `%d-%b-%Y`) or one of the names `excel_serial`, `excel_serial_1904` (days since Excel's epoch),
    /// `epoch_seconds`, `epoch_milliseconds` (since 1970 in UTC), `odata` (`/Date(1462060800000)/`). The first
    /// pattern that fits decides; a number's name decides only if its date is plausible. Day and month are never
    /// guessed.
    pub formats: Option<Vec<String>>,
    /// Whether ISO 8601 (`2024-01-15`, `2024-01-15T09:30:00Z`, `20240115`) is understood, before the formats.
    /// Default: true.
    pub iso8601: Option<bool>,
    /// The time zone of dates that do not say theirs: an IANA name such as `America/New_York`, or a fixed offset such
    /// as `+02:00`. There is no default: a wrong guess moves people's last day.
    pub timezone: Option<String>,
    /// Values that mean "no date", compared without white space around and without regard to letter case. One that
    /// is itself a date means that day, however it is written, in date and timestamp columns too; a number means
    /// that number in number columns too. Values that are empty never need to be listed.
    pub null_values: Option<Vec<String>>,
    /// The time of day given to dates without one, as `hh:mm` or `hh:mm:ss`. Default: `00:00`.
    pub default_time: Option<String>,
    /// What becomes of a local time that the clocks skip when daylight saving begins. Default: `later`.
    pub on_gap: Option<OnGap>,
    /// What becomes of a local time that the clocks show twice when daylight saving ends. Default: `earlier`.
    pub on_overlap: Option<OnOverlap>,
    /// The first plausible day, as `yyyy-mm-dd`; a date before it is rejected. Default: `1980-01-01`. No event that
    /// the connector has a use for is earlier, while these are: the usual placeholders (1900-01-01, 1899-12-30,
    /// 0001-01-01), the zero of 1970, and numbers read in the wrong unit, such as seconds as milliseconds.
    pub earliest: Option<String>,
    /// The last plausible day, as `yyyy-mm-dd`; a date after it is rejected. Default: `2100-01-01`, which no plan
    /// reaches, while the usual placeholders (2999-12-31, 9999-12-31) are later.
    pub latest: Option<String>,
    /// Where years of two digits (`%y`) divide: those below it are 20yy, the others 19yy. From 0 to 100. There is
    /// no default: `%y` needs it.
    pub century_pivot: Option<u8>,
}

/// What becomes of a local time that the clocks skip. A plain date, whose time of day is only the default one, is
/// never rejected for it and goes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// 02:30 becomes 03:30.
    #[default]
    Later,
    /// 02:30 becomes 01:30.
    Earlier,
    /// The row is rejected.
    Reject,
}

/// What becomes of a local time that the clocks show twice. A plain date, whose time of day is only the default one,
/// is never rejected for it and is the first of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOverlap {
    /// The first of the two, still in daylight saving time.
    #[default]
    Earlier,
    /// The second of the two, in standard time.
    Later,
    /// The row is rejected.
    Reject,
}

impl DateSettings {
    /// These settings, with `base`'s for the keys that are not given here. Lists are replaced, not joined.
    #[must_use]
    pub fn merged_over(&self, base: &Self) -> Self {
        Self {
            formats: self.formats.as_ref().or(base.formats.as_ref()).cloned(),
            iso8601: self.iso8601.or(base.iso8601),
            timezone: self.timezone.as_ref().or(base.timezone.as_ref()).cloned(),
            null_values: self.null_values.as_ref().or(base.null_values.as_ref()).cloned(),
            default_time: self.default_time.as_ref().or(base.default_time.as_ref()).cloned(),
            on_gap: self.on_gap.or(base.on_gap),
            on_overlap: self.on_overlap.or(base.on_overlap),
            earliest: self.earliest.as_ref().or(base.earliest.as_ref()).cloned(),
            latest: self.latest.as_ref().or(base.latest.as_ref()).cloned(),
            century_pivot: self.century_pivot.or(base.century_pivot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_own_keys_win_one_by_one() {
        let base: DateSettings =
            serde_json::from_str(r#"{"timezone": "UTC", "formats": ["%Y"], "on_gap": "reject"}"#).unwrap();
        let own: DateSettings = serde_json::from_str(r#"{"formats": ["%d"], "iso8601": false}"#).unwrap();
        let merged = own.merged_over(&base);
        assert_eq!(merged.timezone.as_deref(), Some("UTC"));
        assert_eq!(merged.formats.as_deref(), Some(["%d".to_owned()].as_slice()));
        assert_eq!(
            (merged.iso8601, merged.on_gap),
            (Some(false), Some(OnGap::Reject))
        );
        assert!(serde_json::from_str::<DateSettings>(r#"{"time_zone": "UTC"}"#).is_err());
    }
}
