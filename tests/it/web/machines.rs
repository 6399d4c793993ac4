//! `/register` and `/token`: whatever comes in, JSON goes out, and never a 5xx for bad input.

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode, header};
use proptest::prelude::*;

use super::doorway::{Doorway, Seen, request, settings};
use crate::world::town::{Town, post_form};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn assert_refused(seen: &Seen, status: u16, code: &str) {
    assert_eq!((seen.status.as_u16(), seen.error().as_str()), (status, code), "{}", seen.text());
    assert_eq!(seen.header("cache-control"), "no-store");
    assert_eq!(seen.header("x-content-type-options"), "nosniff");
    assert!(!seen.json()["error_description"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn registration_answers_201_whatever_the_content_type_says() {
    let door = Doorway::open().await;
    let body = r#"{"redirect_uris":["http://localhost/callback"],"token_endpoint_auth_method":"none"}"#;
    for kind in [JSON, "application/json; charset=utf-8", "text/plain", FORM] {
        let seen = door.post("/register", kind, body).await;
        assert_eq!(seen.status, StatusCode::CREATED, "{kind}");
        assert_eq!(seen.header("cache-control"), "no-store");
        assert!(seen.json()["client_id"].is_string());
    }
}

#[tokio::test]
async fn s33_registrations_that_are_no_registrations() {
    let door = Doorway::open().await;
    for body in ["", "{", "[]", "null", "\"x\"", "redirect_uris=x", "{\"redirect_uris\":7}", "\u{0}"] {
        let seen = door.post("/register", JSON, body).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(["invalid_client_metadata", "invalid_redirect_uri"].contains(&seen.error().as_str()), "{body}");
    }
    let huge = format!("{{\"client_name\":\"{}\"}}", "x".repeat(16 * 1024));
    assert_refused(&door.post("/register", JSON, huge).await, 413, "invalid_client_metadata");
}

#[tokio::test]
async fn the_wrong_method_is_told_the_right_one_in_json() {
    let door = Doorway::open().await;
    for (path, allow) in [
        ("/register", "POST"),
        ("/token", "POST"),
        ("/consent", "POST"),
        ("/jwks", "GET,HEAD"),
        ("/authorize", "GET,HEAD,POST"),
        ("/.well-known/oauth-authorization-server", "GET,HEAD"),
    ] {
        let method = if allow.contains("GET") { Method::DELETE } else { Method::GET };
        let seen = door.send(request(method, path).body(Body::empty()).unwrap()).await;
        assert_refused(&seen, 405, "invalid_request");
        assert_eq!(seen.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn tok_2_token_errors_by_what_was_sent() {
    let door = Doorway::open().await;
    let cases: &[(&str, &str, u16, &str)] = &[
        ("multipart/form-data; boundary=x", "--x--", 400, "invalid_request"),
        ("text/html", "<p>", 400, "invalid_request"),
        (JSON, "{\"grant_type\":1}", 400, "invalid_request"),
        (JSON, "[", 400, "invalid_request"),
        (FORM, "grant_type=%ff", 400, "invalid_request"),
        (FORM, "", 400, "invalid_request"),
        (FORM, "grant_type=password", 400, "unsupported_grant_type"),
        (JSON, "{\"grant_type\":\"password\"}", 400, "unsupported_grant_type"),
        (
            FORM,
            "grant_type=authorization_code&grant_type=authorization_code&client_id=x&code=y",
            400,
            "invalid_request",
        ),
        (JSON, r#"{"grant_type":"authorization_code","client_id":"x","code":"a","code":"b"}"#, 400, "invalid_request"),
        (FORM, "grant_type=authorization_code&client_id=nobody&code=x&code_verifier=y", 401, "invalid_client"),
    ];
    for (kind, body, status, code) in cases {
        let seen = door.post("/token", kind, *body).await;
        assert_eq!((seen.status.as_u16(), seen.error().as_str()), (*status, *code), "{kind} {body}: {}", seen.text());
        assert_eq!(seen.header("cache-control"), "no-store");
        assert!(!seen.headers.contains_key(header::WWW_AUTHENTICATE), "{body}");
    }
    let many = "a=1&".repeat(1000);
    assert_refused(&door.post("/token", FORM, many).await, 400, "invalid_request");
    let huge = format!("grant_type={}", "x".repeat(64 * 1024));
    assert_refused(&door.post("/token", FORM, huge).await, 413, "invalid_request");
}

#[tokio::test]
async fn tok_2_a_failed_basic_names_its_scheme() {
    let door = Doorway::open().await;
    for credentials in ["!!!".to_owned(), STANDARD.encode("no-colon"), STANDARD.encode("nobody:secret")] {
        let ask = request(Method::POST, "/token")
            .header(header::CONTENT_TYPE, FORM)
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .body(Body::from("grant_type=authorization_code&code=x&code_verifier=y"))
            .unwrap();
        let seen = door.send(ask).await;
        assert_refused(&seen, 401, "invalid_client");
        assert_eq!(seen.header("www-authenticate"), "Basic realm=\"vestibule\", charset=\"UTF-8\"");
    }
}

#[tokio::test]
async fn behaviour_12_sixty_registrations_pass_and_a_flood_is_cut_off() {
    let mut settings = settings();
    settings.requests_per_minute = 60;
    let door = Doorway::with(settings, &["/notes"]).await;
    let body = r#"{"redirect_uris":["http://localhost/callback"],"token_endpoint_auth_method":"none"}"#;
    let ask = || request(Method::POST, "/register").header(header::CONTENT_TYPE, JSON).body(Body::from(body)).unwrap();
    for _ in 0..60 {
        assert_eq!(door.send(ask()).await.status, StatusCode::CREATED);
    }
    // The bucket refills by one a second, so a slow machine may let a few through: some of a hundred are cut off.
    let mut cut = 0;
    for _ in 0..100 {
        let seen = door.send(ask()).await;
        if seen.status == StatusCode::TOO_MANY_REQUESTS {
            cut += 1;
            assert_refused(&seen, 429, "too_many_requests");
            assert!(seen.header("retry-after").parse::<u64>().unwrap() >= 1);
            assert_eq!(seen.header("access-control-allow-origin"), "*");
        }
    }
    assert!(cut > 50, "{cut}");
    // A person gets a page. The first tries may still use what the bucket has gained meanwhile.
    let mut page = door.send(super::doorway::browse("/authorize")).await;
    for _ in 0..100 {
        if page.status != StatusCode::TOO_MANY_REQUESTS {
            page = door.send(super::doorway::browse("/authorize")).await;
        }
    }
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.is_page() && page.text().contains("Too many requests from your network"), "{}", page.text());
    assert!(page.text().contains(page.header("x-request-id")) && !page.header("retry-after").is_empty());
    assert_eq!(door.send_from("203.0.113.9", ask()).await.status, StatusCode::CREATED);
    // Discovery and the gate have no such limit.
    assert_eq!(door.get("/jwks").await.status, StatusCode::OK);
    assert_eq!(door.get("/notes").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rfc8628_3_5_a_device_behind_a_busy_address_is_slowed_down_and_a_flood_cut_off() {
    let mut settings = settings();
    settings.requests_per_minute = 60;
    let door = Doorway::with(settings, &["/notes"]).await;
    let device = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=x&device_code=y";
    let ask = |form: &'static str| {
        request(Method::POST, "/token").header(header::CONTENT_TYPE, FORM).body(Body::from(form)).unwrap()
    };
    while door.send(ask("grant_type=refresh_token")).await.status != StatusCode::TOO_MANY_REQUESTS {}
    let (mut slowed, mut cut) = (0, 0);
    for _ in 0..200 {
        let seen = door.send(ask(device)).await;
        match seen.status {
            StatusCode::TOO_MANY_REQUESTS => {
                assert_refused(&seen, 429, "too_many_requests");
                cut += 1;
            }
            _ if seen.text().contains("slow_down") => {
                assert_refused(&seen, 400, "slow_down");
                assert!(seen.header("retry-after").parse::<u64>().unwrap() >= 1);
                assert_eq!(seen.header("access-control-allow-origin"), "*");
                slowed += 1;
            }
            // What the bucket has gained meanwhile.
            _ => assert_refused(&seen, 401, "invalid_client"),
        }
    }
    assert!(slowed >= 40 && cut >= 40, "{slowed} slowed down, {cut} cut off");
    // Others hear what they always heard.
    let mut other = door.send(ask("grant_type=refresh_token")).await;
    while other.status != StatusCode::TOO_MANY_REQUESTS {
        other = door.send(ask("grant_type=refresh_token")).await;
    }
    assert_refused(&other, 429, "too_many_requests");
}

#[test]
fn s33_arbitrary_bytes_never_make_a_5xx() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let door = runtime.block_on(Doorway::open());
    let kind = prop_oneof![Just(FORM), Just(JSON), Just("text/plain"), Just("")];
    let text = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[{}\\[\\]\":,a-z_=&%0-9]{0,120}".prop_map(String::into_bytes),
        "(grant_type|code|client_id|redirect_uris|resource)=[a-z_%&=]{0,60}".prop_map(String::into_bytes),
    ];
    proptest!(ProptestConfig::with_cases(400), |(kind in kind, body in text, path in prop_oneof![
        Just("/register"), Just("/token"), Just("/consent"), Just("/authorize"),
    ])| {
        let mut ask = request(Method::POST, path);
        if !kind.is_empty() {
            ask = ask.header(header::CONTENT_TYPE, kind);
        }
        let seen = runtime.block_on(door.send(ask.body(Body::from(body)).unwrap()));
        prop_assert!(seen.status.is_client_error() || path == "/register" && seen.status == StatusCode::CREATED,
            "{} {}", seen.status, seen.text());
        seen.json();
    });
}

#[tokio::test]
async fn cc_1_tok_7_a_program_of_the_operators_calls_in_its_own_name() {
    let robot = "[[client]]\nid = \"robot\"\nname = \"Robot\"\nsecret = \"shh\"\nauth_method = \"client_secret_post\"\n\
                 grants = [\"client_credentials\"]\n[[resource]]\npath = \"/builds\"\ntarget = \"{target}\"\nupstream = \"idp\"\n\
                 inject = \"identity\"\nallow = { clients = [\"robot\"] }\n";
    let town = Town::with(robot).await;
    let ask = |path: &str| {
        let resource = format!("{}{path}", town.base);
        let url = format!("{}/token", town.base);
        async move {
            let form = [("grant_type", "client_credentials"), ("client_id", "robot"), ("client_secret", "shh")];
            post_form(&url, &[&form[..], &[("resource", resource.as_str())]].concat()).await
        }
    };
    let (status, tokens) = ask("/builds").await;
    assert_eq!(status, 200, "{tokens}");
    assert!(tokens.get("refresh_token").is_none());
    let token = tokens["access_token"].as_str();
    assert_eq!(town.call("/builds", token).await.status(), 200);
    let reached = town.mcp.last();
    assert_eq!(reached.header("x-forwarded-user"), Some("client:robot"));
    assert!(reached.header("authorization").is_none() && reached.header("x-forwarded-email").is_none());
    // Not where people log in, neither with this token nor with another.
    assert_eq!(town.call("/notes", token).await.status(), 401);
    let (status, refused) = ask("/notes").await;
    assert_eq!((status, &refused["error"]), (400, &serde_json::json!("unauthorized_client")));
}
