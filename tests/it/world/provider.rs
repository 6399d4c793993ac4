//! A provider of identities on loopback, strict as the real ones are, with a log of what it received and switches for
//! everything that goes wrong at providers.

mod answers;
pub(crate) mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::Router;
use keys::Key;
use url::Url;
use vestibule::{
    domain::{Clock, HttpsUrl, Secret, UpstreamName},
    upstream::{
        self, Provider,
        http::{Http, HttpSettings},
        provider::{EndpointTexts, Overrides},
    },
};

/// Our client id there.
pub(crate) const CLIENT_ID: &str = "vestibule@provider";
/// Our secret there: with characters that Basic must form-encode first (RFC 6749 §2.3.1).
pub(crate) const CLIENT_SECRET: &str = "pass:word+/% !";

/// After whom the fake takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// OpenID Connect with discovery, RS256, `iss` in callbacks (RFC 9207), rotating refresh tokens.
    Oidc,
    /// As [`Oidc`](Self::Oidc), but ES256, and claims only at userinfo, as some servers are set up.
    OidcBare,
    /// GitHub: no discovery, errors inside HTTP 200, form bodies unless JSON is asked for, numeric id, `/user/emails`.
    Github,
    /// Cognito: OIDC that refuses what it does not know (`resource`, `offline_access`), `email_verified` as a string,
    /// no PKCE in metadata, no `scope` in answers.
    Cognito,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// This endpoint answers 500 with a body nobody should show.
    Error500(At),
    /// This endpoint answers 200 with a page.
    Html(At),
    /// This endpoint never answers.
    Hang(At),
    /// This endpoint sends a body without end.
    Endless(At),
    /// The person says no.
    Denied,
    /// Callbacks carry another provider's `iss`.
    CallbackIss,
    /// Callbacks carry no `iss`, although metadata promises it.
    NoCallbackIss,
    /// Discovery names another issuer.
    DiscoveryIssuer,
    /// Discovery names a token endpoint of scheme `ftp`.
    DiscoveryScheme,
    /// The ID token's `iss` is another.
    TokenIssuer,
    /// The ID token's `aud` is another app.
    Audience,
    /// The ID token's `azp` is another app.
    Azp,
    /// The ID token's nonce is another.
    Nonce,
    /// The ID token ended an hour ago.
    Expired,
    /// The ID token comes from tomorrow.
    Future,
    /// The ID token belongs to another access token.
    AtHash,
    /// The ID token is signed with `none`.
    AlgNone,
    /// The ID token is signed with HS256 by the client secret.
    Hs256,
    /// The ID token is signed by a stranger's key under our key's name.
    Signature,
    /// No ID token at all.
    NoIdToken,
    /// Userinfo speaks of someone else.
    OtherPerson,
    /// The refresh token is dead.
    InvalidGrant,
    /// `expires_in` as a string, `scope` as a list, no `token_type`.
    OddTokens,
    /// No refresh token in answers.
    NoRefresh,
    /// Access tokens live two minutes, so that every refresh of ours needs a new one.
    ShortLived,
}

/// An endpoint of the fake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// Discovery.
    Discovery,
    /// Keys.
    Jwks,
    /// Token.
    Token,
    /// Userinfo.
    Userinfo,
    /// E-mail list.
    Emails,
}

/// Who logs in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// `sub`; for GitHub `id`, which must then be a number.
    pub(crate) sub: String,
    /// E-mail address.
    pub(crate) email: String,
    /// Whether it is verified.
    pub(crate) verified: bool,
    /// Name for display.
    pub(crate) name: String,
}

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// `GET`, `POST`.
    pub(crate) method: String,
    /// `/token`.
    pub(crate) path: String,
    /// The raw query.
    pub(crate) query: String,
    /// Headers by lower-case name, in name order.
    pub(crate) headers: BTreeMap<String, String>,
    /// The raw body.
    pub(crate) body: String,
}

/// The provider. It stops when the test's runtime does.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    profile: Profile,
    base: String,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

struct State {
    person: Person,
    faults: BTreeSet<Fault>,
    received: Vec<Received>,
    key: Key,
    rotations: u8,
    /// Codes not yet spent, with the query of their authorize request.
    codes: BTreeMap<String, BTreeMap<String, String>>,
    /// Access tokens that live.
    access: BTreeSet<String>,
    /// Refresh tokens that live.
    refresh: BTreeSet<String>,
    issued: u32,
}

impl FakeProvider {
    /// Starts one on a free port of loopback. Its tokens are dated by `clock`.
    pub(crate) async fn start(profile: Profile, clock: Arc<dyn Clock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let key = if profile == Profile::OidcBare { Key::es256(1) } else { Key::rs256() };
        let sub = if profile == Profile::Github { "583231" } else { "person-1" };
        let person =
            Person { sub: sub.into(), email: "ada@example.com".into(), verified: true, name: "Ada Lovelace".into() };
        let state = State {
            person,
            faults: BTreeSet::new(),
            received: Vec::new(),
            key,
            rotations: 0,
            codes: BTreeMap::new(),
            access: BTreeSet::new(),
            refresh: BTreeSet::new(),
            issued: 0,
        };
        let fake = Self { profile, base, clock, state: Arc::new(Mutex::new(state)) };
        let app = Router::new().fallback(answers::answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside")
    }

    /// The issuer, exactly as its metadata writes it (for GitHub: its origin).
    pub(crate) fn issuer(&self) -> String {
        match self.profile {
            Profile::Cognito => format!("{}/pool_1", self.base),
            Profile::Oidc | Profile::OidcBare | Profile::Github => self.base.clone(),
        }
    }

    /// `[upstream.{name}]` for this fake, its preset with the addresses bent to loopback.
    pub(crate) fn settings(&self, name: &str, callback: &str) -> upstream::Settings {
        let preset = match self.profile {
            Profile::Oidc | Profile::OidcBare => "oidc",
            Profile::Github => "github",
            Profile::Cognito => "cognito",
        };
        upstream::Settings {
            name: UpstreamName::parse(name).expect("a name"),
            provider: Provider::preset(preset).expect("a preset").fill(&self.overrides()).expect("complete"),
            client_id: CLIENT_ID.into(),
            client_secret: Some(Secret::from(CLIENT_SECRET)),
            callback: HttpsUrl::parse(callback, false).expect("a callback"),
        }
    }

    fn overrides(&self) -> Overrides {
        let at = |path: &str| Some(format!("{}{path}", self.base));
        let mut overrides = Overrides::default();
        match self.profile {
            Profile::Oidc | Profile::OidcBare => overrides.issuer = Some(self.issuer()),
            Profile::Cognito => {
                overrides.issuer = Some(self.issuer());
                overrides.variables = [("region", "eu-central-1"), ("pool", "eu-central-1_Ab")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into();
            }
            Profile::Github => {
                overrides.endpoints = EndpointTexts {
                    authorize: at("/authorize"),
                    token: at("/token"),
                    userinfo: at("/user"),
                    emails: at("/user/emails"),
                    ..EndpointTexts::default()
                };
            }
        }
        overrides
    }

    /// The human's part: follows the authorize URL, logs in at once (or says no), and gives the callback URL to which
    /// the browser is sent. Panics with the provider's words when it shows an error page instead.
    pub(crate) async fn log_in(&self, authorize: &Url) -> Url {
        let request = http::Request::get(authorize.as_str()).body(Vec::new()).expect("a URL");
        let answer = browser().operator(request).await.expect("the fake answers");
        let Some(location) = answer.headers().get("location") else {
            panic!("{}: {}", answer.status(), String::from_utf8_lossy(answer.body()));
        };
        Url::parse(location.to_str().expect("ASCII")).expect("absolute")
    }

    /// Every request so far, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// Every request so far whose path this is.
    pub(crate) fn received_at(&self, path: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.path == path).collect()
    }

    /// Forgets what it received.
    pub(crate) fn forget(&self) {
        self.state().received.clear();
    }

    /// Breaks something.
    pub(crate) fn set_fault(&self, fault: Fault) {
        self.state().faults.insert(fault);
    }

    /// Mends everything.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// Somebody else sits at the keyboard.
    pub(crate) fn set_person(&self, person: Person) {
        self.state().person = person;
    }

    /// From now on another key signs, and the old one is gone from the key set.
    pub(crate) fn rotate_keys(&self) {
        let mut state = self.state();
        state.rotations += 1;
        state.key = Key::es256(state.rotations + 1);
    }

    /// What another part of our app got here without us: `access_token` and, of OIDC, `id_token`.
    pub(crate) fn tokens_of_ours(&self) -> serde_json::Value {
        self.tokens(Some(&BTreeMap::new()))
    }

    /// Whether this access token lives here.
    pub(crate) fn knows_access(&self, token: &str) -> bool {
        self.state().access.contains(token)
    }

    fn has(&self, fault: Fault) -> bool {
        self.state().faults.contains(&fault)
    }
}

/// One HTTP client that follows nothing.
fn browser() -> Http {
    Http::new(&HttpSettings::default()).expect("builds")
}
