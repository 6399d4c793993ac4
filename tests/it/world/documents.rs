//! Where clients publish their documents: an https host with a certificate for whatever names a test needs, and the
//! address book that leads those names to it, or lies.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use vestibule::upstream::http::{Found, Http, HttpSettings, Names};

/// What lies at a path.
#[derive(Clone)]
pub(crate) struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    manner: Manner,
}

#[derive(Clone, Copy)]
enum Manner {
    Whole,
    Endless,
    Silent,
    /// A byte at a time, with a rest between.
    Slow(Duration),
}

impl Page {
    /// A JSON document.
    pub(crate) fn json(document: &serde_json::Value) -> Self {
        Self::text(&document.to_string()).header("content-type", "application/json")
    }

    /// 200 with this body, without a content type.
    pub(crate) fn text(body: &str) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.to_owned().into(), manner: Manner::Whole }
    }

    /// Another status.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header, in place of an earlier one of that name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Other bytes.
    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body.into();
        self
    }

    /// The body again and again, for ever.
    pub(crate) fn endless(mut self) -> Self {
        self.manner = Manner::Endless;
        self
    }

    /// No answer at all.
    pub(crate) fn silent(mut self) -> Self {
        self.manner = Manner::Silent;
        self
    }

    /// Drop by drop.
    pub(crate) fn slow(mut self, rest: Duration) -> Self {
        self.manner = Manner::Slow(rest);
        self
    }
}

/// A request that reached the host.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    /// `GET`, or `HEAD` for a probe.
    pub(crate) method: Method,
    /// Host and path: `claude.ai/oauth/x`.
    pub(crate) what: String,
    /// Its headers.
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
struct Shown {
    pages: HashMap<String, Page>,
    fetches: Vec<Fetch>,
}

/// The host.
#[derive(Clone)]
pub(crate) struct DocumentHost {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// PEM of the authority behind its certificate.
    pub(crate) ca: Vec<u8>,
    /// The address book of those who fetch.
    pub(crate) book: Arc<Book>,
    shown: Arc<Mutex<Shown>>,
}

/// The names that its certificate is for.
const NAMES: [&str; 9] = [
    "app.example",
    "keys.example",
    "localhost",
    "claude.ai",
    "chatgpt.com",
    "vscode.dev",
    "github.com",
    "zed.dev",
    "opencode.ai",
];

impl DocumentHost {
    /// A host on loopback that shows nothing yet.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificates(folder.path());
        let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file");
        let shown = Arc::new(Mutex::new(Shown::default()));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let listener = Tls { tcp, acceptor: acceptor(&read("leaf.pem"), &read("leaf.key")) };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shown));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let book = Arc::new(Book::default());
        for name in NAMES {
            book.leads(name, &[&[address]]);
        }
        Self { address, ca: read("ca.pem"), book, shown }
    }

    /// Puts a page at `host/path`.
    pub(crate) fn show(&self, url: &str, page: Page) {
        let what = url.trim_start_matches("https://").to_owned();
        self.shown.lock().expect("alone").pages.insert(what, page);
    }

    /// Everything that was asked for at this address.
    pub(crate) fn fetches(&self, url: &str) -> Vec<Fetch> {
        let what = url.trim_start_matches("https://");
        self.shown.lock().expect("alone").fetches.iter().filter(|fetch| fetch.what == what).cloned().collect()
    }

    /// How often anything was asked for.
    pub(crate) fn count(&self) -> usize {
        self.shown.lock().expect("alone").fetches.len()
    }

    /// The way out of a house that looks names up in this host's book, with strangers admitted on loopback.
    pub(crate) fn http(&self) -> Http {
        self.http_with(true)
    }

    /// The same, with loopback admitted or, as on the Internet, not.
    pub(crate) fn http_with(&self, loopback: bool) -> Http {
        let settings = HttpSettings { extra_ca: Some(self.ca.clone()), loopback, ..HttpSettings::default() };
        Http::with_names(&settings, self.book.clone()).expect("builds")
    }
}

async fn answer(State(shown): State<Arc<Mutex<Shown>>>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let host = parts.headers["host"].to_str().expect("a host").to_owned();
    let what = format!("{host}{}", parts.uri.path_and_query().expect("a path"));
    let page = {
        let mut shown = shown.lock().expect("alone");
        shown.fetches.push(Fetch { method: parts.method, what: what.clone(), headers: parts.headers.clone() });
        shown.pages.get(&what).cloned()
    };
    let page = page.unwrap_or_else(|| Page::text("").status(404));
    let mut response = http::Response::builder().status(page.status);
    for (name, value) in &page.headers {
        response = response.header(name, value);
    }
    if page.status == 200 && is_unchanged(&parts.headers, &page) {
        return response.status(304).body(Body::empty()).expect("a response");
    }
    let body = match page.manner {
        Manner::Whole => Body::from(page.body),
        Manner::Silent => std::future::pending().await,
        Manner::Endless => Body::from_stream(futures_util::stream::repeat(page.body).map(Ok::<_, std::io::Error>)),
        Manner::Slow(rest) => {
            let drops: Vec<u8> = page.body.to_vec();
            Body::from_stream(futures_util::stream::iter(drops).then(move |byte| async move {
                tokio::time::sleep(rest).await;
                Ok::<_, std::io::Error>(vec![byte])
            }))
        }
    };
    response.body(body).expect("a response")
}

/// RFC 9110 §13.1, for one validator of either kind.
fn is_unchanged(asked: &HeaderMap, page: &Page) -> bool {
    let given = |name: &str| asked.get(name).and_then(|value| value.to_str().ok());
    let has = |name: &str| page.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    [("if-none-match", "etag"), ("if-modified-since", "last-modified")]
        .into_iter()
        .any(|(condition, validator)| given(condition).is_some() && given(condition) == has(validator))
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((tcp, from)) = self.tcp.accept().await else { continue };
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn acceptor(chain: &[u8], key: &[u8]) -> TlsAcceptor {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    TlsAcceptor::from(Arc::new(config))
}

/// `ca.pem`, `leaf.pem`, `leaf.key`, by an authority of its own.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = output.expect("the openssl program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let names: String = NAMES.iter().map(|name| format!("DNS:{name},")).collect();
    let ext = format!("subjectAltName={names}IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    std::fs::write(folder.join("ext"), ext).expect("a file");
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {curve} -keyout ca.key -out ca.pem -subj /CN=test-authority -days 2"));
    openssl(&format!("req {curve} -keyout leaf.key -out leaf.csr -subj /CN=documents"));
    openssl("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem");
}

/// Names and where they lead: an answer for the first look, one for the second, and so on; the last one stays.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<String, Entry>>);

/// How often a name was looked up, and the answers to that.
type Entry = (usize, Vec<Vec<SocketAddr>>);

impl Book {
    /// From now on `name` leads there, look after look.
    pub(crate) fn leads(&self, name: &str, answers: &[&[SocketAddr]]) {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        self.0.lock().expect("alone").insert(name.to_owned(), (0, answers));
    }

    /// How often the name was looked up.
    pub(crate) fn looks(&self, name: &str) -> usize {
        self.0.lock().expect("alone").get(name).map_or(0, |(looks, _)| *looks)
    }
}

impl Names for Book {
    fn lookup<'a>(&'a self, name: &'a str) -> Found<'a> {
        let mut book = self.0.lock().expect("alone");
        let found = book.get_mut(name).map(|(looks, answers)| {
            let answer = answers[(*looks).min(answers.len() - 1)].clone();
            *looks += 1;
            answer
        });
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

/// An address at the port that the URL names.
pub(crate) fn at(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0)
}
