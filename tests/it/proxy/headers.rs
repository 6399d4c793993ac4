//! What reaches the target, and what must not.

use http::StatusCode;

use super::gatehouse::{Gatehouse, UPSTREAM_TOKEN};

#[tokio::test]
async fn s26_behaviour_26_the_target_sees_the_providers_token_and_never_ours() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let answer =
        gate.call("/mcp?x=1", &token, &[("dpop", "proof"), ("cookie", "__Host-vestibule-b=secret; theirs=1")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = gate.mcp.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/mcp?x=1"));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {UPSTREAM_TOKEN}").as_str()));
    assert_eq!(seen.header("host"), Some(gate.mcp.address.to_string().as_str()));
    assert_eq!(seen.header("cookie"), Some("theirs=1"));
    assert_eq!(seen.header("dpop"), None);
    assert_eq!(seen.body, "{}");
    for value in seen.headers.values() {
        assert!(!String::from_utf8_lossy(value.as_bytes()).contains(&token), "our token went on");
    }
}

#[tokio::test]
async fn every_injection_puts_on_its_own_and_nothing_else() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/who").await;
    gate.call("/who", &token, &[]).await;
    let seen = gate.mcp.last();
    assert_eq!(seen.header("x-forwarded-user"), Some("idp:ann"));
    assert_eq!(seen.header("x-forwarded-email"), Some("ann@example.com"));
    assert_eq!(seen.header("x-forwarded-preferred-username"), Some("ann-the-user"));
    assert_eq!(seen.header("x-forwarded-groups"), Some("staff,ops"), "a comma makes no group of its own");
    assert_eq!(seen.header("authorization"), None);

    let token = gate.token("ann", "/key").await;
    gate.call("/key", &token, &[("x-api-key", "mine"), ("x_api_key", "mine"), ("X.Api-Key", "mine")]).await;
    let seen = gate.mcp.last();
    assert_eq!(seen.header("x-api-key"), Some("the-key"));
    assert!(seen.headers.keys().all(|name| !matches!(name.as_str(), "x_api_key" | "x.api-key")));
    assert_eq!(seen.header("authorization"), None);

    let token = gate.token("ann", "/mcp/inner").await;
    gate.call("/mcp/inner/deep?q", &token, &[]).await;
    let seen = gate.mcp.last();
    assert_eq!((seen.target.as_str(), seen.header("authorization")), ("/inner/deep?q", None));
}

#[tokio::test]
async fn s14_s15_no_inbound_copy_of_an_identity_or_forwarding_header_passes() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/who").await;
    // Raw, so that spelling and order are the attacker's own.
    let lies = [
        "X-Forwarded-User: admin",
        "x-FORWARDED-user: admin",
        "X_Forwarded_User: admin",
        "X-Forwarded_Email: admin",
        "X_Forwarded_Email: admin",
        "X.Forwarded.Email: admin",
        "X-Forwarded-Groups: admin",
        "X-Forwarded-Preferred-Username: admin",
        "X-Forwarded-Access-Token: admin",
        "X-Forwarded-Anything: admin",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-For: 6.6.6.7",
        "X-Forwarded-Host: evil.example",
        "X_Forwarded_Proto: evil",
        "X-Forwarded-Proto: evil",
        "X-Forwarded-Uri: /evil",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X_Real_IP: 6.6.6.6",
        "True-Client-IP: 6.6.6.6",
        "CF-Connecting-IP: 6.6.6.6",
        "X-Auth-Request-User: admin",
        "X_Auth_Request_Email: admin",
        "Remote-User: admin",
        "Remote_User: admin",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "X-HTTP-Method-Override: DELETE",
        "Proxy-Authorization: Basic eA==",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: 5",
        "TE: trailers",
        "Mcp_Session_Id: session-of-ann",
        "X-Pomerium-Claim-Email: admin",
        "Connection: close, X-Forwarded-User, X-Secret-Hop, Host, Authorization, X-Forwarded-Email",
        "X-Secret-Hop: 1",
    ];
    let text = format!(
        "POST /who HTTP/1.1\r\nHost: mcp.example.com\r\nAuthorization: Bearer {token}\r\n{}\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\n{{}}",
        lies.join("\r\n")
    );
    let answer = gate.raw(&text).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = gate.mcp.last();
    let mut names: Vec<&str> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-length",
            "host",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-host",
            "x-forwarded-preferred-username",
            "x-forwarded-proto",
            "x-forwarded-user",
            "x-kept"
        ]
    );
    assert_eq!(seen.header("x-forwarded-user"), Some("idp:ann"), "Connection cannot take away what we put on");
    assert_eq!(seen.header("x-forwarded-email"), Some("ann@example.com"));
    assert_eq!(seen.header("x-forwarded-host"), Some("mcp.example.com"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("host"), Some(gate.mcp.address.to_string().as_str()));
}

#[tokio::test]
async fn s28_neither_absolute_form_nor_double_slash_changes_the_backend() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let evil = crate::world::FakeMcp::start().await;
    let tail = format!("Authorization: Bearer {token}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    let ask = async |line: String, host: &str| {
        gate.raw(&format!("POST {line} HTTP/1.1\r\nHost: {host}\r\n{tail}")).await[9..12].to_owned()
    };
    let evil_host = evil.address.to_string();
    assert_eq!(ask(format!("http://{evil_host}/mcp"), "mcp.example.com").await, "421");
    assert_eq!(ask(format!("http://{evil_host}/mcp"), &evil_host).await, "421");
    assert_eq!(ask("http://mcp.example.com/mcp".to_owned(), &evil_host).await, "421");
    assert_eq!(ask("https://mcp.example.com/mcp".to_owned(), "mcp.example.com").await, "200");
    assert_eq!(ask(format!("//{evil_host}/mcp"), "mcp.example.com").await, "404");
    assert_eq!(ask(format!("/mcp//{evil_host}/"), "mcp.example.com").await, "200");
    assert_eq!(ask(format!("/mcp/@{evil_host}"), "mcp.example.com").await, "200");
    assert_eq!(ask("/mcp/../other".to_owned(), "mcp.example.com").await, "400");
    assert_eq!(ask("/mcp/%2e%2e/other".to_owned(), "mcp.example.com").await, "400");
    assert!(evil.seen().is_empty(), "another host got the injected token");
    assert!(gate.mcp.seen().iter().all(|seen| seen.target.starts_with("/mcp")));
}

#[tokio::test]
async fn s28_a_redirect_is_handed_on_and_never_followed() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let answer = gate.call("/mcp", &token, &[("x-fake", "redirect")]).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:9/steal"));
    assert_eq!(gate.mcp.seen().len(), 1);
}

#[tokio::test]
async fn rs_7_wire_2_unknown_mcp_headers_pass_untouched_both_ways() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?w6k=?="),
        ("mcp-param-user_id", "42"),
        ("mcp-param-region", "eu, us"),
        ("mcp-future", "x"),
        ("last-event-id", "7"),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "r-1"),
        ("accept-encoding", "gzip"),
    ];
    gate.call("/mcp", &token, &headers).await;
    let seen = gate.mcp.last();
    for (name, value) in headers {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let answer = gate.call("/mcp", &token, &[("x-fake", "hop")]).await;
    assert_eq!(answer.header("x-outer"), Some("1"));
    assert_eq!(answer.header("x-inner-hop"), None, "named by the target's Connection");
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn smuggling_with_two_lengths_reaches_no_target_as_two_requests() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let text = format!(
        "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nAuthorization: Bearer {token}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let answer = gate.raw(&text).await;
    let seen = gate.mcp.seen();
    assert!(seen.len() <= 1 && seen.iter().all(|seen| seen.target == "/mcp" && seen.body == "{}"), "{answer} {seen:?}");
}
