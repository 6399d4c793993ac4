//! A house on a bench, and the people who come to its door.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;
use vestibule::{
    domain::{
        Allow, Client, ClientAuthMethod, ClientId, ClientOrigin, GrantType, HttpsUrl, RegisteredRedirect, Resource,
        ResourceUri, Scope, Secret, Trusts, UpstreamName,
        step_up::{Hierarchy, StepUp},
    },
    oauth::{
        Advertise, AuthorizationServer, Browser, CimdSettings, ConsentMode, ConsentPage, Error, Exchange, Navigation,
        Parameters, Parts, Refusal, RefusalPage, Registration, Settings, StaticClient, Step, TokenResponse,
    },
    store::{Backend, Key, Life, Page, Place, Store, Unavailable, memory::Memory},
    token::{self, Algorithm, Dpop, Mint},
    upstream::{
        Upstreams,
        http::{Http, HttpSettings},
    },
};

use crate::world::{FakeProvider, ManualClock, keyring, provider::Profile, random};

pub(super) const ISSUER: &str = "https://mcp.example.com";
pub(super) const NOTES: &str = "https://mcp.example.com/notes";
pub(super) const CLAUDE: &str = "https://claude.ai/api/mcp/auth_callback";
/// RFC 7636 appendix B.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The store's door: counts who goes through, and can be barred.
pub(super) struct Door {
    behind: Arc<dyn Backend>,
    visits: AtomicUsize,
    barred: AtomicBool,
}

impl Door {
    fn enter(&self) -> Result<(), Unavailable> {
        self.visits.fetch_add(1, Ordering::SeqCst);
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
        // Lets the others run between looking and swapping, so that races are races.
        tokio::task::yield_now().await;
        self.behind.swap(key, old, new, life).await
    }
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.behind.scan(prefix, from, limit).await
    }
    async fn flush(&self) -> Result<(), Unavailable> {
        self.behind.flush().await
    }
}

/// The house: `/notes` with people at `idp` (OIDC) and `/mail` with people at `hub` (plain OAuth, no `iss`).
pub(super) struct House {
    pub(super) server: Arc<AuthorizationServer>,
    pub(super) idp: FakeProvider,
    pub(super) hub: FakeProvider,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Store,
    pub(super) mint: Mint,
    door: Arc<Door>,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    /// A house of other settings.
    pub(super) async fn with(change: impl FnOnce(&mut Settings, &mut Vec<Resource>)) -> Self {
        Self::over(Arc::new(Memory::new()), change).await
    }

    /// A house over another store.
    pub(super) async fn over(
        backend: Arc<dyn Backend>,
        change: impl FnOnce(&mut Settings, &mut Vec<Resource>),
    ) -> Self {
        Self::reaching(Http::new(&HttpSettings::default()).expect("builds"), backend, change).await
    }

    /// A house whose mint has other settings.
    pub(super) async fn minting(
        mint: impl FnOnce(&mut token::Settings),
        change: impl FnOnce(&mut Settings, &mut Vec<Resource>),
    ) -> Self {
        Self::built(Http::new(&HttpSettings::default()).expect("builds"), Arc::new(Memory::new()), mint, change).await
    }

    /// A house that goes out by `http`.
    pub(super) async fn reaching(
        http: Http,
        backend: Arc<dyn Backend>,
        change: impl FnOnce(&mut Settings, &mut Vec<Resource>),
    ) -> Self {
        Self::built(http, backend, |_| {}, change).await
    }

    async fn built(
        http: Http,
        backend: Arc<dyn Backend>,
        mint: impl FnOnce(&mut token::Settings),
        change: impl FnOnce(&mut Settings, &mut Vec<Resource>),
    ) -> Self {
        let clock = ManualClock::new();
        let idp = FakeProvider::start(Profile::Oidc, clock.clone()).await;
        let hub = FakeProvider::start(Profile::Github, clock.clone()).await;
        let door = Door { behind: backend, visits: AtomicUsize::new(0), barred: AtomicBool::new(false) };
        let door = Arc::new(door);
        let store = Store::new(door.clone(), keyring(), clock.clone(), random());
        let (mut settings, mut resources) = (settings(), vec![resource("/notes", "idp"), resource("/mail", "hub")]);
        change(&mut settings, &mut resources);
        let mut minting = token::Settings {
            issuer: settings.public_url.trimmed().to_owned(),
            algorithm: Algorithm::Es256,
            life: Duration::from_secs(3600),
            rotate: None,
            claims: Vec::new(),
            dpop: Dpop::default(),
        };
        mint(&mut minting);
        let mint = Mint::open(minting, store.clone(), keyring(), clock.clone(), random()).await.expect("memory");
        let at = |name: &str| format!("{}/callback/{name}", settings.public_url.trimmed());
        let parts = Parts {
            store: store.clone(),
            mint: mint.clone(),
            upstreams: Upstreams::new(
                vec![idp.settings("idp", &at("idp")), hub.settings("hub", &at("hub"))],
                http.clone(),
                clock.clone(),
            ),
            http,
            keyring: keyring(),
            clock: clock.clone(),
            random: random(),
            resources: resources.into_iter().map(Arc::new).collect(),
        };
        let server = Arc::new(AuthorizationServer::new(settings, parts));
        Self { server, idp, hub, clock, store, mint, door }
    }

    /// Registers, and reads the reply.
    pub(super) fn register(&self, body: &Value) -> Result<Value, Error> {
        let reply = self.server.register(body.to_string().as_bytes(), None)?;
        Ok(serde_json::from_slice(&reply).expect("JSON"))
    }

    /// The id of a public client with that redirect URI.
    pub(super) fn client(&self, redirect: &str) -> String {
        let body = serde_json::json!({
            "client_name": "Claude", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        });
        self.register(&body).expect("registers")["client_id"].as_str().expect("a string").to_owned()
    }

    /// How many records lie in the store, signing keys aside.
    pub(super) async fn records(&self) -> usize {
        let all = self.door.behind.scan("", None, 1000).await.expect("memory").pairs;
        all.iter().filter(|(key, _)| !key.as_str().starts_with("signing-key/")).count()
    }

    /// How many records of a kind.
    pub(super) async fn records_of(&self, kind: &str) -> usize {
        self.door.behind.scan(&format!("{kind}/"), None, 1000).await.expect("memory").pairs.len()
    }

    /// How often the store was asked.
    pub(super) fn visits(&self) -> usize {
        self.door.visits.load(Ordering::SeqCst)
    }

    /// From now on the store does not answer, or does again.
    pub(super) fn bar(&self, barred: bool) {
        self.door.barred.store(barred, Ordering::SeqCst);
    }

    pub(super) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A whole login up to the code, at `/notes`, with Claude's redirect URI.
    pub(super) async fn code(&self, client: &str) -> String {
        let human = Human::new(self);
        let answer = human.log_in(self, &asking(client, CLAUDE)).await;
        answer.get("code").cloned().unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// Redeems a code as Claude does.
    pub(super) async fn redeem(&self, client: &str, code: &str) -> Result<TokenResponse, Error> {
        self.server.token(&redeeming(client, code), None).await
    }
}

fn settings() -> Settings {
    Settings {
        public_url: HttpsUrl::parse(ISSUER, false).expect("a URL"),
        consent: ConsentMode::Remember,
        registration: Registration::default(),
        cimd: CimdSettings { advertise: Advertise::Off, ..CimdSettings::new() },
        clients: Vec::new(),
        issuers: Vec::new(),
        named_resource: vestibule::oauth::NamedResource::Optional,
        secret_by: vestibule::oauth::SecretBy::Registered,
        pace: vestibule::oauth::Pace::default(),
        code_life: Duration::from_secs(60),
        request_life: Duration::from_secs(600),
        grant_life: Duration::from_secs(30 * 86_400),
        absolute_life: Duration::from_secs(90 * 86_400),
        refresh_grace: Duration::from_secs(60),
        consent_life: Duration::from_secs(90 * 86_400),
        device: None,
    }
}

pub(super) fn resource(path: &str, upstream: &str) -> Resource {
    Resource {
        uri: ResourceUri::under(&HttpsUrl::parse(ISSUER, false).expect("a URL"), path),
        path: path.to_owned(),
        title: format!("Resource {path}"),
        target: HttpsUrl::parse("http://127.0.0.1:1/mcp", false).expect("a URL"),
        upstream: UpstreamName::parse(upstream).expect("a name"),
        scopes: Scope::parse("read write"),
        upstream_scopes: Vec::new(),
        inject: Vec::new(),
        allow: Allow::Anyone,
        clients: Vec::new(),
        trusts: Trusts::default(),
        step_up: StepUp::default(),
        hierarchy: Hierarchy::default(),
        demands_proof: false,
        is_default: path == "/notes",
    }
}

pub(super) fn static_client(id: &str, method: ClientAuthMethod, secret: Option<&str>) -> StaticClient {
    StaticClient {
        client: Client {
            id: ClientId::new(id),
            origin: ClientOrigin::Static,
            name: None,
            redirect_uris: vec![RegisteredRedirect::parse(CLAUDE).expect("sound")],
            auth_method: method,
            grants: BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]),
            scope: None,
            always_proves: false,
            edition: None,
        },
        secret: secret.map(Secret::from),
        keys: None,
        exchange: Exchange::default(),
    }
}

/// Parameters out of pairs.
pub(super) fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A sound request to `/authorize`.
pub(super) fn asking(client: &str, redirect: &str) -> Parameters {
    parameters(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect),
        ("state", "st/ate=%20"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", NOTES),
        ("scope", "read"),
    ])
}

/// A sound request to `/token`.
pub(super) fn redeeming(client: &str, code: &str) -> Parameters {
    parameters(&[
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", CLAUDE),
        ("code_verifier", VERIFIER),
        ("resource", NOTES),
    ])
}

/// The parameters with one of them set, or taken out.
pub(super) fn but(mut parameters: Parameters, name: &str, value: Option<&str>) -> Parameters {
    parameters.retain(|(n, _)| n != name);
    parameters.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    parameters
}

/// Somebody with a browser.
pub(super) struct Human {
    pub(super) browser: Browser,
    cookies: Mutex<HashMap<String, String>>,
}

impl Human {
    pub(super) fn new(house: &House) -> Self {
        Self { browser: house.server.meet(None), cookies: Mutex::default() }
    }

    pub(super) async fn visit(&self, house: &House, parameters: &Parameters) -> Step {
        house.server.authorize(parameters, &self.browser, Navigation::Local).await
    }

    /// Says yes or no on a page.
    pub(super) async fn decide(&self, house: &House, page: &ConsentPage, decision: &str) -> Step {
        let form = parameters(&[("request", page.sealed_request.expose()), ("decision", decision)]);
        house.server.decide(&form, &self.browser).await
    }

    /// Keeps the cookie and goes to the provider; the URL is that of the callback.
    pub(super) async fn log_in_at(&self, provider: &FakeProvider, step: Step) -> Url {
        let Step::GoUpstream { url, state_cookie } = step else { panic!("{step:?}") };
        self.cookies.lock().expect("alone").insert(state_cookie.suffix, state_cookie.value.expose().clone());
        provider.log_in(&Url::parse(&url).expect("absolute")).await
    }

    /// Follows the provider's redirect.
    pub(super) async fn come_back(&self, house: &House, callback: &Url) -> Step {
        let upstream = callback.path().rsplit('/').next().expect("a path").to_owned();
        self.come_back_as(house, &upstream, &callback.query_pairs().into_owned().collect()).await
    }

    /// Comes to the callback of `upstream` with these parameters.
    pub(super) async fn come_back_as(&self, house: &House, upstream: &str, parameters: &Parameters) -> Step {
        let cookies = self.cookies.lock().expect("alone").clone();
        let cookie = |suffix: &str| cookies.get(suffix).cloned();
        house.server.callback(upstream, parameters, Some(&self.browser), &cookie).await
    }

    /// From `/authorize` to the callback's URL, saying yes on the way.
    pub(super) async fn reach_callback(&self, house: &House, parameters: &Parameters) -> Url {
        let step = self.visit(house, parameters).await;
        let step = match step {
            Step::AskConsent(page) => self.decide(house, &page, "approve").await,
            step => step,
        };
        self.log_in_at(&house.idp, step).await
    }

    /// A whole login: the parameters of the answer.
    pub(super) async fn log_in(&self, house: &House, parameters: &Parameters) -> HashMap<String, String> {
        let callback = self.reach_callback(house, parameters).await;
        answered(self.come_back(house, &callback).await)
    }
}

/// The page, if the step is one.
pub(super) fn asked(step: Step) -> Box<ConsentPage> {
    let Step::AskConsent(page) = step else { panic!("{step:?}") };
    page
}

/// The URL of an answer.
pub(super) fn answer_url(step: Step) -> String {
    let Step::Answer(answer) = step else { panic!("{step:?}") };
    answer.url
}

/// The parameters of an answer; each of them once.
pub(super) fn answered(step: Step) -> HashMap<String, String> {
    let url = Url::parse(&answer_url(step)).expect("absolute");
    let mut all = HashMap::new();
    for (name, value) in url.query_pairs() {
        assert!(all.insert(name.clone().into_owned(), value.into_owned()).is_none(), "{name} is there twice");
    }
    assert_eq!(all.get("iss").map(String::as_str), Some(ISSUER), "iss is on every answer");
    all
}

/// The page of a refusal, and its code.
pub(super) fn refused(step: Step) -> (RefusalPage, &'static str) {
    let Step::Refuse(Refusal { error, page, .. }) = step else { panic!("{step:?}") };
    (page, error.code.as_str())
}

/// The code of an error.
pub(super) fn failed<T: std::fmt::Debug>(outcome: Result<T, Error>) -> &'static str {
    outcome.expect_err("an error").code.as_str()
}

/// S256.
pub(super) fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}
