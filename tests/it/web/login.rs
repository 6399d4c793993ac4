//! People at the door: consent, the way to the provider and back, and what they see when it goes wrong.

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, Request, StatusCode, header};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::doorway::{Doorway, ORIGIN, Seen, browse, request};

const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-0";

fn authorize(client: &str, redirect: &str, state: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect),
            ("state", state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &format!("{ORIGIN}/notes")),
        ])
        .finish();
    format!("/authorize?{query}")
}

fn with_cookies(mut request: Request<Body>, cookies: &[String]) -> Request<Body> {
    if !cookies.is_empty() {
        request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
    }
    request
}

fn hidden(page: &Seen) -> String {
    let text = page.text();
    let value = text.split_once("name=\"request\" value=\"").expect("a consent page").1;
    value.split_once('"').unwrap().0.to_owned()
}

fn decide(page: &Seen, decision: &str, cookies: &[String]) -> Request<Body> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("request", &hidden(page))
        .append_pair("decision", decision)
        .finish();
    let request = request(Method::POST, "/consent")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "text/html")
        .body(Body::from(form))
        .unwrap();
    with_cookies(request, cookies)
}

/// Until the provider sent the browser back: the answer of `/callback`, and the cookies that went there.
async fn log_in(door: &Doorway, redirect: &str) -> (Seen, String, Vec<String>) {
    let client = door.register(redirect).await;
    let page = door.send(browse(&authorize(&client, redirect, "s%t&a=te"))).await;
    let mut cookies = page.cookies();
    let away = door.send(decide(&page, "approve", &cookies)).await;
    assert_eq!(away.status, StatusCode::SEE_OTHER, "{}", away.text());
    cookies.extend(away.cookies());
    let back = door.provider.log_in(&Url::parse(away.header("location")).unwrap()).await;
    let path = back.as_str().strip_prefix(ORIGIN).unwrap().to_owned();
    (door.send(with_cookies(browse(&path), &cookies)).await, path, cookies)
}

#[tokio::test]
async fn a_login_from_page_to_code_and_on_to_the_mcp_server() {
    let door = Doorway::open().await;
    let (answer, _, _) = log_in(&door, "http://localhost:3118/callback").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let location = Url::parse(answer.header("location")).unwrap();
    assert!(location.as_str().starts_with("http://localhost:3118/callback?"));
    let value = |name: &str| location.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    assert_eq!((value("state").as_str(), value("iss").as_str()), ("s%t&a=te", ORIGIN));
    // The login's own cookie is dropped again.
    let dropped = answer.header("set-cookie");
    assert!(dropped.starts_with("__Host-vestibule-login-") && dropped.contains("=; Max-Age=0;"), "{dropped}");

    let client = door.register("http://localhost:3118/callback").await;
    let body = serde_json::json!({
        "grant_type": "authorization_code", "code": value("code"), "code_verifier": VERIFIER, "client_id": client,
        "redirect_uri": "http://localhost:3118/callback", "resource": [format!("{ORIGIN}/notes")],
    });
    let seen = door.post("/token", "application/json", body.to_string()).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text());
    assert_eq!(seen.header("cache-control"), "no-store");
    let token = seen.json()["access_token"].as_str().unwrap().to_owned();
    let call = request(Method::POST, "/notes/")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("x-request-id", "call-1")
        .body(Body::from("{}"))
        .unwrap();
    let seen = door.send(call).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text());
    assert_eq!(seen.header("access-control-allow-origin"), "*");
    let reached = door.mcp.last();
    assert_eq!(reached.header("x-request-id"), Some("call-1"));
    assert_eq!(reached.header("x-forwarded-for"), Some("198.51.100.7"));
    assert!(!reached.header("authorization").unwrap().contains(&token));
}

#[tokio::test]
async fn con_7_the_cookie_of_the_login_comes_only_after_the_yes() {
    let door = Doorway::open().await;
    let redirect = "https://claude.ai/api/mcp/auth_callback";
    let client = door.register(redirect).await;
    let page = door.send(browse(&authorize(&client, redirect, "x"))).await;
    assert!(page.is_page() && page.status == StatusCode::OK, "{}", page.text());
    assert_eq!(page.header("cache-control"), "no-store");
    let set: Vec<_> = page.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    assert_eq!(set.len(), 1);
    assert!(set[0].starts_with("__Host-vestibule="), "{}", set[0]);
    assert!(set[0].ends_with("Path=/; Secure; HttpOnly; SameSite=Lax"), "{}", set[0]);
    assert!(page.text().contains("https://claude.ai") && page.text().contains("Test &#60;b&#62;client&#60;/b&#62;"));

    let away = door.send(decide(&page, "approve", &page.cookies())).await;
    assert_eq!(away.status, StatusCode::SEE_OTHER, "az_12: after a POST nothing but 303");
    assert!(away.header("location").starts_with(&door.provider.issuer()));
    assert_eq!(away.header("referrer-policy"), "no-referrer");
    let set = away.header("set-cookie");
    assert!(set.starts_with("__Host-vestibule-login-") && set.contains("Secure; HttpOnly; SameSite=Lax"), "{set}");
}

#[tokio::test]
async fn a_no_goes_back_to_the_client_as_access_denied() {
    let door = Doorway::open().await;
    let redirect = "http://127.0.0.1:9/cb";
    let client = door.register(redirect).await;
    let page = door.send(browse(&authorize(&client, redirect, "x"))).await;
    let answer = door.send(decide(&page, "deny", &page.cookies())).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("location").starts_with("http://127.0.0.1:9/cb?error=access_denied"), "{answer:?}");
}

#[tokio::test]
async fn behaviour_17_a_private_scheme_ends_on_a_page_that_opens_the_app() {
    let door = Doorway::open().await;
    let (answer, _, _) = log_in(&door, "cursor://anysphere.cursor-mcp/oauth/callback").await;
    assert!(answer.is_page() && answer.status == StatusCode::OK, "{}", answer.text());
    assert!(
        answer.text().contains(r#"http-equiv="refresh" content="0;url=cursor://anysphere.cursor-mcp/oauth/callback?"#)
    );
    assert!(!answer.header("content-security-policy").contains("form-action"));
}

#[tokio::test]
async fn s2_another_browser_finishes_nothing() {
    let door = Doorway::open().await;
    let redirect = "http://localhost/callback";
    let client = door.register(redirect).await;
    let page = door.send(browse(&authorize(&client, redirect, "x"))).await;
    let stranger = door.send(browse(&authorize(&client, redirect, "y"))).await;
    // A browser that is known is asked itself, as if it had been sent the client's link; one that is not is refused.
    let seen = door.send(decide(&page, "approve", &stranger.cookies())).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(seen.is_page() && seen.text().contains("name=\"decision\""), "{}", seen.text());
    assert!(seen.cookies().is_empty() && !seen.headers.contains_key("location"));
    let seen = door.send(decide(&page, "approve", &[])).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    assert!(seen.is_page() && seen.text().contains("another browser"), "{}", seen.text());
    assert!(!seen.headers.contains_key("location"));
}

#[tokio::test]
async fn behaviour_18_a_callback_opened_twice_is_a_page_with_advice() {
    let door = Doorway::open().await;
    let (_, path, cookies) = log_in(&door, "http://localhost/callback").await;
    let again = door.send(with_cookies(browse(&path), &cookies)).await;
    assert!(again.status.is_client_error() && again.is_page());
    assert!(again.text().contains("What to do next"), "{}", again.text());
    assert!(again.text().contains(again.header("x-request-id")), "behaviour 30: the page names the request");
}

#[tokio::test]
async fn behaviour_14_an_unknown_client_gets_a_page_or_json_and_never_a_redirect() {
    let door = Doorway::open().await;
    let path = authorize("nobody", "https://evil.example/cb", "x");
    let page = door.send(browse(&path)).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.is_page() && page.text().contains("rm -rf ~/.mcp-auth"));
    for accept in ["*/*", "application/json"] {
        let ask = request(Method::GET, &path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let seen = door.send(ask).await;
        assert_eq!((seen.status, seen.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_client"));
    }
}

#[tokio::test]
async fn s7_an_unregistered_redirect_is_shown_and_not_followed() {
    let door = Doorway::open().await;
    let client = door.register("https://good.example/cb").await;
    for redirect in ["https://evil.example/<script>", "javascript:alert(1)", "https://good.example/cb/../x"] {
        let page = door.send(browse(&authorize(&client, redirect, "x"))).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{redirect}");
        assert!(page.is_page() && !page.headers.contains_key("location"), "{redirect}");
        assert!(!page.text().contains("<script"), "{redirect}");
    }
}

#[tokio::test]
async fn bad_forms_and_queries_are_pages_for_people_and_json_for_programs() {
    let door = Doorway::open().await;
    let page = door.send(browse("/authorize?state=%ff")).await;
    assert!(page.is_page() && page.status == StatusCode::BAD_REQUEST);
    assert_eq!(door.get("/callback/idp?state=%ff").await.error(), "invalid_request");
    assert_eq!(door.post("/consent", "text/plain", "x").await.status, StatusCode::BAD_REQUEST);
    let huge = format!("request={}", "x".repeat(70_000));
    let seen = door.post("/consent", "application/x-www-form-urlencoded", huge).await;
    assert_eq!((seen.status, seen.error().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"));
    for path in [
        "/callback/nobody?code=x&state=y",
        "/callback/idp",
        "/callback/idp?error=access_denied&error_description=%3Cscript%3E",
    ] {
        let page = door.send(browse(path)).await;
        assert!(page.status.is_client_error() && page.is_page(), "{path} {}", page.status);
        assert!(!page.text().contains("script"), "s29: the provider's words are not repeated");
    }
}

#[tokio::test]
async fn rfc6749_3_1_authorize_takes_a_posted_form_too() {
    let door = Doorway::open().await;
    let redirect = "http://localhost/callback";
    let client = door.register(redirect).await;
    let query = authorize(&client, redirect, "x").split_once('?').unwrap().1.to_owned();
    let page = door.post("/authorize", "application/x-www-form-urlencoded", query).await;
    assert!(page.is_page() && page.status == StatusCode::OK, "{}", page.text());
}
