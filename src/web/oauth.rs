//! The handlers of the OAuth endpoints: each reads a request, asks the authorization server, and hands the outcome to
//! [`reply`](super::reply). No rule of the protocol is decided here.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{Method, StatusCode, header, request::Parts};

use super::{
    House, app,
    extract::{self, Unreadable},
    reply::{self, Asked},
};
use crate::oauth::{BasicCredentials, Error, ErrorCode, Parameters};

type Home = State<Arc<House>>;

/// RFC 8414 and OIDC discovery at the root.
pub(crate) async fn metadata(State(house): Home) -> Response {
    reply::document(house.oauth.metadata())
}

/// The same document where clients insert a Resource's path (ASM-1).
pub(crate) async fn metadata_at(State(house): Home, Path(path): Path<String>) -> Response {
    if house.has_resource(&path) { metadata(State(house)).await } else { unknown_document().await }
}

/// RFC 9728 at the root (PRM-11).
pub(crate) async fn protected_resource(State(house): Home) -> Response {
    described(&house, "")
}

/// RFC 9728 for one Resource (PRM-4).
pub(crate) async fn protected_resource_at(State(house): Home, Path(path): Path<String>) -> Response {
    described(&house, &format!("/{}", path.trim_matches('/')))
}

fn described(house: &House, path: &str) -> Response {
    house.oauth.protected_resource(path).map_or_else(no_such_document, reply::document)
}

/// Any other well-known: JSON, never a page, so that a prober goes on with its list (behaviour 3).
pub(crate) async fn unknown_document() -> Response {
    no_such_document()
}

fn no_such_document() -> Response {
    reply::fault(StatusCode::NOT_FOUND, "not_found", "there is no such document")
}

/// What sloppy clients ask for by appending to a Resource's path (ASM-1), if this is such a path.
pub(crate) fn appended(house: &House, path: &str) -> Option<Response> {
    let (resource, document) = path.split_once("/.well-known/")?;
    if !house.has_resource(resource) {
        return Some(no_such_document());
    }
    Some(match document {
        "oauth-authorization-server" | "openid-configuration" => reply::document(house.oauth.metadata()),
        "oauth-protected-resource" => described(house, resource),
        _ => no_such_document(),
    })
}

/// The published keys.
pub(crate) async fn jwks(State(house): Home) -> Response {
    reply::document(house.oauth.jwks())
}

/// RFC 7591 §3. The content type is not looked at: what counts is whether the body is JSON.
pub(crate) async fn register(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match registration(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok(body) => {
            let outcome = house.oauth.register(&body, extract::bearer(&parts.headers));
            registered(&parts, StatusCode::CREATED, outcome)
        }
    }
}

/// RFC 7592 §2.1.
pub(crate) async fn read_registration(State(house): Home, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = house.oauth.read_registration(&id, extract::bearer(&parts.headers)).await;
    registered(&parts, StatusCode::OK, outcome)
}

/// RFC 7592 §2.2.
pub(crate) async fn replace_registration(State(house): Home, Path(id): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match registration(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok(body) => {
            let outcome = house.oauth.replace_registration(&id, extract::bearer(&parts.headers), &body).await;
            registered(&parts, StatusCode::OK, outcome)
        }
    }
}

/// RFC 7592 §2.3.
pub(crate) async fn remove_registration(State(house): Home, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = house.oauth.remove_registration(&id, extract::bearer(&parts.headers)).await;
    registered(&parts, StatusCode::NO_CONTENT, outcome.map(|()| Bytes::new()))
}

async fn registration(parts: &Parts, body: axum::body::Body) -> Result<Bytes, Response> {
    let invalid =
        |why: Unreadable| reply::fault(why.status(), ErrorCode::InvalidClientMetadata.as_str(), &why.to_string());
    extract::body(&parts.headers, body, extract::REGISTER_LIMIT).await.map_err(invalid)
}

fn registered(parts: &Parts, status: StatusCode, outcome: Result<Bytes, Error>) -> Response {
    match outcome {
        Ok(document) => reply::json(status, document),
        Err(error) => reply::registration_error(&error, extract::bearer(&parts.headers).is_some()),
    }
}

/// RFC 6749 §3.2.
pub(crate) async fn token(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match credentials(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok((parameters, basic)) => {
            let proof = extract::proof(&parts.headers);
            let mut response = written(&parts, house.oauth.token_proven(&parameters, basic, proof).await);
            if proof.is_some() {
                reply::with_nonce(&mut response, house.oauth.dpop_nonce());
            }
            response
        }
    }
}

/// RFC 7009 §2. Success says nothing, whatever the token was (§2.2); `{}` for clients that parse every answer.
pub(crate) async fn revoke(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match credentials(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok((parameters, basic)) => match house.oauth.revoke(&parameters, basic).await {
            Ok(()) => reply::json(StatusCode::OK, "{}"),
            Err(error) => reply::error(&error, extract::tried_basic(&parts.headers)),
        },
    }
}

/// RFC 7662 §2.
pub(crate) async fn introspect(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match credentials(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok((parameters, basic)) => written(&parts, house.oauth.introspect(&parameters, basic).await),
    }
}

/// What a client sends to an endpoint at which it authenticates; or why that cannot be read.
pub(super) async fn credentials(
    parts: &Parts,
    body: axum::body::Body,
) -> Result<(Parameters, Option<BasicCredentials>), Response> {
    let invalid = |why: Unreadable| reply::fault(why.status(), ErrorCode::InvalidRequest.as_str(), &why.to_string());
    let body = extract::body(&parts.headers, body, extract::FORM_LIMIT).await.map_err(invalid)?;
    let parameters = extract::parameters(&parts.headers, &body).map_err(invalid)?;
    let basic = extract::basic(&parts.headers)
        .map_err(|why| reply::error(&Error::new(ErrorCode::InvalidClient, why.to_string()), true))?;
    Ok((parameters, basic))
}

pub(super) fn written(parts: &Parts, outcome: Result<impl serde::Serialize, Error>) -> Response {
    let written = outcome.and_then(|answer| {
        serde_json::to_vec(&answer)
            .map_err(|e| Error::new(ErrorCode::ServerError, "the answer could not be written").because(e))
    });
    match written {
        Ok(document) => reply::json(StatusCode::OK, document),
        Err(error) => {
            let mut response = reply::error(&error, extract::tried_basic(&parts.headers));
            // RFC 6749 §5.2 knows 400 and 401 alone; polling devices rely on it (RFC 8628 §3.5).
            if error.code == ErrorCode::AccessDenied {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            response
        }
    }
}

/// RFC 6749 §3.1: by GET, or by POST of a form.
pub(crate) async fn authorize(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = asked(&house, &parts);
    let parameters = match parts.method {
        Method::POST => submitted(&parts, body).await,
        _ => extract::form(parts.uri.query().unwrap_or("").as_bytes()),
    };
    match parameters {
        Err(why) => asked.unreadable(why),
        Ok(parameters) => {
            let browser = house.oauth.meet(house.jar.browser(&parts.headers));
            let navigation = extract::navigation(&parts.headers);
            let app = app::recognise(first(&parameters, "redirect_uri"), first(&parameters, "client_id"), None);
            let asked = Asked { app, ..asked };
            let step = house.oauth.authorize(&parameters, &browser, navigation).await;
            asked.step(step, Some(&browser))
        }
    }
}

/// The human's answer to the consent page.
pub(crate) async fn consent(State(house): Home, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = asked(&house, &parts);
    match submitted(&parts, body).await {
        Err(why) => asked.unreadable(why),
        Ok(form) => {
            let asked = Asked { app: first(&form, "app").and_then(app::named), ..asked };
            let browser = house.oauth.meet(house.jar.browser(&parts.headers));
            let step = house.oauth.decide(&form, &browser).await;
            asked.step(step, Some(&browser))
        }
    }
}

pub(super) fn first<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// The provider sent the browser back.
pub(crate) async fn callback(State(house): Home, Path(upstream): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asked = asked(&house, &parts);
    let parameters = match extract::form(parts.uri.query().unwrap_or("").as_bytes()) {
        Err(why) => return asked.unreadable(why),
        Ok(parameters) => parameters,
    };
    // A cookie that does not open is as good as none: only a browser known before the login may finish it (S2).
    let browser = house.jar.browser(&parts.headers).map(|cookie| house.oauth.meet(Some(cookie)));
    let known = browser.as_ref().filter(|b| b.new_cookie.is_none());
    let state_cookie = |suffix: &str| house.jar.login(&parts.headers, suffix);
    let step = house.oauth.callback(&upstream, &parameters, known, &state_cookie).await;
    asked.step(step, known)
}

pub(super) const fn asked<'a>(house: &'a House, parts: &'a Parts) -> Asked<'a> {
    Asked { house, method: &parts.method, headers: &parts.headers, app: None }
}

pub(super) async fn submitted(parts: &Parts, body: axum::body::Body) -> Result<Parameters, Unreadable> {
    let body: Bytes = extract::body(&parts.headers, body, extract::FORM_LIMIT).await?;
    extract::submitted(&parts.headers, &body)
}

/// The wrong method at a machine endpoint, by path for the text and with `Allow` from the router.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let text = match request.uri().path() {
        "/register" | "/token" | "/revoke" | "/introspect" | "/consent" | "/device_authorization" => {
            "this endpoint takes POST only"
        }
        "/authorize" | "/device" => "this endpoint takes GET, and POST of a form",
        path if path.starts_with("/register/") => "a registration takes GET, PUT and DELETE",
        _ => "this address takes GET only",
    };
    reply::fault(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest.as_str(), text)
}

/// An address where nothing is.
pub(crate) async fn nothing_here(State(house): Home, request: Request) -> Response {
    if let Some(document) = appended(&house, request.uri().path()) {
        return document;
    }
    let (parts, _) = request.into_parts();
    let asked = asked(&house, &parts);
    if extract::wants_page(&parts.headers) && parts.method == Method::GET {
        return house.look.nothing_here(asked.request_id());
    }
    reply::fault(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
}

/// The icon of the pages.
pub(crate) async fn icon() -> Response {
    let mut response = reply::document(Bytes::from_static(super::page::ICON.as_bytes()));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("image/svg+xml"));
    response
}

/// The bare origin in a browser.
pub(crate) async fn landing(State(house): Home) -> Response {
    house.look.landing(house.resources.iter())
}
