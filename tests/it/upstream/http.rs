//! The guarded client against real sockets.

use std::time::Duration;

use vestibule::upstream::http::{Http, HttpSettings, MAX_BODY, Request};

use crate::world::{
    FakeProvider, ManualClock,
    provider::{At, Fault, Profile},
};

fn get(url: &str) -> Request {
    ::http::Request::get(url).body(Vec::new()).unwrap()
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    let fake = FakeProvider::start(Profile::Oidc, ManualClock::new()).await;
    let http = Http::new(&HttpSettings::default()).unwrap();
    let url = format!(
        "{}/authorize?client_id=vestibule@provider&redirect_uri={}/callback/x&state=s",
        fake.issuer(),
        fake.issuer()
    );
    let answer = http.operator(get(&url)).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert!(fake.received_at("/callback/x").is_empty());
    let agent = fake.received()[0].headers["user-agent"].clone();
    assert!(agent.starts_with("vestibule/"), "{agent}");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let fake = FakeProvider::start(Profile::Oidc, ManualClock::new()).await;
    fake.set_fault(Fault::Endless(At::Jwks));
    let http = Http::new(&HttpSettings::default()).unwrap();
    let error = http.operator(get(&format!("{}/jwks", fake.issuer()))).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the answer is longer than {MAX_BODY} bytes"));
}

#[tokio::test]
async fn a_silent_host_is_given_up() {
    let fake = FakeProvider::start(Profile::Oidc, ManualClock::new()).await;
    fake.set_fault(Fault::Hang(At::Jwks));
    let http = Http::new(&HttpSettings { timeout: Duration::from_millis(100), ..HttpSettings::default() }).unwrap();
    let error = http.operator(get(&format!("{}/jwks?secret=1", fake.issuer()))).await.unwrap_err();
    assert!(error.to_string().starts_with("no answer in time"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_bundle_that_is_not_pem_is_told() {
    let settings = HttpSettings {
        extra_ca: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----".to_vec()),
        ..HttpSettings::default()
    };
    let error = Http::new(&settings).unwrap_err();
    assert!(error.contains("extra certificate authorities"), "{error}");
}
