//! Results of earlier values: HR dates are few distinct days in millions of rows.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ahash::AHashMap;

/// Most values kept: three times the days from 1980 to 2040. Values that never repeat do not fill the memory.
const MAX_ENTRIES: usize = 1 << 16;

/// Keeps the result of each value; shared by the threads that read columns.
pub(super) struct Memo<K, V>(RwLock<AHashMap<K, V>>);

impl<K: Eq + Hash, V> Memo<K, V> {
    pub(super) fn new() -> Self {
        Self(RwLock::new(AHashMap::new()))
    }

    /// Starts a column.
    pub(super) fn column(&self) -> Column<'_, K, V> {
        Column {
            memo: self,
            kept: self.0.read().unwrap_or_else(PoisonError::into_inner),
            new: AHashMap::new(),
        }
    }
}

/// The memo as one column uses it: its new values are kept at the end, so that columns do not wait for one another.
pub(super) struct Column<'m, K, V> {
    memo: &'m Memo<K, V>,
    kept: RwLockReadGuard<'m, AHashMap<K, V>>,
    new: AHashMap<K, V>,
}

impl<K: Eq + Hash, V> Column<'_, K, V> {
    /// The result for `key`, which `make` computes the first time.
    pub(super) fn get<Q>(&mut self, key: &Q, make: impl FnOnce() -> V) -> &V
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(kept) = self.kept.get(key) {
            return kept;
        }
        if !self.new.contains_key(key) {
            self.new.insert(key.to_owned(), make());
        }
        &self.new[key]
    }

    /// Keeps the new results.
    pub(super) fn finish(self) {
        let Self { memo, kept, new } = self;
        let room = MAX_ENTRIES.saturating_sub(kept.len());
        drop(kept);
        if room > 0 && !new.is_empty() {
            let mut all = memo.0.write().unwrap_or_else(PoisonError::into_inner);
            all.extend(new.into_iter().take(room));
        }
    }
}
