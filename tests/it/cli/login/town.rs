//! At our own house: the real consent page, a real provider behind it.

use serde_json::Value;

use super::{
    kit::Home,
    stranger::{Script, Stranger},
};
use crate::world::{
    browser::Browser,
    town::{Town, decide},
};

/// A house before an MCP server that speaks MCP.
pub(super) async fn town() -> (Town, Stranger, String) {
    town_with("").await
}

async fn town_with(head: &str) -> (Town, Stranger, String) {
    let server = Stranger::bent(|_, script: &mut Script| script.streams = true).await;
    let head = format!(
        "{head}\n[[resource]]\npath = \"/tools\"\ntarget = \"{}\"\nupstream = \"idp\"\nallow = \"anyone\"\n",
        server.url()
    );
    let town = Town::with(&head).await;
    let url = format!("{}/tools", town.base);
    (town, server, url)
}

/// A person logs in at the house.
pub(super) async fn log_in(town: &Town, home: &Home, url: &str) {
    let mut run = home.start(&[url, "--no-browser"]);
    let address = run.address().await.unwrap();
    let human = Browser::new();
    let page = decide(town, &human, &human.get(&address).await, "approve").await;
    let back = human.follow(page, "http://127.0.0.1:1/never").await.unwrap_err();
    assert!(back.body.contains("You may close this window"), "{back:#?}");
    run.end().await.ok();
}

/// What differs from run to run taken out: addresses, ports, sizes, ids.
fn steady(text: &str, town: &Town, home: &Home) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(town.base.as_bytes()).collect();
    let text =
        text.replace(&town.base, "HOUSE").replace(&encoded, "HOUSE").replace(home.path().to_str().unwrap(), "HOME");
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    for line in &mut lines {
        if let Some(at) = line.find("came: client_id ") {
            line.replace_range(at + 16.., "ID");
        }
        if let Some((before, after)) = line.split_once("127.0.0.1:").map(|(b, a)| (b.to_owned(), a.to_owned())) {
            *line = format!("{before}127.0.0.1:PORT{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        if let Some(before) = line.strip_suffix(" characters") {
            *line = format!("{}N characters", before.trim_end_matches(|c: char| c.is_ascii_digit()));
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn rfc8252_a_whole_login_is_explained_step_by_step() {
    let (town, server, url) = town().await;
    let home = Home::new();
    let mut run = home.start(&[&url, "--no-browser", "--explain"]);
    let address = run.address().await.unwrap();
    let human = Browser::new();
    let page = decide(&town, &human, &human.get(&address).await, "approve").await;
    let back = human.follow(page, "http://127.0.0.1:1/never").await.unwrap_err();
    assert!(back.body.contains("You may close this window"), "{back:#?}");
    let ended = run.end().await.ok();

    insta::assert_snapshot!(steady(&ended.stdout, &town, &home), @r#"
    probe
      POST HOUSE/tools (initialize, no token) → 401 Unauthorized
      ok        a call without a token is answered 401 (MCP 2026-07-28 authorization, Token Handling)
                came: 401 Unauthorized
      ok        the 401 carries a Bearer challenge (RFC 6750 §3; RFC 9110 §11.6.1)
                came: a Bearer challenge
      ok        the challenge names the metadata document (RFC 9728 §5.1)
                came: HOUSE/.well-known/oauth-protected-resource/tools
      ok        the challenge names the scope that is needed (MCP 2026-07-28 authorization, SHOULD)
                came: "mcp"

    resource metadata
      GET HOUSE/.well-known/oauth-protected-resource/tools → 200 OK application/json
      ok        the document is JSON of type application/json (RFC 9728 §3.2)
                came: application/json
      ok        `resource` is the URL that was asked for (RFC 9728 §3.3)
                came: "HOUSE/tools"
      ok        `scopes_supported` tells what to ask for (RFC 9728 §2)
                came: mcp
      ok        `authorization_servers` names at least one issuer (MCP 2026-07-28 authorization, MUST)
                came: HOUSE

    server metadata
      GET HOUSE/.well-known/oauth-authorization-server → 200 OK application/json
      ok        the metadata is JSON of type application/json (RFC 8414 §3.2)
                came: application/json
      ok        the authorization server publishes metadata (RFC 8414 §3; MCP 2026-07-28 authorization server discovery)
                came: HOUSE/.well-known/oauth-authorization-server
      ok        `issuer` is the issuer that the document was asked for (RFC 8414 §3.3)
                came: "HOUSE"
      ok        the endpoints that are needed are there, on https (RFC 8414 §2; OAuth 2.1 §1.5)
                came: token_endpoint HOUSE/token
      ok        the endpoints that are needed are there, on https (RFC 8414 §2; OAuth 2.1 §1.5)
                came: authorization_endpoint HOUSE/authorize
      ok        `response_types_supported` lists "code" (RFC 8414 §2)
                came: listed
      ok        `code_challenge_methods_supported` lists "S256" (MCP 2026-07-28 authorization, Code Protection; RFC 7636 §4.2)
                came: ["S256"]
      ok        answers carry `iss`, and the metadata says so (RFC 9207 §3; MCP 2026-07-28 authorization, SHOULD)
                came: promised

    client
      ok        a client can introduce itself (RFC 7591 §3; MCP 2026-07-28 client registration)
                came: HOUSE/register
      POST HOUSE/register → 201 Created
      ok        registration is answered 201 with a client_id (RFC 7591 §3.2.1)
                came: client_id ID
      ok        the status of a registration is 201 (RFC 7591 §3.2.1)
                came: 201 Created
      ok        the redirect URI is registered as it was sent (RFC 7591 §3.2.1)
                came: http://127.0.0.1:PORT/callback

    authorization
      browser to HOUSE/authorize (response_type code, PKCE S256, state, redirect_uri http://127.0.0.1:PORT/callback, resource HOUSE/tools, scope "mcp offline_access")
      ok        the browser comes back with an answer (RFC 6749 §4.1.2; RFC 8252 §7.3)
                came: an answer
      ok        `state` comes back as it was sent (RFC 6749 §4.1.2, §10.12)
                came: the same
      ok        `iss` is the issuer of the metadata (RFC 9207 §2.4)
                came: "HOUSE"
      ok        the answer holds one code (RFC 6749 §4.1.2)
                came: N characters

    token
      POST HOUSE/token (grant_type authorization_code)
      ok        the token endpoint gives an access token (RFC 6749 §5.1)
                came: 200 OK, JWT, N characters
      ok        `token_type` is Bearer (RFC 6749 §7.1; RFC 6750 §4)
                came: "Bearer"
      ok        no cache may keep the answer (RFC 6749 §5.1)
                came: no-store
      ok        the answer says how long the token lives (RFC 6749 §5.1, RECOMMENDED)
                came: 3530 s
      ok        there is a refresh token (MCP 2026-07-28 authorization, Refresh)
                came: one came
      ok        the scope that was asked for was given (RFC 6749 §3.3)
                came: mcp
      ok        the token is for this server alone (RFC 8707 §2.2; MCP 2026-07-28 authorization, Audience)
                came: aud "HOUSE/tools"

    keep
      written to HOME/state/vestibule/logins/HOUSE%2Ftools.json

    call
      POST initialize → 200 OK
      ok        the MCP server accepts the token (RFC 6750 §2.1; MCP 2026-07-28 authorization, Token Handling)
                came: 200 OK
      ok        initialize is answered with a result (MCP 2025-11-25 lifecycle; JSON-RPC 2.0 §5)
                came: Stranger
      POST tools/list → 200 OK
      POST tools/list → 200 OK
      ok        tools/list is answered with a result (MCP 2025-11-25 server/tools; JSON-RPC 2.0 §5)
                came: 3 tools

    Logged in to HOUSE/tools. Stranger 7 offers 3 tools. The login is kept in HOME/state/vestibule/logins/HOUSE%2Ftools.json.
    "#);
    let kept = home.kept();
    for secret in ["access", "refresh"].map(|name| kept["tokens"][name].as_str().unwrap().to_owned()) {
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(&secret));
    }
    let state = crate::world::town::parameter(&address, "state").unwrap();
    assert!(!ended.stdout.contains(&state), "the explanation can be shown to others");
    assert_eq!(kept["resource"], url.as_str());
    let call = &server.seen("/mcp")[0];
    assert!(call.headers["authorization"].to_str().unwrap().starts_with("Bearer provider-"), "through the gate");
}

#[tokio::test]
async fn a_login_serves_scripts_until_it_is_given_back() {
    let (town, _server, url) = town().await;
    let home = Home::new();
    let mut run = home.start(&[&url, "--no-browser"]);
    let address = run.address().await.unwrap();
    let human = Browser::new();
    let page = decide(&town, &human, &human.get(&address).await, "approve").await;
    human.follow(page, "http://127.0.0.1:1/never").await.unwrap_err();
    let ended = run.end().await.ok();
    assert!(ended.stdout.starts_with(&format!("Logged in to {url}. Stranger 7 offers 3 tools.")), "{}", ended.stdout);

    let first = home.run(&[&url, "--print-token"]).await.ok();
    assert_eq!(first.stderr, "");
    let token = first.stdout.strip_suffix('\n').unwrap();
    assert_eq!(town.call("/tools", Some(token)).await.status(), 400, "the gate let it pass: no session there");
    home.expire();
    let second = home.run(&[&url, "--print-token"]).await.ok();
    assert_ne!(first.stdout, second.stdout);
    home.run(&[&url, "--refresh"]).await.ok();

    let third = home.run(&[&url, "--print-token"]).await.ok().stdout;
    let ended = home.run(&[&url, "--logout"]).await.ok();
    assert_eq!(ended.stdout, "Revoked and forgotten.\n");
    assert_eq!(town.call("/tools", Some(third.trim())).await.status(), 401, "RFC 7009 §2.1");
    assert!(home.run(&[&url, "--print-token"]).await.stderr.contains("there is no login"));
}

#[tokio::test]
async fn rfc6749_4_1_2_1_a_person_who_says_no_is_believed() {
    let (town, _server, url) = town().await;
    let home = Home::new();
    let mut run = home.start(&[&url, "--no-browser", "--json"]);
    let address = run.address().await.unwrap();
    let human = Browser::new();
    let page = decide(&town, &human, &human.get(&address).await, "deny").await;
    let back = page.location().unwrap();
    // On another machine the last page does not load; its address is pasted.
    run.paste(&back).await;
    let ended = run.end().await;
    assert_eq!(ended.code, 1);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((told["ok"].as_bool(), told["failed"].as_str()), (Some(false), Some("authorization")));
    assert!(told["error"].as_str().unwrap().contains("access_denied"), "{told}");
}

#[tokio::test]
async fn rfc8628_a_device_is_let_in_by_a_browser_elsewhere() {
    let (town, _server, url) = town_with("[device]\nenabled = true").await;
    let home = Home::new();
    let mut run = home.start(&[&url, "--device", "--strict"]);
    let complete = run.line(|line| line.contains("user_code=")).await.unwrap().replace("or open ", "");
    let human = Browser::new();
    let page = human.get(&complete).await;
    let (form, code) = (page.field("form").unwrap(), page.field("user_code").unwrap());
    let page = human.post(&format!("{}/device", town.base), &[("form", &form), ("user_code", &code)]).await;
    let page = decide(&town, &human, &page, "approve").await;
    human.follow(page, "stop:").await.unwrap_err();
    // The house's clock stands still between two polls otherwise, and it would say slow_down.
    town.clock.advance(std::time::Duration::from_secs(10));
    assert!(run.end().await.ok().stdout.contains("offers 3 tools"));
}

#[tokio::test]
async fn discovery_alone_needs_no_person() {
    let (_town, _server, url) = town().await;
    let home = Home::new();
    let ended = home.run(&[&url, "--explain", "--no-login", "--strict"]).await.ok();
    assert!(ended.stdout.contains("can be logged in to") && !home.logins().exists(), "{}", ended.stdout);
    home.run(&[&format!("{url}/nothing-here"), "--no-login"]).await;
}
