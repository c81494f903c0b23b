//! Reads records whose columns are all simple values straight into columns, in one pass.
//!
//! It says only whether a record fits: what does not is looked at once more by [`visit`](super::visit), which says why.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::scan::{Scalar, Scanner};
use super::shape::{MOST_KEYS, Mode, Object, Shape};

/// Most bytes of a key that is remembered by its place.
const LONGEST_KEY: usize = 128;

/// The keys of the last records, by their place: most records have the same ones in the same order.
#[derive(Debug, Default)]
pub(super) struct Order(Vec<(Box<str>, Option<usize>)>);

/// Values on their way to becoming a batch.
#[derive(Debug)]
pub(super) struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The column of each field, if it is used.
    of_field: Vec<Option<usize>>,
    rows: usize,
}

#[derive(Debug)]
struct Column {
    values: Values,
    valid: Vec<bool>,
}

#[derive(Debug)]
enum Values {
    /// The second says where each text begins, and last where they end.
    Text(Vec<u8>, Vec<i32>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
}

/// Whether a record teaches nothing that its shapes do not say already.
pub(super) fn is_known(record: &str, root: &mut Object, order: &mut Order) -> bool {
    let find = |root: &mut Object, key: &str| root.by_name.get(key).map(|field| Some(*field));
    walk(record, root, order, find, |_, shape, scanner| {
        if matches!(shape, Shape::Unused) {
            return scanner.skip(1);
        }
        shape.is_known(scanner.scalar()?.kind()).then_some(())
    })
    .is_some()
}

/// Goes through the members of a record. Nothing if it is not valid JSON, has a field twice, or `find` or `take` give
/// nothing. `take` takes the value of a field from the text.
#[inline]
fn walk<'t>(
    record: &'t str,
    root: &mut Object,
    order: &mut Order,
    mut find: impl FnMut(&mut Object, &str) -> Option<Option<usize>>,
    mut take: impl FnMut(usize, &mut Shape, &mut Scanner<'t>) -> Option<()>,
) -> Option<()> {
    root.seen += 1;
    let mut scanner = Scanner::new(record);
    scanner.take(b'{').then_some(())?;
    let mut place = 0;
    let mut more = !scanner.take(b'}');
    while more {
        scanner.peek()?;
        let field = match order.0.get(place) {
            Some((key, field)) if scanner.take_text(key) => *field,
            _ => {
                let (key, escaped) = scanner.string()?;
                if escaped {
                    find(root, &serde_json::from_str::<String>(key).ok()?)?
                } else {
                    let field = find(root, &key[1..key.len() - 1])?;
                    order.note(place, key, field);
                    field
                }
            }
        };
        place += 1;
        scanner.take(b':').then_some(())?;
        match field {
            Some(field) => {
                root.is_first(field).then_some(())?;
                take(field, &mut root.fields[field].shape, &mut scanner)?;
            }
            None => scanner.skip(1)?,
        }
        more = scanner.take(b',');
        (more || scanner.take(b'}')).then_some(())?;
    }
    scanner.peek().is_none().then_some(())
}

impl Order {
    /// `key` has its quotes, so that no other begins with it.
    fn note(&mut self, place: usize, key: &str, field: Option<usize>) {
        if key.len() > LONGEST_KEY || place >= MOST_KEYS {
            return;
        }
        let known = (key.into(), field);
        if place < self.0.len() {
            self.0[place] = known;
        } else if place == self.0.len() {
            self.0.push(known);
        }
    }
}

impl Columns {
    /// For records of these shapes, if all that is used of them is simple values.
    pub(super) fn new(root: &Object, schema: &SchemaRef) -> Option<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field.data_type()));
        let columns = columns.collect::<Option<_>>()?;
        let of_field = root
            .fields
            .iter()
            .map(|field| match field.shape {
                Shape::Unused => Some(None),
                Shape::List(_) | Shape::Object(_) => None,
                _ => Some(schema.index_of(&field.name).ok()),
            })
            .collect::<Option<_>>()?;
        Some(Self {
            schema: schema.clone(),
            columns,
            of_field,
            rows: 0,
        })
    }

    /// Appends a record's values if it fits, and says whether it does.
    pub(super) fn push(
        &mut self,
        record: &str,
        root: &mut Object,
        order: &mut Order,
        wants: &dyn Fn(&str) -> bool,
        mode: Mode,
    ) -> bool {
        let (columns, of_field) = (&mut self.columns, &self.of_field);
        let find = |root: &mut Object, key: &str| root.find(key, 0, Some(wants), mode).ok();
        let fits = walk(record, root, order, find, |field, shape, scanner| {
            if matches!(shape, Shape::Unused) {
                return scanner.skip(1);
            }
            let value = scanner.scalar()?;
            let kind = value.kind();
            (shape.is_known(kind) || kind.is_some_and(|kind| shape.scalar(kind, mode))).then_some(())?;
            match of_field.get(field).copied().flatten() {
                Some(column) => columns[column].push(value),
                None => Some(()),
            }
        })
        .is_some();
        self.rows += usize::from(fits);
        for column in columns {
            column.end_at(self.rows);
        }
        fits
    }

    /// The rows so far; none if there are none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(Column::take);
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some)
    }
}

impl Column {
    fn new(data_type: &DataType) -> Option<Self> {
        let values = match data_type {
            DataType::Utf8 => Values::Text(Vec::new(), vec![0]),
            DataType::Int64 => Values::Int(Vec::new()),
            DataType::Float64 => Values::Float(Vec::new()),
            DataType::Boolean => Values::Bool(Vec::new()),
            _ => return None,
        };
        Some(Self {
            values,
            valid: Vec::new(),
        })
    }

    /// Appends a value that fits the column's type.
    #[inline]
    fn push(&mut self, value: Scalar<'_>) -> Option<()> {
        let valid = !matches!(value, Scalar::Null);
        match (&mut self.values, value) {
            (Values::Text(text, offsets), value) => {
                match value {
                    Scalar::Null => {}
                    Scalar::Bool(value) => text.extend_from_slice(if value { b"true" } else { b"false" }),
                    Scalar::Number(value, _) | Scalar::Text(value) => {
                        text.extend_from_slice(value.as_bytes());
                    }
                    Scalar::Escaped(value) => {
                        let value: String = serde_json::from_str(value).ok()?;
                        text.extend_from_slice(value.as_bytes());
                    }
                }
                offsets.push(i32::try_from(text.len()).ok()?);
            }
            (Values::Int(values), Scalar::Number(value, _)) => values.push(value.parse().ok()?),
            (Values::Float(values), Scalar::Number(value, _)) => values.push(value.parse().ok()?),
            (Values::Bool(values), Scalar::Bool(value)) => values.push(value),
            (Values::Int(values), Scalar::Null) => values.push(0),
            (Values::Float(values), Scalar::Null) => values.push(0.0),
            (Values::Bool(values), Scalar::Null) => values.push(false),
            _ => return None,
        }
        self.valid.push(valid);
        Some(())
    }

    /// Makes it so many rows long: with a null at the end, or without what was begun.
    #[inline]
    fn end_at(&mut self, rows: usize) {
        if self.valid.len() < rows {
            let _ = self.push(Scalar::Null);
            return;
        }
        self.valid.truncate(rows);
        match &mut self.values {
            Values::Text(text, offsets) => {
                offsets.truncate(rows + 1);
                text.truncate(offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
            }
            Values::Int(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
        }
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let valid = emptied(&mut self.valid);
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        Ok(match &mut self.values {
            Values::Text(text, offsets) => {
                let texts = emptied(text);
                let ends = emptied(offsets);
                offsets.push(0);
                let ends = OffsetBuffer::new(ends.into());
                Arc::new(StringArray::try_new(ends, texts.into(), nulls)?)
            }
            Values::Int(values) => Arc::new(Int64Array::new(emptied(values).into(), nulls)),
            Values::Float(values) => Arc::new(Float64Array::new(emptied(values).into(), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(emptied(values).into(), nulls)),
        })
    }
}

/// What is in `values`, which has room for as much again.
fn emptied<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

#[cfg(test)]
mod tests {
    use arrow::json::ReaderBuilder;
    use proptest::prelude::*;

    use super::super::shape::{ColumnType, Learning, Shapes};
    use super::*;

    fn wants(column: &str) -> bool {
        column != "unused"
    }

    fn shapes() -> Shapes {
        let columns = [
            ("t", ColumnType::Text),
            ("i", ColumnType::Integer),
            ("f", ColumnType::Number),
            ("b", ColumnType::Boolean),
            ("unused", ColumnType::Text),
        ];
        Shapes::declared(columns.map(|(name, kind)| (name.to_owned(), kind)), &wants)
    }

    /// What the other way makes of the records: whether each fits, and a batch of those that do.
    fn the_long_way(
        records: &[String],
        mut shapes: Shapes,
        learning: Learning,
    ) -> (Vec<bool>, Option<RecordBatch>) {
        let mut decoder = ReaderBuilder::new(Arc::new(shapes.schema()))
            .with_coerce_primitive(true)
            .build_decoder()
            .unwrap();
        let mut fit = |record: &String| {
            let fits = shapes.check(record, &wants, learning).is_ok();
            if fits {
                for piece in [record.as_bytes(), b"\n"] {
                    decoder.decode(piece).unwrap();
                }
            }
            fits
        };
        let fits = records.iter().map(&mut fit).collect();
        (fits, decoder.flush().unwrap())
    }

    fn straight(
        records: &[String],
        mut shapes: Shapes,
        learning: Learning,
    ) -> (Vec<bool>, Option<RecordBatch>) {
        let mut columns = shapes.columns(&Arc::new(shapes.schema())).unwrap();
        let fits = records
            .iter()
            .map(|record| shapes.push(record, &mut columns, &wants, learning))
            .collect();
        (fits, columns.take().unwrap())
    }

    /// Values as JSON texts; some are none.
    fn value() -> impl Strategy<Value = String> {
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?";
        let simple = prop_oneof![
            4 => number,
            1 => "[-+0-9.eE]{0,5}",
            4 => "\"[ -!#-\\[\\]-~é€😀]{0,20}\"",
            2 => "\"([a-z]|\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude00|\u{1}|\"){0,12}\"",
            1 => Just("true".to_owned()),
            1 => Just("false".to_owned()),
            1 => Just("null".to_owned()),
            1 => "[a-z]{0,5}",
        ];
        simple.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec(("[a-z]", inner), 0..4).prop_map(|members| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(key, value)| format!("\"{key}\" :{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    fn record() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            8 => prop::sample::select(vec!["t", "i", "f", "b", "unused", "other", "\\u0074", "tt", ""]),
            1 => Just("\\x"),
        ];
        let member = (key, value(), prop::sample::select(vec!["", " ", "\n\t\r"]));
        let members = prop::collection::vec(member, 0..6);
        (
            members,
            prop::sample::select(vec!["", "", "", " ", ",", "}", "x"]),
        )
            .prop_map(|(members, end)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value, space)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
                    .collect();
                format!("{{{}}}{end}", members.join(","))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn declared_columns_are_what_serde_and_arrow_json_make_of_them(records in prop::collection::vec(record(), 1..8)) {
            prop_assert_eq!(
                straight(&records, shapes(), Learning::Declared),
                the_long_way(&records, shapes(), Learning::Declared)
            );
        }

        #[test]
        fn learnt_columns_are_too(records in prop::collection::vec(record(), 1..8), later in prop::collection::vec(record(), 1..4)) {
            let learnt = || {
                let mut shapes = Shapes::default();
                for record in &records {
                    let _ = shapes.learn(record, &wants);
                }
                shapes
            };
            let records = [&records[..], &later].concat();
            let shapes = learnt();
            if shapes.records() > 0 && shapes.columns(&Arc::new(shapes.schema())).is_some() {
                prop_assert_eq!(
                    straight(&records, shapes, Learning::Sample),
                    the_long_way(&records, learnt(), Learning::Sample)
                );
            }
        }

        /// What is said to be known already changes nothing when it is learnt.
        #[test]
        fn a_record_that_is_passed_over_taught_nothing(records in prop::collection::vec(record(), 1..8)) {
            let mut shapes = Shapes::default();
            let mut slow = Shapes::default();
            for record in &records {
                let _ = shapes.learn(record, &wants);
                let _ = slow.learn_slowly(record, &wants);
            }
            prop_assert_eq!(shapes.schema(), slow.schema());
            prop_assert_eq!((shapes.records(), shapes.names()), (slow.records(), slow.names()));
        }
    }

    #[test]
    fn the_deepest_record_is_the_same_for_both() {
        for depth in 125..130 {
            let record = format!(r#"{{"unused":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            let records = [record];
            assert_eq!(
                straight(&records, shapes(), Learning::Declared).0,
                the_long_way(&records, shapes(), Learning::Declared).0,
                "{depth}"
            );
        }
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_nothing_behind() {
        let records = [
            r#"{"t":"a","i":1}"#,
            r#"{"t":"b","f":1.5,"b":true,"i":"x"}"#,
            r#"{"b":false,"t":"c","t":"d"}"#,
            r#"{"i":2}"#,
        ]
        .map(str::to_owned);
        let (fits, batch) = straight(&records, shapes(), Learning::Declared);
        assert_eq!(fits, [true, false, false, true]);
        let those = [records[0].clone(), records[3].clone()];
        assert_eq!(batch, straight(&those, shapes(), Learning::Declared).1);
    }
}
