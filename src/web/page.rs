//! The pages, as askama views over `src/web/pages/*.html`: every value is escaped where it is shown (S29). One style
//! sheet, inlined and named by its hash in the policy; no script, nothing fetched from elsewhere (CON-10).

mod advice;

use std::sync::Arc;

use advice::{Advice, Help, NOTHING_HERE, TOO_MANY};
use askama::Template;
use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::{
    app::{self, App},
    guard,
    qr::Qr,
    snippet::{Snippet, short_name, snippets},
};
use crate::{
    domain::{HttpsUrl, Resource},
    oauth::{
        Answer, ConsentPage, Destination, DeviceEnd, DeviceSetback, Error, Refusal, Setback, UserCodePage,
        UserCodeTrouble,
    },
};

/// The one style sheet.
pub(crate) const STYLE: &str = include_str!("pages/style.css");
/// The arch in the corner of the browser's tab.
pub(crate) const ICON: &str = include_str!("pages/icon.svg");

/// What all pages share: whose door this is, and the headers they go out with.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    host: String,
    policy: HeaderValue,
    is_https: bool,
}

impl Look {
    /// The look of the deployment at that URL.
    pub(crate) fn new(public_url: &HttpsUrl) -> Self {
        let origin = public_url.origin();
        Self {
            host: origin.split_once("://").map_or(origin.as_str(), |(_, host)| host).to_owned(),
            policy: guard::policy(&STANDARD.encode(Sha256::digest(STYLE))),
            is_https: public_url.is_https(),
        }
    }

    /// The page that asks the human (CON-3).
    pub(crate) fn consent(&self, page: &ConsentPage) -> Response {
        let scopes = page.scopes.iter().map(Permission::ours).collect();
        let upstream = page.upstream_scopes.iter().map(|s| Permission::at_provider(s)).collect();
        let app = match &page.destination {
            Destination::Redirect { uri, .. } => app::recognise(Some(uri), None, Some(&page.client)),
            Destination::Device { .. } => None,
        };
        self.show(StatusCode::OK, &Consent { frame: self.frame(None), page, scopes, upstream, app })
    }

    /// The page behind which an application with a private scheme opens.
    pub(crate) fn handover(&self, answer: &Answer) -> Response {
        let client = if answer.client.is_empty() { "your app" } else { &answer.client };
        let query = answer.url.split_once('?').map_or("", |(_, query)| query);
        let is_granted = !query.split('&').any(|pair| pair.starts_with("error="));
        self.show(StatusCode::OK, &Handover { frame: self.frame(None), client, url: &answer.url, is_granted })
    }

    /// The page on which the code of a device is typed or compared.
    pub(crate) fn user_code(&self, page: &UserCodePage) -> Response {
        let trouble = match page.trouble {
            None => "",
            Some(UserCodeTrouble::Unknown) => {
                "No device shows this code now. Look for a typing mistake; a code is good for some minutes and for one \
                 browser. If it does not help, let the device show a new one."
            }
            Some(UserCodeTrouble::NotFromHere) => {
                "That did not come from this page, or your browser blocks cookies. Please send it once more."
            }
        };
        let status = if page.trouble.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        self.show(status, &UserCode { frame: self.frame(None), page, trouble, qr: Qr::of(&page.address) })
    }

    /// The page after a login for a device.
    pub(crate) fn device_end(&self, end: &DeviceEnd) -> Response {
        self.show(StatusCode::OK, &DeviceDone { frame: self.frame(None), end })
    }

    /// The page for a human who cannot be sent back. `app` is the one they came from, as far as it can be told.
    pub(crate) fn refusal(
        &self,
        status: StatusCode,
        refusal: &Refusal,
        app: Option<&'static App>,
        request_id: &str,
    ) -> Response {
        let (frame, advice) = (self.frame(Some(request_id)), Advice::of(refusal));
        self.show(status, &Trouble { frame, advice, app, error: Some(&refusal.error) })
    }

    /// The page for an address where nothing is.
    pub(crate) fn nothing_here(&self, request_id: &str) -> Response {
        let frame = self.frame(Some(request_id));
        self.show(StatusCode::NOT_FOUND, &Trouble { frame, advice: NOTHING_HERE, app: None, error: None })
    }

    /// The page for a network from which too much comes.
    pub(crate) fn too_many(&self, request_id: &str) -> Response {
        let frame = self.frame(Some(request_id));
        self.show(StatusCode::TOO_MANY_REQUESTS, &Trouble { frame, advice: TOO_MANY, app: None, error: None })
    }

    /// The page between a login that came to nothing and the client that is told so.
    pub(crate) fn setback(&self, answer: &Answer, setback: &Setback, request_id: &str) -> Response {
        let client = if answer.client.is_empty() { "your app" } else { &answer.client };
        let app = app::recognise(Some(&answer.url), None, Some(client));
        let (status, frame) = (status_of(setback), self.frame(Some(request_id)));
        self.show(status, &SetBack { frame, client, back: Back::To(&answer.url), setback, app })
    }

    /// The same where a device waits: there is nobody to go back to, but a no to be told.
    pub(crate) fn device_setback(&self, end: &DeviceSetback, request_id: &str) -> Response {
        let (setback, frame, back) = (&end.setback, self.frame(Some(request_id)), Back::Deny(end.form.expose()));
        self.show(status_of(setback), &SetBack { frame, client: &end.client, back, setback, app: None })
    }

    /// The page for a browser that opened the address of an MCP server, or the bare origin.
    pub(crate) fn landing<'a>(&self, resources: impl Iterator<Item = &'a Arc<Resource>>) -> Response {
        let servers: Vec<_> = resources.map(|resource| Server::of(resource)).collect();
        let heading = match servers.as_slice() {
            [only] => only.title.to_owned(),
            _ => self.host.clone(),
        };
        self.show(StatusCode::OK, &Landing { frame: self.frame(None), heading, servers })
    }

    const fn frame<'a>(&'a self, request_id: Option<&'a str>) -> Frame<'a> {
        Frame { host: self.host.as_str(), request_id }
    }

    fn show(&self, status: StatusCode, page: &impl Template) -> Response {
        let mut response = match page.render() {
            Ok(text) => Response::new(Body::from(text)),
            Err(cause) => {
                tracing::error!(%cause, "a page could not be rendered");
                let mut response = Response::new(Body::from("the page could not be made"));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return response;
            }
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        guard::page(headers, &self.policy, self.is_https);
        response
    }
}

/// What is around every page.
struct Frame<'a> {
    host: &'a str,
    request_id: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "consent.html", config = "src/web/askama.toml")]
struct Consent<'a> {
    frame: Frame<'a>,
    page: &'a ConsentPage,
    scopes: Vec<Permission<'a>>,
    upstream: Vec<Permission<'a>>,
    /// Told again by the form, so that a page after it can speak of the app.
    app: Option<&'static App>,
}

#[derive(Template)]
#[template(path = "setback.html", config = "src/web/askama.toml")]
struct SetBack<'a> {
    frame: Frame<'a>,
    client: &'a str,
    back: Back<'a>,
    setback: &'a Setback,
    app: Option<&'static App>,
}

/// What a person does who gives up.
enum Back<'a> {
    /// Goes to this address, and the client is told.
    To(&'a str),
    /// Sends this form, and the device is told.
    Deny(&'a str),
}

/// 403 is about the person, 502 and 503 about the provider or us.
const fn status_of(setback: &Setback) -> StatusCode {
    match setback {
        Setback::WrongAccount { .. } => StatusCode::FORBIDDEN,
        Setback::ProviderFailed { .. } => StatusCode::BAD_GATEWAY,
        Setback::ProviderDown { .. } | Setback::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[derive(Template)]
#[template(path = "user_code.html", config = "src/web/askama.toml")]
struct UserCode<'a> {
    frame: Frame<'a>,
    page: &'a UserCodePage,
    trouble: &'a str,
    qr: Option<Qr>,
}

#[derive(Template)]
#[template(path = "device_done.html", config = "src/web/askama.toml")]
struct DeviceDone<'a> {
    frame: Frame<'a>,
    end: &'a DeviceEnd,
}

#[derive(Template)]
#[template(path = "handover.html", config = "src/web/askama.toml")]
struct Handover<'a> {
    frame: Frame<'a>,
    client: &'a str,
    url: &'a str,
    is_granted: bool,
}

#[derive(Template)]
#[template(path = "trouble.html", config = "src/web/askama.toml")]
struct Trouble<'a> {
    frame: Frame<'a>,
    advice: Advice<'a>,
    app: Option<&'static App>,
    error: Option<&'a Error>,
}

impl Trouble<'_> {
    /// The apps beside the one that the person came from.
    fn others(&self) -> impl Iterator<Item = &'static App> {
        let own = self.app.map(|app| app.slug);
        app::APPS.iter().filter(move |app| Some(app.slug) != own)
    }
}

#[derive(Template)]
#[template(path = "landing.html", config = "src/web/askama.toml")]
struct Landing<'a> {
    frame: Frame<'a>,
    heading: String,
    servers: Vec<Server<'a>>,
}

/// One MCP server on a landing page.
struct Server<'a> {
    title: &'a str,
    url: &'a str,
    snippets: Vec<Snippet>,
}

impl<'a> Server<'a> {
    fn of(resource: &'a Resource) -> Self {
        let url = resource.uri.as_str();
        Self { title: &resource.title, url, snippets: snippets(&short_name(&resource.path, url), url) }
    }
}

/// A scope in plain words, with the token beside it for those who know.
struct Permission<'a> {
    words: &'static str,
    token: &'a str,
}

impl<'a> Permission<'a> {
    /// A scope of ours. Operators invent them, so only the usual ones have words.
    fn ours(token: &'a str) -> Self {
        let words = match token {
            "offline_access" => "Stay connected while you are away",
            "openid" | "profile" => "Know who you are",
            "email" => "Know your e-mail address",
            _ if token.ends_with("read") => "Read in your name",
            _ if token.ends_with("write") => "Change things in your name",
            _ => "Use its tools and data in your name",
        };
        Self { words, token }
    }

    /// A scope of the provider.
    fn at_provider(token: &'a str) -> Self {
        let words = match token {
            "repo" => "Read and change your repositories, private ones too",
            "public_repo" => "Read and change your public repositories",
            "read:org" => "See your organisations and teams",
            "gist" => "Read and write your gists",
            _ if token.ends_with("readonly") || token.contains("read:") || token.contains(".Read") => "Read for you",
            _ => "Act for you",
        };
        Self { words, token }
    }
}

/// How long ago, in words for people.
pub(crate) fn ago(time: &std::time::Duration) -> String {
    match time.as_secs() {
        0..=9 => "a moment ago".to_owned(),
        seconds @ 10..=99 => format!("{seconds} seconds ago"),
        seconds => format!("{} minutes ago", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests;
