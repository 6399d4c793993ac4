//! The only file that names `reqwest`: no redirects, timeouts, size caps, and a resolver that refuses private addresses.
//!
//! Two faces. [`Http::operator`] speaks to hosts that the operator wrote down: they may be on loopback or in a private
//! network, and the environment's proxy is used. [`Http::public`] fetches an address that a stranger named (a Client ID
//! Metadata Document): only https, only public addresses, never through a proxy, because the name must be resolved here,
//! by the resolver that looks at each address (S22; stops rebinding, since the address that was looked at is the one
//! that is dialled).

use std::{
    error::Error as _,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

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

/// The HTTP client for everything that the house itself fetches. Cheap to clone.
#[derive(Clone)]
pub struct Http(Arc<Faces>);

struct Faces {
    /// How long one request may take.
    patience: Duration,
    extra_ca: Vec<reqwest::Certificate>,
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
}

/// The most that [`HttpSettings::timeout`] may be.
const LONGEST: Duration = Duration::from_secs(8);

impl Default for HttpSettings {
    fn default() -> Self {
        Self { timeout: LONGEST, extra_ca: None }
    }
}

impl Http {
    /// Reads the certificates, and gives the process its TLS provider (ring) if it has none yet. What is dialled with is
    /// built when it is first needed.
    ///
    /// # Errors
    /// When the certificates do not parse.
    pub fn new(settings: &HttpSettings) -> Result<Self, String> {
        // An error only says that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let extra = match &settings.extra_ca {
            None => Vec::new(),
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| format!("the extra certificate authorities are not PEM: {e}"))?,
        };
        let faces = Faces {
            patience: settings.timeout.min(LONGEST),
            extra_ca: extra,
            near: OnceLock::new(),
            far: OnceLock::new(),
            guarded: OnceLock::new(),
        };
        Ok(Self(Arc::new(faces)))
    }

    /// How long one request may take; several that belong together take no longer either.
    pub(super) fn patience(&self) -> Duration {
        self.0.patience
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
        let client = match Url::parse(&request.uri().to_string()).ok().as_ref().and_then(Url::host) {
            Some(Host::Domain("localhost")) => self.0.near()?,
            Some(Host::Ipv4(ip)) if ip.is_loopback() => self.0.near()?,
            Some(Host::Ipv6(ip)) if ip.is_loopback() => self.0.near()?,
            _ => self.0.far()?,
        };
        send(client, request, MAX_BODY, enough).await
    }

    /// Fetches an address that a stranger named; at most `cap` bytes of body.
    ///
    /// # Errors
    /// [`NoAnswer`], also for plain http and for any address that is not public.
    pub async fn public(&self, request: Request, cap: usize) -> Result<Answer, NoAnswer> {
        // A literal address never meets the resolver, so it is looked at here.
        let url = Url::parse(&request.uri().to_string()).map_err(|_| NoAnswer("not a URL".into()))?;
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return Err(NoAnswer("not a URL with a host".into())),
        };
        if literal.is_some_and(|ip| !is_public(ip)) {
            return Err(NoAnswer(Private.to_string()));
        }
        send(self.0.guarded()?, request, cap.min(MAX_BODY), |_| false).await
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
        self.built(&self.guarded, &|base| base.no_proxy().https_only(true).dns_resolver(Guard))
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
    cap: usize,
    enough: impl Fn(&[u8]) -> bool + Send,
) -> Result<Answer, NoAnswer> {
    let request = reqwest::Request::try_from(request).map_err(|e| NoAnswer(words(&e)))?;
    let mut reply = client.execute(request).await.map_err(|e| NoAnswer(words(&e)))?;
    let mut answer = Answer::new(Vec::new());
    *answer.status_mut() = reply.status();
    *answer.headers_mut() = std::mem::take(reply.headers_mut());
    while let Some(chunk) = reply.chunk().await.map_err(|e| NoAnswer(words(&e)))? {
        // Checked while it streams: a provider that never stops must not fill our memory.
        if answer.body().len() + chunk.len() > cap {
            return Err(NoAnswer(format!("the answer is longer than {cap} bytes")));
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

/// Resolves by the system and refuses the name if any of its addresses is not public.
struct Guard;

#[derive(Debug, thiserror::Error)]
#[error("the address is not public")]
struct Private;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One private address among public ones is already an attempt.
            if found.is_empty() || found.iter().any(|address| !is_public(address.ip())) {
                return Err(Private.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public Internet: none of the special blocks of RFC 6890 and its successors.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0                                      // this network
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()                     // also 169.254.169.254, the clouds' metadata
        || a == 100 && (64..=127).contains(&b)    // carrier-grade NAT, and Tailscale
        || (a, b, c) == (192, 0, 0)               // IETF protocol assignments
        || (a, b, c) == (192, 88, 99)             // 6to4 relays
        || a == 198 && (b == 18 || b == 19)       // benchmarks
        || ip.is_documentation()
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        let [[w, x], [y, z]] = [g.to_be_bytes(), h.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(w, x, y, z)); // NAT64
    }
    // Only 2000::/3 is routed at all; inside it, Teredo and the like, documentation, and 6to4 are not the Internet.
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x0200)
        && (a, b) != (0x2001, 0x0db8)
        && a != 0x2002
        && a & 0xfff0 != 0x3ff0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_only_public_addresses_are_public() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "::7f00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::8", "64:ff9b::101:101"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

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
            let error = http.public(request, 5 * 1024).await.unwrap_err();
            assert!(error.0.contains("not public") || url.starts_with("http:"), "{url}: {error}");
        }
    }
}
