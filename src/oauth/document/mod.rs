//! Client ID Metadata Documents: clients that introduce themselves by an address (CIMD, D3).
//!
//! **Purpose.** A `client_id` that is an https URL names a document, and the document says who the client is, where it may
//! receive codes and how it proves itself. This room fetches such documents and the key sets they point to, reads them
//! into [`Client`]s, and decides how long they count:
//!
//! ```text
//! url ─► accepted? ─► fresh in memory ─► client
//!          │              │ no: one flight for all who ask
//!          │              ├─► written down and fresh ─► client
//!          │              └─► the host: conditional GET, guarded, capped ─► read ─► client
//!          └─ no: unknown          └─ fails: the last valid copy for a week, else the failure
//! ```
//!
//! The address is a stranger's, so is everything behind it (S22). `upstream::http` looks at every address that the name
//! resolves to and dials what it looked at; nothing is redirected, unpacked or read beyond its cap. A host is asked a few
//! times a minute at most, and all hosts together by a few flights at a time. A document that only an unknown browser has
//! asked for is in memory, under a cap; it is written down when a person agrees to the client.
//!
//! What a person agreed to is an *edition* of the document: when name, redirect URIs, keys or method change, they are asked
//! again (CIMD-16).
//!
//! **Logos are left out** (CIMD-14). Nothing about a picture can be verified; what it would add to the page is exactly what
//! an impostor needs. So none is fetched, by us or by the browser.
//!
//! **Neighbours.** `client` finds clients here, `assertion` the keys; `metadata` asks whether to announce it.
//!
//! **Nevers.** No error is remembered as a document, no invalid text replaces a valid one. Nothing of a document is shown
//! but its host and the tamed name, and why it was refused only in our own words.

mod freshness;
mod reach;
mod read;
mod shelf;

use std::{borrow::Cow, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::ops::compute::{CompResult, Op};
use reach::Reach;
use read::{ClientDocument, DocumentKeys};
use shelf::{Held, Named, Shelf};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{ClientKeys, KeySource};
use crate::{
    crypto::jwt::published::PublishedKeys,
    domain::{Client, Clock, DocumentUrl, HostPattern, Instant},
    store::Store,
    upstream::http::{Cap, Http},
};

/// `[cimd]`.
#[derive(Debug, Clone)]
pub struct CimdSettings {
    /// Whose documents are accepted.
    pub accept: Accept,
    /// Whether clients are told.
    pub advertise: Advertise,
    /// Hosts that the operator vouches for: the page says so.
    pub trusted_hosts: Vec<HostPattern>,
    /// Hosts of which nothing is fetched.
    pub blocked_hosts: Vec<HostPattern>,
    /// Documents that are fetched at the start and held ready; accepted as if their hosts were trusted (CIMD-17).
    pub preload: Vec<DocumentUrl>,
    /// Whose answer shows that documents can be fetched; empty for those of well-known clients.
    pub probe: Vec<DocumentUrl>,
    /// What one document may cost.
    pub cap: Cap,
    /// Whether an assertion may name the token endpoint instead of the issuer as its audience (CC-2).
    pub token_endpoint_audience: bool,
}

impl CimdSettings {
    /// What stands in no file: everybody's documents, 5 KiB, 5 s (CIMD-7), announced where they can be fetched.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            accept: Accept::Any,
            advertise: Advertise::Auto,
            trusted_hosts: Vec::new(),
            blocked_hosts: Vec::new(),
            preload: Vec::new(),
            probe: Vec::new(),
            cap: Cap { size: 5 * 1024, time: Duration::from_secs(5) },
            token_endpoint_audience: true,
        }
    }
}

impl Default for CimdSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// The redirect URIs of the client that is described by `text` at `url`, if it is one; also reads it as keys. A door for
/// `fuzz/` alone.
#[cfg(fuzzing)]
#[must_use]
pub fn read_document(url: &str, text: &str) -> Option<Vec<String>> {
    drop(read::key_set(url, text));
    let uris =
        |document: ClientDocument| document.client.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect();
    read::client(url, text).ok().map(uris)
}

/// `[cimd] accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// Documents of any host that is not blocked.
    Any,
    /// Those of trusted hosts, and the preloaded ones: nobody else makes us fetch (CIMD-17).
    Trusted,
    /// None.
    None,
}

/// `[cimd] advertise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advertise {
    /// While documents can be fetched from here.
    Auto,
    /// Always.
    On,
    /// Never; documents are accepted all the same.
    Off,
}

/// A document breaks a rule; the words are ours and fit for the client's developer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document {0}")]
pub(super) struct Invalid(pub(super) Cow<'static, str>);

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The operator does not accept documents from there.
    #[error("documents of this host are not accepted here")]
    NotAccepted,
    /// The host did not answer as it must. The cause is for the log: it may speak of our own network.
    #[error("no answer: {0}")]
    Unreachable(Arc<str>),
    /// 404 or 410: the host's word that there is no such client (any more).
    #[error("there is no such document")]
    Gone,
    /// What came is no document.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Too many fetches, of this host or altogether.
    #[error("too many documents are being fetched")]
    Busy,
}

impl Failure {
    /// Whether a valid copy stands in for it.
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Invalid(_) | Self::Busy)
    }
}

/// How often one host is asked, in a minute; trusted ones without limit.
const PER_HOST: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// How many fetches for strangers are under way at once.
const FLIGHTS: usize = 32;
/// The least time between two fetches of one key set for the sake of unknown key names.
const KEY_PAUSE: Duration = Duration::from_secs(30);

/// What all shelves share.
struct Room {
    http: Http,
    store: Store,
    clock: Arc<dyn Clock>,
    cap: Cap,
    reach: Reach,
    trusted: Vec<HostPattern>,
    hosts: DefaultKeyedRateLimiter<String>,
    flights: Semaphore,
}

impl Room {
    /// A place among the flights, if this host may be asked once more.
    fn place_for(&self, url: &str, named: Named) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let Ok(url) = DocumentUrl::parse(url) else { return Ok(None) };
        if named == Named::ByOperator || is_of(&self.trusted, &url) {
            return Ok(None);
        }
        let place = self.flights.try_acquire().map_err(|_| Failure::Busy)?;
        self.hosts.check_key(&url.host().to_owned()).map_err(|_| Failure::Busy)?;
        Ok(Some(place))
    }
}

fn is_of(patterns: &[HostPattern], url: &DocumentUrl) -> bool {
    patterns.iter().any(|pattern| pattern.matches(url.host()))
}

/// A client that was found by its document.
pub(super) struct Described {
    pub(super) client: Client,
    pub(super) keys: Option<ClientKeys>,
    pub(super) may_be_public: bool,
}

/// All documents.
pub(super) struct ClientDocuments {
    settings: CimdSettings,
    room: Arc<Room>,
    clients: Shelf<ClientDocument>,
    key_sets: Shelf<PublishedKeys>,
    refetched: moka::sync::Cache<String, Instant>,
}

impl ClientDocuments {
    pub(super) fn new(settings: CimdSettings, http: Http, store: Store, clock: Arc<dyn Clock>) -> Self {
        let advertise = if settings.accept == Accept::None { Advertise::Off } else { settings.advertise };
        let room = Arc::new(Room {
            http,
            store,
            clock,
            cap: settings.cap,
            reach: Reach::new(advertise),
            trusted: settings.trusted_hosts.clone(),
            hosts: RateLimiter::keyed(Quota::per_minute(PER_HOST)),
            flights: Semaphore::new(FLIGHTS),
        });
        Self {
            clients: Shelf::new(Arc::clone(&room), true, read::client),
            key_sets: Shelf::new(Arc::clone(&room), false, read::key_set),
            refetched: moka::sync::Cache::builder().max_capacity(10_000).build(),
            settings,
            room,
        }
    }

    /// The client that describes itself at this address; `None` if this is no such address.
    pub(super) async fn client(&self, id: &str) -> Option<Result<Described, (DocumentUrl, Failure)>> {
        let url = DocumentUrl::parse(id).ok()?;
        if !self.is_accepted(&url) {
            return Some(Err((url, Failure::NotAccepted)));
        }
        Some(match self.clients.get(url.as_str(), Named::ByStranger).await {
            Ok(held) => Ok(self.described(&held.value)),
            Err(failure) => Err((url, failure)),
        })
    }

    fn described(&self, document: &ClientDocument) -> Described {
        let source = document.keys.as_ref().map(|keys| match keys {
            DocumentKeys::Inline(keys) => KeySource::Inline(Arc::clone(keys)),
            DocumentKeys::At(url) => KeySource::Published(url.clone()),
        });
        let endpoint_audience = self.settings.token_endpoint_audience;
        Described {
            client: document.client.clone(),
            keys: source.map(|source| ClientKeys { source, endpoint_audience }),
            may_be_public: document.may_be_public,
        }
    }

    fn is_accepted(&self, url: &DocumentUrl) -> bool {
        // A private address stays one: whoever names it is not told to try again.
        self.room.http.may_ask(url.as_str())
            && !is_of(&self.settings.blocked_hosts, url)
            && match self.settings.accept {
                Accept::Any => true,
                Accept::Trusted => self.is_trusted(url),
                Accept::None => false,
            }
    }

    /// Whether the operator vouches for the document's host.
    pub(super) fn is_trusted(&self, url: &DocumentUrl) -> bool {
        is_of(&self.settings.trusted_hosts, url) || self.settings.preload.contains(url)
    }

    /// A person agreed to this client, or it proved itself: from now on its document outlives the process.
    pub(super) async fn keep(&self, client: &Client) {
        self.clients.keep(client.id.as_str()).await;
    }

    /// The keys of a client.
    pub(super) async fn keys(&self, source: &KeySource) -> Result<Keys, Failure> {
        match self.place(source)? {
            Place::Here(keys) => Ok(Keys(Where::Inline(keys))),
            Place::At(url, named) => self.key_sets.get(url, named).await.map(|held| Keys(Where::Held(held))),
        }
    }

    /// The keys fetched anew for the sake of a name that is not among them; `None` if that was done a moment ago, or if
    /// they stand in the document itself.
    pub(super) async fn keys_again(&self, source: &KeySource) -> Result<Option<Keys>, Failure> {
        let Place::At(url, named) = self.place(source)? else { return Ok(None) };
        let now = self.room.clock.now();
        let pace = self.refetched.entry_by_ref(url).and_compute_with(|last| match last {
            Some(last) if now.since(*last.value()) < KEY_PAUSE => Op::Nop,
            _ => Op::Put(now),
        });
        if matches!(pace, CompResult::Unchanged(_)) {
            return Ok(None);
        }
        self.key_sets.again(url, named).await.map(|held| Some(Keys(Where::Held(held))))
    }

    /// The client used one of these keys: they outlive the process too.
    pub(super) async fn keep_keys(&self, source: &KeySource) {
        if let KeySource::Published(url) = source {
            self.key_sets.keep(url.as_str()).await;
        }
    }

    fn place<'s>(&self, source: &'s KeySource) -> Result<Place<'s>, Failure> {
        match source {
            KeySource::Inline(keys) => Ok(Place::Here(Arc::clone(keys))),
            KeySource::Published(url)
                if is_of(&self.settings.blocked_hosts, url) || !self.room.http.may_ask(url.as_str()) =>
            {
                Err(Failure::NotAccepted)
            }
            KeySource::Published(url) => Ok(Place::At(url.as_str(), Named::ByStranger)),
            KeySource::Configured(url) => Ok(Place::At(url.as_url().as_str(), Named::ByOperator)),
        }
    }

    /// Whether metadata says that documents are accepted.
    pub(super) fn is_announced(&self) -> bool {
        self.room.reach.is_announced()
    }

    /// Whether any document is accepted.
    pub(super) fn are_accepted(&self) -> bool {
        self.settings.accept != Accept::None
    }

    /// Keeps the preloaded documents at hand, looks whether documents can be fetched, forgets idle hosts. Runs until it
    /// is dropped.
    pub(super) async fn tend(&self) {
        if !self.are_accepted() {
            return;
        }
        let named: Vec<DocumentUrl> = if self.settings.probe.is_empty() {
            reach::WELL_KNOWN.iter().filter_map(|url| DocumentUrl::parse(url).ok()).collect()
        } else {
            self.settings.probe.clone()
        };
        let mut rest = Duration::ZERO;
        loop {
            for url in &self.settings.preload {
                match self.clients.get(url.as_str(), Named::ByStranger).await {
                    Ok(_) => self.clients.keep(url.as_str()).await,
                    Err(failure) => tracing::warn!(%url, %failure, "a preloaded document is not to be had"),
                }
            }
            if self.settings.advertise == Advertise::Auto && rest.is_zero() {
                rest = self.room.reach.round(&self.room, &named).await;
            }
            let pause = rest.clamp(Duration::from_secs(1), reach::ROUND.1);
            tokio::time::sleep(pause).await;
            rest = rest.saturating_sub(pause);
            self.room.hosts.retain_recent();
        }
    }
}

/// Where keys are.
enum Place<'s> {
    Here(Arc<PublishedKeys>),
    At(&'s str, Named),
}

/// Keys, wherever they are held.
pub(super) struct Keys(Where);

enum Where {
    Inline(Arc<PublishedKeys>),
    Held(Arc<Held<PublishedKeys>>),
}

impl Keys {
    pub(super) fn get(&self) -> &PublishedKeys {
        match &self.0 {
            Where::Inline(keys) => keys,
            Where::Held(held) => &held.value,
        }
    }
}
