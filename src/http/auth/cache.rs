//! Caches an access token: renewed early, one request at a time, dropped when the service rejects it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::secret::Secret;

/// A token is renewed this long before it expires, or a tenth of its lifetime before, whichever is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// After an early renewal failed while the old token is still valid, the next one waits this long.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

/// After a renewal because of a rejection, another rejection renews nothing for this long: it is not the token.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Longer lifetimes count as this.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A bearer token and its lifetime.
pub(crate) struct Token {
    secret: Secret,
    renew: Instant,
    expires: Instant,
}

impl Token {
    /// A token received now that is valid for `lifetime`.
    pub(crate) fn new(secret: Secret, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(MAX_LIFETIME);
        let expires = Instant::now() + lifetime;
        Self {
            secret,
            renew: expires - RENEW_BEFORE.min(lifetime / 10),
            expires,
        }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Fetches a token with one request; retries are the caller's.
#[async_trait]
pub(crate) trait FetchToken: Send + Sync {
    /// Why there is no token.
    type Error: Send + Sync;

    async fn fetch(&self) -> Result<Token, Self::Error>;

    /// Whether another request cannot help, such as with a wrong secret. Then none is made: an account may be locked.
    fn is_final(&self, _error: &Self::Error) -> bool {
        false
    }
}

/// Caches the token of a provider. Shared by reference or in an [`Arc`].
pub(crate) struct TokenCache<P: FetchToken> {
    provider: P,
    /// Held during a request; readers of a valid token never wait for it.
    request: tokio::sync::Mutex<()>,
    /// Requests that ended. Those who waited for one share its error.
    requests: AtomicU64,
    state: Mutex<State<P::Error>>,
}

struct State<E> {
    token: Option<Arc<Token>>,
    failed: Option<(u64, Arc<E>)>,
    /// No early renewal before this.
    pause: Option<Instant>,
    /// The last renewal because of a rejection.
    renewed: Option<Instant>,
}

impl<P: FetchToken> TokenCache<P> {
    pub(crate) fn new(provider: P) -> Self {
        let state = State {
            token: None,
            failed: None,
            pause: None,
            renewed: None,
        };
        Self {
            provider,
            request: tokio::sync::Mutex::new(()),
            requests: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn provider(&self) -> &P {
        &self.provider
    }

    /// A valid token, requested if necessary. Concurrent callers share one request and its result; a
    /// [final](FetchToken::is_final) error is returned to later callers as well. While the old token is valid, a failed
    /// renewal is not an error.
    pub(crate) async fn get(&self) -> Result<Arc<Token>, Arc<P::Error>> {
        let seen = self.requests.load(Ordering::Acquire);
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _request = self.request.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        if let Some((number, error)) = &self.lock().failed
            && (*number > seen || self.provider.is_final(error))
        {
            return Err(Arc::clone(error));
        }
        let fetched = self.provider.fetch().await;
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
    pub(crate) fn renew(&self, token: &Arc<Token>) -> bool {
        let mut state = self.lock();
        if !state
            .token
            .as_ref()
            .is_some_and(|cached| Arc::ptr_eq(cached, token))
        {
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

    pub(crate) fn cached(&self) -> Option<Arc<Token>> {
        self.lock().token.clone()
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        let now = Instant::now();
        let state = self.lock();
        let token = state.token.as_ref()?;
        let paused = state.pause.is_some_and(|pause| now < pause) && now < token.expires;
        (now < token.renew || paused).then(|| Arc::clone(token))
    }

    fn lock(&self) -> MutexGuard<'_, State<P::Error>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: FetchToken> fmt::Debug for TokenCache<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicUsize;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns tokens with their number as name, one second after the request.
    struct Numbered {
        lifetime: Duration,
        requests: AtomicUsize,
        script: Mutex<VecDeque<Result<(), &'static str>>>,
    }

    #[async_trait]
    impl FetchToken for Numbered {
        type Error = &'static str;

        async fn fetch(&self) -> Result<Token, &'static str> {
            let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(SECOND).await;
            self.script.lock().unwrap().pop_front().unwrap_or(Ok(()))?;
            Ok(Token::new(Secret::new(format!("token-{number}")), self.lifetime))
        }

        fn is_final(&self, error: &&'static str) -> bool {
            *error == "final"
        }
    }

    fn cache(lifetime: u64, script: &[Result<(), &'static str>]) -> TokenCache<Numbered> {
        TokenCache::new(Numbered {
            lifetime: Duration::from_secs(lifetime),
            requests: AtomicUsize::new(0),
            script: Mutex::new(script.iter().copied().collect()),
        })
    }

    async fn name(cache: &TokenCache<Numbered>) -> String {
        match cache.get().await {
            Ok(token) => token.secret().expose().to_owned(),
            Err(error) => (*error).to_owned(),
        }
    }

    fn requests(cache: &TokenCache<Numbered>) -> usize {
        cache.provider().requests.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_request() {
        for (first, later) in [
            (Ok(()), "token-1"),
            (Err("down"), "token-2"),
            (Err("final"), "final"),
        ] {
            let cache = cache(3600, &[first]);
            let all = futures::future::join_all((0..10).map(|_| name(&cache))).await;
            assert!(all.iter().all(|name| *name == all[0]), "{all:?}");
            assert_eq!(requests(&cache), 1);
            assert_eq!(name(&cache).await, later);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renews_five_minutes_or_a_tenth_early() {
        for (lifetime, still_valid) in [(3600, 3299), (60, 53)] {
            let cache = cache(lifetime, &[]);
            name(&cache).await;
            tokio::time::advance(still_valid * SECOND).await;
            assert_eq!(name(&cache).await, "token-1");
            tokio::time::advance(SECOND).await;
            assert_eq!(name(&cache).await, "token-2");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_a_valid_token_when_an_early_renewal_fails() {
        let cache = cache(3600, &[Ok(()), Err("down"), Err("down"), Err("down")]);
        name(&cache).await;
        tokio::time::advance(3400 * SECOND).await;
        assert_eq!(
            (name(&cache).await, name(&cache).await),
            ("token-1".into(), "token-1".into())
        );
        assert_eq!(requests(&cache), 2, "no second renewal within the pause");
        tokio::time::advance(31 * SECOND).await;
        assert_eq!((&*name(&cache).await, requests(&cache)), ("token-1", 3));
        tokio::time::advance(200 * SECOND).await;
        assert_eq!((&*name(&cache).await, &*name(&cache).await), ("down", "token-5"));
    }

    #[tokio::test(start_paused = true)]
    async fn drops_a_rejected_token_once_in_five_minutes() {
        let cache = cache(36_000, &[]);
        let first = cache.get().await.unwrap();
        assert!(cache.renew(&first) && cache.renew(&first));
        let second = cache.get().await.unwrap();
        assert_eq!(second.secret().expose(), "token-2");
        assert!(cache.renew(&first), "another request has renewed it");
        assert!(!cache.renew(&second));
        assert_eq!(name(&cache).await, "token-2");
        tokio::time::advance(RENEWAL_INTERVAL).await;
        assert!(cache.renew(&second));
        assert!(!format!("{second:?} {cache:?}").contains("token-2"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_caller_does_not_block_others() {
        let cache = cache(3600, &[]);
        assert!(tokio::time::timeout(SECOND / 2, cache.get()).await.is_err());
        assert_eq!(name(&cache).await, "token-2");
    }

    #[test]
    fn bounds_the_lifetime() {
        assert!(Token::new(Secret::new("t"), Duration::MAX).expires <= Instant::now() + MAX_LIFETIME);
    }
}
