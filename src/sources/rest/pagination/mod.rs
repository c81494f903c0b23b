//! How one page leads to the next.
//!
//! A [`PaginationConfig`] compiles to a [`Plan`]. A [`Pager`] gives the first request, and after each answer either the
//! next request or the reason why that was the last page. It does no I/O: equal answers give equal requests.
//!
//! A pager never sends the same request twice and stops after 100,000 pages. An answer that contradicts itself (it
//! announces more and names no next page, a page repeats, the rows differ from the total) may mean missing rows: that
//! is an error or a warning.

mod config;
mod pager;
#[cfg(test)]
mod tests;
mod values;

use serde_json::Value;

pub(crate) use self::config::PaginationConfig;
use self::config::{COMMON_PATHS, CursorFrom, LinkQuery, StopConfig};
pub(super) use self::pager::{Pager, Turn};
use super::json_path::SinglePath;
use super::page::InjectInto;

#[derive(Debug)]
pub(super) struct Plan {
    next: NextPage,
    size: Option<u64>,
    size_target: Option<InjectInto>,
    stop: StopConfig,
}

#[derive(Debug)]
enum NextPage {
    None,
    Count {
        param: InjectInto,
        start: u64,
        step: Step,
    },
    Cursor {
        from: CursorFrom,
        into: InjectInto,
    },
    Url(SinglePath),
    LinkHeader,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Page,
    Rows,
    Size(u64),
}

impl Plan {
    /// Whether hrsink knows where the next page starts without the answer naming it: then an empty page and a reached
    /// total are the end.
    fn is_counted(&self) -> bool {
        matches!(self.next, NextPage::Count { .. })
    }

    /// The paths of all values that are read from a body.
    fn paths(&self) -> impl Iterator<Item = &SinglePath> {
        let next = match &self.next {
            NextPage::Url(path)
            | NextPage::Cursor {
                from: CursorFrom::Body(path) | CursorFrom::LinkQuery(LinkQuery { path, .. }),
                ..
            } => Some(path),
            _ => None,
        };
        let stop = &self.stop;
        let stop = [&stop.has_more, &stop.total_rows, &stop.total_pages];
        next.into_iter()
            .chain(stop.into_iter().flatten())
            .chain(self.common_paths())
    }

    /// Where services usually name a next page.
    fn common_paths(&self) -> &'static [SinglePath] {
        if self.is_counted() { &[] } else { &COMMON_PATHS }
    }

    /// The page size in the first request, or in a later one. A link carries its own query, and nothing else.
    fn size_to_send(&self, first: bool) -> Option<(InjectInto, Value)> {
        let target = self.size_target.as_ref()?;
        let follows_urls = matches!(self.next, NextPage::Url(_) | NextPage::LinkHeader);
        let in_link = !first && follows_urls && matches!(target, InjectInto::Query(_));
        let size = self.size.filter(|_| !in_link)?;
        Some((target.clone(), size.into()))
    }
}
