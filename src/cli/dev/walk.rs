//! One login from end to end: the official SDK's client, a stand-in for the human, the real house between them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, header};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        auth::{
            AuthClient, AuthorizationManager, AuthorizationRequest, OAuthHttpClient, OAuthHttpClientFuture,
            OAuthHttpRequest, OAuthState,
        },
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};

use super::{
    human::{Human, Visit},
    report::Report,
};

/// Where the walk's client waits for its answer. Nobody listens: the human stand-in hands the address over.
const REDIRECT: &str = "http://127.0.0.1:3334/callback";

type Session = RunningService<RoleClient, ()>;

/// Walks one login at the MCP endpoint `url`.
pub(super) async fn walk(url: &str, report: &Arc<Report>) -> anyhow::Result<()> {
    let challenge = challenge(url, report).await?;
    let manager = log_in(url, &challenge, report).await?;
    let session = connect(url, manager, report).await?;
    let outcome = use_tools(&session, report).await;
    session.cancel().await?;
    outcome
}

/// What every client does first: call without a token and read where to get one (RFC 9728 §5.1).
async fn challenge(url: &str, report: &Report) -> anyhow::Result<String> {
    let began = Instant::now();
    let hello = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "dev", "version": "1" } },
    });
    let request = http_client()?
        .post(url)
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::CONTENT_TYPE, "application/json")
        .body(hello.to_string());
    let response = request.send().await?;
    let status = response.status();
    report.step("call, no token", status.as_u16(), began.elapsed(), "the challenge names the metadata document");
    ensure!(status == 401, "a call without a token was answered {status}, not 401");
    let challenge = response.headers().get(header::WWW_AUTHENTICATE).context("a 401 without a challenge")?;
    Ok(challenge.to_str()?.to_owned())
}

async fn log_in(url: &str, challenge: &str, report: &Arc<Report>) -> anyhow::Result<AuthorizationManager> {
    let http = Arc::new(Told { http: http_client()?, report: Arc::clone(report) });
    let mut oauth = OAuthState::new_with_oauth_http_client(url, http).await?;
    let request = AuthorizationRequest::new(REDIRECT).with_client_name("The dev walk").with_challenge(challenge);
    oauth.start_authorization(request).await?;
    let start = oauth.get_authorization_url().await?;
    let tell = |visit: &Visit| {
        let (name, note) = page_of(visit);
        report.step(name, visit.status.as_u16(), visit.took, note);
    };
    let callback = Human::new()?.log_in(&start, REDIRECT, tell).await?;
    if let Some((_, error)) = callback.query_pairs().find(|(name, _)| name == "error") {
        bail!("the client was answered with {error}");
    }
    oauth.handle_callback_url(callback.as_str()).await?;
    oauth.into_authorization_manager().context("the login did not end in a token")
}

async fn connect(url: &str, manager: AuthorizationManager, report: &Report) -> anyhow::Result<Session> {
    let began = Instant::now();
    let client = AuthClient::new(http_client()?, manager);
    // A liar's header: the house must replace it by what it knows.
    let forged = [(http::HeaderName::from_static("x-forwarded-user"), http::HeaderValue::from_static("mallory"))];
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(forged.into());
    let session = ().serve(StreamableHttpClientTransport::with_client(client, config)).await?;
    report.step("initialize", "ok", began.elapsed(), "with the access token, through the gate");
    Ok(session)
}

async fn use_tools(session: &Session, report: &Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let tools = session.list_all_tools().await?;
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    report.step("tools/list", "ok", began.elapsed(), &names.join(", "));

    let began = Instant::now();
    let said = call(session, "echo", json!({ "message": "hi" })).await?;
    report.step("tools/call echo", "ok", began.elapsed(), &said);
    ensure!(said == "hi", "echo answered {said}");

    let began = Instant::now();
    let said = call(session, "whoami", json!({})).await?;
    report.step("tools/call whoami", "ok", began.elapsed(), &said);
    let who: Value = serde_json::from_str(&said)?;
    let of = |name: &str| who[name].as_str().unwrap_or_default().to_owned();
    ensure!(of("x-forwarded-email") == "ann@example.com", "the MCP server does not know the person's address");
    ensure!(of("x-forwarded-user").ends_with("ann"), "the MCP server believes a forged X-Forwarded-User");
    ensure!(of("upstream_token").ends_with("the provider accepts it"), "the provider's token did not arrive");
    Ok(())
}

async fn call(session: &Session, tool: &'static str, arguments: Value) -> anyhow::Result<String> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let result = session.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await?;
    let CallToolResult { content, is_error, .. } = result;
    ensure!(is_error != Some(true), "the tool {tool} failed");
    let text = content.first().and_then(|block| block.as_text()).map(|text| text.text.clone());
    text.with_context(|| format!("the tool {tool} answered without text"))
}

fn http_client() -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    // A stream that was not read to its end keeps its connection busy; a fresh one is cheap on loopback.
    builder.pool_max_idle_per_host(0).connect_timeout(Duration::from_secs(5)).build()
}

/// What one visit of the browser is called and means.
fn page_of(visit: &Visit) -> (&'static str, &'static str) {
    match (&visit.method, visit.url.path(), visit.status.is_redirection()) {
        (&Method::GET, "/authorize", false) if visit.url.query().is_some_and(|q| q.contains("resource=")) => {
            ("consent page", "human: this client, to that address, for this server?")
        }
        (&Method::GET, "/authorize", false) => ("provider's login", "human: click"),
        (&Method::GET, "/authorize", true) => ("authorize", "consent is remembered"),
        (&Method::POST, "/login", _) => ("logged in", "back to us with the provider's code"),
        (&Method::GET, path, _) if path.starts_with("/callback/") => {
            ("callback", "provider's code redeemed, person checked, our code to the client")
        }
        (&Method::POST, _, _) => ("approve", "consent kept; second PKCE flow begins"),
        _ => ("page", ""),
    }
}

/// Carries out the SDK's requests and tells each.
struct Told {
    http: reqwest::Client,
    report: Arc<Report>,
}

impl OAuthHttpClient for Told {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let began = Instant::now();
            let request = reqwest::Request::try_from(request.request)?;
            let path = request.url().path().to_owned();
            let response = self.http.execute(request).await?;
            let mut answer = http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                answer = answer.header(name, value);
            }
            let body = response.bytes().await?.to_vec();
            let answer = answer.body(body)?;
            let (name, note) = request_of(&path);
            self.report.step(name, answer.status().as_u16(), began.elapsed(), note);
            Ok(answer)
        })
    }
}

fn request_of(path: &str) -> (&'static str, &'static str) {
    match path {
        "/register" => ("register", "public client, nothing stored"),
        "/token" => ("token", "one code, one verifier, one access token for one server"),
        _ if path.starts_with("/.well-known/oauth-protected-resource") => {
            ("resource metadata", "names the authorization server")
        }
        _ if path.starts_with("/.well-known/") => ("server metadata", "names the endpoints"),
        _ => ("probe", ""),
    }
}

/// Asks the MCP server itself, past the house.
#[cfg(test)]
pub(super) async fn whoami_with(url: &str, token: &str) -> anyhow::Result<String> {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let session = ().serve(StreamableHttpClientTransport::with_client(http_client()?, config)).await?;
    call(&session, "whoami", json!({})).await
}
