//! Everything under a Resource's path: a preflight is answered before any authentication, a curious browser gets a page,
//! all else goes through the gate.

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};

use super::{House, extract, guard, into_plain};
use crate::{domain::Resource, proxy};

/// Answers one request for that Resource.
pub(crate) async fn enter(
    house: &House,
    resource: &std::sync::Arc<Resource>,
    request: Request<Body>,
) -> Response<proxy::Body> {
    let mut response = match *request.method() {
        Method::OPTIONS => return into_plain(preflight(request.headers())).await,
        Method::GET | Method::HEAD if is_a_look(resource, &request) => {
            return into_plain(house.look.landing(std::iter::once(resource))).await;
        }
        _ => match house.proxy.handle(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
    };
    guard::readable_everywhere(response.headers_mut());
    response
}

/// A person typed the address: a page is wanted, nobody is logged in, and it is the address itself, not one below it.
fn is_a_look(resource: &Resource, request: &Request<Body>) -> bool {
    let headers = request.headers();
    request.uri().path().trim_end_matches('/') == resource.path
        && !headers.contains_key(header::AUTHORIZATION)
        && extract::wants_page(headers)
}

/// 204 with the permissions, before any authentication (RS-10).
pub(crate) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = guard::preflight(asked);
    response
}
