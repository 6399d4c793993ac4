//! An MCP server and its authorization server in one, written from the specifications and not from ours. Each test may
//! bend what it says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Value, json};

/// How the authorization endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorize {
    Code,
    Denied,
    OtherState,
    OtherIss,
    NoIss,
}

/// What the stranger says.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// `WWW-Authenticate` of the 401; none where it is empty.
    pub(crate) challenge: String,
    /// By path; what is not here is a 404.
    pub(crate) documents: BTreeMap<String, Value>,
    pub(crate) authorize: Authorize,
    /// Status and document of a registration, in place of the good ones.
    pub(crate) register: Option<(u16, Value)>,
    /// Members that go over those of a good token answer; null takes one away.
    pub(crate) token: Value,
    /// The answer to every token request, in place of tokens.
    pub(crate) token_error: Option<(u16, Value)>,
    pub(crate) no_store: bool,
    /// How many polls of a device are told to wait.
    pub(crate) pending: usize,
    pub(crate) revoke: u16,
    /// Answers of the MCP server as a stream of events that does not end.
    pub(crate) streams: bool,
    /// Whether the MCP server speaks 2026-07-28 alone.
    pub(crate) stateless: bool,
    /// The status with which the MCP server meets every token.
    pub(crate) refuses: Option<(u16, String)>,
    pub(crate) is_open: bool,
    /// Whether something in front of it lets only browsers pass to the MCP server.
    pub(crate) bars_bots: bool,
    /// What comes of the stream on which it speaks unasked.
    pub(crate) listening: Listening,
}

/// The answer to a GET of the MCP endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// A stream, silent for ever.
    Opens,
    /// There is none.
    NotOffered,
    /// The same stream behind a proxy that passes answers on when they are whole.
    Buffered,
}

impl Script {
    fn good(base: &str) -> Self {
        let prm = json!({
            "resource": format!("{base}/mcp"), "authorization_servers": [base], "scopes_supported": ["read"],
        });
        let metadata = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "registration_endpoint": format!("{base}/register"),
            "revocation_endpoint": format!("{base}/revoke"),
            "device_authorization_endpoint": format!("{base}/device"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": true,
        });
        Self {
            challenge: format!(
                "Bearer resource_metadata=\"{base}/.well-known/oauth-protected-resource/mcp\", scope=\"read\""
            ),
            documents: BTreeMap::from([
                ("/.well-known/oauth-protected-resource/mcp".to_owned(), prm),
                ("/.well-known/oauth-authorization-server".to_owned(), metadata),
            ]),
            authorize: Authorize::Code,
            register: None,
            token: json!({}),
            token_error: None,
            no_store: true,
            pending: 1,
            revoke: 200,
            streams: false,
            stateless: false,
            refuses: None,
            is_open: false,
            bars_bots: false,
            listening: Listening::Opens,
        }
    }

    /// The metadata of the resource.
    pub(crate) fn prm(&mut self) -> &mut Value {
        self.documents.get_mut("/.well-known/oauth-protected-resource/mcp").unwrap()
    }

    /// The metadata of the authorization server.
    pub(crate) fn metadata(&mut self) -> &mut Value {
        self.documents.get_mut("/.well-known/oauth-authorization-server").unwrap()
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Of the form or the query.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct Memory {
    seen: Vec<Seen>,
    /// Of the code that is out.
    challenge: String,
    /// The one refresh token that is good; a spent one ends the login.
    refresh: String,
    generation: usize,
    polls: usize,
    ended: bool,
}

struct Shared {
    base: String,
    script: Mutex<Script>,
    memory: Mutex<Memory>,
}

/// It runs until the test ends.
pub(crate) struct Stranger(Arc<Shared>);

impl Stranger {
    /// Starts one that says what `bend` leaves of the truth; `bend` is given its origin.
    pub(crate) async fn bent(bend: impl FnOnce(&str, &mut Script)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut script = Script::good(&base);
        bend(&base, &mut script);
        let shared = Arc::new(Shared { base, script: Mutex::new(script), memory: Mutex::default() });
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self(shared)
    }

    /// One that tells the truth.
    pub(crate) async fn honest() -> Self {
        Self::bent(|_, _| {}).await
    }

    /// Its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.0.base)
    }

    pub(crate) fn base(&self) -> &str {
        &self.0.base
    }

    /// Says something else from now on.
    pub(crate) fn bend(&self, bend: impl FnOnce(&str, &mut Script)) {
        bend(&self.0.base, &mut self.0.script.lock().unwrap());
    }

    /// What came to a path.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.0.memory.lock().unwrap().seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// Everything that came.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.memory.lock().unwrap().seen.clone()
    }

    /// Whether a spent refresh token came, which ends the login here.
    pub(crate) fn saw_a_replay(&self) -> bool {
        self.0.memory.lock().unwrap().ended
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let script = shared.script.lock().unwrap().clone();
    if method == Method::GET && uri.path() == "/mcp" && script.listening == Listening::Buffered {
        // The answer is never whole.
        std::future::pending::<()>().await;
    }
    let text = if uri.query().is_some() { uri.query().unwrap().as_bytes() } else { &body };
    let parameters: BTreeMap<_, _> = url::form_urlencoded::parse(text).into_owned().collect();
    let seen = Seen { method: method.clone(), path: uri.path().to_owned(), headers, parameters, body };
    let memory = &mut *shared.memory.lock().unwrap();
    memory.seen.push(seen.clone());
    match (method.as_str(), uri.path()) {
        ("GET", "/authorize") => authorize(&shared.base, &script, memory, &seen),
        ("POST", "/register") => register(&script, &seen),
        ("POST", "/token") => token(&script, memory, &seen),
        ("POST", "/device") => axum::Json(json!({
            "device_code": "the-device-code", "user_code": "WDJB-MJHT", "verification_uri": format!("{}/enter", shared.base),
            "verification_uri_complete": format!("{}/enter?user_code=WDJB-MJHT", shared.base), "expires_in": 60, "interval": 0,
        }))
        .into_response(),
        ("POST", "/revoke") => StatusCode::from_u16(script.revoke).unwrap().into_response(),
        (_, "/mcp") => mcp(&script, &seen),
        ("GET", path) if script.documents.contains_key(path) => axum::Json(script.documents[path].clone()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn authorize(base: &str, script: &Script, memory: &mut Memory, seen: &Seen) -> Response {
    memory.challenge = seen.parameters["code_challenge"].clone();
    let mut back = url::Url::parse(&seen.parameters["redirect_uri"]).unwrap();
    let state = if script.authorize == Authorize::OtherState { "another" } else { &seen.parameters["state"] };
    back.query_pairs_mut().append_pair("state", state);
    match script.authorize {
        Authorize::NoIss => {}
        Authorize::OtherIss => drop(back.query_pairs_mut().append_pair("iss", "https://evil.example")),
        _ => drop(back.query_pairs_mut().append_pair("iss", base)),
    }
    if script.authorize == Authorize::Denied {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", "\u{1b}[2JShe said no");
    } else {
        back.query_pairs_mut().append_pair("code", "the-code");
    }
    Redirect::to(back.as_str()).into_response()
}

fn register(script: &Script, seen: &Seen) -> Response {
    if let Some((status, document)) = &script.register {
        return (StatusCode::from_u16(*status).unwrap(), axum::Json(document.clone())).into_response();
    }
    let mut document: Value = serde_json::from_slice(&seen.body).unwrap();
    document["client_id"] = "the-client".into();
    (StatusCode::CREATED, axum::Json(document)).into_response()
}

fn token(script: &Script, memory: &mut Memory, seen: &Seen) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error }))).into_response();
    if let Some((status, document)) = &script.token_error {
        return (StatusCode::from_u16(*status).unwrap(), axum::Json(document.clone())).into_response();
    }
    let of = |name: &str| seen.parameters.get(name).map_or("", String::as_str);
    match of("grant_type") {
        "authorization_code" if of("code") == "the-code" => {
            assert_eq!(crate::world::town::challenge(of("code_verifier")), memory.challenge, "PKCE");
        }
        "refresh_token" if of("refresh_token") == memory.refresh && !memory.ended => {}
        "refresh_token" => {
            memory.ended = true;
            return refused("invalid_grant");
        }
        "urn:ietf:params:oauth:grant-type:device_code" if of("device_code") == "the-device-code" => {
            memory.polls += 1;
            if memory.polls <= script.pending {
                return refused("authorization_pending");
            }
        }
        other => panic!("grant_type {other}"),
    }
    memory.generation += 1;
    memory.refresh = format!("refresh-secret-{}", memory.generation);
    let mut document = json!({
        "access_token": format!("access-secret-{}", memory.generation), "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": memory.refresh, "scope": "read",
    });
    for (name, value) in script.token.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let mut response = axum::Json(document).into_response();
    if script.no_store {
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    }
    response
}

fn mcp(script: &Script, seen: &Seen) -> Response {
    let is_browser = seen.headers.get("user-agent").is_some_and(|name| name.to_str().unwrap().contains("Mozilla"));
    if script.bars_bots && !is_browser {
        return (StatusCode::FORBIDDEN, "Attention required").into_response();
    }
    let token = seen.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if token.is_none() && !script.is_open {
        let headers = (!script.challenge.is_empty()).then(|| [(header::WWW_AUTHENTICATE, script.challenge.clone())]);
        return match headers {
            Some(headers) => (StatusCode::UNAUTHORIZED, headers).into_response(),
            None => StatusCode::UNAUTHORIZED.into_response(),
        };
    }
    if let Some((status, challenge)) = &script.refuses {
        let headers = [(header::WWW_AUTHENTICATE, challenge.clone())];
        return (StatusCode::from_u16(*status).unwrap(), headers).into_response();
    }
    if seen.method == Method::DELETE {
        return StatusCode::OK.into_response();
    }
    if seen.method == Method::GET {
        if script.listening == Listening::NotOffered {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let silence = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
        let kind = [(header::CONTENT_TYPE, "text/event-stream")];
        return (kind, axum::body::Body::from_stream(silence)).into_response();
    }
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let said = |name: &str| seen.headers.get(name).map_or("", |value| value.to_str().unwrap());
    if script.stateless && (said("mcp-protocol-version") != "2026-07-28" || said("mcp-method") != body["method"]) {
        let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32020, "message": "no such version" } });
        return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
    }
    let result = match body["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "Stranger", "version": "7" },
        }),
        "notifications/initialized" => return StatusCode::ACCEPTED.into_response(),
        // Two pages.
        "tools/list" if body["params"]["cursor"] == "2" => json!({ "tools": [{ "name": "c" }] }),
        "tools/list" if !script.stateless && said("mcp-session-id") != "the-session" => {
            return StatusCode::BAD_REQUEST.into_response();
        }
        "tools/list" => json!({ "tools": [{ "name": "a" }, { "name": "b" }], "nextCursor": "2" }),
        other => panic!("{other}"),
    };
    let message = json!({ "jsonrpc": "2.0", "id": body["id"], "result": result });
    let session = [("mcp-session-id", "the-session")];
    if script.streams {
        let event =
            Bytes::from(format!(": hello\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"x\"}}\n\ndata: {message}\n\n"));
        let first = futures_util::stream::once(async { Ok::<_, std::convert::Infallible>(event) });
        let stream = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let kind = [(header::CONTENT_TYPE, "text/event-stream")];
        return (session, kind, axum::body::Body::from_stream(stream)).into_response();
    }
    (session, axum::Json(message)).into_response()
}
