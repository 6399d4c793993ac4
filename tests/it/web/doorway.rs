//! A whole house behind the door, without its sockets: a request goes in, an answer comes out.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use vestibule::{
    admin::{self, Admin},
    domain::{
        Allow, HttpsUrl, Injection, Resource, ResourceUri, Scope, Trusts, UpstreamName,
        step_up::{Hierarchy, StepUp},
    },
    oauth::{self, AuthorizationServer, ConsentMode, Parts},
    proxy::{self, Proxy},
    store::{Store, memory::Memory},
    token::{self, Mint},
    upstream::{Upstreams, http::Http},
    web::{Door, Entry, Settings},
};

use crate::world::{FakeMcp, FakeProvider, ManualClock, keyring, provider::Profile, random};

/// The public origin.
pub(crate) const ORIGIN: &str = "https://mcp.example.com";

pub(crate) struct Doorway {
    pub(crate) entry: Entry,
    pub(crate) mcp: FakeMcp,
    pub(crate) provider: FakeProvider,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The OAuth error code of a JSON answer.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_page(&self) -> bool {
        self.header("content-type").starts_with("text/html")
    }

    /// `name=value` of each cookie that is set.
    pub(crate) fn cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter();
        lines.map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
    }
}

/// How a door is kept: no limit that a test would run into.
pub(crate) fn settings() -> Settings {
    Settings {
        public_url: HttpsUrl::parse(ORIGIN, false).unwrap(),
        requests_per_minute: 0,
        codes_per_minute: 10,
        trusted_proxies: Vec::new(),
        drain: Duration::from_secs(5),
    }
}

fn resource(path: &str, target: &str) -> Arc<Resource> {
    let public_url = HttpsUrl::parse(ORIGIN, false).unwrap();
    Arc::new(Resource {
        uri: ResourceUri::under(&public_url, path),
        path: path.to_owned(),
        title: format!("Server {path}"),
        target: HttpsUrl::parse(target, false).unwrap(),
        upstream: UpstreamName::parse("idp").unwrap(),
        scopes: Scope::parse("mcp"),
        upstream_scopes: Vec::new(),
        inject: vec![Injection::UpstreamToken],
        allow: Allow::Anyone,
        clients: Vec::new(),
        trusts: Trusts::default(),
        step_up: StepUp::default(),
        hierarchy: Hierarchy::default(),
        demands_proof: false,
        is_default: false,
    })
}

impl Doorway {
    /// A door before `/notes` and `/a/wiki`.
    pub(crate) async fn open() -> Self {
        Self::with(settings(), &["/notes", "/a/wiki"]).await
    }

    pub(crate) async fn with(settings: Settings, paths: &[&str]) -> Self {
        Self::granting(settings, paths, |_| {}).await
    }

    /// The same, before an authorization server of other settings.
    pub(crate) async fn granting(
        settings: Settings,
        paths: &[&str],
        change: impl FnOnce(&mut oauth::Settings),
    ) -> Self {
        let (door, mcp, provider) = door(paths, change).await;
        Self { entry: Entry::new(&settings, door).unwrap(), mcp, provider }
    }

    /// Sends one request from `198.51.100.7`.
    pub(crate) async fn send(&self, request: Request<Body>) -> Seen {
        self.send_from("198.51.100.7", request).await
    }

    pub(crate) async fn send_from(&self, peer: &str, request: Request<Body>) -> Seen {
        let peer: IpAddr = peer.parse().unwrap();
        let (head, body) = self.entry.answer(request, peer).await.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap();
        Seen { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(get(path)).await
    }

    /// Posts a body of that type.
    pub(crate) async fn post(&self, path: &str, kind: &str, body: impl Into<Body>) -> Seen {
        let request = request(Method::POST, path).header(header::CONTENT_TYPE, kind);
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Registers a public client with that redirect URI.
    pub(crate) async fn register(&self, redirect: &str) -> String {
        let body = serde_json::json!({
            "client_name": "Test <b>client</b>", "redirect_uris": [redirect], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        });
        let seen = self.post("/register", "application/json", body.to_string()).await;
        assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.text());
        seen.json()["client_id"].as_str().unwrap().to_owned()
    }
}

/// The rooms behind a door: memory store, fake provider, fake MCP server.
pub(crate) async fn door(paths: &[&str], change: impl FnOnce(&mut oauth::Settings)) -> (Door, FakeMcp, FakeProvider) {
    let clock = ManualClock::new();
    let mcp = FakeMcp::start().await;
    let provider = FakeProvider::start(Profile::Oidc, clock.clone()).await;
    let public_url = HttpsUrl::parse(ORIGIN, false).unwrap();
    let resources: Arc<[Arc<Resource>]> = paths.iter().map(|path| resource(path, &mcp.url())).collect();
    let store = Store::new(Arc::new(Memory::new()), keyring(), clock.clone(), random());
    let minting = token::Settings {
        issuer: ORIGIN.to_owned(),
        algorithm: token::Algorithm::Es256,
        life: Duration::from_secs(3600),
        rotate: None,
        claims: Vec::new(),
        dpop: token::Dpop::default(),
    };
    let mint = Mint::open(minting, store.clone(), keyring(), clock.clone(), random()).await.unwrap();
    let http = Http::new(&Default::default()).unwrap();
    let callback = format!("{ORIGIN}/callback/idp");
    let upstreams = Upstreams::new(vec![provider.settings("idp", &callback)], http.clone(), clock.clone());
    let spending = proxy::Settings {
        public_url: public_url.clone(),
        hosts: Vec::new(),
        origins: Vec::new(),
        header_timeout: None,
        idle_timeout: Duration::from_secs(3600),
        extra_ca: None,
    };
    let proxy = Proxy::new(spending, Arc::clone(&resources), mint.clone(), clock.clone()).unwrap();
    let mut granting = oauth::Settings {
        public_url,
        consent: ConsentMode::Remember,
        registration: oauth::Registration::default(),
        cimd: oauth::CimdSettings { advertise: oauth::Advertise::Off, ..oauth::CimdSettings::new() },
        clients: Vec::new(),
        issuers: Vec::new(),
        named_resource: oauth::NamedResource::Optional,
        secret_by: oauth::SecretBy::Registered,
        pace: oauth::Pace::default(),
        code_life: Duration::from_secs(60),
        request_life: Duration::from_secs(600),
        grant_life: Duration::from_secs(30 * 86_400),
        absolute_life: Duration::from_secs(90 * 86_400),
        refresh_grace: Duration::from_secs(60),
        consent_life: Duration::from_secs(90 * 86_400),
        device: None,
    };
    change(&mut granting);
    let desk = admin::Parts {
        store: store.clone(),
        mint: mint.clone(),
        upstreams: upstreams.clone(),
        keyring: keyring(),
        clock: clock.clone(),
        random: random(),
    };
    let parts = Parts {
        store,
        mint,
        upstreams,
        http,
        keyring: keyring(),
        clock,
        random: random(),
        resources: Arc::clone(&resources),
    };
    let oauth = Arc::new(AuthorizationServer::new(granting, parts));
    let admin = Arc::new(Admin::new(admin::Settings::default(), desk));
    (Door { oauth, proxy: Arc::new(proxy), admin, resources }, mcp, provider)
}

/// A request as a client of the public origin makes it.
pub(crate) fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "mcp.example.com")
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path).body(Body::empty()).unwrap()
}

/// As a browser asks for a page.
pub(crate) fn browse(path: &str) -> Request<Body> {
    request(Method::GET, path)
        .header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
        .body(Body::empty())
        .unwrap()
}
