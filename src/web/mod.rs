//! HTTP: translate in, translate out. No decisions.
//!
//! **Purpose.** The one door that strangers see. A request is either the house's own business (discovery, registration,
//! login, tokens, pages) or meant for a protected MCP server. The first kind goes through the router below, which lists
//! every address we answer; the second takes the short road from the socket to the gate in [`proxy`]: no
//! router, no boxed layer, no log span, because its cost is paid on every call of every tool (see `listen`, `mcp`).
//!
//! Outcomes become HTTP in `reply` alone, and which of three faces an error wears is decided by its type: JSON at
//! machine endpoints, a redirect where a redirect URI is proven, a page where only a human can be told. Pages carry no
//! script and one style sheet, named by its hash in their policy; they tell a person what to do next in *their* client.
//!
//! **Neighbours.** Asks [`oauth`](crate::oauth), [`proxy`] and, for the operator, [`admin`](crate::admin); speaks [`domain`](crate::domain).
//! [`cli`](crate::cli) builds the [`Door`] and calls [`serve`].
//!
//! **Nevers.** No store, no crypto, no upstream: what is true is asked upstairs. No URL, issuer or audience from a
//! request's header (D9). No secret on a page but the sealed request of the consent form, no stranger's byte unescaped,
//! no provider's words (S29) but the e-mail address of the account that is turned away, if it is plainly one. Queries are never logged: they hold codes. No `form-action` in the pages' policy:
//! Chromium applies it to the redirects that follow and would kill `cursor://` and loopback (CON-10).

mod admin;
mod app;
mod cookie;
mod device;
mod entry;
mod extract;
mod guard;
mod health;
mod listen;
mod mcp;
mod oauth;
mod page;
mod qr;
mod reply;
pub mod snippet;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::{any, get, post},
};
pub use entry::Entry;
pub use guard::BadNetwork;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::watch;

use crate::{
    admin::Admin,
    domain::{HttpsUrl, Resource},
    oauth::AuthorizationServer,
    proxy::{self, Peer, Proxy},
};

/// How the door is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin: decides cookie names and what snippets show.
    pub public_url: HttpsUrl,
    /// Requests per minute and address on `/register`, `/authorize`, `/consent`, `/callback`, `/token`, `/revoke` and `/introspect` together
    /// (600); bursts as many; 0 for no limit.
    pub requests_per_minute: u32,
    /// User codes per minute and address that may be tried at `/device` (10); bursts as many (RFC 8628 §5.1).
    pub codes_per_minute: u32,
    /// Proxies whose `X-Forwarded-For` is believed for the client's address, as CIDR; empty for none.
    pub trusted_proxies: Vec<String>,
    /// How long open requests may take to end after SIGTERM (30 s).
    pub drain: Duration,
}

/// What the handlers carry.
pub struct Door {
    /// Granting.
    pub oauth: Arc<AuthorizationServer>,
    /// Spending.
    pub proxy: Arc<Proxy<axum::body::Body>>,
    /// The operator's desk, on the admin listener.
    pub admin: Arc<Admin>,
    /// The protected MCP servers, for pages.
    pub resources: Arc<[Arc<Resource>]>,
}

/// Whether a part is ready, for `/readyz`: name and outcome.
pub type Readiness =
    Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Vec<(String, Result<(), String>)>> + Send + Sync>;

/// What the handlers share.
pub(crate) struct House {
    oauth: Arc<AuthorizationServer>,
    proxy: Arc<Proxy<Body>>,
    resources: Arc<[Arc<Resource>]>,
    jar: cookie::Jar,
    look: page::Look,
    turnstile: guard::Turnstile,
    polls: guard::Turnstile,
    codes: guard::Turnstile,
}

impl House {
    fn new(settings: &Settings, door: Door) -> Result<Self, BadNetwork> {
        Ok(Self {
            oauth: door.oauth,
            proxy: door.proxy,
            resources: door.resources,
            jar: cookie::Jar::new(&settings.public_url),
            look: page::Look::new(&settings.public_url),
            turnstile: guard::Turnstile::new(settings.requests_per_minute, &settings.trusted_proxies)?,
            polls: guard::Turnstile::new(settings.requests_per_minute, &[])?,
            codes: guard::Turnstile::new(settings.codes_per_minute, &[])?,
        })
    }

    /// Whether a Resource has exactly this path, however its slashes are written.
    fn has_resource(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        self.resources.iter().any(|resource| resource.path.trim_start_matches('/') == path)
    }
}

/// The route table, in order of who comes first. Everything else that has a Resource goes to `mcp` and never sees this.
fn routes(house: &Arc<House>) -> Router {
    // Only what writes, computes or asks a provider is limited: discovery is a copy of bytes, and Claude's shared
    // egress addresses read it a lot.
    let limited = from_fn_with_state(Arc::clone(house), limit);

    // For programs. Scripts of any page may read these (CH-9, AZ-11), also a 429: so CORS lies outside the limit.
    let programs = Router::new()
        .route("/register", post(oauth::register))
        .route(
            "/register/{client_id}",
            get(oauth::read_registration).put(oauth::replace_registration).delete(oauth::remove_registration),
        )
        .route("/token", post(oauth::token))
        .route("/revoke", post(oauth::revoke))
        .route("/introspect", post(oauth::introspect))
        .route("/device_authorization", post(device::authorization))
        .layer(limited.clone())
        .route("/.well-known/oauth-protected-resource", get(oauth::protected_resource))
        .route("/.well-known/oauth-protected-resource/{*path}", get(oauth::protected_resource_at))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .route("/.well-known/oauth-authorization-server/{*path}", get(oauth::metadata_at))
        .route("/.well-known/openid-configuration", get(oauth::metadata))
        .route("/.well-known/openid-configuration/{*path}", get(oauth::metadata_at))
        .route("/.well-known/{*rest}", any(oauth::unknown_document))
        .route("/jwks", get(oauth::jwks))
        // Before the layer: CORS covers a 405 too, and preflights are a method that no route knows.
        .method_not_allowed_fallback(oauth::wrong_method)
        .layer(from_fn(readable_everywhere));

    // For people. No CORS here, ever (AZ-11): a script of another page has no business with a login.
    let people = Router::new()
        .route("/authorize", get(oauth::authorize).post(oauth::authorize))
        .route("/consent", post(oauth::consent))
        .route("/callback/{upstream}", get(oauth::callback))
        .route("/device", get(device::ask).post(device::enter))
        .layer(limited)
        .route("/", get(oauth::landing))
        .route("/icon.svg", get(oauth::icon))
        .route("/favicon.ico", get(oauth::icon))
        .method_not_allowed_fallback(oauth::wrong_method);

    programs.merge(people).fallback(oauth::nothing_here).with_state(Arc::clone(house))
}

/// The route that an own path belongs to, for logs; `None` for what may be a Resource's. Cheap, because the road to the
/// gate begins with it. `/` is not in it: a Resource may live there.
fn own_route(path: &str) -> Option<&'static str> {
    const WHOLE: [&str; 11] = [
        "/token",
        "/revoke",
        "/introspect",
        "/register",
        "/authorize",
        "/consent",
        "/device",
        "/device_authorization",
        "/jwks",
        "/icon.svg",
        "/favicon.ico",
    ];
    if let Some(route) = WHOLE.into_iter().find(|route| *route == path) {
        return Some(route);
    }
    if path.starts_with("/callback/") {
        return Some("/callback");
    }
    if path.starts_with("/register/") {
        return Some("/register/…");
    }
    // Inserted before or appended to a Resource's path.
    path.contains("/.well-known/").then_some("/.well-known")
}

/// CORS of the programs' endpoints; preflights are answered here.
async fn readable_everywhere(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return mcp::preflight(request.headers());
    }
    let mut response = next.run(request).await;
    guard::readable_everywhere(response.headers_mut());
    response
}

/// Who asks, as far as the network tells.
fn peer(extensions: &http::Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

/// 429 for an address that asks too often: a page for people, JSON for programs. A device that polls is told to slow down,
/// in the words that it knows (RFC 8628 §3.5), as long as no more come than are let in otherwise: to tell its requests
/// from others they have to be read.
async fn limit(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    match house.turnstile.pass(peer(request.extensions())) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let may_poll = request.uri().path() == "/token" && house.polls.pass(peer(request.extensions())).is_ok();
            let mut response = if extract::wants_page(request.headers()) {
                house.look.too_many(guard::request_id(request.headers()))
            } else if may_poll && device::is_poll(request).await {
                reply::fault(StatusCode::BAD_REQUEST, "slow_down", "too many polls from this address; poll less often")
            } else {
                reply::fault(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_requests",
                    "too many requests from this address; wait, then try again",
                )
            };
            // Rounded up: a client that waits exactly so long gets through.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            response
        }
    }
}

/// The body type of the whole door is the gate's, so that what the gate makes passes as it is. Our own answers lie in
/// memory whole.
async fn into_plain(response: Response) -> http::Response<proxy::Body> {
    let (head, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    http::Response::from_parts(head, proxy::Body::whole(whole))
}

/// Serves the public door on `public`, health and the operator's desk on `admin`, until `stop` resolves, then drains.
///
/// # Errors
/// When `trusted_proxies` cannot be read, or a listener fails.
pub async fn serve(
    settings: Settings,
    door: Door,
    public: tokio::net::TcpListener,
    admin: Option<tokio::net::TcpListener>,
    ready: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let desk = admin::Desk::new(Arc::clone(&door.admin));
    let entry = Entry::new(&settings, door).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let health = health::Health::new(ready);
    let (leave, leaving) = watch::channel(false);
    // Health answers until the last request has ended: probes must see that we are leaving, not that we are gone.
    let (close, closing) = watch::channel(false);

    let front = entry.clone();
    let door = listen::serve(
        public,
        move |request, peer| {
            let front = front.clone();
            async move { front.answer(request.map(Body::new), peer).await }
        },
        leaving,
        settings.drain,
    );
    let probed = health.clone();
    let probes = admin.map(|listener| {
        tokio::spawn(listen::serve(
            listener,
            move |request, _| {
                let (health, desk) = (probed.clone(), desk.clone());
                async move {
                    let path = request.uri().path();
                    let answer = if admin::Desk::has(path) {
                        desk.answer(request.map(Body::new)).await
                    } else {
                        health.answer(request.method(), path).await
                    };
                    into_plain(answer).await
                }
            },
            closing,
            Duration::from_secs(1),
        ))
    });
    let sweeper = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            entry.forget_idle();
        }
    });
    let leaver = tokio::spawn(async move {
        stop.await;
        health.leave();
        let _ = leave.send(true);
    });

    let outcome = door.await;
    sweeper.abort();
    leaver.abort();
    let _ = close.send(true);
    if let Some(probes) = probes {
        let _ = probes.await;
    }
    outcome
}
