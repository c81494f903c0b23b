//! The settings of a source, checked as a whole and compiled.

use std::sync::Arc;

use super::config::RestConfig;
use super::extract::{Extractor, RecordsConfig};
use super::incremental::Incremental;
use super::json_path::{SinglePath, ValuePaths};
use super::pagination::{self, PaginationConfig};
use super::partitions::Partitioning;
use super::request::{RequestConfig, RequestPlan};
use super::response_actions::{ResponseActionConfig, ResponseActions};
use super::template::Names;
use crate::component::Problems;

/// A request with what follows from its responses.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: RequestPlan,
    pub(super) pagination: Arc<pagination::Plan>,
    pub(super) extractor: Arc<Extractor>,
    pub(super) actions: ResponseActions,
    /// The paths of values that pagination and response actions read.
    pub(super) paths: ValuePaths,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sequence: Sequence,
    pub(super) partitioning: Option<Arc<Partitioning>>,
    pub(super) parent: Option<Sequence>,
    pub(super) incremental: Option<Incremental>,
}

impl Plan {
    /// Checks all that requires neither network nor secrets; `problems` is at the source.
    pub(super) fn new(config: &RestConfig, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.len();
        config.check_blocks(problems);
        let mut names = Names::default();
        if config.incremental.is_some() {
            Incremental::names(&mut names);
        }
        let for_each = config.for_each.as_deref();
        let partitioning = for_each.and_then(|for_each| for_each.compile(&mut problems.at("for_each")));
        let block = for_each.and_then(|for_each| for_each.parent.as_ref());
        let mut parent = None;
        if let (Some(block), Some(partitioning)) = (block, &partitioning) {
            let mut names = names.clone();
            partitioning.outer_names(&mut names);
            let blocks = (&block.request, &block.pagination, &block.records);
            let mut problems = problems.at("for_each");
            parent = config.sequence(blocks, None, &names, &mut problems.at("parent"));
        }
        if let Some(partitioning) = &partitioning {
            partitioning.names(&mut names);
        }
        let cursor = config.incremental.as_ref().and_then(|block| block.cursor.clone());
        let blocks = (&config.request, &config.pagination, &config.records);
        let sequence = config.sequence(blocks, cursor, &names, problems);
        // What an invalid request uses is unknown.
        let mut incremental = None;
        if sequence.is_some() && parent.is_some() == block.is_some() {
            if let Some(partitioning) = &partitioning {
                partitioning.check_used(&names.uses(), &mut problems.at("for_each"));
            }
            if let Some(block) = &config.incremental {
                incremental = block.compile(&names.uses(), &mut problems.at("incremental"));
            }
        }
        if problems.len() > before {
            return None;
        }
        Some(Self {
            sequence: sequence?,
            partitioning: partitioning.map(Arc::new),
            parent,
            incremental,
        })
    }
}

impl RestConfig {
    fn check_blocks(&self, problems: &mut Problems<'_>) {
        self.auth.validate(&mut problems.at("auth"));
        self.tls.validate(&mut problems.at("tls"));
        self.rate_limit.validate(&mut problems.at("rate_limit"));
        self.retry.validate(&mut problems.at("retry"));
        let for_each = self.for_each.as_ref();
        ResponseActionConfig::validate_all(
            &self.response_actions,
            for_each.is_some_and(|for_each| for_each.skip.is_some()),
            self.auth.has_token(),
            &mut problems.at("response_actions"),
        );
        if let Err(message) = self.hosts() {
            problems.at("allowed_hosts").add(message);
        }
        let Some(columns) = &self.columns else { return };
        if columns.is_empty() {
            let message = "expected at least one column; without `columns` they are inferred";
            problems.at("columns").add(message);
        }
        let declared = |name: &str| columns.contains_key(name);
        self.records.check_kept(&declared, &mut problems.at("records"));
    }

    /// `cursor`: where each row has its cursor.
    fn sequence(
        &self,
        (request, pagination, records): (&RequestConfig, &PaginationConfig, &RecordsConfig),
        cursor: Option<SinglePath>,
        names: &Names,
        problems: &mut Problems<'_>,
    ) -> Option<Sequence> {
        let before = problems.len();
        let plan = RequestPlan::new(&self.base_url, request, names, problems);
        let mut paths = ValuePaths::default();
        let pages = pagination.compile(&mut paths, &mut problems.at("pagination"));
        records.validate(&mut problems.at("records"));
        for (key, target) in pagination.targets() {
            request.check_place(&target, &mut problems.at("pagination").at(key));
            request.check_free(&target, &mut problems.at("request"));
        }
        if problems.len() > before {
            return None;
        }
        let (request, pagination) = (plan?, pages?);
        let actions = ResponseActions::new(&self.response_actions, &mut paths, self.rate_limit.wait_rule());
        let extractor = Extractor::new(records, &paths, cursor);
        Some(Sequence {
            request,
            pagination,
            extractor: Arc::new(extractor),
            actions,
            paths,
        })
    }
}
