//! Every request of the login: where it may go, and what came back.
//!
//! A server that one logs in to names the places of all the others. So each address is looked at before it is dialled:
//! https anywhere; plain http on loopback alone; and loopback only for a server that is itself on loopback, or any page
//! in the world could name the services of this machine (S22). No request that carries a credential is ever redirected.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, Method, StatusCode, header};
use oauth2::{AsyncHttpClient, HttpRequest};
use url::Url;

use crate::{
    domain::{HttpsUrl, uri::BadUrl},
    upstream::{
        answer,
        http::{Answer, Http, NoAnswer, Request},
    },
};

/// The newest revision of MCP with `initialize`; every request names it.
pub(super) const PROTOCOL: &str = "2025-11-25";
/// Redirects of one metadata document that are followed.
const HOPS: usize = 3;

/// No answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NoGo {
    /// The address is none that a login goes to.
    #[error("{0}")]
    Refused(String),
    /// Nobody there, or too slow, or too much.
    #[error("no answer: {0}")]
    Away(String),
    /// Neither tokens nor an OAuth error.
    #[error("{0}")]
    Odd(String),
}

impl From<NoAnswer> for NoGo {
    fn from(none: NoAnswer) -> Self {
        Self::Away(none.0)
    }
}

/// A document and how it was reached.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
    /// Where the redirects led, if there were any.
    pub(super) moved: Option<Url>,
}

/// Status and headers of the latest answer, for what `oauth2` does not look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The member of that name, as the server spelt it; a default is filled in before `oauth2` reads it.
    pub(super) token_type: Option<String>,
}

#[derive(serde::Deserialize)]
struct Typed {
    token_type: Option<String>,
}

/// The way out.
#[derive(Debug)]
pub(super) struct Wire {
    http: Http,
    /// Whether the MCP server is on this machine.
    near: bool,
    heard: Mutex<Heard>,
}

impl Wire {
    pub(super) fn new(http: Http, server: &HttpsUrl) -> Self {
        Self { http, near: server.is_loopback(), heard: Mutex::default() }
    }

    /// An address that a server named, if a login may go there.
    pub(super) fn admits(&self, text: &str) -> Result<Url, NoGo> {
        let refused = |why: String| NoGo::Refused(format!("{text:?} {why}"));
        let url = HttpsUrl::parse(text, false).map_err(|bad| refused(words(bad).to_owned()))?;
        if url.is_loopback() && !self.near {
            return Err(refused("is on this machine, and the MCP server is not".into()));
        }
        Ok(url.as_url().clone())
    }

    /// Fetches a document, following redirects to places that are admitted themselves.
    pub(super) async fn get(&self, url: &Url) -> Result<Fetched, NoGo> {
        let mut at = self.admits(url.as_str())?;
        let mut moved = None;
        for _ in 0..=HOPS {
            let request = http::Request::builder()
                .method(Method::GET)
                .uri(at.as_str())
                .header(header::ACCEPT, "application/json")
                .header("MCP-Protocol-Version", PROTOCOL);
            let answer = self.http.operator(built(request, Vec::new())?).await?;
            let (status, content_type) = (answer.status(), of(answer.headers(), header::CONTENT_TYPE));
            let location = of(answer.headers(), header::LOCATION);
            if !status.is_redirection() || location.is_empty() {
                return Ok(Fetched { status, content_type, body: answer.into_body(), moved });
            }
            let next = at.join(&location).map_err(|_| NoGo::Refused(format!("a redirect to {location:?}")))?;
            at = self.admits(next.as_str())?;
            moved = Some(at.clone());
        }
        Err(NoGo::Refused(format!("more than {HOPS} redirects")))
    }

    /// Sends a request as it is and reads the whole answer.
    pub(super) async fn send(&self, request: Request) -> Result<Answer, NoGo> {
        self.until(request, |_| false).await
    }

    /// The same, until enough has come.
    pub(super) async fn until(&self, request: Request, enough: impl Fn(&[u8]) -> bool + Send) -> Result<Answer, NoGo> {
        self.admits(&request.uri().to_string())?;
        let answer = self.http.operator_until(request, enough).await?;
        let heard = Heard {
            status: answer.status(),
            headers: answer.headers().clone(),
            token_type: serde_json::from_slice::<Typed>(answer.body()).ok().and_then(|typed| typed.token_type),
        };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
        Ok(answer)
    }

    /// The latest answer to [`Wire::send`].
    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<'c> AsyncHttpClient<'c> for Wire {
    type Error = NoGo;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, NoGo>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.send(request).await?;
            answer::by_the_book(&answer).map_err(|odd| NoGo::Odd(odd.to_string()))
        })
    }
}

/// Why an address is not used; `domain` speaks of settings, which a client has none of.
pub(super) fn words(bad: BadUrl) -> &'static str {
    match bad {
        BadUrl::Malformed => "is no absolute URL",
        BadUrl::PlainHttp => "is plain http, which is used on loopback only",
        BadUrl::Scheme => "is no https URL",
        BadUrl::Userinfo => "holds user information",
        BadUrl::Fragment => "holds a fragment",
    }
}

/// A request out of its parts.
pub(super) fn built(request: http::request::Builder, body: Vec<u8>) -> Result<Request, NoGo> {
    request.body(body).map_err(|e| NoGo::Refused(e.to_string()))
}

/// A header as text, empty where it is missing or none.
pub(super) fn of(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
