//! The road behind the gate: pooled connections toward the targets. The only file that names the hyper client.
//!
//! A target on plain http (the usual sidecar) is spoken to over a *line*: an HTTP/1.1 connection that the task of the
//! client's request drives itself, instead of a task of its own on the other end of two channels. That saves two task
//! switches and a spawn per request, lets one turn collect all the small frames that one packet brought, and makes
//! cancelling simple: whoever drops the request or the answer drops the line, and the target sees it closed (wire 5).
//! An https target has HTTP/2 to gain and TLS to pay anyway; it gets hyper-util's ordinary pooled client.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, uri::PathAndQuery};
use http_body_util::LengthLimitError;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, Connection, SendRequest},
    },
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{net::TcpStream, time::Instant};

use super::{
    BoxError,
    body::{Carrier, Stream},
    challenge::Refusal,
};
use crate::domain::HttpsUrl;

/// How long a target may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Node and uvicorn close idle connections after five seconds; we do so before, for a POST that meets a connection
/// just being closed cannot be repeated.
const KEPT: Duration = Duration::from_secs(4);
/// Idle lines kept for one target.
const MOST_KEPT: usize = 256;

/// The way to one target. It follows no redirect, knows no proxy, keeps no cookie, and repeats a request only if not a
/// byte of it was sent (an idle connection found dead).
pub(super) enum Road<B: http_body::Body + 'static> {
    Plain(Arc<Lines<B>>),
    Tls(Box<HttpsRoad<B>>),
}

impl<B> Road<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// # Errors
    /// A sentence, where the target is no address.
    pub(super) fn to(target: &HttpsUrl, https: &Https<B>) -> Result<Self, String> {
        let url = target.as_url();
        if target.is_https() {
            let uri: http::Uri = url.as_str().parse().map_err(|_| format!("target {url}: not an address"))?;
            return Ok(Self::Tls(Box::new(HttpsRoad { client: https.0.clone(), origin: uri })));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self::Plain(Arc::new(Lines { host, port, idle: Mutex::new(Idle { lines: Vec::new(), is_swept: false }) })))
    }

    /// Sends the request to `aim` at the target and waits for the head of the answer, the body of which streams.
    /// Dropping either ends the request at the target.
    pub(super) async fn carry(&self, mut request: Request<B>, aim: PathAndQuery) -> Result<Response<Stream>, Refusal> {
        match self {
            Self::Plain(lines) => {
                *request.uri_mut() = aim.into();
                lines.carry(request).await
            }
            // Boxed, as all that is not the everyday way: a future is as large as its largest arm, and moved as a whole.
            Self::Tls(road) => Box::pin(road.carry(request, aim)).await,
        }
    }
}

/// hyper-util's client, for all https targets.
pub(super) struct Https<B>(Client<HttpsConnector<HttpConnector>, B>);

impl<B> Https<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// `is_needed`: whether any target is https; only then the system's certificates are read, which takes its time.
    ///
    /// # Errors
    /// A sentence, when the certificates do not parse.
    pub(super) fn new(is_needed: bool, extra_ca: Option<&[u8]>) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(is_needed, extra_ca)?)
            .https_only()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .http2_adaptive_window(true)
            .build(connector);
        Ok(Self(client))
    }
}

/// The way to one https target.
pub(super) struct HttpsRoad<B> {
    client: Client<HttpsConnector<HttpConnector>, B>,
    origin: http::Uri,
}

impl<B> HttpsRoad<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    async fn carry(&self, mut request: Request<B>, aim: PathAndQuery) -> Result<Response<Stream>, Refusal> {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = Some(aim);
        *request.uri_mut() = http::Uri::from_parts(parts).map_err(|_| Refusal::Path)?;
        let answer = self.client.request(request).await.map_err(|error| refusal_of(&error))?;
        Ok(answer.map(|body| Stream::new(body, None)))
    }
}

fn tls(is_needed: bool, extra_ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if is_needed {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificates could not be read");
        }
        roots.add_parsable_certificates(found.certs);
    }
    if let Some(pem) = extra_ca {
        let mut some = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("extra_ca is not PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("extra_ca holds a certificate that is none: {error}"))?;
            some = true;
        }
        if !some {
            return Err("extra_ca holds no certificate".to_owned());
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The lines to one target on plain http.
pub(super) struct Lines<B: http_body::Body + 'static> {
    host: String,
    port: u16,
    idle: Mutex<Idle<B>>,
}

struct Idle<B: http_body::Body + 'static> {
    /// With the time at which each came back; the latest last, and taken first.
    lines: Vec<(Box<Line<B>>, Instant)>,
    is_swept: bool,
}

/// One HTTP/1.1 connection, driven by whoever holds it. Always boxed: it changes hands several times for each request,
/// and hyper keeps more than a KiB in it.
struct Line<B: http_body::Body + 'static> {
    sender: SendRequest<B>,
    /// None once it is over.
    connection: Option<Connection<TokioIo<TcpStream>, B>>,
}

impl<B> Lines<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    async fn carry(self: &Arc<Self>, mut request: Request<B>) -> Result<Response<Stream>, Refusal> {
        loop {
            let (mut line, is_fresh) = match self.take() {
                Some(line) => (line, false),
                None => (Box::pin(self.dial()).await?, true),
            };
            match line.send(request).await {
                Ok(answer) => return Ok(self.answer(line, answer)),
                Err(mut failed) => match failed.take_message() {
                    // Not a byte was sent, since the line had died in the pool.
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(refusal_of(&failed.into_error())),
                },
            }
        }
    }

    /// An answer that is here as a whole frees its line at once; any other takes the line along and drives it.
    fn answer(self: &Arc<Self>, line: Box<Line<B>>, answer: Response<Incoming>) -> Response<Stream> {
        if line.sender.is_ready() {
            self.give_back(line);
            return answer.map(|body| Stream::new(body, None));
        }
        let carrier: Box<dyn Carrier> = Box::new(Carrying { line: Some(line), home: Arc::clone(self) });
        answer.map(|body| Stream::new(body, Some(carrier)))
    }

    /// An idle line that is alive as far as one can see.
    fn take(&self) -> Option<Box<Line<B>>> {
        loop {
            let (mut line, since) = self.idle().lines.pop()?;
            let is_alive = since.elapsed() < KEPT && line.drive(&mut Context::from_waker(Waker::noop())).is_pending();
            if is_alive && line.sender.is_ready() {
                return Some(line);
            }
        }
    }

    fn give_back(self: &Arc<Self>, line: Box<Line<B>>) {
        let mut idle = self.idle();
        if idle.lines.len() < MOST_KEPT {
            idle.lines.push((line, Instant::now()));
        }
        if !idle.is_swept {
            idle.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self) -> Result<Box<Line<B>>, Refusal> {
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(|_| Refusal::TimedOut)?
            .map_err(|error| refusal_of(&error))?;
        stream.set_nodelay(true).map_err(|error| refusal_of(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| refusal_of(&error))?;
        Ok(Box::new(Line { sender, connection: Some(connection) }))
    }
}

/// Closes lines that nobody took for [`KEPT`]; ends when there are none.
async fn sweep<B>(home: std::sync::Weak<Lines<B>>)
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    loop {
        tokio::time::sleep(KEPT).await;
        let Some(home) = home.upgrade() else { return };
        let mut idle = home.idle();
        idle.lines.retain(|(_, since)| since.elapsed() < KEPT);
        if idle.lines.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}

impl<B> Line<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Moves bytes both ways as far as they go. Ready when the connection is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        drive(&mut self.connection, cx)
    }

    async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        std::future::poll_fn(move |cx| {
            // The connection is driven first and bears the waker; what the other half learns, it learns in there. One
            // that is over is dropped, which tells the other half too: so this never waits for nothing.
            let _ = drive(connection, cx);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }
}

fn drive<B>(connection: &mut Option<Connection<TokioIo<TcpStream>, B>>, cx: &mut Context<'_>) -> Poll<()>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let Some(open) = connection else { return Poll::Ready(()) };
    let outcome = std::task::ready!(Pin::new(open).poll(cx));
    *connection = None;
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection to an MCP server broke");
    }
    Poll::Ready(())
}

/// A line that an answer takes along until its body is complete.
struct Carrying<B: http_body::Body + 'static> {
    line: Option<Box<Line<B>>>,
    home: Arc<Lines<B>>,
}

impl<B> Carrier for Carrying<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(line) = &mut self.line
            && line.drive(cx).is_ready()
        {
            self.line = None;
        }
    }

    fn arrive(&mut self) {
        if let Some(mut line) = self.line.take()
            && line.drive(&mut Context::from_waker(Waker::noop())).is_pending()
            && line.sender.is_ready()
        {
            self.home.give_back(line);
        }
    }
}

/// The client hears which of three things happened; the details are for the log.
fn refusal_of(error: &(dyn StdError + 'static)) -> Refusal {
    let mut cause = Some(error);
    let mut refusal = Refusal::Unreachable;
    let mut last = String::new();
    while let Some(this) = cause {
        if this.is::<LengthLimitError>() {
            return Refusal::TooLarge;
        }
        if this.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            refusal = Refusal::TimedOut;
        }
        last = this.to_string();
        cause = this.source();
    }
    tracing::warn!(cause = %last, "the MCP server gave no answer");
    refusal
}
