//! Where clients look for documents, and who may read them.

use axum::body::Body;
use http::{Method, StatusCode};

use super::doorway::{Doorway, ORIGIN, browse, request, settings};

/// Everything that stands in the table for programs.
const PROGRAMS: [&str; 8] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/notes",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource/notes",
    "/.well-known/nonsense",
    "/jwks",
    "/register",
    "/token",
];

#[tokio::test]
async fn behaviour_3_one_document_of_the_same_bytes_wherever_clients_look() {
    let door = Doorway::open().await;
    let root = door.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(root.status, StatusCode::OK);
    assert_eq!(root.json()["issuer"], ORIGIN);
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/notes",
        "/.well-known/oauth-authorization-server/notes/",
        "/.well-known/openid-configuration/notes",
        "/.well-known/openid-configuration/a/wiki",
        "/notes/.well-known/openid-configuration",
        "/notes/.well-known/oauth-authorization-server",
        "/a/wiki/.well-known/openid-configuration",
    ] {
        let seen = door.get(path).await;
        assert_eq!((seen.status, &seen.body), (StatusCode::OK, &root.body), "{path}");
    }
}

#[tokio::test]
async fn behaviour_3_unknown_well_knowns_are_404_and_never_a_page() {
    let door = Doorway::open().await;
    for path in [
        "/.well-known/oauth-authorization-server/nobody",
        "/.well-known/openid-configuration/notes/deeper",
        "/.well-known/oauth-protected-resource/nobody",
        "/.well-known/mcp",
        "/notes/.well-known/mcp",
        "/nobody/.well-known/openid-configuration",
        "/.well-known/",
        "//.well-known/x",
    ] {
        let seen = door.send(browse(path)).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(seen.error(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn prm_4_each_resource_has_its_own_document_and_prm_11_the_root_none_of_several() {
    let door = Doorway::open().await;
    for path in ["/notes", "/a/wiki"] {
        for at in [
            format!("/.well-known/oauth-protected-resource{path}"),
            format!("{path}/.well-known/oauth-protected-resource"),
        ] {
            assert_eq!(door.get(&at).await.json()["resource"], format!("{ORIGIN}{path}"), "{at}");
        }
    }
    assert_eq!(door.get("/.well-known/oauth-protected-resource").await.status, StatusCode::NOT_FOUND);
    let sole = Doorway::with(settings(), &["/notes"]).await;
    assert_eq!(sole.get("/.well-known/oauth-protected-resource").await.json()["resource"], format!("{ORIGIN}/notes"));
}

#[tokio::test]
async fn behaviour_6_preflights_are_answered_and_answers_are_readable_for_scripts() {
    let door = Doorway::open().await;
    for path in PROGRAMS.into_iter().chain(["/notes", "/notes/", "/a/wiki/below"]) {
        let preflight = request(Method::OPTIONS, path)
            .header("origin", "https://inspector.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,mcp-param-region")
            .body(Body::empty())
            .unwrap();
        let seen = door.send(preflight).await;
        assert_eq!(seen.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(seen.header("access-control-allow-origin"), "*", "{path}");
        let methods = seen.header("access-control-allow-methods");
        assert!(["GET", "POST", "DELETE"].iter().all(|m| methods.contains(m)), "{path}: {methods}");
        let headers = seen.header("access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "accept",
            "mcp-protocol-version",
            "mcp-session-id",
            "mcp-method",
            "mcp-name",
            "last-event-id",
            "mcp-param-region",
        ] {
            assert!(headers.split(", ").any(|h| h == name), "{path}: {name} not in {headers}");
        }
        // Any method, any outcome: 200, 401, 404, 405.
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let seen = door.send(request(method.clone(), path).body(Body::empty()).unwrap()).await;
            assert_eq!(seen.header("access-control-allow-origin"), "*", "{method} {path}");
            assert_eq!(
                seen.header("access-control-expose-headers"),
                "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version",
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn az_11_no_cors_where_people_log_in() {
    let door = Doorway::open().await;
    for path in ["/authorize", "/consent", "/callback/idp", "/"] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let ask =
                request(method.clone(), path).header("origin", "https://evil.example").body(Body::empty()).unwrap();
            let seen = door.send(ask).await;
            assert!(!seen.headers.contains_key("access-control-allow-origin"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn behaviour_5_s15_forged_headers_change_no_address_that_goes_out() {
    let door = Doorway::open().await;
    for path in PROGRAMS.into_iter().chain(["/notes", "/", "/authorize?client_id=x"]) {
        let plain = door.get(path).await;
        let forged = http::Request::get(path)
            .header("host", "mcp.example.com")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-uri", "/evil")
            .header("forwarded", "host=evil.example;proto=http")
            .body(Body::empty())
            .unwrap();
        let seen = door.send(forged).await;
        assert_eq!((seen.status, &seen.body), (plain.status, &plain.body), "{path}");
        assert_eq!(seen.header("www-authenticate"), plain.header("www-authenticate"), "{path}");
        if path != "/notes" {
            let foreign = http::Request::get(path).header("host", "evil.example").body(Body::empty()).unwrap();
            assert_eq!(door.send(foreign).await.body, plain.body, "{path}");
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_request_id() {
    let door = Doorway::open().await;
    for path in ["/jwks", "/notes", "/", "/nothing"] {
        let ask = |id: &str| request(Method::GET, path).header("x-request-id", id).body(Body::empty()).unwrap();
        assert_eq!(door.send(ask("abc-123")).await.header("x-request-id"), "abc-123", "{path}");
        let made = door.send(ask("no good")).await;
        assert_eq!(made.header("x-request-id").len(), 16, "{path}");
    }
}
