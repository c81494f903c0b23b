//! What looks wrong about pages and is not an error.

/// A sign that rows may be missing. Each kind is reported once in a sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Warning {
    #[error("page {page} has {rows} rows, {size} were requested, and it says that there is more")]
    ShortPageWithMore { page: u64, rows: u64, size: u64 },
    #[error(
        "page {page} has {rows} rows, {size} were requested, and another page follows: with `step: size` rows are \
         skipped if the service gives fewer than requested"
    )]
    SteppedOverShortPage { page: u64, rows: u64, size: u64 },
    #[error("page {page} has {rows} rows, {size} were requested: the service may not page this request")]
    MoreThanRequested { page: u64, rows: u64, size: u64 },
    #[error("page {page} is empty and says that there is more")]
    EmptyPageWithMore { page: u64 },
    #[error(
        "the total number of {of} was {from} and is {to} on page {page}: records changed during the run, and some may \
         be missing or duplicated"
    )]
    TotalChanged {
        of: &'static str,
        from: u64,
        to: u64,
        page: u64,
    },
    #[error("the service announced {total} {of} and gave {read}: some may be missing or duplicated")]
    TotalMismatch { of: &'static str, total: u64, read: u64 },
    #[error(
        "the first page is full with {size} rows, and the total number of rows is the same: if `stop.total_rows` is \
         the count of the page, all other pages are missing"
    )]
    TotalIsOnePage { size: u64 },
    #[error("no answer has a value at `{path}` (`{setting}`)")]
    NeverFound { setting: &'static str, path: String },
    #[error(
        "the last page names a next page at {place}, which `pagination` does not read: there may be more"
    )]
    NextPageElsewhere { place: String },
}
