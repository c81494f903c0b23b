//! A span cut into windows.

/// A span of an axis in windows of equal length, the last one shorter: each point of it is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    start: i64,
    end: i64,
    length: i64,
}

impl Windows {
    /// Cuts `start` (inclusive) to `end` (exclusive). `length` is more than 0; `None`: one window.
    pub(super) fn new(start: i64, end: i64, length: Option<i64>) -> Self {
        let end = end.max(start);
        Self {
            start,
            end,
            length: length.unwrap_or(end.saturating_sub(start)).max(1),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        let span = self.end.abs_diff(self.start);
        span.div_ceil(self.length.unsigned_abs())
    }

    /// Start and end of one; `None` past the last.
    pub(super) fn get(&self, index: u64) -> Option<(i64, i64)> {
        if index >= self.len() {
            return None;
        }
        let offset = i64::try_from(index).ok()?.checked_mul(self.length)?;
        let start = self.start.checked_add(offset)?;
        Some((start, start.saturating_add(self.length).min(self.end)))
    }
}

/// The multiple of `unit` at or before `point`.
pub(super) fn floor(point: i64, unit: i64) -> i64 {
    point - point.rem_euclid(unit)
}

/// The multiple of `unit` at or after `point`.
pub(super) fn ceil(point: i64, unit: i64) -> i64 {
    match point.rem_euclid(unit) {
        0 => point,
        rest => point + (unit - rest),
    }
}
