//! Columns into texts.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use ahash::AHashMap;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, TimeUnit};

use super::iso;
use super::moment::{Moment, Rules, null_value};
use super::named::Named;
use super::pattern::{Pattern, variants};
use crate::component::RejectCode;
use crate::hr::checked::{self, Checked, CheckedBuilder};
use crate::hr::space::trim;

/// Most texts kept with their results: three times the days from 1980 to 2040. Values that never repeat do not fill the
/// memory.
const MAX_KNOWN: usize = 1 << 16;

/// Reads columns of dates by [`DateSettings`](super::DateSettings). Any number of threads may use it at once.
pub(crate) struct DateReader {
    rules: Rules,
    formats: Vec<Format>,
    iso8601: bool,
    /// Whether eight bare digits are an ISO date.
    iso_digits: bool,
    /// Texts in lower case that mean "no date", and as numbers.
    null_values: Vec<(String, Option<f64>)>,
    /// The message for a value that no format fits.
    invalid: String,
    /// Patterns that are not among the formats, with a remark for a value that fits one.
    variants: Vec<(Pattern, String)>,
    /// Results of earlier texts: HR dates are few distinct days in millions of rows.
    known: RwLock<AHashMap<String, Outcome>>,
}

/// Values are personal data.
impl fmt::Debug for DateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DateReader")
            .field("formats", &self.formats)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Format {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Pattern(Pattern),
    Named(Named),
}

impl Format {
    fn is_numeric(&self) -> bool {
        matches!(self.kind, Kind::Named(named) if named != Named::OData)
    }
}

/// A column whose type cannot hold dates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column of type {column_type} cannot be read as dates")]
pub(crate) struct WrongType {
    pub column_type: DataType,
    pub hint: &'static str,
}

type Outcome = checked::Outcome<String>;

impl DateReader {
    pub(super) fn new(
        formats: Vec<Format>,
        iso8601: bool,
        rules: Rules,
        null_values: &[String],
        pivot: Option<u64>,
    ) -> Self {
        let names = formats.iter().map(|format| format!("`{}`", format.name));
        let expected = one_of(iso8601.then(|| "ISO 8601".to_owned()).into_iter().chain(names));
        let is_epoch = |format: &Format| {
            use Named::{EpochMilliseconds, EpochSeconds};
            matches!(format.kind, Kind::Named(EpochSeconds | EpochMilliseconds))
        };
        let mut reader = Self {
            variants: find_variants(&formats, pivot),
            invalid: format!("invalid date: expected {expected}"),
            rules,
            iso8601,
            iso_digits: !formats.iter().any(is_epoch),
            formats,
            null_values: Vec::new(),
            known: RwLock::default(),
        };
        for value in null_values {
            let text = trim(value);
            // Typed columns are read without formats: an ISO date means the day there as well.
            for moment in [reader.moment(text), iso::read(text, true)] {
                if let Some(Moment::Day(day)) = moment {
                    reader.rules.null_days.push(day);
                }
            }
            let number = text.parse().ok();
            reader.null_values.push((text.to_lowercase(), number));
        }
        reader
    }

    /// Reads a column: one text for each row, null where there is no value or a fault. With `required`, a row without a
    /// value is a fault.
    pub(crate) fn read(&self, values: &ArrayRef, required: bool) -> Result<Checked, WrongType> {
        use DataType as T;
        let plain = |to: &T| cast(values, to).map_err(|_| wrong_type(values.data_type()));
        match values.data_type() {
            T::Utf8 => Ok(self.read_texts(values.as_string(), required)),
            T::LargeUtf8 | T::Utf8View => self.read(&plain(&T::Utf8)?, required),
            T::Null => self.read(&new_null_array(&T::Utf8, values.len()), required),
            T::Dictionary(_, inner) => self.read(&plain(inner)?, required),
            T::RunEndEncoded(_, inner) => self.read(&plain(inner.data_type())?, required),
            T::Date32 => self.each::<Int64Type>(values, required, |days| {
                self.outcome(Moment::from_local(days * 86_400, 0, true))
            }),
            T::Date64 => self.each::<Int64Type>(values, required, |count| {
                let (seconds, nanos) = split(count, TimeUnit::Millisecond);
                self.outcome(Moment::from_local(seconds, nanos, true))
            }),
            T::Timestamp(unit, zone) => self.each::<Int64Type>(values, required, |count| {
                let (seconds, nanos) = split(count, *unit);
                self.outcome(match zone {
                    None => Moment::from_local(seconds, nanos, false),
                    Some(_) => Moment::from_epoch(seconds, nanos),
                })
            }),
            number if number.is_integer() || number.is_floating() => {
                if !self.formats.iter().any(Format::is_numeric) {
                    return Err(WrongType {
                        column_type: number.clone(),
                        hint: "a bare number does not say what it counts: add one of `excel_serial`, \
                               `epoch_seconds`, `epoch_milliseconds` to `formats`, or turn it into text in the field's expression: cast(… as varchar)",
                    });
                }
                self.each::<Float64Type>(values, required, |number| self.number(number))
            }
            other => Err(wrong_type(other)),
        }
    }

    fn each<T: ArrowPrimitiveType>(
        &self,
        values: &ArrayRef,
        required: bool,
        read: impl Fn(T::Native) -> Outcome,
    ) -> Result<Checked, WrongType> {
        let counts = cast(values, &T::DATA_TYPE).map_err(|_| wrong_type(values.data_type()))?;
        let mut column = CheckedBuilder::new(values.len(), values.len() * 25, required);
        for count in counts.as_primitive::<T>() {
            column.push(&count.map_or(Ok(None), &read));
        }
        Ok(column.finish())
    }

    fn read_texts(&self, values: &StringArray, required: bool) -> Checked {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Kept at the end of the column, so that columns do not wait for one another.
        let mut new: AHashMap<String, Outcome> = AHashMap::new();
        let mut column = CheckedBuilder::new(values.len(), values.len() * 25, required);
        for text in values {
            let text = text.map(trim).unwrap_or_default();
            if let Some(outcome) = known.get(text).or_else(|| new.get(text)) {
                column.push(outcome);
                continue;
            }
            let outcome = self.text(text);
            column.push(&outcome);
            new.insert(text.to_owned(), outcome);
        }
        let room = MAX_KNOWN.saturating_sub(known.len());
        drop(known);
        if room > 0 && !new.is_empty() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.extend(new.into_iter().take(room));
        }
        column.finish()
    }

    /// `text` in the first format that matches, else in ISO 8601: a declared format such as `%Y-%d-%m` wins over ISO.
    fn moment(&self, text: &str) -> Option<Moment> {
        let mut implausible = None;
        for format in &self.formats {
            match &format.kind {
                Kind::Pattern(pattern) => {
                    if let Some(moment) = pattern.read(text) {
                        return Some(moment);
                    }
                }
                Kind::Named(named) => {
                    if let Some(moment) = named.read(text) {
                        if self.rules.is_plausible(moment) {
                            return Some(moment);
                        }
                        implausible.get_or_insert(moment);
                    }
                }
            }
        }
        let iso = if self.iso8601 {
            iso::read(text, self.iso_digits)
        } else {
            None
        };
        iso.or(implausible)
    }

    fn text(&self, text: &str) -> Outcome {
        if text.is_empty() {
            return Ok(None);
        }
        if self.is_null_value(text) {
            return Err(null_value());
        }
        match self.moment(text) {
            Some(moment) => self.outcome(moment),
            None => Err((RejectCode::InvalidDate, self.explain(text).into())),
        }
    }

    fn number(&self, number: f64) -> Outcome {
        if self.null_values.iter().any(|(_, null)| *null == Some(number)) {
            return Err(null_value());
        }
        let named = self.formats.iter().filter_map(|format| match format.kind {
            Kind::Named(named) => named.read_number(number),
            Kind::Pattern(_) => None,
        });
        let moments: Vec<Moment> = named.collect();
        let plausible = moments.iter().find(|moment| self.rules.is_plausible(**moment));
        if let Some(moment) = plausible.or(moments.first()) {
            return self.outcome(*moment);
        }
        let numeric = self.formats.iter().filter(|format| format.is_numeric());
        let names = one_of(numeric.map(|format| format!("`{}`", format.name)));
        let message = format!("invalid date: expected {names}");
        Err((RejectCode::InvalidDate, message.into()))
    }

    fn outcome(&self, moment: Moment) -> Outcome {
        self.rules.text(moment).map(Some)
    }

    fn is_null_value(&self, text: &str) -> bool {
        self.null_values.iter().any(|(null, _)| {
            text.eq_ignore_ascii_case(null)
                || (!text.is_ascii() && text.chars().flat_map(char::to_lowercase).eq(null.chars()))
        })
    }

    /// What is wrong with a text that no format fits; does not show the text.
    fn explain(&self, text: &str) -> String {
        let invalid = &self.invalid;
        let fits = |pattern: &Pattern| {
            let moment = pattern.read(text);
            moment.is_some_and(|moment| self.rules.is_plausible(moment))
        };
        if let Some((_, remark)) = self.variants.iter().find(|(pattern, _)| fits(pattern)) {
            return format!("{invalid}; {remark}");
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return format!(
                "{invalid}; it is a bare number: add `excel_serial` or `epoch_seconds` to `formats` to say what it counts"
            );
        }
        invalid.clone()
    }
}

/// Patterns that are not among the formats, with a remark for a value that fits one.
fn find_variants(formats: &[Format], pivot: Option<u64>) -> Vec<(Pattern, String)> {
    let given = formats.iter().map(|format| format.name.as_str());
    let mut known: Vec<String> = given.clone().map(str::to_owned).collect();
    let mut found: Vec<(Pattern, String)> = Vec::new();
    for variant in given.chain(["%Y-%m-%d"]).flat_map(variants) {
        // The century does not matter for whether a value fits.
        if !known.contains(&variant)
            && let Ok(pattern) = Pattern::compile(&variant, pivot.or(Some(70)))
        {
            let needs_pivot = pattern.two_digit_year && pivot.is_none();
            let needs = if needs_pivot { ", with `century_pivot`" } else { "" };
            let remark = format!("it fits `{variant}`, which could be added to `formats`{needs}");
            found.push((pattern, remark));
            known.push(variant);
        }
    }
    found
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let last = names.pop().unwrap_or_default();
    match names.is_empty() {
        true => last,
        false => format!("{} or {last}", names.join(", ")),
    }
}

/// Seconds, and nanoseconds on top.
fn split(count: i64, unit: TimeUnit) -> (i64, i32) {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (count.div_euclid(per_second), nanos as i32)
}

fn wrong_type(column_type: &DataType) -> WrongType {
    let hint = if column_type.is_decimal() {
        "turn it into a whole number or into text in the field's expression: cast(… as bigint) or cast(… as varchar)"
    } else {
        "turn it into a date or into text in the field's expression: cast(… as date) or cast(… as varchar)"
    };
    WrongType {
        column_type: column_type.clone(),
        hint,
    }
}
