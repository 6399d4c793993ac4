//! RFC 7591 at the door. What is registered can also ask: one rule decides at `/register` and `/authorize` (behaviour 10).
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;
use vestibule_fuzz::Door;

thread_local!(static DOOR: Door = Door::new());

fuzz_target!(|body: &[u8]| DOOR.with(|door| {
    let answer = door.post("/register", "application/json", body);
    let told: Value = serde_json::from_slice(&answer.body).expect("always JSON");
    assert_eq!(answer.headers["cache-control"], "no-store");
    if answer.status != 201 {
        assert!(told["error"].is_string(), "{told}");
        return;
    }
    let members = told.as_object().expect("an object");
    assert!(members.values().all(|value| !value.is_null()), "{told}");
    assert_eq!(members.contains_key("client_secret"), told["token_endpoint_auth_method"] != "none", "{told}");
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let id = encoded(told["client_id"].as_str().expect("an id"));
    for uri in told["redirect_uris"].as_array().into_iter().flatten() {
        let target = format!(
            "/authorize?response_type=code&client_id={id}&redirect_uri={}&code_challenge_method=S256\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            encoded(uri.as_str().expect("text"))
        );
        let asked = door.get(&target).expect("an address");
        assert_eq!(asked.status, 200, "{uri}: {asked:?}");
    }
}));
