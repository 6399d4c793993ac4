//! The only file that names `reqwest`: no redirects, timeouts, size caps, and a resolver that refuses private addresses.
//!
//! Two faces. [`Http::operator`] speaks to hosts that the operator wrote down: they may be on loopback or in a private
//! network, and the environment's proxy is used. [`Http::public`] fetches an address that a stranger named (a Client ID
//! Metadata Document): only https, only public addresses, never through a proxy, because the name must be resolved here,
//! by the resolver that looks at each address (S22; stops rebinding, since the address that was looked at is the one
//! that is dialled).
//!
//! Whoever builds the house may hand in another [`Network`], so that a whole deployment runs inside one test, with every
//! fault a provider can have (D16). Production never does, and pays one look at an enum for it.

use std::{
    error::Error as _,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::is_public;

/// The largest body that is read, in bytes; more is an error, not a truncation.
pub const MAX_BODY: usize = 1024 * 1024;

/// A request with its whole body, as `openidconnect` makes them.
pub type Request = http::Request<Vec<u8>>;

/// An answer with its whole body.
pub type Answer = http::Response<Vec<u8>>;

/// There was no answer, or none that can be taken. The text is for the log: it names no query and no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Nothing was fetched from a stranger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfetched {
    /// The host does not answer, not in time, or must not be asked: from outside these are one.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// It answers with more than it may.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl From<Unfetched> for NoAnswer {
    fn from(unfetched: Unfetched) -> Self {
        match unfetched {
            Unfetched::NoAnswer(none) => none,
            Unfetched::TooLong(_) => Self(unfetched.to_string()),
        }
    }
}

/// What carries requests out in place of the sockets of this machine.
#[async_trait::async_trait]
pub trait Network: Send + Sync + 'static {
    /// To the host that the request names, and back with its answer. It may take for ever: whoever asks gives up.
    ///
    /// # Errors
    /// [`NoAnswer`].
    async fn carry(&self, request: Request) -> Result<Answer, NoAnswer>;
}

/// The HTTP client for everything that the house itself fetches. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    /// How long one request may take.
    patience: Duration,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Own(Arc<Faces>),
    Given(Arc<dyn Network>),
}

struct Faces {
    /// How long one request may take.
    patience: Duration,
    extra_ca: Vec<reqwest::Certificate>,
    guard: Guard,
    /// Loopback hosts of the operator's: past any proxy.
    near: Built,
    /// Other hosts of the operator's.
    far: Built,
    /// Hosts that a stranger named.
    guarded: Built,
}

/// A client, from the first request on that needs it: each reads the system's few hundred certificates, which is most
/// of what a start would take, and few houses need all three.
type Built = OnceLock<Result<reqwest::Client, String>>;

/// How the house goes out.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Total time for one request, and for one login or renewal, however many requests it needs; at most 8 s, so that `/token` answers within 10 (behaviour 21).
    pub timeout: Duration,
    /// PEM of further certificate authorities.
    pub extra_ca: Option<Vec<u8>>,
    /// Whether strangers may name loopback addresses: only for a house that is itself on loopback (CIMD-6).
    pub loopback: bool,
}

/// Where names become addresses. The system's resolver everywhere but in tests of those who lie to it.
pub trait Names: Send + Sync + 'static {
    /// The addresses of a name. Port 0 stands for the one in the URL.
    fn lookup<'a>(&'a self, name: &'a str) -> Found<'a>;
}

/// What [`Names`] find.
pub type Found<'a> = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The resolver of the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup<'a>(&'a self, name: &'a str) -> Found<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// What a request to a stranger may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Bytes of body; more is an error.
    pub size: usize,
    /// From the look-up of the name to the last byte.
    pub time: Duration,
}

/// The most that [`HttpSettings::timeout`] may be.
const LONGEST: Duration = Duration::from_secs(8);

impl Default for HttpSettings {
    fn default() -> Self {
        Self { timeout: LONGEST, extra_ca: None, loopback: false }
    }
}

impl Http {
    /// Reads the certificates, and gives the process its TLS provider (ring) if it has none yet. What is dialled with is
    /// built when it is first needed.
    ///
    /// # Errors
    /// When the certificates do not parse.
    pub fn new(settings: &HttpSettings) -> Result<Self, String> {
        Self::with_names(settings, Arc::new(SystemNames))
    }

    /// The same, where strangers' names are looked up by `names`.
    ///
    /// # Errors
    /// When the certificates do not parse.
    pub fn with_names(settings: &HttpSettings, names: Arc<dyn Names>) -> Result<Self, String> {
        // An error only says that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let extra = match &settings.extra_ca {
            None => Vec::new(),
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| format!("the extra certificate authorities are not PEM: {e}"))?,
        };
        let patience = settings.timeout.min(LONGEST);
        let faces = Faces {
            patience,
            extra_ca: extra,
            guard: Guard { names, loopback: settings.loopback },
            near: OnceLock::new(),
            far: OnceLock::new(),
            guarded: OnceLock::new(),
        };
        Ok(Self { patience, way: Way::Own(Arc::new(faces)) })
    }

    /// Goes out over `network` alone, for simulations.
    #[must_use]
    pub fn over(network: Arc<dyn Network>) -> Self {
        Self { patience: LONGEST, way: Way::Given(network) }
    }

    /// How long one request may take; several that belong together take no longer either.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Speaks to a host that the operator configured, or that its metadata names.
    ///
    /// # Errors
    /// [`NoAnswer`]: no connection, no answer in time, a body over [`MAX_BODY`]. A status of any kind is an answer.
    pub async fn operator(&self, request: Request) -> Result<Answer, NoAnswer> {
        self.operator_until(request, |_| false).await
    }

    /// The same, for an answer that may never end (a stream of events): stops reading when `enough` says so of what has
    /// come by then, whole or not.
    ///
    /// # Errors
    /// As [`Http::operator`].
    pub async fn operator_until(
        &self,
        request: Request,
        enough: impl Fn(&[u8]) -> bool + Send,
    ) -> Result<Answer, NoAnswer> {
        let faces = match &self.way {
            Way::Own(faces) => faces,
            Way::Given(network) => return network.carry(request).await,
        };
        let client = match Url::parse(&request.uri().to_string()).ok().as_ref().and_then(Url::host) {
            Some(Host::Domain("localhost")) => faces.near()?,
            Some(Host::Ipv4(ip)) if ip.is_loopback() => faces.near()?,
            Some(Host::Ipv6(ip)) if ip.is_loopback() => faces.near()?,
            _ => faces.far()?,
        };
        Ok(send(client, request, (MAX_BODY, None), enough).await?)
    }

    /// Whether [`public`](Self::public) would ask there at all, as far as the text tells: a literal address has to be
    /// public, a name tells nothing before it is looked up. What is refused by this tells a stranger nothing that he did
    /// not write himself.
    #[must_use]
    pub fn may_ask(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return false };
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        match &self.way {
            Way::Own(faces) => faces.guard.admits(literal),
            Way::Given(_) => true,
        }
    }

    /// Fetches an address that a stranger named (S22). The name is looked up once, every address it has must be public, and
    /// what is connected to is one of those very addresses: there is no second look-up that could say otherwise.
    ///
    /// # Errors
    /// [`Unfetched`], also for plain http, for any address that is not public, and beyond the `cap`.
    pub async fn public(&self, request: Request, cap: Cap) -> Result<Answer, Unfetched> {
        // A literal address never meets the resolver, so it is looked at here.
        if !self.may_ask(&request.uri().to_string()) {
            return Err(NoAnswer(Private.to_string()).into());
        }
        let faces = match &self.way {
            Way::Own(faces) => faces,
            Way::Given(network) => return Ok(network.carry(request).await?),
        };
        let cap = (cap.size.min(MAX_BODY), Some(cap.time.min(faces.patience)));
        send(faces.guarded()?, request, cap, |_| false).await
    }
}

impl Faces {
    fn near(&self) -> Result<&reqwest::Client, NoAnswer> {
        self.built(&self.near, &|base| base.no_proxy())
    }

    fn far(&self) -> Result<&reqwest::Client, NoAnswer> {
        self.built(&self.far, &|base| base)
    }

    fn guarded(&self) -> Result<&reqwest::Client, NoAnswer> {
        // No idle connections: each fetch is looked at anew, and strangers' hosts hold none of our sockets.
        let dress = |base: reqwest::ClientBuilder| {
            base.no_proxy().https_only(true).dns_resolver(self.guard.clone()).pool_max_idle_per_host(0)
        };
        self.built(&self.guarded, &dress)
    }

    fn built<'a>(
        &self,
        place: &'a Built,
        dress: &dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<&'a reqwest::Client, NoAnswer> {
        let client = place.get_or_init(|| {
            let extra = || self.extra_ca.iter().cloned();
            // A bare container has no system roots. That must not stop a house that only speaks to loopback.
            dress(self.base()).tls_certs_merge(extra()).build().or_else(|e| {
                tracing::warn!(cause = %words(&e), "no system certificates: only extra_ca is trusted");
                let client = dress(self.base()).tls_certs_only(extra()).build();
                client.map_err(|e| format!("TLS cannot start: {}", words(&e)))
            })
        });
        client.as_ref().map_err(|cause| NoAnswer(cause.clone()))
    }

    fn base(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.patience)
            .connect_timeout(self.patience.min(Duration::from_secs(4)))
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

async fn send(
    client: &reqwest::Client,
    request: Request,
    (cap, time): (usize, Option<Duration>),
    enough: impl Fn(&[u8]) -> bool + Send,
) -> Result<Answer, Unfetched> {
    let mut request = reqwest::Request::try_from(request).map_err(|e| NoAnswer(words(&e)))?;
    if time.is_some() {
        *request.timeout_mut() = time;
    }
    let mut reply = client.execute(request).await.map_err(|e| NoAnswer(words(&e)))?;
    let mut answer = Answer::new(Vec::new());
    *answer.status_mut() = reply.status();
    *answer.headers_mut() = std::mem::take(reply.headers_mut());
    // Status and headers may be all that is wanted.
    if enough(answer.body()) {
        return Ok(answer);
    }
    while let Some(chunk) = reply.chunk().await.map_err(|e| NoAnswer(words(&e)))? {
        // Checked while it streams: a provider that never stops must not fill our memory.
        if answer.body().len() + chunk.len() > cap {
            return Err(Unfetched::TooLong(cap));
        }
        answer.body_mut().extend_from_slice(&chunk);
        if enough(answer.body()) {
            break;
        }
    }
    Ok(answer)
}

/// The error and its causes in one line, without the URL, whose query may hold what no log should.
fn words(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { String::new() };
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the request could not be sent".into() } else { text }
}

/// Looks names up and refuses those of which any address is not public.
#[derive(Clone)]
struct Guard {
    names: Arc<dyn Names>,
    loopback: bool,
}

impl Guard {
    fn admits(&self, ip: IpAddr) -> bool {
        is_public(ip) || (self.loopback && ip.is_loopback())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the address is not public")]
struct Private;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.names.lookup(name.as_str()).await?;
            // One private address among public ones is already an attempt.
            if found.is_empty() || found.iter().any(|found| !guard.admits(found.ip())) {
                return Err(Private.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s22_a_stranger_cannot_make_us_fetch_inside() {
        let http = Http::new(&HttpSettings::default()).unwrap();
        for url in [
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://localhost/x",
            "http://localhost/x",
        ] {
            let request = http::Request::get(url).body(Vec::new()).unwrap();
            let error = http.public(request, Cap { size: 5 * 1024, time: Duration::from_secs(5) }).await.unwrap_err();
            assert!(error.to_string().contains("not public") || url.starts_with("http:"), "{url}: {error}");
        }
    }
}
