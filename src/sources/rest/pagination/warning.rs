//! What looks wrong about pages and is no error.

use std::fmt;

/// Something about the pages that a person should know: rows may be missing. Each kind comes once in a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::rest) enum Warning {
    /// A page has fewer rows than asked for and says that there is more: the service gives fewer than it is asked for,
    /// or leaves rows out.
    ShortPageWithMore {
        /// The page, from 1.
        page: u64,
        /// Its rows.
        rows: u64,
        /// The rows asked for.
        size: u64,
    },
    /// After a page with fewer rows than asked for came another: steps of the limit may have jumped over rows.
    SteppedOverShortPage {
        /// The short page, from 1.
        page: u64,
        /// Its rows.
        rows: u64,
        /// The rows asked for.
        size: u64,
    },
    /// A page has more rows than asked for: the service sets the size aside, maybe the paging too.
    MoreThanAsked {
        /// The page, from 1.
        page: u64,
        /// Its rows.
        rows: u64,
        /// The rows asked for.
        size: u64,
    },
    /// A page is empty and says that there is more.
    EmptyPageWithMore {
        /// The page, from 1.
        page: u64,
    },
    /// A total changed between two pages.
    TotalChanged {
        /// Of what: `rows` or `pages`.
        of: &'static str,
        /// What it was.
        from: u64,
        /// What it is.
        to: u64,
        /// The page that says so, from 1.
        page: u64,
    },
    /// What came is not the total.
    TotalMissed {
        /// Of what: `rows` or `pages`.
        of: &'static str,
        /// The last total told.
        total: u64,
        /// What came.
        read: u64,
    },
    /// The total of rows is what the first page has, and that page is full: the total may be that of the page.
    TotalIsOnePage {
        /// The rows asked for.
        size: u64,
    },
    /// No answer had what a setting looks for.
    NeverTold {
        /// The setting, such as `stop.has_more`.
        setting: &'static str,
        /// Its path.
        path: String,
    },
    /// The reading ended, and the answer nevertheless names a next page in a place that was not looked at.
    NextElsewhere {
        /// The place: a path, or `the Link header`.
        place: String,
    },
    /// A bound was reached and the rest left unread, as set.
    Bounded {
        /// The bound: `max_pages` or `max_rows`.
        bound: &'static str,
        /// Its value.
        at: u64,
    },
    /// A next page that was read before ended the reading, as set.
    Repeated {
        /// The page that names it, from 1.
        page: u64,
    },
    /// A page with the records of the one before ended the reading, as set.
    Duplicate {
        /// The page, from 1.
        page: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortPageWithMore { page, rows, size } => write!(
                f,
                "page {page} has {rows} rows where {size} were asked for, and says that there is more"
            ),
            Self::SteppedOverShortPage { page, rows, size } => write!(
                f,
                "page {page} has {rows} rows where {size} were asked for, and another page follows: with `step: limit` rows between them are not read if the service gives fewer than it is asked for"
            ),
            Self::MoreThanAsked { page, rows, size } => write!(
                f,
                "page {page} has {rows} rows where {size} were asked for: the service may not page this request"
            ),
            Self::EmptyPageWithMore { page } => write!(f, "page {page} is empty and says that there is more"),
            Self::TotalChanged { of, from, to, page } => write!(
                f,
                "the total of {of} was {from} and is {to} on page {page}: the records changed while they were read, and some may be missing or there twice"
            ),
            Self::TotalMissed { of, total, read } => write!(
                f,
                "the service speaks of {total} {of} and gave {read}: some may be missing or there twice"
            ),
            Self::TotalIsOnePage { size } => write!(
                f,
                "the first page is full with {size} rows, and the total of rows is the same: if `stop.total_rows` leads to the count of the page, all other pages are missing"
            ),
            Self::NeverTold { setting, path } => {
                write!(f, "no answer has anything at `{path}`, where `{setting}` looks")
            }
            Self::NextElsewhere { place } => write!(
                f,
                "the last page read names a next page at {place}, which `pagination` does not look at: more may be there"
            ),
            Self::Bounded { bound, at } => {
                write!(f, "stopped at `{bound}: {at}`, and there is more")
            }
            Self::Repeated { page } => write!(
                f,
                "page {page} names a next page that was read before, and the reading ended there"
            ),
            Self::Duplicate { page } => write!(
                f,
                "page {page} has the records of the page before it, and the reading ended there"
            ),
        }
    }
}
