//! Columns into texts.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};

use super::iso;
use super::memo::Memo;
use super::moment::Moment;
use super::named::{Named, Number};
use super::pattern::{Pattern, variants};
use super::zone::{Reason, Rules};
use crate::component::RejectCode;
use crate::hr::checked::{Checked, RowFault};
use crate::hr::space::trim;

/// Reads columns of dates by [`DateSettings`](super::DateSettings). Any number of threads may use it at once.
pub(crate) struct DateReader {
    rules: Rules,
    formats: Vec<Format>,
    /// Whether eight bare digits are an ISO date.
    iso_digits: bool,
    null_values: Vec<NullValue>,
    /// The message for a value that no format fits.
    invalid: String,
    /// Patterns that are not among the formats, with a remark for a value that fits one.
    variants: Vec<(Pattern, String)>,
    texts: Memo<String, Outcome>,
    counts: Memo<(Unit, i64), Outcome>,
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
pub(super) enum Format {
    Pattern(Pattern),
    Named(Named),
}

impl Format {
    fn name(&self) -> &str {
        match self {
            Self::Pattern(pattern) => pattern.source(),
            Self::Named(named) => named.name(),
        }
    }

    fn is_numeric(&self) -> bool {
        matches!(self, Self::Named(named) if named.is_numeric())
    }
}

/// A value that means "no date".
struct NullValue {
    lower: String,
    number: Option<f64>,
}

/// A column whose type cannot hold dates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column of type {column_type} cannot be read as dates")]
pub(crate) struct WrongType {
    /// The column's type.
    pub column_type: DataType,
    /// How to fix it.
    pub hint: &'static str,
}

/// The result for one value: a text, no value, or a fault.
type Outcome = Result<Option<String>, (RejectCode, Cow<'static, str>)>;

/// What the integers of a column without text count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Days,
    /// Milliseconds, where midnight is a day without time.
    Date64,
    Local(TimeUnit),
    Instant(TimeUnit),
    Number,
    /// The bits of a floating-point number.
    Float,
}

const NULL_VALUE: &str = "a required value is missing: this is one of the `null_values`";

impl DateReader {
    pub(super) fn new(
        formats: Vec<Format>,
        rules: Rules,
        null_values: &[String],
        pivot: Option<u16>,
    ) -> Self {
        let names: Vec<String> = formats
            .iter()
            .map(|format| format!("`{}`", format.name()))
            .collect();
        let epoch = formats
            .iter()
            .any(|format| matches!(format, Format::Named(named) if named.is_epoch()));
        let mut reader = Self {
            variants: find_variants(&formats, pivot),
            invalid: format!(
                "invalid date: expected {}",
                one_of(std::iter::once("ISO 8601".to_owned()).chain(names))
            ),
            rules,
            formats,
            iso_digits: !epoch,
            null_values: Vec::new(),
            texts: Memo::new(),
            counts: Memo::new(),
        };
        for value in null_values {
            let text = trim(value);
            // Typed columns are read without formats: an ISO date means the day there as well.
            for moment in [reader.moment(text), iso::read(text, true)] {
                if let Some(Moment::Day(day)) = moment {
                    reader.rules.null_days.push(day);
                }
            }
            reader.null_values.push(NullValue {
                lower: text.to_lowercase(),
                number: text.parse().ok(),
            });
        }
        reader
    }

    /// Reads a column: one text for each row, null where there is no value or a fault. With `required`, a row without a
    /// value is a fault.
    ///
    /// # Errors
    /// The column's type holds no dates, or holds numbers and no format says what they mean.
    pub(crate) fn read(&self, values: &ArrayRef, required: bool) -> Result<Checked, WrongType> {
        use DataType as T;
        let column_type = values.data_type();
        let is_number = column_type.is_integer() || column_type.is_floating();
        if is_number && !self.formats.iter().any(Format::is_numeric) {
            return Err(WrongType {
                column_type: column_type.clone(),
                hint: "a bare number does not say what it counts: add one of `excel_serial`, \
                       `excel_serial_1904`, `epoch_seconds`, `epoch_milliseconds` to `formats`, or turn it into \
                       text in the field's expression: cast(… as varchar)",
            });
        }
        let unit = match column_type {
            T::Utf8 => return Ok(self.read_texts(values.as_string(), required)),
            T::LargeUtf8 | T::Utf8View => return self.read_cast(values, &T::Utf8, required),
            T::Null => return self.read(&new_null_array(&T::Utf8, values.len()), required),
            T::Dictionary(_, inner) => return self.read_cast(values, inner, required),
            T::RunEndEncoded(_, inner) => return self.read_cast(values, inner.data_type(), required),
            T::Date32 => Unit::Days,
            T::Date64 => Unit::Date64,
            T::Timestamp(unit, None) => Unit::Local(*unit),
            T::Timestamp(unit, Some(_)) => Unit::Instant(*unit),
            _ if column_type.is_integer() => Unit::Number,
            _ if column_type.is_floating() => Unit::Float,
            _ => return Err(wrong_type(column_type)),
        };
        let cast_to = |to| cast(values, to).map_err(|_| wrong_type(column_type));
        let counts: Int64Array = match column_type {
            // Beyond an i64 no count is a date.
            T::UInt64 => {
                let values = values.as_primitive::<UInt64Type>();
                values.unary(|value| i64::try_from(value).unwrap_or(i64::MAX))
            }
            _ if unit == Unit::Float => {
                let values = cast_to(&T::Float64)?;
                values
                    .as_primitive::<Float64Type>()
                    .unary(|value| value.to_bits().cast_signed())
            }
            _ => cast_to(&T::Int64)?.as_primitive::<Int64Type>().clone(),
        };
        let mut memo = self.counts.column();
        let mut column = Builder::new(counts.len(), required);
        for (row, count) in counts.iter().enumerate() {
            match count {
                None => column.push(row, &Ok(None)),
                Some(count) => column.push(row, memo.get(&(unit, count), || self.count(unit, count))),
            }
        }
        memo.finish();
        Ok(column.finish())
    }

    fn read_cast(&self, values: &ArrayRef, to: &DataType, required: bool) -> Result<Checked, WrongType> {
        let plain = cast(values, to).map_err(|_| wrong_type(values.data_type()))?;
        self.read(&plain, required)
    }

    fn read_texts(&self, values: &StringArray, required: bool) -> Checked {
        let mut memo = self.texts.column();
        let mut column = Builder::new(values.len(), required);
        for (row, text) in values.iter().enumerate() {
            match text.map(trim) {
                None => column.push(row, &Ok(None)),
                Some(text) => column.push(row, memo.get(text, || self.text(text))),
            }
        }
        memo.finish();
        column.finish()
    }

    /// `text` in the first format that matches, else in ISO 8601: a declared format such as `%Y-%d-%m` wins over ISO.
    fn moment(&self, text: &str) -> Option<Moment> {
        let mut implausible = None;
        for format in &self.formats {
            match format {
                Format::Pattern(pattern) => {
                    if let Some(moment) = pattern.read(text) {
                        return Some(moment);
                    }
                }
                Format::Named(named) => {
                    if let Some(moment) = named.read(text) {
                        if self.rules.is_plausible(moment) {
                            return Some(moment);
                        }
                        implausible.get_or_insert(moment);
                    }
                }
            }
        }
        iso::read(text, self.iso_digits).or(implausible)
    }

    fn text(&self, text: &str) -> Outcome {
        if text.is_empty() {
            return Ok(None);
        }
        if self.is_null_value(text) {
            return Err((RejectCode::Missing, NULL_VALUE.into()));
        }
        match self.moment(text) {
            Some(moment) => self.outcome(moment),
            None => Err((RejectCode::InvalidDate, self.explain(text).into())),
        }
    }

    fn count(&self, unit: Unit, count: i64) -> Outcome {
        match unit {
            Unit::Days => self.outcome(Moment::from_days(count)),
            Unit::Date64 => {
                let (seconds, nanos) = split(count, TimeUnit::Millisecond);
                self.outcome(Moment::from_local(seconds, nanos, true))
            }
            Unit::Local(unit) => {
                let (seconds, nanos) = split(count, unit);
                self.outcome(Moment::from_local(seconds, nanos, false))
            }
            Unit::Instant(unit) => {
                let (seconds, nanos) = split(count, unit);
                self.outcome(Moment::from_epoch(seconds, nanos))
            }
            #[expect(clippy::cast_precision_loss, reason = "null values are small numbers")]
            Unit::Number => self.number(Number::Int(count), count as f64),
            Unit::Float => {
                let value = f64::from_bits(count.cast_unsigned());
                self.number(Number::Float(value), value)
            }
        }
    }

    fn number(&self, number: Number, value: f64) -> Outcome {
        if self.null_values.iter().any(|null| null.number == Some(value)) {
            return Err((RejectCode::Missing, NULL_VALUE.into()));
        }
        let named = self.formats.iter().filter_map(|format| match format {
            Format::Named(named) => named.read_number(number),
            Format::Pattern(_) => None,
        });
        let moments: Vec<Moment> = named.collect();
        let plausible = moments.iter().find(|moment| self.rules.is_plausible(**moment));
        if let Some(moment) = plausible.or(moments.first()) {
            return self.outcome(*moment);
        }
        let numeric = self.formats.iter().filter(|format| format.is_numeric());
        let names = one_of(numeric.map(|format| format!("`{}`", format.name())));
        Err((
            RejectCode::InvalidDate,
            format!("invalid date: expected {names}").into(),
        ))
    }

    fn outcome(&self, moment: Moment) -> Outcome {
        let (earliest, latest) = (self.rules.earliest, self.rules.latest);
        Err(match self.rules.text(moment) {
            Ok(text) => return Ok(Some(text)),
            Err(Reason::Null) => (RejectCode::Missing, NULL_VALUE.into()),
            Err(Reason::TooEarly) => (
                RejectCode::ImplausibleDate,
                format!("is before {earliest}, the earliest plausible date").into(),
            ),
            Err(Reason::TooLate) => (
                RejectCode::ImplausibleDate,
                format!("is after {latest}, the latest plausible date").into(),
            ),
            Err(Reason::Gap) => (
                RejectCode::NonexistentTime,
                "is a local time that does not exist: the clocks skip it on a DST change".into(),
            ),
            Err(Reason::Overlap) => (
                RejectCode::AmbiguousTime,
                "is a local time that occurs twice on a DST change".into(),
            ),
        })
    }

    fn is_null_value(&self, text: &str) -> bool {
        self.null_values.iter().any(|null| {
            text.eq_ignore_ascii_case(&null.lower)
                || (!text.is_ascii() && text.chars().flat_map(char::to_lowercase).eq(null.lower.chars()))
        })
    }

    /// What is wrong with a text that no format fits; does not show the text.
    fn explain(&self, text: &str) -> String {
        let invalid = &self.invalid;
        let fits = |pattern: &Pattern| {
            pattern
                .read(text)
                .is_some_and(|moment| self.rules.is_plausible(moment))
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

/// Collects the results of a column.
struct Builder {
    values: StringBuilder,
    faults: Vec<RowFault>,
    required: bool,
}

impl Builder {
    fn new(rows: usize, required: bool) -> Self {
        Self {
            values: StringBuilder::with_capacity(rows, rows * 25),
            faults: Vec::new(),
            required,
        }
    }

    fn push(&mut self, row: usize, outcome: &Outcome) {
        self.values
            .append_option(outcome.as_ref().ok().and_then(Option::as_ref));
        match outcome {
            Ok(None) if self.required => self.faults.push(RowFault::missing(row)),
            Err((code, message)) if *code != RejectCode::Missing || self.required => {
                self.faults.push(RowFault::new(row, *code, message.clone()));
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Checked {
        Checked {
            values: self.values.finish(),
            faults: self.faults,
            truncated: 0,
        }
    }
}

/// Patterns that are not among the formats, with a remark for a value that fits one.
fn find_variants(formats: &[Format], pivot: Option<u16>) -> Vec<(Pattern, String)> {
    let given: Vec<&str> = formats.iter().map(Format::name).collect();
    let mut found: Vec<(Pattern, String)> = Vec::new();
    for variant in given.iter().copied().chain(["%Y-%m-%d"]).flat_map(variants) {
        if given.contains(&variant.as_str()) || found.iter().any(|(pattern, _)| pattern.source() == variant) {
            continue;
        }
        // The century does not matter for whether a value fits.
        if let Ok(pattern) = Pattern::compile(&variant, pivot.or(Some(70))) {
            let needs_pivot = pattern.has_two_digit_year() && pivot.is_none();
            let needs = if needs_pivot { ", with `century_pivot`" } else { "" };
            found.push((
                pattern,
                format!("it fits `{variant}`, which could be added to `formats`{needs}"),
            ));
        }
    }
    found
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        Some(only) => only,
        None => String::new(),
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
