//! The two calls of MCP that a login makes: `initialize`, without a token to be challenged and with one to see that it
//! works, and `tools/list`. On both wires: with a session up to 2025-11-25, without since 2026-07-28.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    challenge::{self, Read},
    report::{Report, Stopped},
    rules as rule,
    wire::{NoGo, PROTOCOL, Wire, built},
};
use crate::{
    domain::{HttpsUrl, Secret},
    upstream::http::Answer,
};

/// The first without.
const STATELESS: &str = "2026-07-28";
/// The two forms that an answer may have.
pub(super) const BOTH: &str = "application/json, text/event-stream";
/// Within this time a stream has opened, be it on the other side of the world.
const STREAM_OPENS: Duration = Duration::from_secs(5);
/// Pages of tools that are counted.
const PAGES: usize = 20;

/// What a verified login leads to.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct Seen {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) tools: usize,
}

/// `initialize`.
pub(super) async fn hello(wire: &Wire, url: &HttpsUrl, token: Option<&Secret<String>>) -> Result<Answer, NoGo> {
    call(wire, url, token, &HeaderMap::new(), "initialize", &introduction()).await
}

/// The same as a body, for whoever sends it under headers of its own.
pub(super) fn greeting() -> Vec<u8> {
    request("initialize", &introduction()).to_string().into_bytes()
}

fn introduction() -> Value {
    json!({ "protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client_info() })
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn client_info() -> Value {
    json!({ "name": "vestibule-login", "version": env!("CARGO_PKG_VERSION") })
}

/// One JSON-RPC request with id 1. A stream of events is read until its answer has come, no longer: it may never end.
async fn call(
    wire: &Wire,
    url: &HttpsUrl,
    token: Option<&Secret<String>>,
    headers: &HeaderMap,
    method: &str,
    params: &Value,
) -> Result<Answer, NoGo> {
    wire.until(post(url, token, headers, &request(method, params))?, |so_far| {
        events(so_far).any(|event| is_answer(&event))
    })
    .await
}

fn post(
    url: &HttpsUrl,
    token: Option<&Secret<String>>,
    headers: &HeaderMap,
    body: &Value,
) -> Result<crate::upstream::http::Request, NoGo> {
    let mut request = http::Request::builder()
        .method(Method::POST)
        .uri(url.as_url().as_str())
        .header(header::ACCEPT, BOTH)
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(token) = token {
        let mut bearer = http::HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| NoGo::Odd("the access token holds characters that no header may (RFC 6750 §2.1)".into()))?;
        bearer.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, bearer);
    }
    built(request, body.to_string().into_bytes())
}

/// The data of the whole events in a stream so far (WHATWG HTML §9.2.6); other fields are nothing to us.
fn events(bytes: &[u8]) -> impl Iterator<Item = Value> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    // Without its blank line an event is not whole.
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]).to_owned();
    let blocks: Vec<String> = whole
        .split("\n\n")
        .map(|block| {
            let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
            lines.map(|data| data.strip_prefix(' ').unwrap_or(data)).collect::<Vec<_>>().join("\n")
        })
        .collect();
    blocks.into_iter().filter_map(|data| serde_json::from_str(&data).ok())
}

fn is_answer(message: &Value) -> bool {
    message["id"] == 1 && (message.get("result").is_some() || message.get("error").is_some())
}

/// The JSON-RPC message in an answer, whichever way it came.
fn message(answer: &Answer) -> Option<Value> {
    let found = serde_json::from_slice::<Value>(answer.body()).ok().filter(Value::is_object);
    found.or_else(|| events(answer.body()).find(is_answer))
}

/// Uses the token: `initialize` by the first way and `tools/list` by the other, which may be the same.
pub(super) async fn verify(
    [wire, then]: [&Wire; 2],
    report: &mut Report,
    url: &HttpsUrl,
    token: Option<&Secret<String>>,
) -> Result<Seen, Stopped> {
    report.step("call");
    let (mut seen, mut headers) = enter(wire, report, url, token).await?;
    seen.tools = tools(then, report, url, token, &mut headers).await?;
    end(wire, url, token, &headers).await;
    Ok(seen)
}

/// Opens the stream on which a server speaks unasked (operator row 21). It opens at once and stays silent; what waits for
/// a whole answer before it passes any of it on makes of that no answer at all.
pub(super) async fn listen(
    wire: &Wire,
    report: &mut Report,
    url: &HttpsUrl,
    token: &Secret<String>,
) -> Result<(), Stopped> {
    report.step("stream");
    let (_, headers) = enter(wire, report, url, Some(token)).await?;
    let opened = match post(url, Some(token), &headers, &Value::Null) {
        Ok(mut request) => {
            *request.method_mut() = Method::GET;
            request.body_mut().clear();
            request.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static("text/event-stream"));
            let opening = tokio::time::timeout(STREAM_OPENS, wire.until(request, |_| true));
            opening.await.unwrap_or_else(|_| Err(NoGo::Away(format!("nothing for {} s", STREAM_OPENS.as_secs()))))
        }
        Err(why) => Err(why),
    };
    match opened {
        Ok(answer) if answer.status().is_success() => {
            report.asked(format!("GET {url} (an event stream) → {}", answer.status()));
            report.meets(&rule::STREAM_OPENS, answer.status().to_string());
        }
        Ok(answer) => {
            report.asked(format!("GET {url} (an event stream) → {}", answer.status()));
            report.notes(&rule::STREAM_OPENS, format!("{}: this server offers none", answer.status()));
        }
        Err(why) => {
            report.asked(format!("GET {url} (an event stream) → {why}"));
            // Nothing depends on it, so it ends nothing.
            drop(report.deviates(&rule::STREAM_OPENS, why.to_string()));
        }
    }
    end(wire, url, Some(token), &headers).await;
    Ok(())
}

/// `initialize`, and what it says of the calls to come.
async fn enter(
    wire: &Wire,
    report: &mut Report,
    url: &HttpsUrl,
    token: Option<&Secret<String>>,
) -> Result<(Seen, HeaderMap), Stopped> {
    let answer = asked(report, "initialize", hello(wire, url, token).await)?;
    accepted(report, &answer)?;
    if token.is_some() {
        report.meets(&rule::ACCEPTED, answer.status().to_string());
    }
    let mut headers = HeaderMap::new();
    let mut seen = Seen::default();
    let said = message(&answer);
    match said.as_ref().and_then(|message| message.get("result")) {
        Some(result) => {
            let of = |name: &str| result["serverInfo"][name].as_str().map(super::report::plain);
            (seen.name, seen.version) = (of("name"), of("version"));
            let who = seen.name.clone().unwrap_or_else(|| "a server without a name".into());
            report.meets(&rule::INITIALIZED, who);
            let version = result["protocolVersion"].as_str().unwrap_or(PROTOCOL);
            insert(&mut headers, "mcp-protocol-version", version);
            if let Some(session) = answer.headers().get("mcp-session-id") {
                headers.insert("mcp-session-id", session.clone());
            }
            begin(wire, url, token, &headers).await;
        }
        // A server of the stateless wire alone has no `initialize`.
        None if answer.status().is_client_error() => insert(&mut headers, "mcp-protocol-version", STATELESS),
        None => return Err(report.fails(&rule::INITIALIZED, odd(&answer, said.as_ref()))),
    }
    Ok((seen, headers))
}

/// `notifications/initialized`; whatever comes of it, the next call shows.
async fn begin(wire: &Wire, url: &HttpsUrl, token: Option<&Secret<String>>, headers: &HeaderMap) {
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    if let Ok(request) = post(url, token, headers, &note) {
        // Any first byte is enough: there is nothing to read.
        drop(wire.until(request, |_| true).await);
    }
}

/// Leaves no session behind (DELETE, where there is one).
async fn end(wire: &Wire, url: &HttpsUrl, token: Option<&Secret<String>>, headers: &HeaderMap) {
    if headers.contains_key("mcp-session-id")
        && let Ok(mut request) = post(url, token, headers, &Value::Null)
    {
        *request.method_mut() = Method::DELETE;
        request.body_mut().clear();
        drop(wire.until(request, |_| true).await);
    }
}

async fn tools(
    wire: &Wire,
    report: &mut Report,
    url: &HttpsUrl,
    token: Option<&Secret<String>>,
    headers: &mut HeaderMap,
) -> Result<usize, Stopped> {
    let mut params = json!({});
    if headers.get("mcp-protocol-version").is_some_and(|version| version.to_str().is_ok_and(|v| v >= STATELESS)) {
        insert(headers, "mcp-method", "tools/list");
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
    }
    let mut count = 0;
    for _ in 0..PAGES {
        let answer = asked(report, "tools/list", call(wire, url, token, headers, "tools/list", &params).await)?;
        accepted(report, &answer)?;
        let said = message(&answer);
        let Some(result) = said.as_ref().and_then(|message| message.get("result")) else {
            // A server may have no tools at all: then it does not know the method (JSON-RPC -32601).
            let unknown = said.as_ref().is_some_and(|message| message["error"]["code"] == -32601);
            if unknown && answer.status().is_success() {
                break;
            }
            return Err(report.fails(&rule::TOOLS, odd(&answer, said.as_ref())));
        };
        count += result["tools"].as_array().map_or(0, Vec::len);
        match result["nextCursor"].as_str() {
            Some(cursor) => params["cursor"] = cursor.into(),
            None => break,
        }
    }
    report.meets(&rule::TOOLS, format!("{count} tools"));
    Ok(count)
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn asked(report: &mut Report, method: &str, outcome: Result<Answer, NoGo>) -> Result<Answer, Stopped> {
    match outcome {
        Ok(answer) => {
            report.asked(format!("POST {method} → {}", answer.status()));
            Ok(answer)
        }
        Err(why) => {
            report.asked(format!("POST {method} → {why}"));
            Err(report.fails(&rule::INITIALIZED, why.to_string()))
        }
    }
}

/// 401 and 403 are about the token; everything else is about MCP.
fn accepted(report: &mut Report, answer: &Answer) -> Result<(), Stopped> {
    let status = answer.status();
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return Ok(());
    }
    let mut came = status.to_string();
    if let Read::Bearer(challenge) = challenge::read(answer.headers()) {
        for (name, value) in
            [("error", challenge.error), ("error_description", challenge.error_description), ("scope", challenge.scope)]
        {
            if let Some(value) = value {
                came.push_str(&format!(", {name} {value:?}"));
            }
        }
    }
    let rule = if status == StatusCode::FORBIDDEN { &rule::SCOPES_SUFFICE } else { &rule::ACCEPTED };
    Err(report.fails(rule, came))
}

/// What came in place of a result: never the body, which may hold anything.
fn odd(answer: &Answer, message: Option<&Value>) -> String {
    let kind = super::wire::of(answer.headers(), header::CONTENT_TYPE);
    match message.and_then(|message| message.get("error")) {
        Some(error) => format!("{}, JSON-RPC error {}: {}", answer.status(), error["code"], error["message"]),
        None => format!("{} with a body of type {kind:?} that is no JSON-RPC answer", answer.status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_when_it_is_whole() {
        let told = |text: &str| events(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(told("id: 0\ndata:\n\n").len(), 0);
        assert_eq!(told(": hi\n\nevent: message\ndata: {\"id\":1,\ndata: \"result\":{}}\n").len(), 0);
        let whole = told(": hi\r\n\r\nevent: message\r\ndata: {\"id\":1,\r\ndata: \"result\":{}}\r\n\r\n");
        assert!(whole.len() == 1 && is_answer(&whole[0]));
        assert!(!is_answer(&json!({ "id": 1, "method": "ping" })));
    }
}
