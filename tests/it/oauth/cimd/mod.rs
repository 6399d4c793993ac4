//! Clients that are described by documents of their own (protocol §3.3, behaviour 13, S22).

mod assertion;
mod cache;
mod guard;
mod known;
mod reach;
mod rules;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule::{
    domain::Resource,
    oauth::{Advertise, CimdSettings, RefusalPage, Settings},
    store::memory::Memory,
};

use super::house::{CLAUDE, House, Human, asking, refused};
use crate::world::documents::{DocumentHost, Page};

/// The app's document.
const APP: &str = "https://app.example/client.json";

/// A sound document for `url`.
fn document(url: &str) -> Value {
    json!({
        "client_id": url, "client_name": "Example App", "client_uri": "https://app.example",
        "logo_uri": "https://app.example/logo.png", "redirect_uris": [CLAUDE],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

/// The document with members of it replaced, or, by `null`, taken out.
fn but(mut document: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => document.as_object_mut().expect("an object").remove(name),
            value => document.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    document
}

/// A host that shows the app's document.
async fn host() -> DocumentHost {
    let host = DocumentHost::start().await;
    host.show(APP, Page::json(&document(APP)));
    host
}

/// A house that reads documents there.
async fn house(host: &DocumentHost) -> House {
    house_with(host, |_, _| {}).await
}

/// The same, of other settings.
async fn house_with(host: &DocumentHost, change: impl FnOnce(&mut Settings, &mut Vec<Resource>)) -> House {
    House::reaching(host.http(), Arc::new(Memory::new()), |settings, resources| {
        settings.cimd = quick();
        change(settings, resources);
    })
    .await
}

/// The same, where the app's host is asked as often as a test wants.
async fn patient_house(host: &DocumentHost) -> House {
    let trusted = vestibule::domain::HostPattern::parse("app.example").expect("a pattern");
    house_with(host, |settings, _| settings.cimd.trusted_hosts = vec![trusted]).await
}

/// Settings that do not wait long.
fn quick() -> CimdSettings {
    let mut cimd = CimdSettings { advertise: Advertise::Off, ..CimdSettings::new() };
    cimd.cap.time = Duration::from_millis(800);
    cimd
}

/// What a person is told who comes with that client id: the words of the error.
async fn told(house: &House, client: &str) -> String {
    let step = Human::new(house).visit(house, &asking(client, CLAUDE)).await;
    let vestibule::oauth::Step::Refuse(refusal) = &step else { panic!("{client}: {step:?}") };
    let words = format!("{} {}", refusal.error.code.as_str(), refusal.error.description);
    let (page, _) = refused(step);
    assert_eq!(page, RefusalPage::NoDocument { url: client.to_owned() });
    words
}

/// Whether a person who comes with that client id is asked for consent, or sent on because they gave it before.
async fn is_asked(house: &House, client: &str) -> bool {
    let step = Human::new(house).visit(house, &asking(client, CLAUDE)).await;
    matches!(step, vestibule::oauth::Step::AskConsent(_) | vestibule::oauth::Step::GoUpstream { .. })
}
