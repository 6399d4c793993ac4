//! One kind of document: fetched once however many ask, kept as long as its host allows, and a while longer where the host
//! fails (CIMD-7, CIMD-8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, StatusCode, header};

use super::{Failure, Invalid, Room, freshness};
use crate::{
    domain::{FetchedDocument, Instant},
    store,
    upstream::http::{Answer, Unfetched},
};

/// The most text that is held of one kind, in bytes: some thousand documents.
const MOST_HELD: u64 = 8 << 20;
/// After a failure nobody asks that host for this document again for so long, doubled with each further failure. The
/// callers of a pause get the last valid copy, or hear of the failure: an outage is no document (CIMD-8).
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// A flight is forgotten when it has landed; at the latest after so long, should its last passenger leave in between.
const LANDED: Duration = Duration::from_secs(10);

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A client, so anybody: only public addresses.
    ByStranger,
    /// The operator, who may name a private network.
    ByOperator,
}

/// A document in use.
pub(super) struct Held<T> {
    pub(super) value: T,
    document: FetchedDocument,
    fresh_until: Instant,
    /// Whether it is written down too.
    kept: AtomicBool,
}

struct Failed {
    failure: Failure,
    at: Instant,
    pause: Duration,
}

/// All documents of one kind. `read` makes one of a text.
pub(super) struct Shelf<T: Send + Sync + 'static> {
    room: Arc<Room>,
    read: fn(&str, &str) -> Result<T, Invalid>,
    wants_json: bool,
    held: moka::sync::Cache<String, Arc<Held<T>>>,
    failed: moka::sync::Cache<String, Arc<Failed>>,
    flights: moka::future::Cache<String, Outcome<T>>,
}

type Outcome<T> = Result<Arc<Held<T>>, Failure>;

impl<T: Send + Sync + 'static> Shelf<T> {
    /// An empty one. Where `wants_json`, the media type must say so too (CIMD-4).
    pub(super) fn new(room: Arc<Room>, wants_json: bool, read: fn(&str, &str) -> Result<T, Invalid>) -> Self {
        let weight = |url: &String, held: &Arc<Held<T>>| {
            u32::try_from(2 * (url.len() + held.document.text.len()) + 1024).unwrap_or(u32::MAX)
        };
        Self {
            room,
            read,
            wants_json,
            held: moka::sync::Cache::builder().max_capacity(MOST_HELD).weigher(weight).build(),
            failed: moka::sync::Cache::builder().max_capacity(10_000).build(),
            flights: moka::future::Cache::builder().max_capacity(10_000).time_to_live(LANDED).build(),
        }
    }

    /// The document at `url`. A fresh one costs a look into memory and nothing else.
    pub(super) async fn get(&self, url: &str, named: Named) -> Outcome<T> {
        if let Some(held) = self.fresh(url) {
            return Ok(held);
        }
        if let Some(earlier) = self.paused(url) {
            return self.excused(self.held.get(url), earlier.failure.clone());
        }
        // Boxed: callers hold this future in theirs, and most never come here.
        let flight = Box::pin(self.flights.get_with(url.to_owned(), self.look(url, named)));
        let outcome = flight.await;
        self.flights.invalidate(url).await;
        outcome
    }

    /// The document fetched anew although it is fresh; the caller keeps the pace.
    pub(super) async fn again(&self, url: &str, named: Named) -> Outcome<T> {
        let known = self.held.get(url);
        match self.fetched(url, named, known.as_deref()).await {
            Ok(held) => Ok(self.shelve(held, known.as_deref()).await),
            Err(failure) => self.excused(known, failure),
        }
    }

    /// Writes the document down, so that it outlives this process. Only for documents of clients that a person agreed to
    /// or that proved themselves: a stranger's wish writes nothing (D2).
    pub(super) async fn keep(&self, url: &str) {
        let Some(held) = self.held.get(url) else { return };
        if held.kept.swap(true, Ordering::Relaxed) || !freshness::may_be_kept(&held.document) {
            return;
        }
        if let Err(error) = self.room.store.put(&held.document).await {
            held.kept.store(false, Ordering::Relaxed);
            tracing::warn!(url, %error, "a client's document is not kept");
        }
    }

    fn fresh(&self, url: &str) -> Option<Arc<Held<T>>> {
        let now = self.room.clock.now();
        self.held.get(url).filter(|held| now < held.fresh_until && held.document.validated <= now + freshness::FLOOR)
    }

    fn paused(&self, url: &str) -> Option<Arc<Failed>> {
        let now = self.room.clock.now();
        self.failed.get(url).filter(|failed| now.since(failed.at) < failed.pause)
    }

    /// One flight: what is written down, then the host.
    async fn look(&self, url: &str, named: Named) -> Outcome<T> {
        // Another flight may have landed between this caller's look and its take-off.
        if let Some(held) = self.fresh(url) {
            return Ok(held);
        }
        let known = match self.held.get(url) {
            Some(held) => Some(held),
            None => self.remembered(url).await?,
        };
        if let Some(held) = known.as_ref().filter(|held| self.room.clock.now() < held.fresh_until) {
            self.held.insert(url.to_owned(), Arc::clone(held));
            return Ok(Arc::clone(held));
        }
        match self.fetched(url, named, known.as_deref()).await {
            Ok(held) => {
                self.failed.invalidate(url);
                Ok(self.shelve(held, known.as_deref()).await)
            }
            Err(failure) => {
                let pause = self.failed.get(url).map_or(PAUSE.0, |earlier| (earlier.pause * 2).min(PAUSE.1));
                let failed = Failed { failure: failure.clone(), at: self.room.clock.now(), pause };
                self.failed.insert(url.to_owned(), Arc::new(failed));
                if let Some(known) = &known {
                    self.held.insert(url.to_owned(), Arc::clone(known));
                }
                self.excused(known, failure)
            }
        }
    }

    /// What an earlier process, or another one, wrote down. A text that today's rules refuse is none.
    async fn remembered(&self, url: &str) -> Result<Option<Arc<Held<T>>>, Failure> {
        let record: Option<FetchedDocument> = match self.room.store.get(&store::document_id(url)).await {
            Ok(record) => record,
            Err(outage) => {
                tracing::warn!(%outage, "the store does not answer; a client's document is fetched instead");
                None
            }
        };
        let held = record.filter(|record| record.url == url).and_then(|document| {
            let value = (self.read)(url, &document.text).ok()?;
            let fresh_until = freshness::fresh_until(&document);
            Some(Arc::new(Held { value, document, fresh_until, kept: AtomicBool::new(true) }))
        });
        Ok(held)
    }

    /// The last valid copy instead of a failure, for a week; never against the host's own word that there is none.
    fn excused(&self, known: Option<Arc<Held<T>>>, failure: Failure) -> Outcome<T> {
        let now = self.room.clock.now();
        let excuse =
            known.filter(|held| failure.may_pass() && now.since(held.document.validated) <= freshness::STALE_IF_ERROR);
        match excuse {
            Some(held) => {
                tracing::warn!(url = held.document.url, %failure, "a client's document is used although it is stale");
                Ok(held)
            }
            None => Err(failure),
        }
    }

    async fn shelve(&self, held: Held<T>, known: Option<&Held<T>>) -> Arc<Held<T>> {
        let (url, held) = (held.document.url.clone(), Arc::new(held));
        self.held.insert(url.clone(), Arc::clone(&held));
        if known.is_some_and(|known| known.kept.load(Ordering::Relaxed)) {
            self.keep(&url).await;
        }
        held
    }

    /// Asks the host: whether the known copy still holds, or for the document.
    async fn fetched(&self, url: &str, named: Named, known: Option<&Held<T>>) -> Result<Held<T>, Failure> {
        let _place = self.room.place_for(url, named)?;
        let now = self.room.clock.now();
        if let Some(known) = known {
            let answer = self.ask(url, named, Some(freshness::conditions(&known.document, now))).await?;
            if answer.status() != StatusCode::NOT_MODIFIED {
                return self.taken(url, &answer);
            }
            if let Some(headers) = freshness::confirmed(&known.document, answer.headers(), now) {
                return self.made(url, known.document.text.clone(), headers);
            }
            // It confirms a document that we never had: then we want to see it.
        }
        let answer = self.ask(url, named, None).await?;
        self.taken(url, &answer)
    }

    async fn ask(&self, url: &str, named: Named, conditions: Option<http::HeaderMap>) -> Result<Answer, Failure> {
        let request = Request::get(url).header(header::ACCEPT, "application/json").body(Vec::new());
        let mut request = request.map_err(|_| Failure::Invalid(Invalid("has no address".into())))?;
        request.headers_mut().extend(conditions.unwrap_or_default());
        let answer = match named {
            Named::ByStranger => self.room.http.public(request, self.room.cap).await,
            Named::ByOperator => self.room.http.operator(request).await.map_err(Unfetched::from),
        };
        answer.map_err(|unfetched| match unfetched {
            Unfetched::TooLong(_) => Failure::Invalid(Invalid("is longer than a document may be".into())),
            Unfetched::NoAnswer(none) => Failure::Unreachable(none.to_string().into()),
        })
    }

    /// CIMD-4, CIMD-5: exactly 200, as JSON, as it stands.
    fn taken(&self, url: &str, answer: &Answer) -> Result<Held<T>, Failure> {
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Failure::Gone),
            other => return Err(Failure::Unreachable(format!("status {}", other.as_u16()).into())),
        }
        let refused = |why: &'static str| Err(Failure::Invalid(Invalid(why.into())));
        if self.wants_json && !is_json(answer) {
            return refused("is not served as JSON");
        }
        // We asked for no encoding, and a small answer must not grow.
        if answer.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return refused("is served compressed");
        }
        match std::str::from_utf8(answer.body()) {
            Ok(text) => self.made(url, text.to_owned(), freshness::kept(answer.headers())),
            Err(_) => refused("is not UTF-8"),
        }
    }

    fn made(&self, url: &str, text: String, headers: Vec<(String, String)>) -> Result<Held<T>, Failure> {
        let value = (self.read)(url, &text).map_err(Failure::Invalid)?;
        let validated = self.room.clock.now();
        let expires = validated + freshness::STALE_IF_ERROR;
        let document = FetchedDocument { url: url.to_owned(), text, headers, validated, expires };
        let fresh_until = freshness::fresh_until(&document);
        self.room.reach.saw_an_answer();
        Ok(Held { value, document, fresh_until, kept: AtomicBool::new(false) })
    }
}

fn is_json(answer: &Answer) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
