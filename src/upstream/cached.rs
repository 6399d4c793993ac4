//! A fetched document that is kept: one fetch at a time, stale rather than nothing, failures forgotten within seconds.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::Failed;
use crate::domain::{Clock, Instant};

/// How long a failure answers for the next callers: enough that a crowd behind a dead provider does not queue up for
/// one timeout each, too short for anyone to be kept out after it recovered.
const FAILURE: Duration = Duration::from_secs(3);

/// One document of one provider.
pub(super) struct Cached<T> {
    fresh: Duration,
    clock: Arc<dyn Clock>,
    state: Mutex<State<T>>,
}

struct State<T> {
    held: Option<(Arc<T>, Instant)>,
    failed: Option<(Instant, String)>,
    forced: Option<Instant>,
}

impl<T> Cached<T> {
    /// Nothing yet; what is fetched counts as fresh for that long.
    pub(super) fn new(fresh: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { fresh, clock, state: Mutex::new(State { held: None, failed: None, forced: None }) }
    }

    /// The document; `fetch` is only polled if there is none or it is no longer fresh. Callers wait for the one fetch
    /// under way.
    pub(super) async fn get(&self, fetch: impl Future<Output = Result<T, Failed>> + Send) -> Result<Arc<T>, Failed> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let stale = match &state.held {
            Some((value, at)) if now.since(*at) < self.fresh => return Ok(Arc::clone(value)),
            Some((value, _)) => Some(Arc::clone(value)),
            None => None,
        };
        if let Some((at, cause)) = &state.failed
            && now.since(*at) < FAILURE
        {
            return stale.ok_or_else(|| Failed::Unreachable { cause: format!("{cause} (tried a moment ago)") });
        }
        match fetch.await {
            Ok(value) => Ok(state.hold(value, self.clock.now())),
            Err(Failed::Unreachable { cause }) => {
                state.failed = Some((self.clock.now(), cause.clone()));
                // A provider that is down for a minute must not end logins that need nothing new of it.
                stale.ok_or(Failed::Unreachable { cause })
            }
            Err(other) => Err(other),
        }
    }

    /// The document fetched anew although it was fresh, at most once in `pause`; `None` within it.
    pub(super) async fn again(
        &self,
        pause: Duration,
        fetch: impl Future<Output = Result<T, Failed>> + Send,
    ) -> Result<Option<Arc<T>>, Failed> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if state.forced.is_some_and(|at| now.since(at) < pause) {
            return Ok(None);
        }
        state.forced = Some(now);
        let value = fetch.await?;
        Ok(Some(state.hold(value, self.clock.now())))
    }
}

impl<T> State<T> {
    fn hold(&mut self, value: T, now: Instant) -> Arc<T> {
        let value = Arc::new(value);
        self.held = Some((Arc::clone(&value), now));
        self.failed = None;
        value
    }
}
