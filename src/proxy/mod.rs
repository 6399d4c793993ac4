//! The resource server's front: who may spend.
//!
//! **Purpose.** A request below a Resource's path is let through to the MCP server behind, or not, on the strength of
//! one access token made for exactly that Resource; then both directions stream, byte for byte, until either side ends.
//! [`Proxy::handle`] is the whole road, and its order is the law of this room:
//!
//! 1. `Host` and `Origin` (421, 403): nobody else's page may talk to us through a browser (S23).
//! 2. path → Resource, whole segments, the longest wins.
//! 3. the gate (400, 401, 403, 503): access token → [`Caller`], and with the `DPoP` scheme the proof that it is in the hands
//!    it was made for (RFC 9449 §7). Nothing of the request is looked at before, and the target hears nothing of a request that fails here (CH-8).
//! 4. whose session (404, SES-2).
//! 5. whether the token permits this operation (403, 400), where the operator wrote step-up rules (SC-3).
//! 6. headers: the client's token, our cookies, hop-by-hop and every header that could lie about who calls are taken
//!    away; `Host` and what the Resource injects are put on (RS-3, RS-4).
//! 7. forward. Status, body and headers of the answer are the target's own (wire 1), but for one event of the oldest wire
//!    (`oldest`), and for its challenges: its 401 becomes ours, since only we can tell the client where to log in, and the
//!    next refresh renews the upstream token. Where no upstream token is injected, it becomes a 502: no login of anybody's
//!    mends what the operator configured.
//!
//! **Neighbours.** `token` verifies; `domain` names. `web` hands requests in and carries answers out; it also answers
//! CORS preflights, bounds bodies and leaves a [`Peer`] among a request's extensions where it knows one.
//!
//! **Nevers.** No store, no upstream, no granter. No byte of a body is parsed (wire 4) or buffered beyond what is already
//! there, but for what the operator's step-up rules say (`step_up`) and that one event; nothing is repeated, no redirect
//! is followed, nothing is cached. On the hot path no lock is held across an await, and what can be made beforehand is
//! made in [`Proxy::new`].

mod body;
mod challenge;
mod forward;
mod gate;
mod headers;
mod oldest;
mod operation;
mod replay;
mod route;
mod session;
mod step_up;

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

pub use body::Body;
use body::End;
use bytes::Bytes;
use challenge::Refusal;
use forward::{Https, Road};
use gate::Scheme;
use headers::Doorplate;
use http::{Extensions, Method, Request, Response, StatusCode, Version, uri::PathAndQuery};
use oldest::Opening;
use replay::Replay;
use route::Route;
use session::{Named, Sessions};
use step_up::Judgement;

use crate::{
    domain::{Clock, HttpsUrl, Injection, Resource},
    token::{Caller, Dpop, Mint},
};

/// What a room may say went wrong inside a stream.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's address as `web` knows it (its own trusted proxies taken into account). As a request extension it
/// becomes the only `X-Forwarded-For` that the target sees (S15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// How requests are let through.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin, for challenges and the `Host` rule.
    pub public_url: HttpsUrl,
    /// Further accepted `Host` values (`host[:port]`; without a port, any port).
    pub hosts: Vec<String>,
    /// Accepted browser `Origin`s beside our own; `*` admits all.
    pub origins: Vec<String>,
    /// How long the target may take to send response headers (none by default: tool calls take their time).
    pub header_timeout: Option<Duration>,
    /// How long a stream may be silent (1 h).
    pub idle_timeout: Duration,
    /// PEM of further certificate authorities for https targets.
    pub extra_ca: Option<Vec<u8>>,
}

/// A Resource and the road to its target.
type Served<B> = (Route, Road<Replay<B>>);

/// The gate and the road behind it. `B` is the request body that `web` receives.
pub struct Proxy<B: http_body::Body<Data = Bytes> + Unpin + 'static> {
    /// Longest path first.
    routes: Box<[Served<B>]>,
    doorplate: Doorplate,
    mint: Mint,
    sessions: Sessions,
    header_timeout: Option<Duration>,
    idle_timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl<B> Proxy<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Builds it, with one pooled client.
    ///
    /// # Errors
    /// When the certificates do not parse, or an injected header cannot be written.
    pub fn new(
        settings: Settings,
        resources: Arc<[Arc<Resource>]>,
        mint: Mint,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let https = Https::new(resources.iter().any(|r| r.target.is_https()), settings.extra_ca.as_deref())?;
        let mut routes = Vec::with_capacity(resources.len());
        for resource in resources.iter() {
            routes.push((Route::new(resource, &settings)?, Road::to(&resource.target, &https)?));
        }
        routes.sort_by_key(|(route, _)| std::cmp::Reverse(route.resource.path.len()));
        Ok(Self {
            routes: routes.into(),
            doorplate: Doorplate::new(&settings),
            mint,
            sessions: Sessions::new(),
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            clock,
        })
    }

    /// The Resource whose path is a whole-segment prefix of `path` (the longest wins).
    #[must_use]
    pub fn resource_at(&self, path: &str) -> Option<&Arc<Resource>> {
        self.route_at(path).map(|(served, _)| &served.0.resource)
    }

    fn route_at<'a>(&self, path: &'a str) -> Option<(&Served<B>, &'a str)> {
        self.routes.iter().find_map(|served| Some((served, served.0.below(path)?)))
    }

    /// Gate, then forward. Every outcome is an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, request: Request<B>) -> Result<Response<Body>, Infallible> {
        if let Err(refusal) = self.check_door(&request) {
            return Ok(challenge::answer(refusal, None, false));
        }
        let Some(((route, road), rest)) = self.route_at(request.uri().path()) else {
            return Ok(challenge::answer(Refusal::NoResource, None, false));
        };
        let aim = route.aim(rest, request.uri().query());
        let is_dpop = Scheme::is_dpop(request.headers()) && self.mint.dpop() != Dpop::Off;
        let answer = self.pass(route, road, aim, request).await;
        let mut answer = answer.unwrap_or_else(|refusal| challenge::answer(refusal, Some(&route.challenge), is_dpop));
        if is_dpop {
            challenge::put_nonce(&mut answer, self.mint.dpop_nonce());
        }
        Ok(answer)
    }

    fn check_door(&self, request: &Request<B>) -> Result<(), Refusal> {
        self.doorplate.check_host(request.uri(), request.headers())?;
        self.doorplate.check_origin(request.headers())?;
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) { Err(Refusal::Method) } else { Ok(()) }
    }

    async fn pass(
        &self,
        route: &Route,
        road: &Road<Replay<B>>,
        aim: Result<PathAndQuery, Refusal>,
        request: Request<B>,
    ) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let resource = &*route.resource;
        let caller = match gate::presented(&parts.headers, parts.uri.query())? {
            (Scheme::Bearer, token) => gate::admit(&self.mint, resource, token).await?,
            // Boxed: it would make the future of every call larger.
            (Scheme::Dpop, token) => Box::pin(gate::admit_proven(&self.mint, route, &parts, token)).await?,
        };
        let subject = &caller.identity.subject;
        let named = self.sessions.enter(&parts.headers, resource.uri.as_str(), subject).ok_or(Refusal::NoSession)?;
        let aim = match route.below(parts.uri.path()).and_then(oldest::sealed_in) {
            Some(sealed) => oldest::aim(&self.mint, &caller, sealed)?,
            None => aim?,
        };
        let body = if resource.step_up.is_empty() {
            Replay::untouched(body)
        } else {
            match Box::pin(step_up::judge(resource, &caller.scope, &parts, body)).await? {
                Judgement::Permitted(body) => body,
                Judgement::Needs(scope) => {
                    tracing::info!(resource = %resource.uri, %scope, client = %caller.client, "an operation needs more scope");
                    return Ok(challenge::ask_for_more(&route.challenge, &scope, caller.key.is_some()));
                }
            }
        };
        let peer = parts.extensions.get::<Peer>().copied();
        route.dressing.dress(&mut parts.headers, &caller, peer);
        parts.version = Version::HTTP_11;
        parts.extensions = Extensions::new();
        let (is_get, is_delete) = (parts.method == Method::GET, parts.method == Method::DELETE);
        // A message could not open the oldest wire, nor could a session's stream.
        let opens = (is_get && !named.is_some()).then(|| aim.clone());

        let request = Request::from_parts(parts, body);
        let answer = match self.header_timeout {
            None => road.carry(request, aim).await?,
            Some(limit) => Box::pin(tokio::time::timeout(limit, road.carry(request, aim)))
                .await
                .map_err(|_| Refusal::TimedOut)??,
        };
        let (mut head, stream) = answer.into_parts();
        if head.status == StatusCode::UNAUTHORIZED {
            return Err(Box::pin(self.note_refusal(resource, &caller)).await);
        }
        self.sessions.learn(
            named,
            is_delete,
            &session::Answer { resource: resource.uri.as_str(), subject, status: head.status, headers: &head.headers },
        );
        headers::undress(&mut head.headers);
        let is_stream = headers::mark_stream(&mut head.headers);
        let opening = opens.filter(|_| is_stream && oldest::may_be(&head)).and_then(|aim| {
            let (mint, caller) = (self.mint.clone(), Arc::clone(&caller));
            Opening::new(resource, &aim, move |address| mint.pass(&caller, address))
        });
        head.version = Version::HTTP_11;
        let end = is_stream.then(|| {
            let at = if is_get { self.end_of(named, &caller) } else { None };
            End { with: (self.mint.clone(), caller), at }
        });
        Ok(Response::from_parts(head, Body::stream(stream.opened_by(opening), self.idle_timeout, end)))
    }

    /// The MCP server refused what was injected. Where that was the upstream token, the next refresh has to renew it;
    /// where it was not, a challenge would send people from login to login in vain.
    async fn note_refusal(&self, resource: &Resource, caller: &Caller) -> Refusal {
        if !resource.inject.iter().any(|injection| matches!(injection, Injection::UpstreamToken)) {
            tracing::warn!(resource = %resource.uri, "the MCP server answered 401 to what `inject` gives it");
            return Refusal::OperatorRefused;
        }
        tracing::info!(resource = %resource.uri, grant = %caller.grant, "the MCP server refused the upstream token");
        if let Err(error) = self.mint.mark_stale(caller).await {
            tracing::warn!(grant = %caller.grant, %error, "the upstream token could not be marked stale");
        }
        Refusal::UpstreamRefused
    }

    /// When a standing `GET` stream of a session ends: with the token, for who may listen is to be asked again from time
    /// to time (wire 5); the client opens the next one with its next token. The end of a token never cuts the answer to
    /// a call (behaviour 27), nor the one stream of the oldest wire, through which answers come. A revocation cuts them
    /// all.
    fn end_of(&self, named: Named, caller: &Caller) -> Option<tokio::time::Instant> {
        let left = caller.expires.since(self.clock.now());
        named.is_some().then(|| tokio::time::Instant::now() + left)
    }
}
