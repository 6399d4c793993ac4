//! `WWW-Authenticate` as `vestibule login` reads it, and what proxies say of where a request came from (S15). Each line is
//! a value; its first byte says of which header.
#![no_main]

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use libfuzzer_sys::fuzz_target;
use vestibule_fuzz::Door;

thread_local!(static DOOR: Door = Door::new());

const NAMES: [&str; 10] = [
    "x-forwarded-for",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-original-url",
    "x-request-id",
    "origin",
    "access-control-request-headers",
    "cookie",
];

fuzz_target!(|data: &[u8]| {
    let mut challenges = HeaderMap::new();
    let mut request = Request::builder().header(header::HOST, "mcp.example.com");
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some((pick, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        challenges.append(header::WWW_AUTHENTICATE, value.clone());
        let name = NAMES[usize::from(pick.wrapping_sub(b'a')) % NAMES.len()];
        request = request.header(HeaderName::from_static(name), value);
    }
    let _ = vestibule::cli::is_bearer(&challenges);
    let headers = request.headers_ref().expect("headers").clone();
    DOOR.with(|door| {
        let ask = |method: &str, path: &str, headers: &HeaderMap| {
            let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
            *request.headers_mut() = headers.clone();
            door.ask(request)
        };
        let honest = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("mcp.example.com"))]);
        for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/notes"] {
            let (told, true_) = (ask("GET", path, &headers), ask("GET", path, &honest));
            assert_eq!((told.status, told.body), (true_.status, true_.body), "{path} {headers:?}");
        }
        let refused = ask("POST", "/notes", &headers);
        assert!(refused.status == 401 || refused.status == 403, "{refused:?}");
        let _ = ask("OPTIONS", "/notes", &headers);
        let _ = ask("GET", "/authorize", &headers);
    });
});
