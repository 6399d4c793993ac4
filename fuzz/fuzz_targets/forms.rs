//! Forms and queries at every endpoint that reads them. The first byte picks one, the rest of the line is `Authorization` and,
//! behind a tab, `DPoP`.
#![no_main]

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, header};
use libfuzzer_sys::fuzz_target;
use vestibule_fuzz::Door;

thread_local!(static DOOR: Door = Door::new());

const POSTS: [&str; 7] =
    ["/token", "/revoke", "/introspect", "/device_authorization", "/consent", "/device", "/authorize"];
const GETS: [&str; 3] = ["/authorize", "/callback/idp", "/device"];

fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else { return };
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (credentials, form) = (&rest[..at], rest.get(at + 1..).unwrap_or_default());
    let pick = usize::from(pick.wrapping_sub(b'a')) % (POSTS.len() + GETS.len());
    let mut request = Request::builder().header(header::HOST, "mcp.example.com");
    let mut values = credentials.splitn(2, |byte| *byte == b'\t');
    for name in [header::AUTHORIZATION, HeaderName::from_static("dpop")] {
        if let Some(Ok(value)) = values.next().map(HeaderValue::from_bytes) {
            request = request.header(name, value);
        }
    }
    request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-site", "same-origin");
    let request = if let Some(path) = POSTS.get(pick) {
        let kind = "application/x-www-form-urlencoded";
        request.method(Method::POST).uri(*path).header(header::CONTENT_TYPE, kind).body(Body::from(form.to_vec()))
    } else {
        let Ok(query) = std::str::from_utf8(form) else { return };
        request.uri(format!("{}?{query}", GETS[pick - POSTS.len()])).body(Body::empty())
    };
    let Ok(request) = request else { return };
    let is_token = request.uri().path() == "/token";
    DOOR.with(|door| {
        let answer = door.ask(request);
        // Nobody has logged in here, so there is nothing to be had.
        assert!(!is_token || (400..=503).contains(&answer.status.as_u16()), "{answer:?}");
        if is_token {
            assert_eq!(answer.headers["cache-control"], "no-store");
            let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert!(told["error"].is_string(), "{told}");
        }
        // Nothing but a registered address is ever followed.
        if let Some(location) = answer.headers.get(header::LOCATION) {
            let location = location.to_str().expect("ASCII");
            assert!(location.starts_with("https://desk.example/callback") || location.starts_with('/'), "{location}");
        }
    });
});
