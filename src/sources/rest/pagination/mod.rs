//! From one page to the next.
//!
//! A [`PaginationConfig`] says how a service pages. It becomes a `Pager` for each sequence of pages: what to ask first,
//! and after each answer either what to ask next or why that was the last.
//!
//! ```text
//! first() ─▶ PageRequest ─▶ (request, answer) ─▶ next(what the answer told) ─▶ Next(PageRequest) ─▶ …
//!                                                                  └─▶ End(reason) │ Error
//! ```
//!
//! No request, no clock: the same answers give the same questions. A pager never asks the same thing twice and ends
//! after [`max_pages`](Bounds::max_pages) at the latest. Where an answer contradicts itself (more is announced and
//! nothing leads there, a page comes twice, the rows are not as many as announced) rows may be missing: that is an
//! error or a `Warning`, never passed over.

mod config;
mod facts;
mod pager;
mod plan;
mod token;
mod validate;
mod warning;
mod watch;

pub use config::{
    Bounds, Checks, CursorFrom, CursorPagination, LinkHeaderPagination, LinkQuery, NextLinkPagination,
    NoPagination, ODataPagination, OffsetPagination, OnDoubt, OnLimit, OnMismatch, PagePagination,
    PaginationConfig, Step, Stops,
};
pub(super) use pager::{EndReason, Pager, Turn};

#[cfg(test)]
mod tests;
