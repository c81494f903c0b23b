//! The settings of a source, checked as a whole: what of them belongs together.

use std::sync::Arc;

use super::config::{ParentConfig, RestConfig};
use super::extract::{Extractor, Limits, RecordsConfig};
use super::incremental::Incremental;
use super::json_path::ValuePaths;
use super::pagination::{CursorFrom, Pager, PaginationConfig};
use super::partitions::Partitioning;
use super::request::{RequestConfig, RequestPlan};
use super::response_actions::{ResponseActionConfig, ResponseActions, renews};
use super::template::{Names, Uses};
use crate::config::Problems;
use crate::http::link;

/// A request with what follows from its answers.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: RequestPlan,
    pub(super) pager: Pager,
    pub(super) extractor: Extractor,
    pub(super) rules: ResponseActions,
    pub(super) paths: ValuePaths,
    /// Whether the token of the next page is in the last record.
    pub(super) needs_last: bool,
    /// Statuses besides 2xx that end the pages.
    pub(super) ends: Vec<u16>,
}

/// A source's settings without contradiction.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sequence: Sequence,
    pub(super) each: Option<Arc<Partitioning>>,
    pub(super) parent: Option<Sequence>,
    pub(super) incremental: Option<Incremental>,
}

impl Plan {
    /// Checks everything that can be checked without network and secrets; `problems` points at the source. `None` if
    /// there was a problem.
    pub(super) fn new(config: &RestConfig, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.len();
        config.auth.validate(&mut problems.at("auth"));
        config.tls.validate(&mut problems.at("tls"));
        config.check_connection(&mut problems.at("connection"));
        config.rate_limit.validate(&mut problems.at("rate_limit"));
        config.retry.validate(&mut problems.at("retry"));
        config.message.validate(&mut problems.at("message"));
        ResponseActionConfig::validate_all(&config.response_actions, &mut problems.at("response_actions"));
        if renews(&config.response_actions) && !config.auth.has_token() {
            problems
                .at("response_actions")
                .add("`renew_token` needs an `auth` whose token can be asked for anew");
        }
        let may_skip = config
            .for_each
            .as_ref()
            .is_some_and(|each| each.on_error == super::partitions::OnError::Skip);
        if !may_skip {
            for index in super::response_actions::skipping(&config.response_actions) {
                let mut here = problems.at("response_actions");
                here.at_index(index).at("action").add_with_hint(
                    "`skip` leaves out one of several values, and goes with `for_each` and its `on_error: skip` only",
                    "`empty` takes the answer as one without rows, `fail` ends the run",
                );
            }
        }
        if config
            .columns
            .as_ref()
            .is_some_and(std::collections::BTreeMap::is_empty)
        {
            problems
                .at("columns")
                .add("names no column; leave it out to have the columns learnt");
        }

        if let Some(columns) = &config.columns {
            let declared = |name: &str| columns.contains_key(name);
            config.records.check_kept(&declared, &mut problems.at("records"));
        }

        let mut names = Names::default();
        let mut uses = Uses::default();
        if config.incremental.is_some() {
            Incremental::names(&mut names);
        }
        let each = config
            .for_each
            .as_ref()
            .map(|each| each.compile(&mut problems.at("for_each")));
        let mut parent = None;
        if let (Some(block), Some(Some(each))) = (&config.for_each, &each)
            && let Some(ParentConfig {
                request,
                pagination,
                records,
            }) = &block.parent
        {
            let mut names = names.clone();
            each.outer_names(&mut names);
            let mut problems = problems.at("for_each");
            let mut here = problems.at("parent");
            parent = config.sequence(request, pagination, records, &names, &mut uses, &mut here);
        }
        if let Some(Some(each)) = &each {
            each.names(&mut names);
        }
        let sequence = config.sequence(
            &config.request,
            &config.pagination,
            &config.records,
            &names,
            &mut uses,
            problems,
        );
        // What a request with a problem uses is not known.
        let mut incremental = None;
        if sequence.is_some()
            && (parent.is_some() || config.for_each.as_ref().is_none_or(|each| each.parent.is_none()))
        {
            if let Some(Some(each)) = &each {
                each.check_used(&uses, &mut problems.at("for_each"));
            }
            if let Some(block) = &config.incremental {
                if config.pagination.stops_at_bounds() {
                    problems.at("pagination").at("bounds").at("on_limit").add_with_hint(
                        "`stop` does not go with `incremental`: what lies beyond the bound would never be read",
                        "leave `on_limit` out, so that the bound is an error, or cut the span with `incremental.window`",
                    );
                }
                incremental = block.compile(&uses, &mut problems.at("incremental"));
            }
        }
        if problems.len() > before {
            return None;
        }
        Some(Self {
            sequence: sequence?,
            each: each.flatten().map(Arc::new),
            parent,
            incremental,
        })
    }
}

impl RestConfig {
    fn sequence(
        &self,
        request: &RequestConfig,
        pagination: &PaginationConfig,
        records: &RecordsConfig,
        names: &Names,
        uses: &mut Uses,
        problems: &mut Problems<'_>,
    ) -> Option<Sequence> {
        let before = problems.len();
        let config = request;
        let request = RequestPlan::new(&self.base_url, config, names, problems);
        pagination.validate(&mut problems.at("pagination"));
        records.validate(&mut problems.at("records"));
        if let Some(request) = &request {
            for place in pagination.places() {
                request.check_place(&place, &mut problems.at("pagination"));
                config.check_free(&place, &mut problems.at("request"));
            }
            uses.extend(request.uses());
        }
        if problems.len() > before {
            return None;
        }
        let mut paths = ValuePaths::default();
        let pager = pagination.pager(&mut paths, link::target);
        let rules = ResponseActions::new(&self.response_actions, &mut paths, self.read_wait());
        let needs_last = matches!(
            pagination,
            PaginationConfig::Cursor(cursor) if matches!(cursor.from, CursorFrom::LastRecord(_))
        );
        let limits = Limits {
            max_record: usize::try_from(self.connection.max_record.0).unwrap_or(usize::MAX),
            max_buffered: usize::try_from(self.connection.max_buffered_page.0).unwrap_or(usize::MAX),
            keep_last: needs_last,
            ..Limits::default()
        };
        Some(Sequence {
            request: request?,
            extractor: Extractor::new(records, &paths, limits),
            pager,
            rules,
            paths,
            needs_last,
            ends: pagination.end_statuses().to_vec(),
        })
    }
}
