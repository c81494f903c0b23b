//! Remembers a bearer token: renewed early, one renewal at a time, dropped when the other side no longer takes it.
//!
//! [`TokenProvider`] fetches, [`TokenCache`] remembers. A user of the cache asks for the token before every attempt,
//! so a long series of retries never goes on with a token that has run out, and calls
//! [`invalidate`](TokenCache::invalidate) when one is refused.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::secret::Secret;

/// A token is renewed this long before it expires, or a tenth of its lifetime before, whichever is shorter.
pub(crate) const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// After an early renewal failed while the old token still works, the next is tried no sooner than this.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

/// Lifetimes above this are taken for this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A bearer token and how long it holds.
pub(crate) struct Token {
    secret: Secret,
    renew: Instant,
    expires: Instant,
}

impl Token {
    /// A token that was given now and holds for `lifetime` (more than 24 hours count as 24 hours).
    pub(crate) fn new(secret: Secret, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(LONGEST);
        let expires = Instant::now() + lifetime;
        Self {
            secret,
            renew: expires - RENEW_BEFORE.min(lifetime / 10),
            expires,
        }
    }

    /// The token itself.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// When the other side stops taking it.
    #[cfg(test)]
    pub(crate) fn expires(&self) -> Instant {
        self.expires
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Fetches a token. One request; trying again is the caller's business.
#[async_trait]
pub(crate) trait TokenProvider: Send + Sync {
    /// Why there is none.
    type Failure: Send + Sync;

    /// Asks for a new token.
    async fn fetch(&self) -> Result<Token, Self::Failure>;

    /// Whether asking again cannot help, such as with a wrong secret. It is then not done: an account may be locked.
    fn is_final(&self, _failure: &Self::Failure) -> bool {
        false
    }
}

/// Remembers a provider's token. Shared by reference or in an [`Arc`].
pub(crate) struct TokenCache<P: TokenProvider> {
    provider: P,
    /// Held while a token is fetched, never by a reader of a good one.
    flight: tokio::sync::Mutex<()>,
    /// Flights that ended; those who waited for one share its failure.
    flights: AtomicU64,
    state: Mutex<State<P::Failure>>,
}

struct State<F> {
    token: Option<Arc<Token>>,
    failed: Option<(u64, Arc<F>)>,
    /// No early renewal before this.
    pause: Option<Instant>,
}

impl<P: TokenProvider> TokenCache<P> {
    /// An empty cache.
    pub(crate) fn new(provider: P) -> Self {
        let state = State {
            token: None,
            failed: None,
            pause: None,
        };
        Self {
            provider,
            flight: tokio::sync::Mutex::new(()),
            flights: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// The provider.
    pub(crate) fn provider(&self) -> &P {
        &self.provider
    }

    /// A token that holds, fetched if need be. Those who ask while one is being fetched wait for it and share the
    /// token, or the failure; one that is [final](TokenProvider::is_final) is given to whoever asks later, too. While the old token still holds, a failed renewal is no failure: the old one is given.
    ///
    /// # Errors
    /// What the provider says.
    pub(crate) async fn get(&self) -> Result<Arc<Token>, Arc<P::Failure>> {
        let seen = self.flights.load(Ordering::Acquire);
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _flight = self.flight.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        if let Some(failure) = self.failed_after(seen) {
            return Err(failure);
        }
        if let Some(failure) = self.failed_for_good() {
            return Err(failure);
        }
        let fetched = self.provider.fetch().await;
        let number = self.flights.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = self.lock();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                *state = State {
                    token: Some(Arc::clone(&token)),
                    failed: None,
                    pause: None,
                };
                Ok(token)
            }
            Err(failure) => {
                let now = Instant::now();
                if let Some(token) = state.token.clone().filter(|token| now < token.expires) {
                    state.pause = Some(now + RENEW_PAUSE);
                    tracing::warn!(
                        "cannot renew the access token early, going on with the one that still holds"
                    );
                    return Ok(token);
                }
                let failure = Arc::new(failure);
                state.token = None;
                state.failed = Some((number, Arc::clone(&failure)));
                Err(failure)
            }
        }
    }

    /// Drops `token`, because the other side refused it. If another has taken its place meanwhile, that one stays.
    pub(crate) fn invalidate(&self, token: &Arc<Token>) {
        let mut state = self.lock();
        if state.token.as_ref().is_some_and(|held| Arc::ptr_eq(held, token)) {
            state.token = None;
        }
    }

    /// The token held at this moment, whether it still holds or not; to keep it out of what is shown.
    pub(crate) fn held(&self) -> Option<Arc<Token>> {
        self.lock().token.clone()
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        let now = Instant::now();
        let state = self.lock();
        let token = state.token.as_ref()?;
        let paused = state.pause.is_some_and(|pause| now < pause) && now < token.expires;
        (now < token.renew || paused).then(|| Arc::clone(token))
    }

    fn failed_after(&self, seen: u64) -> Option<Arc<P::Failure>> {
        let state = self.lock();
        let (number, failure) = state.failed.as_ref()?;
        (*number > seen).then(|| Arc::clone(failure))
    }

    fn failed_for_good(&self) -> Option<Arc<P::Failure>> {
        let state = self.lock();
        let (_, failure) = state.failed.as_ref()?;
        self.provider.is_final(failure).then(|| Arc::clone(failure))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<P::Failure>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: TokenProvider> fmt::Debug for TokenCache<P> {
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

    /// Gives tokens named after their number, a second after being asked.
    #[derive(Default)]
    struct Counting {
        lifetime: Duration,
        asked: AtomicUsize,
        script: Mutex<VecDeque<Result<(), &'static str>>>,
    }

    #[async_trait]
    impl TokenProvider for Counting {
        type Failure = &'static str;

        async fn fetch(&self) -> Result<Token, &'static str> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(SECOND).await;
            self.script.lock().unwrap().pop_front().unwrap_or(Ok(()))?;
            Ok(Token::new(Secret::new(format!("token-{number}")), self.lifetime))
        }
    }

    fn cache(lifetime: u64, script: &[Result<(), &'static str>]) -> TokenCache<Counting> {
        TokenCache::new(Counting {
            lifetime: Duration::from_secs(lifetime),
            asked: AtomicUsize::new(0),
            script: Mutex::new(script.iter().copied().collect()),
        })
    }

    async fn name(cache: &TokenCache<Counting>) -> Result<String, &'static str> {
        cache
            .get()
            .await
            .map(|token| token.secret().expose().to_owned())
            .map_err(|failure| *failure)
    }

    fn asked(cache: &TokenCache<Counting>) -> usize {
        cache.provider().asked.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_share_one_request() {
        let cache = cache(3600, &[]);
        let all = futures::future::join_all((0..10).map(|_| name(&cache))).await;
        assert!(
            all.iter().all(|token| token == &Ok("token-1".to_owned())),
            "{all:?}"
        );
        assert_eq!(asked(&cache), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_share_one_failure_and_the_next_asks_again() {
        let cache = cache(3600, &[Err("down")]);
        let all = futures::future::join_all((0..10).map(|_| name(&cache))).await;
        assert!(all.iter().all(|token| token == &Err("down")), "{all:?}");
        assert_eq!(asked(&cache), 1);
        assert_eq!(name(&cache).await.unwrap(), "token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_token_is_renewed_five_minutes_early() {
        let cache = cache(3600, &[]);
        name(&cache).await.unwrap();
        tokio::time::advance(3299 * SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-1");
        tokio::time::advance(SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_token_is_renewed_a_tenth_early() {
        let cache = cache(60, &[]);
        name(&cache).await.unwrap();
        tokio::time::advance(53 * SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-1");
        tokio::time::advance(SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_early_renewal_goes_on_with_the_old_token_until_it_expires() {
        let cache = cache(3600, &[Ok(()), Err("down"), Err("down"), Err("down")]);
        name(&cache).await.unwrap();
        tokio::time::advance(3400 * SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-1");
        assert_eq!(name(&cache).await.unwrap(), "token-1");
        assert_eq!(asked(&cache), 2, "the second asks no more within the pause");
        tokio::time::advance(31 * SECOND).await;
        assert_eq!(name(&cache).await.unwrap(), "token-1");
        assert_eq!(asked(&cache), 3);
        tokio::time::advance(200 * SECOND).await;
        assert_eq!(name(&cache).await.unwrap_err(), "down");
        assert_eq!(name(&cache).await.unwrap(), "token-5");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_dropped_only_while_it_is_the_one_held() {
        let cache = cache(3600, &[]);
        let first = cache.get().await.unwrap();
        cache.invalidate(&first);
        let second = cache.get().await.unwrap();
        assert_eq!(second.secret().expose(), "token-2");
        cache.invalidate(&first);
        assert_eq!(name(&cache).await.unwrap(), "token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_gives_up_waiting_does_not_block_the_others() {
        let cache = cache(3600, &[]);
        tokio::select! {
            biased;
            _ = cache.get() => panic!("the fetch takes a second"),
            () = tokio::time::sleep(SECOND / 2) => {}
        }
        assert_eq!(name(&cache).await.unwrap(), "token-2");
    }

    #[tokio::test]
    async fn a_lifetime_without_bound_does_not_overflow() {
        let token = Token::new(Secret::new("t"), Duration::MAX);
        assert!(token.expires() <= Instant::now() + LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn debug_shows_nothing() {
        let cache = cache(3600, &[]);
        let token = cache.get().await.unwrap();
        let shown = format!("{token:?} {cache:?}");
        assert!(!shown.contains("token-1"), "{shown}");
    }
}
