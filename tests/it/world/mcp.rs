//! A protected MCP server that does what a test tells it, and remembers what it was told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// One request as it reached the MCP server.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    /// The one value of a header; panics where there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("text");
        assert!(values.next().is_none(), "{name} came twice");
        Some(value)
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<mpsc::Receiver<Bytes>>>,
    hung: Mutex<Vec<mpsc::Sender<()>>>,
}

/// An MCP server on loopback. What it answers is decided by the request header `x-fake`:
///
/// | value | answer |
/// |---|---|
/// | none | 200, JSON, the headers that came in |
/// | `stream` | `text/event-stream`, fed by the test through [`FakeMcp::next_stream`] |
/// | `echo` | the request's body, streamed back while it comes in |
/// | `big` | 4 MiB |
/// | `hang` | never; see [`FakeMcp::next_hang`] |
/// | `not-found` | 404 with a JSON-RPC body |
/// | `accepted`, `unauthorized`, `forbidden`, `redirect`, `no-content` | that status |
/// | `session` | 200 with `Mcp-Session-Id: session-of-ann` |
pub(crate) struct FakeMcp {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl FakeMcp {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    /// Its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// All that reached it (streamed bodies excepted, which are not waited for).
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("lock").clone()
    }

    /// The latest that reached it.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request reached the MCP server")
    }

    /// What the next `x-fake: stream` will send. The stream ends when the sender is dropped; `closed()` of the sender
    /// returns when the other side is gone.
    pub(crate) fn next_stream(&self) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel(4096);
        self.shared.streams.lock().expect("lock").push(receiver);
        sender
    }

    /// `recv()` returns `None` when the next `x-fake: hang` was given up by its caller.
    pub(crate) fn next_hang(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        self.shared.hung.lock().expect("lock").push(sender);
        receiver
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let fake = request.headers().get("x-fake").map(|v| v.to_str().expect("text").to_owned()).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let mut seen = Seen {
        method: parts.method,
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: Bytes::new(),
    };
    if fake == "echo" {
        shared.seen.lock().expect("lock").push(seen);
        return ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(body.into_data_stream()))
            .into_response();
    }
    seen.body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let headers = seen.headers.clone();
    shared.seen.lock().expect("lock").push(seen);
    scripted(&shared, &fake, &headers).await
}

async fn scripted(shared: &Shared, fake: &str, headers: &HeaderMap) -> Response {
    const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    match fake {
        "stream" => {
            let receiver = shared.streams.lock().expect("lock").pop().expect("a test that feeds the stream");
            let events = stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), receiver))
            });
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
        }
        "hang" => {
            let _guard = shared.hung.lock().expect("lock").pop();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::IM_A_TEAPOT.into_response()
        }
        "big" => Body::from(big()).into_response(),
        "accepted" => StatusCode::ACCEPTED.into_response(),
        "no-content" => StatusCode::NO_CONTENT.into_response(),
        "not-found" => (
            StatusCode::NOT_FOUND,
            [("content-type", "application/json"), ("mcp-protocol-version", "2026-07-28")],
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#,
        )
            .into_response(),
        "unauthorized" => (
            StatusCode::UNAUTHORIZED,
            [("www-authenticate", "Bearer realm=\"inner\""), ("x-inner", "yes")],
            "inner details",
        )
            .into_response(),
        "forbidden" => {
            (StatusCode::FORBIDDEN, [("www-authenticate", "Bearer error=\"insufficient_scope\"")], "no").into_response()
        }
        "redirect" => (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:9/steal")], "").into_response(),
        "session" => ([(header::HeaderName::from_static("mcp-session-id"), "session-of-ann")], "{}").into_response(),
        "hop" => {
            let mut response = (JSON, "{}").into_response();
            let out = response.headers_mut();
            out.insert("connection", HeaderValue::from_static("x-inner-hop"));
            out.insert("x-inner-hop", HeaderValue::from_static("1"));
            out.insert("x-outer", HeaderValue::from_static("1"));
            out.append("set-cookie", HeaderValue::from_static("a=1"));
            out.append("set-cookie", HeaderValue::from_static("b=2"));
            response
        }
        _ => {
            let pairs: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect();
            (JSON, serde_json::to_string(&pairs).expect("json")).into_response()
        }
    }
}

/// What `x-fake: big` answers: 4 MiB in which every position is told apart.
pub(crate) fn big() -> Bytes {
    (0..1_048_576_u32).flat_map(u32::to_le_bytes).collect()
}
