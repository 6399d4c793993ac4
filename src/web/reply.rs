//! The one place where outcomes become HTTP (architecture §8). Three faces, chosen by type: JSON at machine endpoints,
//! a redirect where a redirect URI is proven, a page where a human can be told but nobody can be answered.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{
    House,
    app::{self, App},
    extract, guard,
};
use crate::oauth::{
    Answer, Asker, Browser, DeviceEnd, DeviceSetback, Error, ErrorCode, Refusal, RefusalPage, Setback, Step,
};

/// How long to wait after a 503, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
/// The challenge for a client that tried Basic (RFC 6749 §5.2).
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"vestibule\", charset=\"UTF-8\"");

/// The challenge where a registration needs or has a token.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"vestibule\"");
const BEARER_INVALID: HeaderValue = HeaderValue::from_static("Bearer realm=\"vestibule\", error=\"invalid_token\"");

/// A JSON document that nobody may keep.
pub(crate) fn json(status: StatusCode, document: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(document.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A public JSON document, good for a few minutes: metadata and keys.
pub(crate) fn document(document: Bytes) -> Response {
    let mut response = json(StatusCode::OK, document);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// An error of the door itself, in the shape that OAuth clients read.
pub(crate) fn fault(status: StatusCode, code: &str, description: &str) -> Response {
    json(status, json!({ "error": code, "error_description": description }).to_string())
}

/// An OAuth error at a machine endpoint (RFC 6749 §5.2, RFC 7591 §3.2.2).
pub(crate) fn error(error: &Error, tried_basic: bool) -> Response {
    note(error);
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = fault(status, error.code.as_str(), &error.description);
    if error.code == ErrorCode::InvalidClient && tried_basic {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, BASIC);
    }
    if let Some(wait) = retry_after(error) {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

/// When it is worth another try: rounded up, so that a client that waits exactly so long gets through.
fn retry_after(error: &Error) -> Option<HeaderValue> {
    match (error.wait, error.code.status()) {
        (Some(wait), _) => Some(HeaderValue::from(wait.as_secs() + 1)),
        (None, 429 | 503) => Some(RETRY_AFTER),
        (None, _) => None,
    }
}

/// The same at `/register`, where what proves the caller is a token: its absence is no mistake of the token (RFC 6750 §3.1).
pub(crate) fn registration_error(refusal: &Error, brought_token: bool) -> Response {
    let mut response = error(refusal, false);
    if refusal.code == ErrorCode::InvalidToken {
        let challenge = if brought_token { BEARER_INVALID } else { BEARER };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// RFC 9449 §8.2: the nonce for the next proof.
pub(crate) fn with_nonce(response: &mut Response, nonce: Option<String>) {
    if let Some(value) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert("dpop-nonce", value);
    }
}

/// The log gets what the stranger does not: the cause. The request id comes with the span.
fn note(error: &Error) {
    let (code, description) = (error.code.as_str(), error.description.as_ref());
    let cause = error.cause.as_ref().map(tracing::field::display);
    match error.code {
        ErrorCode::ServerError => tracing::error!(error = code, description, cause, "refused"),
        ErrorCode::TemporarilyUnavailable => tracing::warn!(error = code, description, cause, "refused"),
        // A device hears them every few seconds, as it should.
        ErrorCode::AuthorizationPending | ErrorCode::SlowDown => tracing::debug!(error = code, description, "refused"),
        _ => tracing::info!(error = code, description, cause, "refused"),
    }
}

/// What is known of a person's request when the answer is made.
pub(crate) struct Asked<'a> {
    /// The house.
    pub(crate) house: &'a House,
    /// The request's method: a redirect after a POST is a 303 (AZ-12).
    pub(crate) method: &'a Method,
    /// The request's headers.
    pub(crate) headers: &'a HeaderMap,
    /// The app that the person came from, as far as it can be told.
    pub(crate) app: Option<&'static App>,
}

impl Asked<'_> {
    /// What the dispatcher decided, as HTTP.
    pub(crate) fn step(&self, step: Step, browser: Option<&Browser>) -> Response {
        let jar = &self.house.jar;
        let met = || browser.and_then(|b| b.new_cookie.as_ref()).and_then(|cookie| jar.remember(cookie));
        match step {
            Step::AskConsent(page) => with_cookies(self.house.look.consent(&page), [met()]),
            Step::GoUpstream { url, state_cookie } => {
                with_cookies(self.redirect(&url), [met(), jar.begin(&state_cookie)])
            }
            Step::AskUserCode(page) => with_cookies(self.house.look.user_code(&page), [met()]),
            Step::EndDevice(end) => self.end_device(&end),
            Step::SetBackDevice(setback) => self.set_back_device(&setback),
            Step::Answer(answer) => self.answer(&answer),
            Step::Refuse(refusal) => self.refuse(&refusal),
        }
    }

    /// Back to the client. Loopback and https are redirected to; an application with a private scheme gets a page that
    /// opens it, because browsers may hold back such a jump without a click.
    ///
    /// Where a login came to nothing, a person first sees why, and carries the answer on with a button; a program that asks
    /// for no page is redirected at once.
    fn answer(&self, answer: &Answer) -> Response {
        let response = match &answer.setback {
            Some(setback) if extract::wants_page(self.headers) => self.set_back(answer, setback),
            _ if answer.is_private_scheme => self.house.look.handover(answer),
            _ => self.redirect(&answer.url),
        };
        with_cookies(response, [answer.done.as_ref().and_then(|suffix| self.house.jar.end(suffix))])
    }

    fn set_back(&self, answer: &Answer, setback: &Setback) -> Response {
        let mut response = self.house.look.setback(answer, setback, self.request_id());
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }

    fn end_device(&self, end: &DeviceEnd) -> Response {
        let done = end.done.as_ref().and_then(|suffix| self.house.jar.end(suffix));
        with_cookies(self.house.look.device_end(end), [done])
    }

    fn set_back_device(&self, setback: &DeviceSetback) -> Response {
        let response = if extract::wants_page(self.headers) {
            self.house.look.device_setback(setback, self.request_id())
        } else {
            fault(StatusCode::FORBIDDEN, ErrorCode::AccessDenied.as_str(), "this account is not admitted here")
        };
        with_cookies(response, [self.house.jar.end(&setback.done)])
    }

    /// Too many user codes from one address (RFC 8628 §5.1).
    pub(crate) fn too_many_codes(&self, wait: std::time::Duration) -> Response {
        let error = Error::new(ErrorCode::SlowDown, "too many codes from this address; wait, then try again");
        let mut response = self.refuse(&Refusal::new(error, RefusalPage::TooManyCodes));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        response
    }

    /// A page for people, JSON for programs (behaviour 14): never a redirect.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Response {
        note(&refusal.error);
        let status = status_of(refusal);
        let mut response = if extract::wants_page(self.headers) {
            let app = self.app.or_else(|| refusal.asker.as_deref().and_then(app_of));
            self.house.look.refusal(status, refusal, app, self.request_id())
        } else {
            fault(status, refusal.error.code.as_str(), &refusal.error.description)
        };
        if let Some(wait) = retry_after(&refusal.error) {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }

    /// A request that could not even be read.
    pub(crate) fn unreadable(&self, why: extract::Unreadable) -> Response {
        let error = Error::new(ErrorCode::InvalidRequest, why.to_string());
        let mut response = self.refuse(&Refusal::new(error, RefusalPage::BadRequest));
        *response.status_mut() = why.status();
        response
    }

    /// The id that is in the log and on pages for people in trouble.
    pub(crate) fn request_id(&self) -> &str {
        guard::request_id(self.headers)
    }

    fn redirect(&self, url: &str) -> Response {
        let Ok(location) = HeaderValue::try_from(url) else {
            let error = Error::new(ErrorCode::ServerError, "the address to go to is not a URL");
            return self.refuse(&Refusal::new(error, RefusalPage::BadRequest));
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = if *self.method == Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The app of a login whose record was found.
fn app_of(asker: &Asker) -> Option<&'static App> {
    app::recognise(asker.redirect.as_deref(), Some(&asker.id), Some(&asker.name))
}

/// At a page an unknown client is the link's fault, not a failed authentication: 400, as OAuth clients expect. A login
/// from another browser is forbidden (S2).
fn status_of(refusal: &Refusal) -> StatusCode {
    match (&refusal.page, refusal.error.code) {
        (RefusalPage::OtherBrowser, _) => StatusCode::FORBIDDEN,
        (_, ErrorCode::InvalidClient) => StatusCode::BAD_REQUEST,
        (_, code) => StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

fn with_cookies<const N: usize>(mut response: Response, cookies: [Option<HeaderValue>; N]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
