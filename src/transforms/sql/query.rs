//! The text of a query, and what can be known of it without input.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query as SqlQuery, Select, SelectItem, SetExpr, Spanned, Statement as SqlStatement, TableFactor, Value,
    Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::place::{Place, at};
use crate::component::Columns;
use crate::config::suggestion;

/// A query that could be parsed.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// For the planner.
    pub(super) statement: Statement,
    /// What it says about columns: `*` and the like mean all.
    pub(super) columns: Columns,
    /// The columns it names, with their places, in its order.
    idents: Vec<(String, Option<Place>)>,
    relations: Vec<(Vec<String>, Option<Place>)>,
    functions: Vec<(String, Option<Place>)>,
    table_functions: Vec<(String, Option<Place>)>,
    ctes: BTreeMap<String, Option<Place>>,
    /// The texts in it, such as names of fields in brackets.
    texts: Vec<(String, Option<Place>)>,
    /// Where values are turned into other types.
    pub(super) casts: Vec<Place>,
    /// Where is divided.
    pub(super) divisions: Vec<Place>,
}

/// Something wrong in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(place: Option<Place>, message: impl std::fmt::Display) -> Self {
        Self {
            message: at(place, message),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// Functions that the planner knows and no registry lists.
const PLANNED_FUNCTIONS: &[&str] = &["unnest"];

/// Functions that turn text into something else, and fail for some.
const CASTING_FUNCTIONS: &[&str] = &["arrow_cast", "to_date", "to_time", "to_unixtime", "chr", "decode"];

impl Query {
    /// Parses the text.
    ///
    /// # Errors
    /// It is not one query.
    pub(super) fn parse(sql: &str) -> Result<Self, Wrong> {
        const ONE: &str = "one SELECT is meant here, which may begin with WITH";
        if sql.trim().is_empty() {
            return Err(Wrong::new(None, "a query is needed, and this is empty"));
        }
        let dialect = GenericDialect {};
        let statements = DFParserBuilder::new(sql)
            .with_dialect(&dialect)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| not_valid(&error))?;
        let count = statements.len();
        let Ok([statement]) = <[Statement; 1]>::try_from(Vec::from(statements)) else {
            let message = match count {
                0 => "a query is needed, and here are only comments".to_owned(),
                _ => format!("there are {count} statements; {ONE}"),
            };
            return Err(Wrong::new(None, message));
        };
        let Statement::Statement(sql_statement) = &statement else {
            return Err(Wrong::new(None, format!("this is not a query; {ONE}")));
        };
        let SqlStatement::Query(_) = &**sql_statement else {
            let place = Place::of(sql_statement.span());
            return Err(Wrong::new(place, format!("this is not a query; {ONE}")));
        };
        let mut walk = Walk::default();
        let found: ControlFlow<Wrong> = sql_statement.visit(&mut walk);
        if let ControlFlow::Break(wrong) = found {
            return Err(wrong);
        }
        let columns = if walk.all {
            Columns::All
        } else {
            Columns::Named(words(sql, &walk.aliases))
        };
        Ok(Self {
            columns,
            idents: walk.idents,
            relations: walk.relations,
            functions: walk.functions,
            table_functions: walk.table_functions,
            ctes: walk.ctes,
            texts: walk.texts,
            casts: walk.casts,
            divisions: walk.divisions,
            statement,
        })
    }

    /// What is wrong with the names in it, given the names of the inputs.
    pub(super) fn check(&self, state: &SessionState, inputs: &[Arc<str>]) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (cte, place) in &self.ctes {
            if inputs.iter().any(|input| **input == **cte) {
                wrong.push(
                    Wrong::new(*place, format!("`{cte}` is an input already"))
                        .hint("give what stands behind WITH another name".to_owned()),
                );
            }
        }
        let mut used = BTreeSet::new();
        for (parts, place) in &self.relations {
            let name = parts.join(".");
            if let Some(input) = inputs.iter().find(|input| ***input == *name) {
                used.insert(input.clone());
            } else if !self.ctes.contains_key(&name) {
                let known = inputs
                    .iter()
                    .map(|input| &**input)
                    .chain(self.ctes.keys().map(String::as_str));
                wrong.push(
                    Wrong::new(*place, format!("there is no table `{name}` among the inputs"))
                        .hint(suggestion(&name, known.collect::<Vec<_>>())),
                );
            }
        }
        for input in inputs.iter().filter(|input| !used.contains(*input)) {
            wrong.push(
                Wrong::new(None, format!("the query never names the input `{input}`"))
                    .hint(format!("use it as a table, or take `{input}` out of `inputs`")),
            );
        }
        wrong.extend(self.check_functions(state));
        wrong
    }

    fn check_functions(&self, state: &SessionState) -> Vec<Wrong> {
        let scalar = state.scalar_functions().keys();
        let known: BTreeSet<&str> = scalar
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .chain(state.higher_order_functions().keys())
            .map(String::as_str)
            .chain(PLANNED_FUNCTIONS.iter().copied())
            .collect();
        let tables: BTreeSet<&str> = state.table_functions().keys().map(String::as_str).collect();
        let mut wrong = Vec::new();
        for (known, found, what) in [
            (&known, &self.functions, "function"),
            (&tables, &self.table_functions, "table function"),
        ] {
            for (name, place) in found {
                let lower = name.to_lowercase();
                if !known.contains(&*lower) {
                    wrong.push(
                        Wrong::new(*place, format!("there is no {what} `{name}`"))
                            .hint(suggestion(&lower, known.iter().copied().collect::<Vec<_>>())),
                    );
                }
            }
        }
        wrong
    }

    /// Where a column is named first.
    pub(super) fn place_of(&self, column: &str) -> Option<Place> {
        self.idents
            .iter()
            .find(|(name, _)| name == column)
            .and_then(|(_, place)| *place)
    }

    /// Where a field within a column is named first: `column['field']`, or `column.field`.
    pub(super) fn place_of_field(&self, field: &str) -> Option<Place> {
        let texts = self.texts.iter().chain(&self.idents);
        let mut named = texts.filter(|(text, _)| text == field);
        named.find_map(|(_, place)| *place)
    }

    /// Where the function stands that is named first in a text of the engine.
    pub(super) fn place_of_function_in(&self, text: &str) -> Option<Place> {
        let text = text.to_lowercase();
        let at = |name: &str| {
            let name = name.to_lowercase();
            let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
            text.match_indices(&name).map(|(at, _)| at).find(|at| {
                !text[..*at].ends_with(part_of_a_word) && !text[at + name.len()..].starts_with(part_of_a_word)
            })
        };
        let found = self
            .functions
            .iter()
            .filter_map(|(name, place)| Some((at(name)?, (*place)?)));
        found.min().map(|(_, place)| place)
    }

    /// Where functions of regular expressions stand.
    pub(super) fn regular_expressions(&self) -> Vec<Place> {
        let names = self.functions.iter();
        let named = names.filter(|(name, _)| name.to_lowercase().starts_with("regexp_"));
        named.filter_map(|(_, place)| *place).collect()
    }

    /// Whether it may use a column of this name.
    pub(super) fn may_use(&self, column: &str) -> bool {
        match &self.columns {
            Columns::All => true,
            Columns::Named(names) => names.contains(column),
        }
    }
}

/// Every word of the text that is not a new name behind AS: more than the columns, and never fewer.
fn words(sql: &str, aliases: &BTreeSet<Place>) -> BTreeSet<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    tokens
        .unwrap_or_default()
        .into_iter()
        .filter(|token| Place::of(token.span).is_none_or(|place| !aliases.contains(&place)))
        .filter_map(|token| match token.token {
            Token::Word(word) => Some(word.value),
            _ => None,
        })
        .collect()
}

fn not_valid(error: &DataFusionError) -> Wrong {
    let text = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let text = text.trim_start_matches("sql parser error: ");
    let (message, place) = Place::split_off(text);
    Wrong::new(place, format!("not a valid query: {message}"))
}

#[derive(Default)]
struct Walk {
    all: bool,
    idents: Vec<(String, Option<Place>)>,
    relations: Vec<(Vec<String>, Option<Place>)>,
    functions: Vec<(String, Option<Place>)>,
    table_functions: Vec<(String, Option<Place>)>,
    /// Names of table functions that come again as relations.
    not_relations: Vec<ObjectName>,
    ctes: BTreeMap<String, Option<Place>>,
    texts: Vec<(String, Option<Place>)>,
    casts: Vec<Place>,
    divisions: Vec<Place>,
    /// Where columns of a SELECT get their names.
    aliases: BTreeSet<Place>,
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => ident.value.clone(),
            other => other.to_string(),
        })
        .collect()
}

impl Walk {
    fn ident(&mut self, ident: &Ident) {
        self.idents.push((ident.value.clone(), Place::of(ident.span)));
    }

    fn not_here(place: Option<Place>, what: &str) -> ControlFlow<Wrong> {
        ControlFlow::Break(Wrong::new(
            place,
            format!("{what} is not possible here: a query only reads"),
        ))
    }
}

impl Visitor for Walk {
    type Break = Wrong;

    fn pre_visit_query(&mut self, query: &SqlQuery) -> ControlFlow<Wrong> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = &cte.alias.name;
            self.ctes.insert(name.value.clone(), Place::of(name.span));
        }
        fn check(body: &SetExpr) -> ControlFlow<Wrong> {
            let place = Place::of(body.span());
            match body {
                SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
                SetExpr::SetOperation { left, right, .. } => {
                    check(left)?;
                    check(right)
                }
                SetExpr::Table(_) => ControlFlow::Break(
                    Wrong::new(place, "TABLE is not understood here").hint("write SELECT * FROM".to_owned()),
                ),
                _ => Walk::not_here(place, "a statement that changes something"),
            }
        }
        check(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Wrong> {
        if let Some(into) = &select.into {
            return Self::not_here(Place::of(into.name.span()), "INTO");
        }
        self.all |= select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.aliases.extend(Place::of(alias.span));
            }
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            self.all |= natural(&join.join_operator);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Wrong> {
        match factor {
            TableFactor::Table {
                name, args: Some(_), ..
            }
            | TableFactor::Function { name, .. } => {
                self.table_functions
                    .push((parts(name).join("."), Place::of(name.span())));
                self.not_relations.push(name.clone());
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                for join in &table_with_joins.joins {
                    self.all |= natural(&join.join_operator);
                }
            }
            // Columns by their place.
            TableFactor::Table {
                alias: Some(alias), ..
            } => self.all |= !alias.columns.is_empty(),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Wrong> {
        let same = |other: &ObjectName| other == name && other.span() == name.span();
        if !self.not_relations.iter().any(same) {
            self.relations.push((parts(name), Place::of(name.span())));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Wrong> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &value.value {
                    self.texts.push((text.clone(), Place::of(value.span)));
                }
            }
            Expr::CompoundIdentifier(idents) => {
                for ident in idents {
                    self.ident(ident);
                }
            }
            Expr::Function(function) => {
                if let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() {
                    let place = Place::of(name.span);
                    let lower = name.value.to_lowercase();
                    let casts = CASTING_FUNCTIONS.contains(&&*lower) || lower.starts_with("to_timestamp");
                    if casts && !matches!(function.args, FunctionArguments::None) {
                        self.casts.extend(place);
                    }
                    self.functions.push((name.value.clone(), place));
                }
            }
            // The span of the keyword is not kept.
            Expr::Cast { expr, .. } => self.casts.extend(Place::of(expr.span())),
            Expr::BinaryOp {
                op: BinaryOperator::Divide | BinaryOperator::Modulo,
                right,
                ..
            } => self.divisions.extend(Place::of(right.span())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn natural(join: &JoinOperator) -> bool {
    use JoinOperator as J;
    matches!(
        join,
        J::Join(JoinConstraint::Natural)
            | J::Inner(JoinConstraint::Natural)
            | J::Left(JoinConstraint::Natural)
            | J::LeftOuter(JoinConstraint::Natural)
            | J::Right(JoinConstraint::Natural)
            | J::RightOuter(JoinConstraint::Natural)
            | J::FullOuter(JoinConstraint::Natural)
    )
}
