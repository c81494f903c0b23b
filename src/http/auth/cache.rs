//! Caches an access token: renewed early, one request at a time, dropped when the service rejects it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::response::TokenError;
use crate::http::retry::Verdict;
use crate::secret::Secret;

/// A token is renewed this long before it expires, or a tenth of its lifetime before, whichever is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// After an early renewal failed while the old token is still valid, the next one waits this long.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

/// After a renewal because of a rejection, another rejection renews nothing for this long: it is not the token.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5 * 60);

const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(crate) struct Token {
    pub(super) secret: Secret,
    renew: Instant,
    expires: Instant,
}

impl Token {
    pub(super) fn new(secret: Secret, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(MAX_LIFETIME);
        let expires = Instant::now() + lifetime;
        Self {
            secret,
            renew: expires - RENEW_BEFORE.min(lifetime / 10),
            expires,
        }
    }
}

#[derive(Default)]
pub(super) struct TokenCache {
    /// Held during a request; readers of a valid token never wait for it.
    request: tokio::sync::Mutex<()>,
    /// Requests that ended. Those who waited for one share its error.
    requests: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    failed: Option<(u64, Arc<TokenError>)>,
    pause: Option<Instant>,
    renewed: Option<Instant>,
}

impl TokenCache {
    /// A valid token; `fetch` requests it if necessary. Concurrent callers share one request and its result. An error
    /// that another request cannot help, such as a wrong secret, is returned to later callers as well: an account may
    /// be locked. While the old token is valid, a failed renewal is not an error.
    pub(super) async fn get(
        &self,
        fetch: impl Future<Output = Result<Token, TokenError>>,
    ) -> Result<Arc<Token>, Arc<TokenError>> {
        let seen = self.requests.load(Ordering::Acquire);
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _request = self.request.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        if let Some((number, error)) = &self.lock().failed
            && (*number > seen || error.verdict() == Verdict::Stop)
        {
            return Err(Arc::clone(error));
        }
        let fetched = fetch.await;
        let number = self.requests.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = self.lock();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                (state.token, state.failed, state.pause) = (Some(Arc::clone(&token)), None, None);
                Ok(token)
            }
            Err(error) => {
                let now = Instant::now();
                if let Some(token) = state.token.clone().filter(|token| now < token.expires) {
                    state.pause = Some(now + RENEW_PAUSE);
                    tracing::warn!(
                        "cannot renew the access token early; using the current one, which is still valid"
                    );
                    return Ok(token);
                }
                let error = Arc::new(error);
                (state.token, state.failed) = (None, Some((number, Arc::clone(&error))));
                Err(error)
            }
        }
    }

    /// Drops `token`, which the service rejected. False if that is of no use: a token was renewed for this reason
    /// within the last five minutes.
    pub(super) fn renew(&self, token: &Arc<Token>) -> bool {
        let mut state = self.lock();
        let cached = state.token.as_ref();
        if !cached.is_some_and(|cached| Arc::ptr_eq(cached, token)) {
            // Another request has renewed it.
            return true;
        }
        let now = Instant::now();
        if state.renewed.is_some_and(|last| now - last < RENEWAL_INTERVAL) {
            return false;
        }
        (state.token, state.renewed) = (None, Some(now));
        tracing::info!("the service rejected the access token; requesting a new one");
        true
    }

    pub(super) fn cached(&self) -> Option<Arc<Token>> {
        self.lock().token.clone()
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        let now = Instant::now();
        let state = self.lock();
        let token = state.token.as_ref()?;
        let paused = state.pause.is_some_and(|pause| now < pause) && now < token.expires;
        (now < token.renew || paused).then(|| Arc::clone(token))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::Error;
    use crate::http::auth::response::TokenCause;

    const SECOND: Duration = Duration::from_secs(1);

    /// A cache, and a provider of tokens with their number as name, one second after the request.
    struct Fixture {
        cache: TokenCache,
        lifetime: Duration,
        requests: AtomicUsize,
        script: &'static [&'static str],
    }

    impl Fixture {
        fn new(lifetime: u64, script: &'static [&'static str]) -> Self {
            Self {
                cache: TokenCache::default(),
                lifetime: Duration::from_secs(lifetime),
                requests: AtomicUsize::new(0),
                script,
            }
        }

        async fn fetch(&self) -> Result<Token, TokenError> {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            match self.script.get(number) {
                Some(&"final") => Err(Error::unexpected("final").into()),
                Some(&"down") => Err(TokenError {
                    cause: TokenCause::Unusable {
                        truncated: true,
                        html: false,
                    },
                    detail: "down".to_owned(),
                    date: None,
                }),
                _ => Ok(Token::new(
                    Secret::new(format!("token-{}", number + 1)),
                    self.lifetime,
                )),
            }
        }

        async fn name(&self) -> String {
            match self.cache.get(self.fetch()).await {
                Ok(token) => token.secret.expose().to_owned(),
                Err(error) => error.detail.clone(),
            }
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_request() {
        for (script, later) in [
            (&["ok"], "token-1"),
            (&["down"], "token-2"),
            (&["final"], "final"),
        ] {
            let fixture = Fixture::new(3600, script);
            let all = futures::future::join_all((0..10).map(|_| fixture.name())).await;
            assert!(all.iter().all(|name| *name == all[0]), "{all:?}");
            assert_eq!(fixture.requests(), 1);
            assert_eq!(fixture.name().await, later);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renews_five_minutes_or_a_tenth_early() {
        for (lifetime, still_valid, more) in [(3600, 3299, 1), (60, 53, 1), (u64::MAX, 23 * 3600, 3600)] {
            let fixture = Fixture::new(lifetime, &[]);
            fixture.name().await;
            tokio::time::advance(still_valid * SECOND).await;
            assert_eq!(fixture.name().await, "token-1");
            tokio::time::advance(more * SECOND).await;
            assert_eq!(fixture.name().await, "token-2");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_a_valid_token_when_an_early_renewal_fails() {
        let fixture = Fixture::new(3600, &["ok", "down", "down", "down"]);
        fixture.name().await;
        for (seconds, name, requests) in [
            (3400, "token-1", 2),
            // No second renewal within the pause.
            (0, "token-1", 2),
            (31, "token-1", 3),
            (200, "down", 4),
            (0, "token-5", 5),
        ] {
            tokio::time::advance(seconds * SECOND).await;
            assert_eq!((&*fixture.name().await, fixture.requests()), (name, requests));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drops_a_rejected_token_once_in_five_minutes() {
        let fixture = Fixture::new(36_000, &[]);
        let cache = &fixture.cache;
        let first = cache.get(fixture.fetch()).await.unwrap();
        assert!(cache.renew(&first) && cache.renew(&first));
        let second = cache.get(fixture.fetch()).await.unwrap();
        assert_eq!(second.secret.expose(), "token-2");
        assert!(cache.renew(&first), "another request has renewed it");
        assert!(!cache.renew(&second));
        assert_eq!(fixture.name().await, "token-2");
        tokio::time::advance(RENEWAL_INTERVAL).await;
        assert!(cache.renew(&second));
        assert!(!format!("{second:?}").contains("token-2"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_caller_does_not_block_others() {
        let fixture = Fixture::new(3600, &[]);
        assert!(tokio::time::timeout(SECOND / 2, fixture.name()).await.is_err());
        assert_eq!(fixture.name().await, "token-2");
    }
}
