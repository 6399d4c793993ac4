//! What the targets share: a house that keeps everything in memory and asks nobody, and what every answer of it must be.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use vestibule::{
    cli::{House, SystemClock},
    config,
    crypto::{Keyring, MasterKey, Seeded},
    web::Entry,
};

/// The public origin.
pub const ORIGIN: &str = "https://mcp.example.com";
/// Every request comes from this trusted proxy.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the house's issuers publish: the public half of the example of RFC 7515 A.3.
pub const PUBLISHED: &str = concat!(
    r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","#,
    r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#
);

/// A house and the one thread it lives on.
pub struct Door {
    entry: Entry,
    runtime: Runtime,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Door {
    /// Builds the house.
    #[must_use]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let settings = config::from_toml(&format!(
            r#"
            public_url = "{ORIGIN}"
            listen = "127.0.0.1:0"
            secret_key = "{}"
            limits = {{ requests_per_minute = 0, client_requests_per_minute = 0, person_requests_per_minute = 0, trusted_proxies = ["127.0.0.0/8"] }}
            cimd = {{ accept = "none", advertise = "off" }}
            store = {{ kind = "memory" }}
            [upstream.idp]
            provider = "oidc"
            issuer = "http://127.0.0.1:9"
            client_id = "app"
            client_secret = "a secret of ours"
            [[resource]]
            path = "/notes"
            target = "http://127.0.0.1:9/mcp"
            allow = "anyone"
            default = true
            [[client]]
            id = "desk"
            name = "Desk"
            secret = "0123456789abcdef0123456789abcdef"
            auth_method = "client_secret_post"
            redirect_uris = ["https://desk.example/callback"]
            grants = ["authorization_code", "refresh_token", "device_code", "token_exchange"]
            exchange = ["idp", "corp"]
            exchange_access_tokens = true
            [[resource]]
            path = "/wiki"
            target = "http://127.0.0.1:9/mcp"
            inject = "identity"
            allow = {{ anyone = true, issuers = ["corp"], workloads = ["cluster:*"] }}
            [issuer.corp]
            issuer = "https://login.corp.example"
            audiences = ["https://api.corp.example"]
            jwks = '{PUBLISHED}'
            [issuer.cluster]
            issuer = "https://cluster.example"
            speaks_for = "workloads"
            jwks = '{PUBLISHED}'
            [device]
            enabled = true
            "#,
            master_key()
        ));
        let settings = settings.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let build = House::build(settings, Arc::new(SystemClock), Arc::new(Seeded::new(7)));
        let entry = runtime.block_on(build).unwrap().entry().unwrap();
        Self { entry, runtime }
    }

    /// Asks, and looks at what every answer must be: no fault of ours, no type that a browser would guess.
    pub fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.runtime.block_on(async {
            let (head, body) = self.entry.answer(request, PROXY).await.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes);
            Answer { status: head.status, headers: head.headers, body: body.unwrap_or_default() }
        });
        // The provider of this house never answers, which is a 503. Anything else above 500 is ours.
        let is_fault = answer.status.is_server_error() && answer.status != StatusCode::SERVICE_UNAVAILABLE;
        assert!(!is_fault, "{answer:?}");
        assert!(answer.body.is_empty() || answer.headers.contains_key(header::CONTENT_TYPE), "{answer:?}");
        answer
    }

    /// Posts a body of that type.
    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path).header(header::HOST, "mcp.example.com");
        let request = request.header(header::CONTENT_TYPE, kind);
        self.ask(request.body(Body::from(body.to_vec())).unwrap())
    }

    /// Gets what is there, if it can be an address at all.
    pub fn get(&self, target: &str) -> Option<Answer> {
        let request = Request::builder().uri(target).header(header::HOST, "mcp.example.com");
        // What a browser says when a person follows a link.
        let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-site", "none");
        request.body(Body::empty()).ok().map(|request| self.ask(request))
    }
}

impl Default for Door {
    fn default() -> Self {
        Self::new()
    }
}

fn master_key() -> String {
    STANDARD.encode([7; 32])
}

/// The ring of the house.
#[must_use]
pub fn keyring() -> Keyring {
    Keyring::new(MasterKey::parse(&master_key()).unwrap(), Vec::new())
}

/// `text` with some bytes set: pairs of position and byte. What comes out may be what went in.
#[must_use]
pub fn edited(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] = edit[2] & 0x7f;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
