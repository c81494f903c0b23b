//! The text of a query, and what can be checked without input.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query as SqlQuery, Select, SelectItem, SetExpr, Spanned, Statement as SqlStatement, TableFactor,
    TableWithJoins, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{Position, QueryError};
use crate::component::Columns;
use crate::suggest::suggestion;

const EXPECTED: &str = "expected one SELECT statement, which may start with WITH";

/// Functions that the planner knows and no registry lists.
const PLANNED_FUNCTIONS: &[&str] = &["unnest"];

/// Functions that convert text and fail for some values.
const CASTING_FUNCTIONS: &[&str] = &["arrow_cast", "to_date", "to_time", "to_unixtime", "chr", "decode"];

#[derive(Debug, Clone)]
pub(super) struct Query {
    /// For the planner.
    pub(super) statement: Statement,
    /// The columns that it may use: all with `*` and the like.
    pub(super) columns: Columns,
    pub(super) names: Names,
}

/// Something named in the query, and where.
type Named = (String, Option<Position>);

/// The names in a query, in the order of its text.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    columns: Vec<Named>,
    relations: Vec<Named>,
    functions: Vec<Named>,
    table_functions: Vec<Named>,
    ctes: BTreeMap<String, Option<Position>>,
    /// String literals, such as names of fields in brackets.
    texts: Vec<Named>,
    /// Where values are converted.
    pub(super) casts: Vec<Position>,
    pub(super) divisions: Vec<Position>,
    all_columns: bool,
    /// Where columns of a SELECT get their names.
    aliases: BTreeSet<Position>,
    /// Table functions, which are visited again as relations.
    visited: Vec<ObjectName>,
}

impl Query {
    pub(super) fn parse(sql: &str) -> Result<Self, QueryError> {
        let error = |message: String| Err(QueryError::new(None, message));
        if sql.trim().is_empty() {
            return error("the query is empty".to_owned());
        }
        let statements = DFParserBuilder::new(sql)
            .with_dialect(&GenericDialect {})
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| syntax_error(&error))?;
        let count = statements.len();
        let Ok([statement]) = <[Statement; 1]>::try_from(Vec::from(statements)) else {
            return error(match count {
                0 => "the query contains only comments".to_owned(),
                _ => format!("found {count} statements; {EXPECTED}"),
            });
        };
        let Statement::Statement(sql_statement) = &statement else {
            return error(format!("not a query; {EXPECTED}"));
        };
        let SqlStatement::Query(_) = &**sql_statement else {
            let position = Position::of(sql_statement.span());
            return Err(QueryError::new(position, format!("not a query; {EXPECTED}")));
        };
        let mut names = Names::default();
        if let ControlFlow::Break(error) = sql_statement.visit(&mut names) {
            return Err(error);
        }
        let columns = match names.all_columns {
            true => Columns::All,
            false => Columns::Named(words(sql, &names.aliases)),
        };
        Ok(Self {
            columns,
            names,
            statement,
        })
    }

    /// Checks its names against the names of the inputs and the functions of the engine.
    pub(super) fn check(&self, state: &SessionState, inputs: &[Arc<str>]) -> Vec<QueryError> {
        let names = &self.names;
        let mut errors = Vec::new();
        let mut report = |position: Option<Position>, message: String, hint: Option<String>| {
            errors.push(QueryError::new(position, message).hint(hint));
        };
        for (cte, position) in &names.ctes {
            if inputs.iter().any(|input| **input == **cte) {
                let hint = "use another name after WITH".to_owned();
                let message = format!("`{cte}` is already the name of an input");
                report(*position, message, Some(hint));
            }
        }
        let known = inputs.iter().map(|input| &**input);
        let known = known.chain(names.ctes.keys().map(String::as_str));
        for (name, position) in &names.relations {
            if !known.clone().any(|known| known == name) {
                let hint = suggestion(name, known.clone());
                report(*position, format!("the inputs have no table `{name}`"), hint);
            }
        }
        for input in inputs {
            if !names.relations.iter().any(|(name, _)| *name == **input) {
                let hint = format!("use it as a table, or remove `{input}` from `inputs`");
                let message = format!("the query does not use the input `{input}`");
                report(None, message, Some(hint));
            }
        }
        let functions = state.scalar_functions().keys();
        let functions = functions
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .chain(state.higher_order_functions().keys())
            .map(String::as_str)
            .chain(PLANNED_FUNCTIONS.iter().copied());
        let table_functions = state.table_functions().keys().map(String::as_str);
        let known: [BTreeSet<&str>; 2] = [functions.collect(), table_functions.collect()];
        for (known, used, kind) in [
            (&known[0], &names.functions, "function"),
            (&known[1], &names.table_functions, "table function"),
        ] {
            for (name, position) in used {
                let lower = name.to_lowercase();
                if !known.contains(&*lower) {
                    let hint = suggestion(&lower, known.iter().copied());
                    report(*position, format!("unknown {kind} `{name}`"), hint);
                }
            }
        }
        errors
    }

    /// Where a column is named first.
    pub(super) fn position_of(&self, column: &str) -> Option<Position> {
        let mut columns = self.names.columns.iter();
        columns.find(|(name, _)| name == column)?.1
    }

    /// Where a field within a column is named first: `column['field']`, or `column.field`.
    pub(super) fn position_of_field(&self, field: &str) -> Option<Position> {
        let named = self.names.texts.iter().chain(&self.names.columns);
        named
            .filter(|(name, _)| name == field)
            .find_map(|(_, position)| *position)
    }

    /// The position of the function that occurs first in a message of the engine.
    pub(super) fn position_of_function_in(&self, message: &str) -> Option<Position> {
        let message = message.to_lowercase();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let find = |name: &str| {
            let name = name.to_lowercase();
            let mut found = message.match_indices(&name).map(|(at, _)| at);
            found.find(|at| {
                !message[..*at].ends_with(is_word) && !message[at + name.len()..].starts_with(is_word)
            })
        };
        let functions = self.names.functions.iter();
        let found = functions.filter_map(|(name, position)| Some((find(name)?, (*position)?)));
        found.min().map(|(_, position)| position)
    }

    /// Where functions of regular expressions are called.
    pub(super) fn regular_expressions(&self) -> Vec<Position> {
        let functions = self.names.functions.iter();
        let regular = functions.filter(|(name, _)| name.to_lowercase().starts_with("regexp_"));
        regular.filter_map(|(_, position)| *position).collect()
    }

    pub(super) fn may_use(&self, column: &str) -> bool {
        match &self.columns {
            Columns::All => true,
            Columns::Named(names) => names.contains(column),
        }
    }
}

/// Every word of the text except aliases: contains all columns that it uses, and more.
fn words(sql: &str, aliases: &BTreeSet<Position>) -> BTreeSet<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let words = tokens
        .unwrap_or_default()
        .into_iter()
        .filter_map(|token| match token.token {
            Token::Word(word) => Some((word.value, Position::of(token.span)?)),
            _ => None,
        });
    words
        .filter(|(_, position)| !aliases.contains(position))
        .map(|(word, _)| word)
        .collect()
}

fn syntax_error(error: &DataFusionError) -> QueryError {
    let text = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let (message, position) = Position::split_off(text.trim_start_matches("sql parser error: "));
    QueryError::new(position, format!("invalid SQL: {message}"))
}

fn named(name: &ObjectName) -> Named {
    let parts = name.0.iter().map(|part| match part {
        ObjectNamePart::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    });
    (parts.collect::<Vec<_>>().join("."), Position::of(name.span()))
}

fn not_read_only(position: Option<Position>, what: &str) -> ControlFlow<QueryError> {
    let message = format!("{what} is not allowed: the query must be read-only");
    ControlFlow::Break(QueryError::new(position, message))
}

fn check_body(body: &SetExpr) -> ControlFlow<QueryError> {
    let position = Position::of(body.span());
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, right, .. } => {
            check_body(left)?;
            check_body(right)
        }
        SetExpr::Table(_) => ControlFlow::Break(
            QueryError::new(position, "TABLE is not supported").hint("write SELECT * FROM".to_owned()),
        ),
        _ => not_read_only(position, "a statement that changes data"),
    }
}

impl Names {
    /// A natural join uses all columns of its tables.
    fn joins(&mut self, tables: &[TableWithJoins]) {
        let mut joins = tables.iter().flat_map(|table| &table.joins);
        self.all_columns |= joins.any(|join| is_natural(&join.join_operator));
    }

    fn column(&mut self, ident: &Ident) {
        let position = Position::of(ident.span);
        self.columns.push((ident.value.clone(), position));
    }
}

/// Rejects what is not only reading.
impl Visitor for Names {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &SqlQuery) -> ControlFlow<QueryError> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = &cte.alias.name;
            self.ctes.insert(name.value.clone(), Position::of(name.span));
        }
        check_body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if let Some(into) = &select.into {
            return not_read_only(Position::of(into.name.span()), "INTO");
        }
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => self.all_columns = true,
                SelectItem::ExprWithAlias { alias, .. } => self.aliases.extend(Position::of(alias.span)),
                _ => {}
            }
        }
        self.joins(&select.from);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        match factor {
            TableFactor::Table {
                name, args: Some(_), ..
            }
            | TableFactor::Function { name, .. } => {
                self.table_functions.push(named(name));
                self.visited.push(name.clone());
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.joins(std::slice::from_ref(&**table_with_joins));
            }
            // Names columns by their position.
            TableFactor::Table {
                alias: Some(alias), ..
            } => self.all_columns |= !alias.columns.is_empty(),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<QueryError> {
        let is_same = |other: &ObjectName| other == name && other.span() == name.span();
        if !self.visited.iter().any(is_same) {
            self.relations.push(named(name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        match expr {
            Expr::Identifier(ident) => self.column(ident),
            Expr::CompoundIdentifier(idents) => idents.iter().for_each(|ident| self.column(ident)),
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &value.value {
                    self.texts.push((text.clone(), Position::of(value.span)));
                }
            }
            Expr::Function(function) => {
                if let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() {
                    let position = Position::of(name.span);
                    let lower = name.value.to_lowercase();
                    let casts = CASTING_FUNCTIONS.contains(&&*lower) || lower.starts_with("to_timestamp");
                    if casts && !matches!(function.args, FunctionArguments::None) {
                        self.casts.extend(position);
                    }
                    self.functions.push((name.value.clone(), position));
                }
            }
            // The parser does not keep the position of the keyword.
            Expr::Cast { expr, .. } => self.casts.extend(Position::of(expr.span())),
            Expr::BinaryOp {
                op: BinaryOperator::Divide | BinaryOperator::Modulo,
                right,
                ..
            } => self.divisions.extend(Position::of(right.span())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_natural(join: &JoinOperator) -> bool {
    use JoinOperator as J;
    let (J::Join(constraint)
    | J::Inner(constraint)
    | J::Left(constraint)
    | J::LeftOuter(constraint)
    | J::Right(constraint)
    | J::RightOuter(constraint)
    | J::FullOuter(constraint)) = join
    else {
        return false;
    };
    *constraint == JoinConstraint::Natural
}
