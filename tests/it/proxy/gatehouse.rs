//! A gate on loopback between a test and its MCP servers: `proxy` over a real mint, without `web`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use vestibule::{
    domain::{
        Allow, ClientId, Clock, Grant, GrantId, GrantStage, HttpsUrl, Identity, Injection, Resource, ResourceUri,
        Scope, Subject, Thumbprint, Trusts, UpstreamLogin, UpstreamName, UpstreamTokens,
        grant::SecretHash,
        step_up::{Hierarchy, StepUp},
    },
    proxy::{Proxy, Settings},
    store::{Store, memory::Memory},
    token::{self, Dpop, Mint},
};

use crate::world::{FakeMcp, ManualClock, keyring, random};

/// The public origin of every test gate: another name than the one it listens on, as behind a TLS terminator.
pub(crate) const ORIGIN: &str = "https://mcp.example.com";

/// The provider's token in every Grant.
pub(crate) const UPSTREAM_TOKEN: &str = "gho_the-providers-own-token";

pub(crate) struct Gatehouse {
    pub(crate) address: SocketAddr,
    pub(crate) mcp: FakeMcp,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    mint: Mint,
}

/// A Resource at `path` in front of `target`.
pub(crate) fn resource(path: &str, target: &str, inject: Vec<Injection>) -> Resource {
    let public_url = HttpsUrl::parse(ORIGIN, false).expect("a url");
    Resource {
        uri: ResourceUri::under(&public_url, path),
        path: path.to_owned(),
        title: "Notes".to_owned(),
        target: HttpsUrl::parse(target, true).expect("a url"),
        upstream: UpstreamName::parse("idp").expect("a name"),
        scopes: Scope::parse("notes offline_access"),
        upstream_scopes: Vec::new(),
        inject,
        allow: Allow::Anyone,
        clients: Vec::new(),
        trusts: Trusts::default(),
        step_up: StepUp::default(),
        hierarchy: Hierarchy::default(),
        demands_proof: false,
        is_default: false,
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        public_url: HttpsUrl::parse(ORIGIN, false).expect("a url"),
        hosts: vec!["mcp.internal".to_owned()],
        origins: vec!["https://app.example.com".to_owned()],
        header_timeout: None,
        idle_timeout: Duration::from_secs(3600),
        extra_ca: None,
    }
}

impl Gatehouse {
    /// `/mcp` (the provider's token injected), `/who` (identity) and `/key` (a fixed header), all before one MCP server.
    pub(crate) async fn open() -> Self {
        Self::with(settings(), |_| {}).await
    }

    pub(crate) async fn with(settings: Settings, change: impl FnOnce(&mut Vec<Resource>)) -> Self {
        Self::built(settings, Dpop::Allowed, change).await
    }

    /// The same with another setting for proofs.
    pub(crate) async fn proving(dpop: Dpop, change: impl FnOnce(&mut Vec<Resource>)) -> Self {
        Self::built(settings(), dpop, change).await
    }

    async fn built(settings: Settings, dpop: Dpop, change: impl FnOnce(&mut Vec<Resource>)) -> Self {
        let mcp = FakeMcp::start().await;
        let key = Injection::Header { name: "x-api-key".to_owned(), value: "the-key".into() };
        let mut resources = vec![
            resource("/mcp", &mcp.url(), vec![Injection::UpstreamToken]),
            resource("/who", &mcp.url(), vec![Injection::Identity]),
            resource("/key", &mcp.url(), vec![key]),
            resource("/mcp/inner", &format!("http://{}/inner", mcp.address), Vec::new()),
        ];
        change(&mut resources);
        let (clock, store, mint) = rooms(dpop).await;
        let resources: Arc<[Arc<Resource>]> = resources.into_iter().map(Arc::new).collect();
        let proxy = Arc::new(Proxy::new(settings, resources, mint.clone(), clock.clone()).expect("a proxy"));
        let address = serve(proxy).await;
        Self { address, mcp, clock, store, mint }
    }

    /// What [`Proxy::new`] says of wrong settings.
    pub(crate) async fn mistake(settings: Settings) -> String {
        let (clock, _, mint) = rooms(Dpop::Allowed).await;
        Proxy::<Incoming>::new(settings, Arc::new([]), mint, clock).err().expect("a mistake")
    }

    /// An access token of `person` for the Resource at `path`.
    pub(crate) async fn token(&self, person: &str, path: &str) -> String {
        self.token_with(person, path, "notes").await.0
    }

    /// The same, bound to the key of that thumbprint.
    pub(crate) async fn bound_token(&self, person: &str, path: &str, jkt: &str) -> String {
        self.made(person, path, "notes", jkt.parse().ok()).await.0
    }

    /// As [`token`](Self::token), with its scope chosen and its Grant told.
    pub(crate) async fn token_with(&self, person: &str, path: &str, scope: &str) -> (String, GrantId) {
        self.made(person, path, scope, None).await
    }

    async fn made(&self, person: &str, path: &str, scope: &str, key: Option<Thumbprint>) -> (String, GrantId) {
        let upstream = UpstreamName::parse("idp").expect("a name");
        let public_url = HttpsUrl::parse(ORIGIN, false).expect("a url");
        let mut id = [0_u8; 16];
        for (at, byte) in person.bytes().chain(path.bytes()).chain(scope.bytes()).take(16).enumerate() {
            id[at] = byte;
        }
        let grant = Grant {
            id: GrantId::from_bytes(id),
            client: ClientId::new("client"),
            identity: Identity {
                subject: Subject::new(&upstream, person),
                email: Some(format!("{person}@example.com")),
                email_verified: true,
                name: None,
                username: Some(format!("{person}-the-user")),
                groups: vec!["staff".to_owned(), "a,admin".to_owned(), "ops".to_owned()],
            },
            resource: ResourceUri::under(&public_url, path),
            scope: Scope::parse(scope),
            login: Some(UpstreamLogin {
                upstream,
                tokens: UpstreamTokens { access: UPSTREAM_TOKEN.into(), refresh: None, expires: None, scope: None },
            }),
            actor: None,
            created: self.clock.now(),
            expires: self.clock.now() + Duration::from_secs(86_400),
            stage: GrantStage::Active {
                code: Some(SecretHash::from_bytes([0; 32])),
                redeemed: self.clock.now(),
                refresh: None,
            },
        };
        self.store.put(&grant).await.expect("a store");
        let minted = self.mint.mint_bound(&grant, &grant.scope, key).await.expect("a token");
        (minted.token.expose().clone(), grant.id)
    }

    /// A request to `path` with `Host` as a client would write it.
    pub(crate) fn request(path: &str) -> http::request::Builder {
        Request::builder().method("POST").uri(path).header(header::HOST, "mcp.example.com")
    }

    /// Sends it on a connection of its own.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let stream = TcpStream::connect(self.address).await.expect("the gate listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
        // The connection ends with the test's interest in the answer: dropping the response drops the connection.
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    /// `POST` of `{}` to `path` with a token and further headers; status, headers, body.
    pub(crate) async fn call(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> Told {
        self.say(path, token, headers, "{}").await
    }

    /// `POST` of `body` to `path` with a token and further headers.
    pub(crate) async fn say(&self, path: &str, token: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let mut request = Self::request(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        told(self.send(request.body(Full::from(body.to_owned())).expect("a request")).await).await
    }

    /// Writes `bytes` as they are and reads until the gate closes.
    pub(crate) async fn raw(&self, bytes: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.address).await.expect("the gate listens");
        stream.write_all(bytes.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

async fn rooms(dpop: Dpop) -> (Arc<ManualClock>, Store, Mint) {
    let clock = ManualClock::new();
    let store = Store::new(Arc::new(Memory::new()), keyring(), clock.clone(), random());
    let mint = Mint::open(
        token::Settings {
            issuer: ORIGIN.to_owned(),
            algorithm: token::Algorithm::Es256,
            life: Duration::from_secs(3600),
            rotate: None,
            claims: Vec::new(),
            dpop,
        },
        store.clone(),
        keyring(),
        clock.clone(),
        random(),
    )
    .await
    .expect("a mint");
    (clock, store, mint)
}

/// A whole answer.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// Reads an answer to its end.
pub(crate) async fn told(response: Response<Incoming>) -> Told {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Told { status: head.status, headers: head.headers, body }
}

async fn serve(proxy: Arc<Proxy<Incoming>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let proxy = Arc::clone(&proxy);
                    async move { proxy.handle(request).await }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}
