//! Where every request comes in: which road it takes, what is put around it.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{Router, body::Body};
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{
    BadNetwork, Door, House, Settings,
    guard::{Names, REQUEST_ID},
    into_plain, mcp, own_route, reply, routes,
};
use crate::proxy::{self, Peer};

/// The public door without its sockets: a function from request to answer. Cheap to clone.
#[derive(Clone)]
pub struct Entry(Arc<Inner>);

struct Inner {
    house: Arc<House>,
    router: Router,
    names: Names,
}

impl Entry {
    /// Builds the door.
    ///
    /// # Errors
    /// [`BadNetwork`] when `trusted_proxies` cannot be read.
    pub fn new(settings: &Settings, door: Door) -> Result<Self, BadNetwork> {
        let house = Arc::new(House::new(settings, door)?);
        let router = routes(&house);
        Ok(Self(Arc::new(Inner { house, router, names: Names::new() })))
    }

    /// Answers one request that came from `peer`. Always an answer: a panic becomes a bare 500.
    pub async fn answer(&self, mut request: Request<Body>, peer: IpAddr) -> Response<proxy::Body> {
        let inner = &*self.0;
        let id = inner.names.name(request.headers_mut());
        let client = Peer(inner.house.turnstile.client(peer, request.headers()));
        request.extensions_mut().insert(client);
        let path = request.uri().path();
        let own = own_route(path);
        let resource = if own.is_none() { inner.house.proxy.resource_at(path) } else { None };

        let mut response = if let Some(resource) = resource {
            let (method, began) = (request.method().clone(), Instant::now());
            // Boxed, as the other road is: hyper keeps room for the future of `answer` as long as the connection lasts,
            // a held stream needs none of it, and each of the hands it goes through would copy all of it.
            let response = unbroken(Box::pin(mcp::enter(&inner.house, resource, request))).await;
            // One line per tool call is a choice (debug); one per refusal is not.
            if response.status().is_client_error() || response.status().is_server_error() {
                tracing::info!(target: "vestibule::request", request_id = text(&id), method = %method,
                    resource = resource.path, status = response.status().as_u16(), micros = micros(began), "refused call");
            } else {
                tracing::debug!(target: "vestibule::request", request_id = text(&id), method = %method,
                    resource = resource.path, status = response.status().as_u16(), micros = micros(began), "call");
            }
            response
        } else {
            Box::pin(self.own(request, own.unwrap_or("other"), &id)).await
        };
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// The house's own business: through the router, inside a span that lends the request id to every line of the log.
    async fn own(&self, request: Request<Body>, route: &'static str, id: &HeaderValue) -> Response<proxy::Body> {
        let (method, began) = (request.method().clone(), Instant::now());
        let router = self.0.router.clone();
        let span = tracing::info_span!("request", request_id = text(id));
        let routed = async move {
            match router.oneshot(request).await {
                Ok(response) => into_plain(response).await,
                Err(never) => match never {},
            }
        };
        let response = unbroken(routed.instrument(span)).await;
        tracing::info!(target: "vestibule::request", request_id = text(id), method = %method, route,
            status = response.status().as_u16(), micros = micros(began), "answered");
        response
    }

    /// Forgets what the rate limits know of those who have gone quiet.
    pub(crate) fn forget_idle(&self) {
        self.0.house.turnstile.forget_idle();
        self.0.house.polls.forget_idle();
        self.0.house.codes.forget_idle();
        self.0.house.oauth.forget_idle();
    }
}

/// A panic ends its request with a bare 500, not the connection of other requests (and never the process).
async fn unbroken(answer: impl Future<Output = Response<proxy::Body>>) -> Response<proxy::Body> {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request panicked");
            let text = "something broke on our side";
            into_plain(reply::fault(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text)).await
        }
    }
}

fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or("-")
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_bare_500() {
        let response = unbroken(async { panic!("the secret reason") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        insta::assert_snapshot!(std::str::from_utf8(&body).unwrap(),
            @r#"{"error":"server_error","error_description":"something broke on our side"}"#);
    }

    #[test]
    fn own_addresses_never_take_the_road_to_the_gate() {
        for (path, route) in [
            ("/token", Some("/token")),
            ("/authorize", Some("/authorize")),
            ("/callback/google", Some("/callback")),
            ("/.well-known/openid-configuration/notes", Some("/.well-known")),
            ("/notes/.well-known/openid-configuration", Some("/.well-known")),
            ("/tokens", None),
            ("/callback", None),
            ("/notes", None),
            ("/", None),
        ] {
            assert_eq!(own_route(path), route, "{path}");
        }
    }
}
