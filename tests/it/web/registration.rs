//! `/register` and the addresses below it on the wire: statuses, challenges, headers (RFC 7591 §3, RFC 7592).

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::Value;
use vestibule::{domain::Secret, oauth::Gate};

use super::doorway::{Doorway, ORIGIN, Seen, request, settings};

const BODY: &str = r#"{"client_name":"Desk","redirect_uris":["https://desk.example/cb"]}"#;
const TOKEN: &str = "an-initial-access-token-0123456789";

async fn send(door: &Doorway, method: Method, path: &str, token: Option<&str>, body: &str) -> Seen {
    let mut ask = request(method, path);
    if let Some(token) = token {
        ask = ask.header(header::AUTHORIZATION, format!("bearer {token}"));
    }
    door.send(ask.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn rfc7591_3_the_gate_challenges_and_says_what_was_wrong_with_a_token_only_if_there_was_one() {
    let gate = Gate::Token(vec![Secret::from(TOKEN)]);
    let door = Doorway::granting(settings(), &["/notes"], |oauth| oauth.registration.gate = gate).await;
    let bare = send(&door, Method::POST, "/register", None, BODY).await;
    assert_eq!((bare.status.as_u16(), bare.error().as_str()), (401, "invalid_token"));
    assert_eq!(bare.header("www-authenticate"), "Bearer realm=\"vestibule\"");
    assert_eq!(bare.header("cache-control"), "no-store");
    assert_eq!(bare.header("access-control-allow-origin"), "*");
    let wrong = send(&door, Method::POST, "/register", Some("wrong"), BODY).await;
    assert_eq!((wrong.status.as_u16(), wrong.error().as_str()), (401, "invalid_token"));
    assert_eq!(wrong.header("www-authenticate"), "Bearer realm=\"vestibule\", error=\"invalid_token\"");
    assert_eq!(send(&door, Method::POST, "/register", Some(TOKEN), BODY).await.status, StatusCode::CREATED);
    let metadata = door.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["registration_endpoint"], format!("{ORIGIN}/register"));
}

#[tokio::test]
async fn dcr_1_a_closed_gate_is_403_and_not_announced() {
    let door = Doorway::granting(settings(), &["/notes"], |oauth| oauth.registration.gate = Gate::Closed).await;
    let shut = send(&door, Method::POST, "/register", Some(TOKEN), BODY).await;
    assert_eq!((shut.status.as_u16(), shut.error().as_str()), (403, "access_denied"));
    let metadata = door.get("/.well-known/oauth-authorization-server").await.json();
    assert!(metadata.get("registration_endpoint").is_none());
}

#[tokio::test]
async fn dcr_11_a_registration_is_read_kept_and_deleted_by_its_token() {
    let door = Doorway::open().await;
    let made = send(&door, Method::POST, "/register", None, BODY).await.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (path, token) = (text("registration_client_uri"), text("registration_access_token"));
    let path = path.strip_prefix(ORIGIN).unwrap();

    let read = send(&door, Method::GET, path, Some(&token), "").await;
    assert_eq!((read.status, read.header("cache-control")), (StatusCode::OK, "no-store"));
    let read: Value = read.json();
    assert_eq!((&read["client_id"], &read["client_secret"]), (&made["client_id"], &made["client_secret"]));
    let same = send(&door, Method::PUT, path, Some(&token), &made.to_string()).await;
    assert_eq!((same.status, same.json()), (StatusCode::OK, read.clone()));
    let mut other = read.clone();
    other["client_name"] = "Other".into();
    let refused = send(&door, Method::PUT, path, Some(&token), &other.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (403, "access_denied"), "RFC 7592 §2.2");
    let huge = send(&door, Method::PUT, path, Some(&token), &"x".repeat(17 * 1024)).await;
    assert_eq!(huge.status, StatusCode::PAYLOAD_TOO_LARGE);

    for token in [None, Some("wrong"), made["client_secret"].as_str()] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let refused = send(&door, method, path, token, "{}").await;
            assert_eq!((refused.status.as_u16(), refused.error().as_str()), (401, "invalid_token"));
            assert!(refused.header("www-authenticate").starts_with("Bearer "));
        }
    }
    assert_eq!(send(&door, Method::POST, path, Some(&token), "{}").await.status, StatusCode::METHOD_NOT_ALLOWED);

    let gone = send(&door, Method::DELETE, path, Some(&token), "").await;
    assert_eq!((gone.status, gone.text()), (StatusCode::NO_CONTENT, ""), "RFC 7592 §2.3");
    assert_eq!(gone.header("cache-control"), "no-store");
    assert_eq!(send(&door, Method::GET, path, Some(&token), "").await.status, StatusCode::UNAUTHORIZED);
    let form = format!("grant_type=authorization_code&code=x&code_verifier=y&client_id={}", text("client_id"));
    let refused = door.post("/token", "application/x-www-form-urlencoded", form).await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (401, "invalid_client"));
}

#[tokio::test]
async fn s33_odd_addresses_below_register_are_refused_like_any_other() {
    let door = Doorway::open().await;
    for path in ["/register/x", "/register/%00", "/register/%ff", "/register/vst1.AAAA", "/register/a%2Fb"] {
        let seen = send(&door, Method::GET, path, Some("x"), "").await;
        assert!(seen.status.is_client_error(), "{path} {}", seen.status);
    }
    let long = format!("/register/{}", "x".repeat(8000));
    assert_eq!(send(&door, Method::DELETE, &long, Some("x"), "").await.status, StatusCode::UNAUTHORIZED);
    assert!(send(&door, Method::GET, "/register/", None, "").await.status.is_client_error());
}
