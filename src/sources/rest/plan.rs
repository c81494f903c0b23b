//! The settings of a source, checked as a whole: what of them belongs together.

use std::sync::Arc;

use super::config::RestConfig;
use super::extract::{Extractor, Limits, RecordsConfig};
use super::incremental::Incremental;
use super::json_path::ValuePaths;
use super::pagination::{Pager, PaginationConfig};
use super::partitions::{ParentConfig, Partitioning};
use super::request::{RequestConfig, RequestPlan};
use super::response_actions::{ResponseActionConfig, ResponseActions};
use super::template::{Names, Uses};
use crate::config::Problems;

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
        ResponseActionConfig::validate_all(
            &config.response_actions,
            config.for_each.as_ref().is_some_and(|each| each.skip.is_some()),
            config.auth.has_token(),
            &mut problems.at("response_actions"),
        );
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
        let mut paths = ValuePaths::default();
        let pager = pagination.compile(&mut paths, &mut problems.at("pagination"));
        records.validate(&mut problems.at("records"));
        if let Some(request) = &request {
            for place in pagination.targets() {
                request.check_place(&place, &mut problems.at("pagination"));
                config.check_free(&place, &mut problems.at("request"));
            }
            uses.extend(request.uses());
        }
        if problems.len() > before {
            return None;
        }
        let rules = ResponseActions::new(&self.response_actions, &mut paths, self.rate_limit.wait_rule());
        let needs_last = pagination.needs_last_record();
        let limits = Limits {
            max_record: usize::try_from(self.connection.max_record.0).unwrap_or(usize::MAX),
            max_buffered: usize::try_from(self.connection.max_buffered_page.0).unwrap_or(usize::MAX),
            keep_last: needs_last,
            ..Limits::default()
        };
        Some(Sequence {
            request: request?,
            extractor: Extractor::new(records, &paths, limits),
            pager: pager?,
            rules,
            paths,
            needs_last,
        })
    }
}
