//! The settings of a source, checked as a whole and compiled.

use std::sync::Arc;

use super::config::RestConfig;
use super::extract::{Extractor, RecordsConfig};
use super::incremental::{CursorConfig, Incremental};
use super::json_path::{SinglePath, ValuePaths};
use super::pagination::{Pager, PaginationConfig};
use super::partitions::Partitioning;
use super::request::{RequestConfig, RequestPlan};
use super::response_actions::{ResponseActionConfig, ResponseActions};
use super::template::Names;
use crate::component::Problems;

/// A request with what follows from its responses.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: RequestPlan,
    pub(super) pager: Pager,
    pub(super) extractor: Extractor,
    pub(super) actions: ResponseActions,
    /// The paths of values that pagination and response actions read.
    pub(super) paths: ValuePaths,
}

/// Valid settings.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sequence: Sequence,
    pub(super) partitioning: Option<Arc<Partitioning>>,
    pub(super) parent: Option<Sequence>,
    pub(super) incremental: Option<Incremental>,
}

/// The settings of a sequence.
struct Block<'a> {
    request: &'a RequestConfig,
    pagination: &'a PaginationConfig,
    records: &'a RecordsConfig,
    /// Where each row has its cursor.
    cursor: Option<SinglePath>,
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
        let partitioning = config
            .for_each
            .as_ref()
            .map(|for_each| for_each.compile(&mut problems.at("for_each")));
        let mut parent = None;
        if let (Some(for_each), Some(Some(partitioning))) = (&config.for_each, &partitioning)
            && let Some(block) = &for_each.parent
        {
            let mut names = names.clone();
            partitioning.outer_names(&mut names);
            let block = Block {
                request: &block.request,
                pagination: &block.pagination,
                records: &block.records,
                cursor: None,
            };
            let mut problems = problems.at("for_each");
            parent = config.sequence(&block, &names, &mut problems.at("parent"));
        }
        if let Some(Some(partitioning)) = &partitioning {
            partitioning.names(&mut names);
        }
        let block = Block {
            request: &config.request,
            pagination: &config.pagination,
            records: &config.records,
            cursor: config
                .incremental
                .as_ref()
                .and_then(|incremental| match &incremental.cursor {
                    CursorConfig::Path(path) => Some(path.clone()),
                    CursorConfig::RunTime => None,
                }),
        };
        let sequence = config.sequence(&block, &names, problems);
        // What an invalid request uses is unknown.
        let has_parent = config
            .for_each
            .as_ref()
            .is_some_and(|for_each| for_each.parent.is_some());
        let mut incremental = None;
        if sequence.is_some() && (parent.is_some() || !has_parent) {
            if let Some(Some(partitioning)) = &partitioning {
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
            partitioning: partitioning.flatten().map(Arc::new),
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
        ResponseActionConfig::validate_all(
            &self.response_actions,
            self.for_each
                .as_ref()
                .is_some_and(|for_each| for_each.skip.is_some()),
            self.auth.has_token(),
            &mut problems.at("response_actions"),
        );
        if let Err(message) = self.hosts() {
            problems.at("allowed_hosts").add(message);
        }
        let Some(columns) = &self.columns else { return };
        if columns.is_empty() {
            problems
                .at("columns")
                .add("expected at least one column; without `columns` they are inferred");
        }
        let declared = |name: &str| columns.contains_key(name);
        self.records.check_kept(&declared, &mut problems.at("records"));
    }

    fn sequence(&self, block: &Block<'_>, names: &Names, problems: &mut Problems<'_>) -> Option<Sequence> {
        let before = problems.len();
        let mut paths = ValuePaths::default();
        let request = RequestPlan::new(&self.base_url, block.request, names, problems);
        let pager = block
            .pagination
            .compile(&mut paths, &mut problems.at("pagination"));
        block.records.validate(&mut problems.at("records"));
        if let Some(request) = &request {
            for target in block.pagination.targets() {
                request.check_place(&target, &mut problems.at("pagination"));
                block.request.check_free(&target, &mut problems.at("request"));
            }
        }
        if problems.len() > before {
            return None;
        }
        let actions = ResponseActions::new(&self.response_actions, &mut paths, self.rate_limit.wait_rule());
        let keep_last = block.pagination.needs_last_record();
        Some(Sequence {
            request: request?,
            pager: pager?,
            extractor: Extractor::new(block.records, &paths, block.cursor.clone(), keep_last),
            actions,
            paths,
        })
    }
}
