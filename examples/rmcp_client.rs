//! A whole MCP client in one page, with the official Rust SDK: finds its way from a bare URL, registers itself, lets a
//! human log in, lists the tools and calls `echo`.
//!
//! ```console
//! $ cargo run --example rmcp_client -- http://127.0.0.1:8080/mcp
//! AUTHORIZE http://127.0.0.1:8080/authorize?…
//! ```
//!
//! Open that address, log in, and paste the address at which the browser ends (nobody listens there, the address is
//! all that is needed). The redirect URI can be given as a second argument; a third one is for how many seconds it goes
//! on calling `echo`, once a second, to see the login last; a fourth is the client id of an earlier registration.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _,
    model::{CallToolRequestParams, ProtocolVersion},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};

const REDIRECT: &str = "http://127.0.0.1:7777/callback";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("usage: rmcp_client <MCP URL> [redirect URI] [seconds]")?;
    let redirect = arguments.next().unwrap_or_else(|| REDIRECT.to_owned());
    let seconds = arguments.next().map_or(Ok(0), |text| text.parse()).context("seconds are a number")?;
    let mut request = AuthorizationRequest::new(redirect).with_client_name("rmcp example");
    if let Some(id) = arguments.next() {
        request = request.with_preregistered_client(id);
    }
    // This build of the SDK leaves the choice of a TLS provider to the program.
    drop(rustls::crypto::ring::default_provider().install_default());

    let mut oauth = OAuthState::new(&url, None).await?;
    oauth.start_authorization(request).await?;
    say(&format!("AUTHORIZE {}", oauth.get_authorization_url().await?))?;

    // Nothing else is to be done meanwhile, so the thread may wait.
    let mut callback = String::new();
    anyhow::ensure!(std::io::stdin().read_line(&mut callback)? > 0, "no callback URL on stdin");
    oauth.handle_callback_url(callback.trim()).await?;
    let manager = oauth.into_authorization_manager().context("the login did not end in a token")?;

    let client = AuthClient::new(reqwest::Client::builder().build()?, manager);
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    // The newest wire first, and what older servers understand after it.
    let newest_first =
        ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::V_2026_07_28], legacy_version: None };
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let session = ().serve_with_lifecycle(transport, newest_first).await?;
    let tools = session.list_all_tools().await?;
    let arguments = serde_json::json!({ "message": "hi" }).as_object().cloned().unwrap_or_default();
    let call = CallToolRequestParams::new("echo").with_arguments(arguments);
    let result = session.call_tool(call.clone()).await?;
    let (begun, mut calls) = (Instant::now(), 1);
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        session.call_tool(call.clone()).await?;
        calls += 1;
    }

    let names: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
    say(&serde_json::json!({ "tools": names, "echo": result, "calls": calls }).to_string())?;
    session.cancel().await?;
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
