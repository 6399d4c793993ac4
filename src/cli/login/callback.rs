//! Where the browser comes back to: a listener on loopback for one answer (RFC 8252 §7.3), or an address that a person
//! pastes. What came is compared with what was asked before anything in it is believed (RFC 9207, RFC 6749 §10.12).

use std::{io::BufRead as _, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::mpsc};
use url::Url;

use super::{
    report::{Report, Stopped, plain},
    rules as rule,
};
use crate::domain::Secret;

/// What the listener says. The answer is judged by the program, and shown where it runs.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>vestibule login</title>\
    <p>The answer has arrived. You may close this window and go back to the terminal.";

/// A listener that is not yet asked.
pub(super) struct Callback {
    listener: TcpListener,
    /// With the port that it has.
    pub(super) redirect_uri: Url,
}

/// The query of an answer.
type Query = String;

impl Callback {
    /// Listens where `redirect_uri` says, at a port of the system's choice where it names none. Never elsewhere than on
    /// loopback.
    pub(super) async fn open(redirect_uri: &str) -> anyhow::Result<Self> {
        let mut url = Url::parse(redirect_uri)?;
        let ip = if url.host_str() == Some("[::1]") { "::1" } else { "127.0.0.1" };
        let address = SocketAddr::new(ip.parse()?, url.port().unwrap_or(0));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| anyhow::anyhow!("nobody can listen at {redirect_uri}: {error}"))?;
        let port = listener.local_addr()?.port();
        url.set_port(Some(port)).map_err(|()| anyhow::anyhow!("{redirect_uri} takes no port"))?;
        Ok(Self { listener, redirect_uri: url })
    }

    /// Waits for one answer, at the listener or (if `pasted`) on standard input.
    pub(super) async fn answer(self, pasted: bool) -> Option<Query> {
        let (sender, mut receiver) = mpsc::channel(4);
        if pasted {
            paste(sender.clone());
        }
        let waiting = Arc::new((self.redirect_uri.path().to_owned(), sender));
        let app = Router::new().fallback(arrived).with_state(waiting);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = axum::serve(self.listener, app).with_graceful_shutdown(async {
            drop(stopped.await);
        });
        let server = tokio::spawn(server.into_future());
        let answer = receiver.recv().await;
        // The page has to reach the browser before the program ends; a browser that holds the line open must not.
        drop(stop);
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), server).await);
        answer
    }
}

async fn arrived(State(waiting): State<Arc<(String, mpsc::Sender<Query>)>>, method: Method, uri: Uri) -> Response {
    let (path, sender) = &*waiting;
    // Browsers ask for icons as well.
    if uri.path() != path || method != Method::GET {
        return StatusCode::NOT_FOUND.into_response();
    }
    // A full channel has what it needs.
    drop(sender.try_send(uri.query().unwrap_or_default().to_owned()));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CONNECTION, "close"),
    ];
    (headers, PAGE).into_response()
}

/// Reads addresses from standard input, on a thread of its own: nothing wakes a thread that waits for a terminal, and
/// the program must be able to end.
fn paste(sender: mpsc::Sender<Query>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let query = Url::parse(line.trim()).ok().and_then(|url| url.query().map(ToOwned::to_owned));
            if let Some(query) = query
                && sender.blocking_send(query).is_err()
            {
                return;
            }
        }
    });
}

/// What an answer is compared with.
pub(super) struct Asked<'a> {
    pub(super) state: &'a Secret<String>,
    pub(super) issuer: &'a str,
    pub(super) promises_iss: bool,
}

/// The code, if this is the answer to what was asked.
pub(super) fn judged(report: &mut Report, query: &str, asked: &Asked<'_>) -> Result<Secret<String>, Stopped> {
    let all: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| {
        let mut values = all.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        (values.next(), values.next().is_some())
    };
    // Before anything else: without it the answer is somebody else's (RFC 6749 §10.12).
    match of("state") {
        (Some(state), false) if state == asked.state.expose() => report.meets(&rule::STATE, "the same"),
        (Some(_), false) => return Err(report.fails(&rule::STATE, "another state")),
        (Some(_), true) => return Err(report.fails(&rule::STATE, "more than one state")),
        (None, _) => return Err(report.fails(&rule::STATE, "no state")),
    }
    // By plain comparison of text, also for errors (RFC 9207 §2.4, MCP 2026-07-28).
    match of("iss") {
        (Some(iss), false) if iss == asked.issuer => report.meets(&rule::ISS, format!("{iss:?}")),
        (Some(iss), _) => {
            return Err(report.fails(&rule::ISS, format!("{iss:?}, asked at {:?}", asked.issuer)));
        }
        (None, _) if asked.promises_iss => return Err(report.fails(&rule::ISS_PROMISED, "none")),
        (None, _) => report.notes(&rule::ISS, "none, and none was promised"),
    }
    if let (Some(error), _) = of("error") {
        let words = of("error_description").0.unwrap_or_default();
        return Err(report.fails(&rule::GRANTED, plain(&format!("{error}: {words}"))));
    }
    match of("code") {
        (Some(code), false) if !code.is_empty() => {
            report.meets(&rule::CODE, format!("{} characters", code.len()));
            Ok(Secret::from(code))
        }
        (Some(_), true) => Err(report.fails(&rule::CODE, "more than one code")),
        _ => Err(report.fails(&rule::CODE, "neither code nor error")),
    }
}
