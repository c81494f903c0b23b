//! The tokens of a run: sources that sign in at the same place in the same way share one, and ask for it once.
//!
//! A service may allow one token at a time, or replace a refresh token with each use: two sources that each asked for
//! their own would lock each other out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::http::auth::provider::GrantProvider;
use crate::http::auth::token_cache::TokenCache;

/// A remembered token, and how often it was renewed.
pub(crate) struct Tokens {
    /// The token.
    pub(crate) cache: TokenCache<GrantProvider>,
    renewals: Mutex<Renewals>,
}

/// Renewals because of a refusal.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// How many there were.
    pub(crate) count: u64,
    /// When the last one was.
    pub(crate) last: Option<Instant>,
}

impl Tokens {
    /// None yet; `provider` gives them.
    pub(crate) fn new(provider: GrantProvider) -> Self {
        Self {
            cache: TokenCache::new(provider),
            renewals: Mutex::default(),
        }
    }

    /// The renewals so far.
    pub(crate) fn renewals(&self) -> MutexGuard<'_, Renewals> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(hidden)")
    }
}

/// The tokens of a run, by all that makes two ways to sign in the same. Cheap to clone. `Debug` shows how many.
#[derive(Clone, Default)]
pub(crate) struct SharedTokens(Arc<Mutex<HashMap<String, Arc<Tokens>>>>);

impl SharedTokens {
    /// The tokens known as `key`, those of `provider` if there are none yet.
    pub(crate) fn of(&self, key: String, provider: GrantProvider) -> Arc<Tokens> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = all.entry(key).or_insert_with(|| Arc::new(Tokens::new(provider)));
        Arc::clone(tokens)
    }
}

impl fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "SharedTokens({})", all.len())
    }
}
