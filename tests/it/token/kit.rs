//! A mint on a bench: memory store, hand-turned clock, and a counter at the store's door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::Value;
use vestibule::{
    domain::{
        ClientId, Clock, Grant, GrantId, GrantStage, HttpsUrl, Identity, Instant, ResourceUri, Scope, Secret, Subject,
        UpstreamLogin, UpstreamName, UpstreamTokens, grant::SecretHash,
    },
    store::{Backend, Key, Life, Page, Place, Store, Unavailable, memory::Memory},
    token::{Algorithm, Dpop, IdentityClaim, Mint, Settings},
};

use crate::world::{ManualClock, clock::DAWN, keyring, random};

pub(crate) const ISSUER: &str = "https://mcp.example.com";
pub(crate) const NINETY_DAYS: Duration = Duration::from_secs(90 * 86_400);
pub(crate) const SHARED: &[u8] = b"thirty-two bytes or more are needed here";

/// The store's door: counts who goes through, and can be barred.
pub(crate) struct Door {
    behind: Memory,
    reads: AtomicUsize,
    barred: AtomicBool,
}

impl Door {
    fn enter(&self) -> Result<(), Unavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.barred.load(Ordering::SeqCst) { Err(Unavailable("barred".into())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Backend for Door {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.enter()?;
        self.behind.get(key).await
    }
    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.enter()?;
        self.behind.set(key, value, life).await
    }
    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        self.enter()?;
        self.behind.swap(key, old, new, life).await
    }
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.enter()?;
        self.behind.scan(prefix, from, limit).await
    }
    async fn flush(&self) -> Result<(), Unavailable> {
        self.behind.flush().await
    }
    /// So that a [`Bench::replica`] is a process of its own.
    fn is_shared(&self) -> bool {
        true
    }
}

/// What outlives a restart.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    door: Arc<Door>,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let door = Door { behind: Memory::new(), reads: AtomicUsize::new(0), barred: AtomicBool::new(false) };
        let door = Arc::new(door);
        let store = Store::new(door.clone(), keyring(), clock.clone(), random());
        Self { clock, door, store }
    }

    /// A mint as a process would open it.
    pub(crate) async fn mint(&self, algorithm: Algorithm) -> Mint {
        self.open(settings(algorithm)).await
    }

    pub(crate) async fn open(&self, settings: Settings) -> Mint {
        // Not the kit's one seed: two processes do not draw the same numbers.
        let chance = Arc::new(vestibule::crypto::Os);
        Mint::open(settings, self.store.clone(), keyring(), self.clock.clone(), chance).await.unwrap()
    }

    /// Another process over the same records.
    pub(crate) async fn replica(&self, algorithm: Algorithm) -> (Store, Mint) {
        let store = Store::new(self.door.clone(), keyring(), self.clock.clone(), random());
        let chance = Arc::new(vestibule::crypto::Os);
        let opened = Mint::open(settings(algorithm), store.clone(), keyring(), self.clock.clone(), chance).await;
        (store, opened.unwrap())
    }

    /// A mint of the default kind, and a Grant that lies in the store.
    pub(crate) async fn ready() -> (Self, Mint, Grant) {
        let bench = Self::new();
        let mint = bench.mint(Algorithm::Es256).await;
        let grant = grant(1);
        bench.store.put(&grant).await.unwrap();
        (bench, mint, grant)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn reads(&self) -> usize {
        self.door.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn bar(&self, barred: bool) {
        self.door.barred.store(barred, Ordering::SeqCst);
    }
}

pub(crate) fn settings(algorithm: Algorithm) -> Settings {
    let claims = vec![IdentityClaim::Email, IdentityClaim::Name, IdentityClaim::Username, IdentityClaim::Groups];
    Settings {
        issuer: ISSUER.to_owned(),
        algorithm,
        life: Duration::from_secs(3600),
        rotate: Some(NINETY_DAYS),
        claims,
        dpop: Dpop::Allowed,
    }
}

pub(crate) fn hs256() -> Algorithm {
    Algorithm::Hs256(Secret::new(SHARED.to_vec()))
}

pub(crate) fn resource(path: &str) -> ResourceUri {
    ResourceUri::under(&HttpsUrl::parse(ISSUER, false).unwrap(), path)
}

/// Alice lets a client use `/notes`; redeemed.
pub(crate) fn grant(id: u8) -> Grant {
    let upstream = UpstreamName::parse("github").unwrap();
    Grant {
        id: GrantId::from_bytes([id; 16]),
        client: ClientId::new("the-client"),
        identity: Identity {
            subject: Subject::new(&upstream, "42"),
            email: Some("alice@example.com".to_owned()),
            email_verified: true,
            name: Some("Alice \"Al\" Ünal".to_owned()),
            username: Some("alice".to_owned()),
            groups: vec!["staff".to_owned(), "dev".to_owned()],
        },
        resource: resource("/notes"),
        scope: Scope::parse("read write"),
        login: Some(UpstreamLogin {
            upstream,
            tokens: UpstreamTokens { access: "gho_upstream".into(), refresh: None, expires: None, scope: None },
        }),
        actor: None,
        created: DAWN - Duration::from_secs(20),
        expires: DAWN + Duration::from_secs(30 * 86_400),
        stage: GrantStage::Active { code: Some(SecretHash::from_bytes([1; 32])), redeemed: DAWN, refresh: None },
    }
}

/// One of the first two parts of a JWS.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}
