//! Maps chunks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::{concat, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::physical_plan::PhysicalExpr;

use super::config::{Check, Checked, FieldPlan};
use super::plan::Plan;
use crate::component::{Chunk, Fault, MapTransform, Reject, RejectCode, RowKind, TransformContext};
use crate::error::{Error, Result};
use crate::hr::{self, RowFault};
use crate::transforms::{Engine, is_about_a_value};

/// Faults, by the index of the row in the chunk.
type Faults = BTreeMap<usize, Vec<Fault>>;

#[derive(Debug)]
pub(super) struct Mapper {
    pub(super) cx: TransformContext,
    pub(super) engine: Engine,
    pub(super) checked: Checked,
    /// All chunks of a file share a schema, and so do most files.
    pub(super) last_plan: RwLock<Option<(SchemaRef, Arc<Plan>)>>,
    schema: SchemaRef,
    truncated: AtomicUsize,
}

impl Mapper {
    pub(super) fn new(cx: TransformContext, engine: Engine, checked: Checked) -> Self {
        let fields = checked.fields.iter();
        let columns = fields.map(|field| ArrowField::new(field.field.name, DataType::Utf8, true));
        Self {
            schema: Arc::new(Schema::new(columns.collect::<Vec<_>>())),
            cx,
            engine,
            checked,
            last_plan: RwLock::default(),
            truncated: AtomicUsize::new(0),
        }
    }
}

impl MapTransform for Mapper {
    /// Counts filtered rows and reports rejected ones.
    fn map(&self, _input: usize, chunk: Chunk) -> Result<Chunk> {
        let plan = self.plan(&chunk)?;
        let before = chunk.num_rows();
        let mut faults = Faults::new();
        let chunk = match &plan.filter {
            Some(filter) => self.filter(filter, &chunk, &mut faults)?,
            None => chunk,
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(plan.fields.len());
        for (field, expression) in self.checked.fields.iter().zip(&plan.fields) {
            columns.push(self.column(field, expression, &chunk.batch, &mut faults)?);
        }
        let rows = chunk.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(internal)?;
        let mapped = Chunk {
            batch,
            origins: chunk.origins,
            kind: RowKind::Schema(self.checked.scenario.id()),
        };
        let good: BooleanArray = (0..rows).map(|row| Some(!faults.contains_key(&row))).collect();
        let out = kept(&mapped, &good)?;
        // Only now, when nothing can fail any more: if a chunk fails, its rows are counted as not sent.
        self.cx.counts.filtered(before - rows);
        for (row, faults) in faults {
            self.cx.reject(Reject {
                origin: mapped.origins.at(row),
                component: self.cx.name.clone(),
                faults,
            });
        }
        Ok(out)
    }

    fn finish(&self) {
        let truncated = self.truncated.load(Ordering::Relaxed);
        if truncated > 0 {
            tracing::warn!(transform = %self.cx.name, texts = truncated, "texts were truncated to the limit of their field");
        }
    }
}

impl Mapper {
    /// The rows for which the condition is true. A row for which it cannot be computed stays, with a fault.
    fn filter(&self, filter: &Arc<dyn PhysicalExpr>, chunk: &Chunk, faults: &mut Faults) -> Result<Chunk> {
        let (values, failed) = evaluate(filter, &chunk.batch)?;
        let mut keep = mask(&values)?;
        if !failed.is_empty() {
            keep = (0..keep.len())
                .map(|row| Some(keep.value(row) || failed.contains_key(&row)))
                .collect();
            for (row, detail) in &failed {
                let row = keep.slice(0, *row).true_count();
                faults.entry(row).or_default().push(self.failed("where", detail));
            }
        }
        kept(chunk, &keep)
    }

    fn column(
        &self,
        field: &FieldPlan,
        expression: &Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
        faults: &mut Faults,
    ) -> Result<ArrayRef> {
        let (values, failed) = evaluate(expression, batch)?;
        let checked = self.check(field, &values)?;
        self.truncated.fetch_add(checked.truncated, Ordering::Relaxed);
        for RowFault { row, code, message } in checked.faults {
            // A failed expression does not also count as a missing value.
            if failed.contains_key(&row) {
                continue;
            }
            faults.entry(row).or_default().push(Fault {
                field: Some(field.field.name.into()),
                code,
                message,
                value: self.shown(&values, row),
            });
        }
        for (row, detail) in &failed {
            let fault = self.failed(field.field.name, detail);
            faults.entry(*row).or_default().push(fault);
        }
        Ok(Arc::new(checked.values))
    }

    fn check(&self, plan: &FieldPlan, values: &ArrayRef) -> Result<hr::Checked> {
        match &plan.check {
            Check::Upn => Ok(hr::upn::check(text(values)?, plan.required)),
            Check::Text {
                max_chars,
                on_too_long,
            } => Ok(hr::text::check(
                text(values)?,
                *max_chars,
                *on_too_long,
                plan.required,
            )),
            Check::Date(reader) => reader.read(values, plan.required).map_err(|error| {
                let (field, name, sql) = (plan.field.name, &self.cx.name, plan.expression.sql());
                let message =
                    format!("the field {field} of the transform `{name}` cannot be read from `{sql}`");
                Error::input(message).with_source(error)
            }),
        }
    }

    /// The fault of a row for which an expression fails. DataFusion's message often repeats the value.
    fn failed(&self, field: &'static str, detail: &str) -> Fault {
        Fault {
            field: Some(field.into()),
            code: RejectCode::ExpressionFailed,
            message: "the expression could not be computed for this row".into(),
            value: self.cx.rejects.include_values().then(|| detail.to_owned()),
        }
    }

    /// A row's value for the rejects file, if it includes values.
    fn shown(&self, values: &ArrayRef, row: usize) -> Option<String> {
        if !self.cx.rejects.include_values() || values.is_null(row) {
            return None;
        }
        let options = FormatOptions::default();
        ArrayFormatter::try_new(values, &options)
            .ok()
            .map(|formatter| formatter.value(row).to_string())
    }
}

/// The values of an expression. Where it fails they are null, with the reason by row.
fn evaluate(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<(ArrayRef, BTreeMap<usize, String>)> {
    let mut failed = BTreeMap::new();
    let values = evaluate_part(expression, batch, 0, &mut failed)?;
    Ok((values, failed))
}

fn evaluate_part(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    first: usize,
    failed: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef> {
    let rows = batch.num_rows();
    match expression
        .evaluate(batch)
        .and_then(|values| values.into_array(rows))
    {
        Ok(values) => Ok(values),
        Err(error) if !is_about_a_value(&error) || rows == 0 => {
            Err(Error::unexpected("an expression cannot be computed").with_source(error))
        }
        Err(error) if rows == 1 => {
            failed.insert(first, error.strip_backtrace());
            let kind = expression.data_type(&batch.schema()).map_err(internal)?;
            Ok(new_null_array(&kind, 1))
        }
        Err(_) => {
            let half = rows / 2;
            let low = evaluate_part(expression, &batch.slice(0, half), first, failed)?;
            let high = evaluate_part(expression, &batch.slice(half, rows - half), first + half, failed)?;
            concat(&[&low, &high]).map_err(internal)
        }
    }
}

/// A condition as a mask: null is false.
fn mask(values: &ArrayRef) -> Result<BooleanArray> {
    if values.data_type() == &DataType::Null {
        return Ok(BooleanArray::from(vec![false; values.len()]));
    }
    let values = values
        .as_boolean_opt()
        .ok_or_else(|| Error::unexpected("a condition is not true or false"))?;
    Ok(if values.null_count() > 0 {
        prep_null_mask_filter(values)
    } else {
        values.clone()
    })
}

fn kept(chunk: &Chunk, keep: &BooleanArray) -> Result<Chunk> {
    if keep.true_count() == keep.len() {
        return Ok(chunk.clone());
    }
    Ok(Chunk {
        batch: filter_record_batch(&chunk.batch, keep).map_err(internal)?,
        origins: chunk.origins.filter(keep).map_err(internal)?,
        kind: chunk.kind,
    })
}

fn text(values: &ArrayRef) -> Result<&StringArray> {
    values
        .as_string_opt()
        .ok_or_else(|| Error::unexpected("the expression of a text field is not text"))
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unexpected("cannot process the columns of a chunk").with_source(error)
}
