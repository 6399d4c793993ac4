//! Whom an issuer's word makes of a person, where it is listened to, and by which keys (EMA-5).

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey},
    domain::{Allow, ClientAuthMethod, Clock as _, HttpsUrl, Injection, resource::EmailRule},
    oauth::{KeySource, SpeaksFor},
    store::memory::Memory,
};

use super::{CORP, GRANT, ID_JAG, Scene, asking, basic, issuer, name, notes, people, set};
use crate::{
    oauth::house::{CLAUDE, House, ISSUER, NOTES, failed, parameters, static_client},
    world::documents::{DocumentHost, Page},
};

#[tokio::test]
async fn ema_5_metadata_tells_of_it_only_where_somebody_is_listened_to() {
    let read = |house: &House| serde_json::from_slice::<Value>(&house.server.metadata()).unwrap();
    let metadata = read(&Scene::open().await.house);
    let profile = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    assert_eq!(metadata["authorization_grant_profiles_supported"], profile);
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token", GRANT]));
    let metadata = read(&Scene::with(|_, all| all[0].trusts.issuers.clear()).await.house);
    assert_eq!(metadata.get("authorization_grant_profiles_supported"), None, "only workloads");
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token", GRANT]));
    let metadata = read(&House::open().await);
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token"]));
}

#[tokio::test]
async fn ema_5_people_are_known_by_issuer_and_sub_and_addresses_count_only_where_verified() {
    let only = |emails: &[&str], subjects: &[&str]| Allow::Only {
        emails: emails.iter().map(|email| EmailRule::parse(email).unwrap()).collect(),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        groups: Vec::new(),
    };
    let mail = |verified: Value| json!({ "email": "ann@corp.example", "email_verified": verified });
    let scene = Scene::with(|_, all| all[0].allow = only(&["*@corp.example"], &[])).await;
    for bad in [mail(json!(null)), mail(json!(false)), json!({}), json!({ "email_verified": true })] {
        assert_eq!(failed(scene.come(&scene.jag(bad.clone())).await), "invalid_grant", "{bad}");
    }
    assert!(scene.come(&scene.jag(mail(json!(true)))).await.is_ok());
    // An ID-JAG has no `email_verified`; an operator may know that all addresses there are.
    let vouching = Scene::with(|settings, all| {
        all[0].allow = only(&["*@corp.example"], &[]);
        let SpeaksFor::People(introduction) = &mut settings.issuers[0].speaks_for else { panic!() };
        introduction.vouches_for_emails = true;
    })
    .await;
    assert!(vouching.come(&vouching.jag(mail(json!(null)))).await.is_ok());
    assert_eq!(failed(vouching.come(&vouching.jag(mail(json!(false)))).await), "invalid_grant");
    // A number without an issuer's name means the upstream's people: `ann` elsewhere is somebody else.
    let bare = Scene::with(|_, all| all[0].allow = only(&[], &["ann"])).await;
    assert_eq!(failed(bare.come(&bare.jag(json!({}))).await), "invalid_grant");
    let whole = Scene::with(|_, all| all[0].allow = only(&[], &["corp:ann"])).await;
    assert!(whole.come(&whole.jag(json!({}))).await.is_ok());
    // Where the operator says that they are the same people, they are.
    let linked = Scene::with(|settings, all| {
        all[0].allow = only(&[], &["ann"]);
        settings.issuers[0].speaks_for = people("idp");
    })
    .await;
    let response = linked.come(&linked.jag(json!({}))).await.unwrap();
    assert_eq!(linked.caller(&response).await.identity.subject.as_str(), "idp:ann");
}

#[tokio::test]
async fn ema_5_a_server_that_is_handed_a_persons_token_is_closed_to_a_mere_word() {
    let scene = Scene::with(|_, all| all[0].inject = vec![Injection::UpstreamToken]).await;
    assert_eq!(failed(scene.come(&scene.jag(json!({}))).await), "invalid_target");
    assert_eq!(failed(scene.work(&scene.badge(json!({}))).await), "invalid_target");
    assert_eq!(scene.house.records_of("grant").await, 0);
}

#[tokio::test]
async fn ema_5_a_client_with_a_document_comes_with_its_own_signature() {
    const APP: &str = "https://app.example/client.json";
    let (host, key) = (DocumentHost::start().await, SigningKey::generate(Alg::Es256, "app").unwrap());
    let document = json!({ "client_id": APP, "client_name": "Example App", "redirect_uris": [CLAUDE],
        "grant_types": ["authorization_code", GRANT], "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": set(&[&key]) });
    host.show(APP, Page::json(&document));
    let corp = SigningKey::generate(Alg::Es256, "corp-1").unwrap();
    let keys = format!("https://localhost:{}/jwks.json", host.address.port());
    host.show(&keys, Page::json(&set(&[&corp])));
    let at = KeySource::Configured(HttpsUrl::parse(&keys, false).unwrap());
    let house = House::reaching(host.http(), Arc::new(Memory::new()), |settings, resources| {
        settings.issuers = vec![issuer("corp", CORP, at, people("corp"))];
        resources[0].trusts.issuers = vec![name("corp")];
    })
    .await;
    let come = async |signer: &SigningKey, jti: &str| {
        let now = house.clock.now().secs();
        let about = json!({ "iss": CORP, "sub": "ann", "aud": ISSUER, "client_id": APP, "resource": NOTES,
            "iat": now, "exp": now + 60, "jti": jti });
        let own = json!({ "iss": APP, "sub": APP, "aud": ISSUER, "exp": now + 60, "jti": jti });
        let jag = signer.sign(ID_JAG, about.to_string().as_bytes()).unwrap();
        let mut form = asking(&jag);
        form.extend(parameters(&[
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &key.sign("JWT", own.to_string().as_bytes()).unwrap()),
        ]));
        house.server.token(&form, None).await
    };
    let response = come(&corp, "1").await.unwrap();
    assert_eq!(house.mint.verify(response.access_token.expose(), &notes()).await.unwrap().client.as_str(), APP);
    // The issuer's keys are fetched once, and once more for a name that is not among them.
    come(&corp, "2").await.unwrap();
    assert_eq!(host.fetches(&keys).len(), 1);
    let next = SigningKey::generate(Alg::Es256, "corp-2").unwrap();
    host.show(&keys, Page::json(&set(&[&corp, &next])));
    come(&next, "3").await.unwrap();
    assert_eq!(host.fetches(&keys).len(), 2);
}

#[tokio::test]
async fn ema_1_keys_that_cannot_be_had_are_no_verdict() {
    let host = DocumentHost::start().await;
    let corp = SigningKey::generate(Alg::Es256, "corp-1").unwrap();
    let keys = format!("https://localhost:{}/jwks.json", host.address.port());
    let at = KeySource::Configured(HttpsUrl::parse(&keys, false).unwrap());
    let house = House::reaching(host.http(), Arc::new(Memory::new()), |settings, resources| {
        settings.clients.push(static_client("agent", ClientAuthMethod::ClientSecretBasic, Some("shh")));
        settings.issuers = vec![issuer("corp", CORP, at, people("corp"))];
        resources[0].trusts.issuers = vec![name("corp")];
    })
    .await;
    let now = house.clock.now().secs();
    let claims = json!({ "iss": CORP, "sub": "ann", "aud": ISSUER, "client_id": "agent", "resource": NOTES,
        "iat": now, "exp": now + 300, "jti": "1" });
    let jag = corp.sign(ID_JAG, claims.to_string().as_bytes()).unwrap();
    for page in [Page::text("").status(500), Page::text("no keys"), Page::text("").status(404)] {
        host.show(&keys, page);
        let outcome = house.server.token(&asking(&jag), basic("agent")).await;
        assert_eq!(failed(outcome), "temporarily_unavailable");
        house.wait(61);
    }
    host.show(&keys, Page::json(&set(&[&corp])));
    house.server.token(&asking(&jag), basic("agent")).await.unwrap();
}
