//! The addresses of the MCP servers: the gate, the page for a curious browser, the root.

use axum::body::Body;
use http::{Method, StatusCode, header};

use super::doorway::{Doorway, browse, request, settings};

fn call(path: &str) -> http::Request<Body> {
    request(Method::POST, path)
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap()
}

#[tokio::test]
async fn behaviour_29_with_and_without_a_slash_and_never_a_redirect() {
    let door = Doorway::open().await;
    for path in ["/notes", "/notes/", "/a/wiki", "/a/wiki/"] {
        let seen = door.send(call(path)).await;
        assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(seen.header("www-authenticate").starts_with("Bearer "), "{path}");
    }
    assert!(door.mcp.seen().is_empty(), "nothing reaches the MCP server without a token");
}

#[tokio::test]
async fn a_browser_sees_a_page_and_a_client_its_challenge() {
    let door = Doorway::open().await;
    let page = door.send(browse("/notes")).await;
    assert!(page.is_page() && page.status == StatusCode::OK);
    assert!(page.text().contains("claude mcp add --transport http notes https://mcp.example.com/notes"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    // What listens for events, carries a token or asks below the address is no browser looking around.
    let stream =
        request(Method::GET, "/notes").header(header::ACCEPT, "text/event-stream").body(Body::empty()).unwrap();
    assert_eq!(door.send(stream).await.status, StatusCode::UNAUTHORIZED);
    let mut with_token = browse("/notes");
    with_token.headers_mut().insert(header::AUTHORIZATION, "Bearer nonsense".parse().unwrap());
    assert_eq!(door.send(with_token).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(door.send(browse("/notes/below")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_bare_origin_names_the_servers_and_other_addresses_say_that_nothing_is_there() {
    let door = Doorway::open().await;
    let page = door.send(browse("/")).await;
    assert!(page.is_page());
    assert!(
        page.text().contains("https://mcp.example.com/notes") && page.text().contains("https://mcp.example.com/a/wiki")
    );
    let missing = door.send(browse("/nobody")).await;
    assert!(missing.is_page() && missing.status == StatusCode::NOT_FOUND);
    assert_eq!(door.get("/nobody").await.error(), "not_found");
    assert_eq!(door.send(call("/nobody")).await.error(), "not_found");
    // A prefix is whole segments: this is not /notes.
    assert_eq!(door.send(call("/notesque")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_resource_at_the_root_lives_beside_our_own_addresses() {
    let door = Doorway::with(settings(), &[""]).await;
    assert_eq!(door.send(call("/")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(door.send(call("/anything")).await.status, StatusCode::UNAUTHORIZED);
    assert!(door.send(browse("/")).await.is_page());
    assert_eq!(door.get("/jwks").await.status, StatusCode::OK);
    assert_eq!(door.send(call("/register")).await.error(), "invalid_redirect_uri");
    assert_eq!(door.get("/.well-known/oauth-protected-resource").await.json()["resource"], "https://mcp.example.com");
    assert_eq!(door.get("/.well-known/oauth-authorization-server").await.status, StatusCode::OK);
}

#[tokio::test]
async fn s16_probes_open_nothing() {
    let door = Doorway::open().await;
    for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
        for path in ["/notes", "/healthz", "/ping", "/readyz", "/metrics"] {
            let seen =
                door.send(request(Method::GET, path).header("user-agent", agent).body(Body::empty()).unwrap()).await;
            assert!(seen.status.is_client_error(), "{agent} {path} {}", seen.status);
        }
    }
}

#[tokio::test]
async fn the_icon_is_an_icon() {
    let door = Doorway::open().await;
    for path in ["/icon.svg", "/favicon.ico"] {
        assert_eq!(door.get(path).await.header("content-type"), "image/svg+xml");
    }
}
