//! 401, 403 and the other refusals, as clients hear them.

use http::{StatusCode, header};
use http_body_util::Empty;

use super::gatehouse::{Gatehouse, settings, told};

type NoBody = Empty<bytes::Bytes>;

/// Status, the headers that matter, body.
fn shown(told: &super::gatehouse::Told) -> String {
    let mut lines = vec![told.status.to_string()];
    for name in
        ["www-authenticate", "content-type", "cache-control", "retry-after", "allow", "access-control-expose-headers"]
    {
        for value in told.headers.get_all(name) {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
    }
    lines.push(told.text().to_owned());
    lines.join("\n")
}

#[tokio::test]
async fn behaviour_1_ch_2_without_a_token_the_challenge_has_no_error() {
    let gate = Gatehouse::open().await;
    let answer = told(gate.send(Gatehouse::request("/mcp").body(NoBody::new()).unwrap()).await).await;
    insta::assert_snapshot!(shown(&answer), @r#"
    401 Unauthorized
    www-authenticate: Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="notes"
    content-type: application/json
    cache-control: no-store
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version
    {"error":"unauthorized","error_description":"an access token is needed; see WWW-Authenticate"}
    "#);
    assert!(gate.mcp.seen().is_empty(), "CH-8: the target heard of it");
}

#[tokio::test]
async fn behaviour_1_ch_2_with_a_bad_token_the_error_is_invalid_token() {
    let gate = Gatehouse::open().await;
    insta::assert_snapshot!(shown(&gate.call("/mcp/", "made.up.token", &[]).await), @r#"
    401 Unauthorized
    www-authenticate: Bearer error="invalid_token", error_description="the access token is not valid", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="notes"
    content-type: application/json
    cache-control: no-store
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version
    {"error":"invalid_token","error_description":"the access token is not valid"}
    "#);
    assert!(gate.mcp.seen().is_empty(), "CH-8: the target heard of it");
}

#[tokio::test]
async fn ch_4_none_of_the_scopes_is_insufficient_scope() {
    let gate = Gatehouse::open().await;
    let (token, _) = gate.token_with("ann", "/mcp", "other").await;
    insta::assert_snapshot!(shown(&gate.call("/mcp", &token, &[]).await), @r#"
    403 Forbidden
    www-authenticate: Bearer error="insufficient_scope", error_description="the access token holds none of the scopes of this resource", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="notes"
    content-type: application/json
    cache-control: no-store
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version
    {"error":"insufficient_scope","error_description":"the access token holds none of the scopes of this resource"}
    "#);
    assert!(gate.mcp.seen().is_empty());
}

#[tokio::test]
async fn ch_7_a_token_in_the_query_or_two_headers_are_400_without_a_challenge() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    for (path, extra) in [(format!("/mcp?access_token={token}"), None), ("/mcp".to_owned(), Some("Bearer x"))] {
        let answer = match extra {
            None => gate.call(&path, &token, &[]).await,
            Some(value) => gate.call(&path, &token, &[("authorization", value)]).await,
        };
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.header("www-authenticate").is_none());
        assert!(answer.text().contains("invalid_request"));
        assert!(!answer.text().contains(&token));
    }
    assert!(gate.mcp.seen().is_empty());
}

#[tokio::test]
async fn s4_a_token_of_one_path_opens_no_other() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::OK);
    for path in ["/who", "/key/", "/mcp/inner", "/mcp/inner/x"] {
        let answer = gate.call(path, &token, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    }
    assert_eq!(gate.mcp.seen().len(), 1);
}

#[tokio::test]
async fn rs_1_expired_and_revoked_tokens_are_401_at_once() {
    let gate = Gatehouse::open().await;
    let (token, grant) = gate.token_with("ann", "/mcp", "notes").await;
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::OK);
    gate.store.remove::<vestibule::domain::Grant>(&grant.to_string()).await.unwrap();
    let answer = gate.call("/mcp", &token, &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "revoked, though it was seen before (D14)");
    let token = gate.token("bob", "/mcp").await;
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::OK);
    gate.clock.advance(std::time::Duration::from_secs(2 * 3600));
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::UNAUTHORIZED, "expired");
}

#[tokio::test]
async fn s35_forged_tokens_open_nothing() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("a JWS") };
    let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let with = |name: &str, value: &str| {
        let mut header = header.clone();
        header[name] = value.into();
        URL_SAFE_NO_PAD.encode(header.to_string())
    };
    let forged = [
        format!("{}.{claims}.", with("alg", "none")),
        format!("{}.{claims}.{signature}", with("alg", "none")),
        format!("{}.{claims}.{signature}", with("alg", "HS256")),
        format!("{}.{claims}.{signature}", with("kid", "another")),
        format!("{}.{claims}.{signature}", with("typ", "JWT")),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", &signature[1..]),
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"sub":"idp:admin"}"#)),
        format!("{token}="),
        format!(".{token}"),
        "vr_refresh-token-shape".to_owned(),
        format!("{token} x"),
        format!("{token},x"),
        "\"x\"".to_owned(),
    ];
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::OK, "the true one, also for the cache");
    for token in forged {
        assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    assert_eq!(gate.mcp.seen().len(), 1);
}

#[tokio::test]
async fn s23_unknown_hosts_are_421_and_foreign_origins_403_even_with_a_good_token() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let ask = async |host: &str, more: &str| {
        let text = format!(
            "POST /mcp HTTP/1.1\r\n{host}Authorization: Bearer {token}\r\nContent-Length: 2\r\nConnection: close\r\n{more}\r\n{{}}"
        );
        gate.raw(&text).await.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for host in ["Host: mcp.example.com\r\n", "Host: MCP.Example.com:443\r\n", "Host: mcp.internal:8080\r\n"] {
        assert_eq!(ask(host, "").await, "200", "{host}");
    }
    for host in ["Host: evil.example\r\n", "Host: mcp.example.com:80\r\n", "Host: 127.0.0.1\r\n", "Host: \r\n", ""] {
        assert!(["421", "400"].contains(&ask(host, "").await.as_str()), "{host}");
    }
    let ours = "Host: mcp.example.com\r\n";
    assert_ne!(ask("Host: mcp.example.com\r\nHost: evil.example\r\n", "").await, "200");
    for origin in ["https://mcp.example.com", "https://app.example.com"] {
        assert_eq!(ask(ours, &format!("Origin: {origin}\r\n")).await, "200", "{origin}");
    }
    for origin in ["https://evil.example", "null", "http://mcp.example.com", "https://mcp.example.com.evil.example", ""]
    {
        assert_eq!(ask(ours, &format!("Origin: {origin}\r\n")).await, "403", "{origin}");
    }
    assert_eq!(gate.mcp.seen().len(), 5);
}

#[tokio::test]
async fn rs_5_every_origin_where_the_operator_says_so() {
    let gate = Gatehouse::with(vestibule::proxy::Settings { origins: vec!["*".into()], ..settings() }, |_| {}).await;
    let token = gate.token("ann", "/mcp").await;
    assert_eq!(gate.call("/mcp", &token, &[("origin", "https://any.example")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_path_is_404_and_trace_is_405() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    assert_eq!(gate.call("/mcpx", &token, &[]).await.status, StatusCode::NOT_FOUND);
    let trace = Gatehouse::request("/mcp").method("TRACE").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = told(gate.send(trace.body(NoBody::new()).unwrap()).await).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "TRACE would show the injected token (S26)");
    assert!(gate.mcp.seen().is_empty());
}
