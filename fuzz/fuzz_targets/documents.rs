//! Client ID Metadata Documents and key sets, as strangers' hosts may answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vestibule::{domain::RegisteredRedirect, oauth::read_document};

const URL: &str = "https://client.example/oauth/client.json";

fuzz_target!(|text: &str| {
    let Some(redirects) = read_document(URL, text) else { return };
    let said: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(said["client_id"], URL, "it names itself (CIMD-3)");
    let members = said.as_object().expect("an object");
    assert!(members.keys().all(|name| !name.starts_with("client_secret")), "{text}");
    assert!(!redirects.is_empty() && redirects.iter().all(|uri| RegisteredRedirect::parse(uri).is_ok()), "{text}");
    assert!(!text.contains("\"d\":") || members.get("jwks").is_none_or(|set| !holds_private(set)), "{text}");
});

fn holds_private(set: &Value) -> bool {
    set["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key.get("d").is_some()))
}
