//! Columns into texts.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArray, StringArrayType, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::calendar::{Calendar, Reason, Rules, Text};
use super::iso;
use super::moment::{Day, Moment};
use super::named::{Named, Number};
use super::pattern::Pattern;
use crate::component::RejectCode;
use crate::hr::checked::{Checked, RowFault};
use crate::hr::space::trim;

/// Reads columns of dates by [`DateSettings`](super::DateSettings).
pub struct DateReader {
    pub(super) calendar: Calendar,
    pub(super) formats: Vec<Format>,
    pub(super) iso8601: bool,
    /// Whether eight bare digits are an ISO date.
    pub(super) iso8601_digits: bool,
    pub(super) null_values: Vec<NullValue>,
    /// Whether a null value could be read as a date that the table of days does not know to be none.
    pub(super) nulls_first: bool,
    pub(super) texts: Texts,
    /// Patterns that are not among the formats, and what to say of a value that fits one.
    pub(super) variants: Vec<(Pattern, String)>,
}

impl fmt::Debug for DateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DateReader")
            .field("formats", &self.formats)
            .field("iso8601", &self.iso8601)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) enum Format {
    Pattern(Pattern),
    Named(Named),
}

/// A value that means "no date".
pub(super) struct NullValue {
    pub(super) lower: String,
    pub(super) number: Option<f64>,
}

/// A column whose type cannot hold the dates that are wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column of type {column_type} cannot be read as dates")]
pub struct WrongType {
    /// The column's type.
    pub column_type: DataType,
    /// What to do about it.
    pub hint: &'static str,
}

/// The messages of faults, made once.
pub(super) struct Texts {
    pub(super) invalid: String,
    pub(super) invalid_number: String,
    pub(super) early: String,
    pub(super) late: String,
}

const NULL_VALUE: &str =
    "a value is required, but this is one of the `null_values`, which mean that there is none";
const BARE_NUMBER: &str = "is a bare number";

impl Texts {
    pub(super) fn new(formats: &[Format], iso8601: bool, rules: &Rules) -> Self {
        let mut tried = Vec::new();
        let mut numeric = Vec::new();
        if iso8601 {
            tried.push("ISO 8601".to_owned());
        }
        for format in formats {
            let name = match format {
                Format::Pattern(pattern) => format!("`{}`", pattern.source()),
                Format::Named(named) => format!("`{}`", named.name()),
            };
            if matches!(format, Format::Named(named) if named.is_numeric()) {
                numeric.push(name.clone());
            }
            tried.push(name);
        }
        Self {
            invalid: format!("is no date as {}", tried.join(" or ")),
            invalid_number: format!("is no date as {}", numeric.join(" or ")),
            early: format!(
                "is before {}, the earliest plausible date",
                rules.earliest.to_civil()
            ),
            late: format!("is after {}, the latest plausible date", rules.latest.to_civil()),
        }
    }
}

/// A row's outcome: a text, no value, or a fault.
type Outcome<'a> = Result<Option<Text<'a>>, (RejectCode, Cow<'static, str>)>;

impl DateReader {
    /// Reads a column: one text for each row, null where there is no value or a fault. With `required`, a row
    /// without a value is a fault.
    ///
    /// Takes text of every kind (dictionaries and run-ends of text too), `Date32`, `Date64`, `Timestamp`, columns
    /// of nulls, and, where a format gives numbers a meaning, integers and floats.
    ///
    /// # Errors
    /// The column's type holds no dates, or holds numbers and no format says what they mean.
    pub fn read(&self, values: &ArrayRef, required: bool) -> Result<Checked, WrongType> {
        use DataType as T;
        let column_type = values.data_type();
        let numbers = self
            .formats
            .iter()
            .any(|format| matches!(format, Format::Named(named) if named.is_numeric()));
        if column_type.is_integer() || column_type.is_floating() {
            if !numbers {
                return Err(WrongType {
                    column_type: column_type.clone(),
                    hint: "a bare number does not say what it counts: add one of `excel_serial`, \
                           `excel_serial_1904`, `epoch_seconds`, `epoch_milliseconds` to `formats`, or turn it into \
                           text in the field's expression: cast(… as varchar)",
                });
            }
            return Ok(self.read_numbers(values, required));
        }
        Ok(match column_type {
            T::Utf8 => self.read_text(values.as_string::<i32>(), required),
            T::LargeUtf8 => self.read_text(values.as_string::<i64>(), required),
            T::Utf8View => self.read_text(values.as_string_view(), required),
            T::Date32 => self.read_days(values.as_primitive::<Date32Type>(), required),
            T::Date64 => self.read_local::<Date64Type>(values, 1000, true, required),
            T::Timestamp(unit, zone) => match (unit, zone.is_some()) {
                (TimeUnit::Second, false) => {
                    self.read_local::<TimestampSecondType>(values, 1, false, required)
                }
                (TimeUnit::Millisecond, false) => {
                    self.read_local::<TimestampMillisecondType>(values, 1000, false, required)
                }
                (TimeUnit::Microsecond, false) => {
                    self.read_local::<TimestampMicrosecondType>(values, 1_000_000, false, required)
                }
                (TimeUnit::Nanosecond, false) => {
                    self.read_local::<TimestampNanosecondType>(values, 1_000_000_000, false, required)
                }
                (TimeUnit::Second, true) => self.read_instants::<TimestampSecondType>(values, 1, required),
                (TimeUnit::Millisecond, true) => {
                    self.read_instants::<TimestampMillisecondType>(values, 1000, required)
                }
                (TimeUnit::Microsecond, true) => {
                    self.read_instants::<TimestampMicrosecondType>(values, 1_000_000, required)
                }
                (TimeUnit::Nanosecond, true) => {
                    self.read_instants::<TimestampNanosecondType>(values, 1_000_000_000, required)
                }
            },
            T::Null => Checked {
                values: StringArray::new_null(values.len()),
                faults: (0..if required { values.len() } else { 0 })
                    .map(RowFault::missing)
                    .collect(),
                truncated: 0,
            },
            T::Dictionary(_, inner) => return self.read_cast(values, inner, required),
            T::RunEndEncoded(_, inner) => return self.read_cast(values, inner.data_type(), required),
            _ => return Err(wrong_type(column_type)),
        })
    }

    fn read_cast(&self, values: &ArrayRef, inner: &DataType, required: bool) -> Result<Checked, WrongType> {
        let plain = cast(values, inner).map_err(|_| wrong_type(values.data_type()))?;
        self.read(&plain, required)
    }

    fn read_text<'a, S: StringArrayType<'a> + Copy>(&self, values: S, required: bool) -> Checked {
        self.column(
            values.len(),
            required,
            |row| values.is_null(row),
            |row, buffer| self.text(trim(values.value(row)), buffer),
        )
    }

    fn read_days(&self, values: &PrimitiveArray<Date32Type>, required: bool) -> Checked {
        self.column(
            values.len(),
            required,
            |row| values.is_null(row),
            |row, buffer| {
                let days = i64::from(values.value(row));
                self.outcome(Day::from_epoch(days).map(Moment::Day), days, buffer)
            },
        )
    }

    fn read_local<T: ArrowPrimitiveType<Native = i64>>(
        &self,
        values: &ArrayRef,
        per_second: i64,
        midnight_is_day: bool,
        required: bool,
    ) -> Checked {
        let values = values.as_primitive::<T>();
        self.column(
            values.len(),
            required,
            |row| values.is_null(row),
            |row, buffer| {
                let (seconds, nanos) = split(values.value(row), per_second);
                self.outcome(
                    Moment::from_local(seconds, nanos, midnight_is_day),
                    seconds,
                    buffer,
                )
            },
        )
    }

    fn read_instants<T: ArrowPrimitiveType<Native = i64>>(
        &self,
        values: &ArrayRef,
        per_second: i64,
        required: bool,
    ) -> Checked {
        let values = values.as_primitive::<T>();
        self.column(
            values.len(),
            required,
            |row| values.is_null(row),
            |row, buffer| {
                let (seconds, nanos) = split(values.value(row), per_second);
                self.outcome(Some(Moment::Instant { seconds, nanos }), seconds, buffer)
            },
        )
    }

    fn read_numbers(&self, values: &ArrayRef, required: bool) -> Checked {
        macro_rules! of {
            ($type:ty, $number:expr) => {{
                let values = values.as_primitive::<$type>();
                self.column(
                    values.len(),
                    required,
                    |row| values.is_null(row),
                    |row, buffer| self.number($number(values.value(row)), buffer),
                )
            }};
        }
        match values.data_type() {
            DataType::Int8 => of!(Int8Type, |v: i8| Number::Int(v.into())),
            DataType::Int16 => of!(Int16Type, |v: i16| Number::Int(v.into())),
            DataType::Int32 => of!(Int32Type, |v: i32| Number::Int(v.into())),
            DataType::UInt8 => of!(UInt8Type, |v: u8| Number::Int(v.into())),
            DataType::UInt16 => of!(UInt16Type, |v: u16| Number::Int(v.into())),
            DataType::UInt32 => of!(UInt32Type, |v: u32| Number::Int(v.into())),
            // Beyond an i64 no count is a date.
            DataType::UInt64 => of!(UInt64Type, |v: u64| Number::Int(
                i64::try_from(v).unwrap_or(i64::MAX)
            )),
            DataType::Float16 => of!(Float16Type, |v: <Float16Type as ArrowPrimitiveType>::Native| {
                Number::Float(v.to_f64())
            }),
            DataType::Float32 => of!(Float32Type, |v: f32| Number::Float(v.into())),
            DataType::Float64 => of!(Float64Type, Number::Float),
            _ => of!(Int64Type, Number::Int),
        }
    }

    /// Builds a column row by row.
    fn column<'s>(
        &'s self,
        rows: usize,
        required: bool,
        is_null: impl Fn(usize) -> bool,
        read: impl Fn(usize, &mut String) -> Outcome<'s>,
    ) -> Checked {
        let mut values = StringBuilder::with_capacity(rows, rows * 25);
        let mut faults = Vec::new();
        let mut buffer = String::with_capacity(40);
        for row in 0..rows {
            if is_null(row) {
                values.append_null();
                if required {
                    faults.push(RowFault::missing(row));
                }
                continue;
            }
            match read(row, &mut buffer) {
                Ok(Some(Text::Kept(text))) => values.append_value(text),
                Ok(Some(Text::Written)) => values.append_value(&buffer),
                Ok(None) => {
                    values.append_null();
                    if required {
                        faults.push(RowFault::missing(row));
                    }
                }
                Err((code, message)) => {
                    values.append_null();
                    if code != RejectCode::Missing || required {
                        faults.push(RowFault::new(row, code, message));
                    }
                }
            }
        }
        Checked {
            values: values.finish(),
            faults,
            truncated: 0,
        }
    }

    /// What `text` says by the first way of reading it that fits. `buffer` is overwritten.
    pub(super) fn moment(&self, text: &str, buffer: &mut String) -> Option<Moment> {
        if self.iso8601
            && let Some(moment) = iso::read(text, self.iso8601_digits)
        {
            return Some(moment);
        }
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
                        if self.calendar.is_plausible(moment, buffer) {
                            return Some(moment);
                        }
                        implausible.get_or_insert(moment);
                    }
                }
            }
        }
        implausible
    }

    fn text(&self, text: &str, buffer: &mut String) -> Outcome<'_> {
        if text.is_empty() {
            return Ok(None);
        }
        if self.nulls_first && self.is_null_value(text) {
            return Err(null_value());
        }
        let found = match self.moment(text, buffer) {
            Some(moment) => self.calendar.text(moment, buffer),
            None if self.is_null_value(text) => return Err(null_value()),
            None => return Err((RejectCode::InvalidDate, self.explain(text, buffer))),
        };
        match found {
            Ok(text) => Ok(Some(text)),
            Err(_) if self.is_null_value(text) => Err(null_value()),
            Err(reason) => Err(self.fault(reason)),
        }
    }

    fn number(&self, number: Number, buffer: &mut String) -> Outcome<'_> {
        let value = match number {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        };
        if self.null_values.iter().any(|null| null.number == Some(value)) {
            return Err(null_value());
        }
        let mut implausible = None;
        for format in &self.formats {
            if let Format::Named(named) = format
                && let Some(moment) = named.read_number(number)
            {
                match self.calendar.text(moment, buffer) {
                    Ok(text) => return Ok(Some(text)),
                    Err(reason @ (Reason::TooEarly | Reason::TooLate)) => {
                        implausible.get_or_insert(reason);
                    }
                    Err(reason) => return Err(self.fault(reason)),
                }
            }
        }
        Err(match implausible {
            Some(reason) => self.fault(reason),
            None => (RejectCode::InvalidDate, self.texts.invalid_number.clone().into()),
        })
    }

    /// Of a typed column: `moment` is none when the year, whose side `sign` tells, does not have four digits.
    fn outcome(&self, moment: Option<Moment>, sign: i64, buffer: &mut String) -> Outcome<'_> {
        let reason = match moment {
            Some(moment) => match self.calendar.text(moment, buffer) {
                Ok(text) => return Ok(Some(text)),
                Err(reason) => reason,
            },
            None if sign < 0 => Reason::TooEarly,
            None => Reason::TooLate,
        };
        Err(self.fault(reason))
    }

    fn is_null_value(&self, text: &str) -> bool {
        self.null_values.iter().any(|null| {
            text.eq_ignore_ascii_case(&null.lower)
                || (!text.is_ascii() && text.chars().flat_map(char::to_lowercase).eq(null.lower.chars()))
        })
    }

    fn fault(&self, reason: Reason) -> (RejectCode, Cow<'static, str>) {
        match reason {
            Reason::Null => null_value(),
            Reason::TooEarly => (RejectCode::ImplausibleDate, self.texts.early.clone().into()),
            Reason::TooLate => (RejectCode::ImplausibleDate, self.texts.late.clone().into()),
            Reason::Gap => (
                RejectCode::NonexistentTime,
                "is a local time that the clocks skip in its time zone".into(),
            ),
            Reason::Overlap => (
                RejectCode::AmbiguousTime,
                "is a local time that the clocks show twice in its time zone".into(),
            ),
        }
    }

    /// What is wrong with a text that nothing could read, without the text.
    #[cold]
    fn explain(&self, text: &str, buffer: &mut String) -> Cow<'static, str> {
        let invalid = &self.texts.invalid;
        let near = self.variants.iter().find(|(pattern, _)| {
            pattern
                .read(text)
                .is_some_and(|moment| self.calendar.is_plausible(moment, buffer))
        });
        match near {
            Some((_, would_be)) => format!("{invalid}, but {would_be}").into(),
            None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => format!(
                "{invalid}, and {BARE_NUMBER}: `excel_serial` or `epoch_seconds` among the formats would say what it counts"
            )
            .into(),
            None => invalid.clone().into(),
        }
    }
}

fn null_value() -> (RejectCode, Cow<'static, str>) {
    (RejectCode::Missing, NULL_VALUE.into())
}

/// Seconds, and nanoseconds on top.
fn split(count: i64, per_second: i64) -> (i64, u32) {
    let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (count.div_euclid(per_second), nanos as u32)
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
