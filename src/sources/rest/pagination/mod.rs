//! How one page leads to the next.
//!
//! A [`PaginationConfig`] compiles to a `Pager`. It gives the first request, and after each answer either the next
//! request or the reason why that was the last page. It does no I/O: equal answers give equal requests.
//!
//! A pager never sends the same request twice and stops after 100,000 pages. An answer that contradicts itself (it
//! announces more and names no next page, a page repeats, the rows differ from the total) may mean missing rows: that
//! is an error or a `Warning`.

mod config;
mod pager;
mod values;
mod warning;

pub(crate) use config::PaginationConfig;
pub(super) use pager::{Pager, Turn};

#[cfg(test)]
mod tests;
