//! What a document must be, and how it is found.

use serde_json::{Value, json};
use vestibule::domain::{Clock as _, DocumentUrl, HostPattern};
use vestibule::oauth::{Accept, Destination, RefusalPage, Step};
use vestibule::token::PresentedProof;

use super::{APP, but, document, host, house, house_with, is_asked, patient_house, told};
use crate::{
    oauth::house::{CLAUDE, Human, answered, asked, asking, failed, parameters, redeeming, refused},
    world::{documents::Page, holder::Holder},
};

#[tokio::test]
async fn behaviour_13_cimd_1_a_client_is_found_by_its_document_at_every_endpoint_and_fetched_once() {
    let host = host().await;
    let house = house(&host).await;
    let code = house.code(APP).await;
    let tokens = house.redeem(APP, &code).await.unwrap();
    let refresh = tokens.refresh_token.expect("it lists refresh_token").expose().clone();
    let again = parameters(&[("grant_type", "refresh_token"), ("client_id", APP), ("refresh_token", &refresh)]);
    let tokens = house.server.token(&again, None).await.unwrap();
    let refresh = tokens.refresh_token.unwrap().expose().clone();
    // A public client may not introspect, and is told so as one that is known.
    let asking = parameters(&[("client_id", APP), ("token", tokens.access_token.expose())]);
    let why = house.server.introspect(&asking, None).await.unwrap_err();
    assert_eq!(why.description, "introspection is for clients with a secret");
    let back = parameters(&[("client_id", APP), ("token", &refresh)]);
    house.server.revoke(&back, None).await.unwrap();
    assert_eq!(house.records_of("grant").await, 0);
    let fetches = host.fetches(APP);
    assert_eq!(fetches.len(), 1);
    assert_eq!(fetches[0].headers["accept"], "application/json");
    assert!(fetches[0].headers["user-agent"].to_str().unwrap().starts_with("vestibule/"));
    assert!(!fetches[0].headers.contains_key("cookie"));
}

#[tokio::test]
async fn cimd_12_cimd_14_the_page_names_the_documents_host_and_where_the_answer_goes() {
    let host = host().await;
    let house = house(&host).await;
    let page = asked(Human::new(&house).visit(&house, &asking(APP, CLAUDE)).await);
    let from = page.document.as_ref().unwrap();
    assert_eq!((from.host.as_str(), from.is_trusted), ("app.example", false));
    assert_eq!(page.client, "Example App");
    assert!(matches!(&page.destination, Destination::Redirect { host, .. } if host == "https://claude.ai"));
    assert!(!page.is_static);
    // CIMD-14: nobody fetches the picture.
    assert_eq!(host.count(), 1);
}

#[tokio::test]
async fn cimd_3_cimd_4_cimd_9_s22_what_is_no_sound_document_is_no_client() {
    let host = host().await;
    let house = patient_house(&host).await;
    let rsa_private = json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB" }] });
    let shared = json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] });
    let with = |changes: Value| Page::json(&but(document(APP), changes));
    let doubled = document(APP).to_string().replacen('{', "{\"client_id\":\"https://evil.example/c\",", 1);
    let json = |text: &str| Page::text(text).header("content-type", "application/json");
    for (page, why) in [
        (with(json!({ "client_id": "https://app.example/other.json" })), "names another client_id"),
        (with(json!({ "client_id": "https://app.example:443/client.json" })), "names another client_id"),
        (with(json!({ "client_id": null })), "must hold client_id"),
        (with(json!({ "client_name": null })), "must hold client_id"),
        (with(json!({ "client_name": "\u{202e}" })), "empty client_name"),
        (with(json!({ "client_name": 7 })), "must hold client_id"),
        (with(json!({ "redirect_uris": null })), "must hold client_id"),
        (with(json!({ "redirect_uris": [] })), "has no redirect_uris"),
        (with(json!({ "redirect_uris": ["javascript:alert(1)"] })), "a redirect URI that is refused"),
        (with(json!({ "redirect_uris": [CLAUDE, "http://evil.example/cb"] })), "a redirect URI that is refused"),
        (with(json!({ "redirect_uris": vec![CLAUDE; 101] })), "more than 100 redirect_uris"),
        (with(json!({ "client_secret": "s" })), "holds a client secret"),
        (with(json!({ "client_secret_expires_at": 0 })), "holds a client secret"),
        (with(json!({ "token_endpoint_auth_method": "client_secret_post" })), "asks for a shared secret"),
        (with(json!({ "token_endpoint_auth_method": "client_secret_jwt" })), "asks for a shared secret"),
        (with(json!({ "token_endpoint_auth_method": "tls_client_auth" })), "neither none nor private_key_jwt"),
        (with(json!({ "token_endpoint_auth_method": "private_key_jwt" })), "shows no key for it"),
        (with(json!({ "jwks": rsa_private })), "holds private or symmetric key material"),
        (with(json!({ "jwks": shared })), "holds private or symmetric key material"),
        (with(json!({ "jwks": "none" })), "is not a JWK set"),
        (with(json!({ "jwks": { "keys": [] }, "jwks_uri": "https://app.example/k" })), "has both jwks and jwks_uri"),
        (with(json!({ "jwks_uri": "http://app.example/k" })), "jwks_uri must begin with https"),
        (with(json!({ "grant_types": ["client_credentials"] })), "does not ask for authorization codes"),
        (with(json!({ "response_types": ["token"] })), "does not ask for authorization codes"),
        (json(&doubled), "must hold client_id"),
        (json("[]"), "is not a JSON object"),
        (json("<html>"), "is not a JSON object"),
        (json(""), "is not a JSON object"),
        (json(&format!("{}{}", "[".repeat(2000), "]".repeat(2000))), "is not a JSON object"),
        (json("").body(vec![0xff; 10]), "is not UTF-8"),
        (with(json!({})).header("content-type", "text/html"), "is not served as JSON"),
        (with(json!({})).header("content-type", "text/json+json"), "is not served as JSON"),
        (Page::text(&document(APP).to_string()), "is not served as JSON"),
        (with(json!({ "client_uri": "x".repeat(6000) })), "is longer than a document may be"),
        (with(json!({})).status(404), "there is no such document"),
        (with(json!({})).status(410), "there is no such document"),
    ] {
        host.show(APP, page);
        house.wait(120);
        let words = told(&house, APP).await;
        assert!(words.starts_with("invalid_client") && words.contains(why), "{why}: {words}");
        // The same word at the machine endpoints (CIMD-1).
        let why_not = house.server.token(&redeeming(APP, "vsc1.x"), None).await.unwrap_err();
        assert_eq!(why_not.code.as_str(), "invalid_client", "{why}");
    }
    for status in [201, 204, 206, 301, 302, 307, 401, 403, 429, 500, 503] {
        host.show(APP, with(json!({})).status(status).header("location", "https://app.example/other"));
        house.wait(120);
        assert!(told(&house, APP).await.starts_with("temporarily_unavailable"), "{status}");
    }
    // CIMD-5: no redirect was followed.
    assert!(host.fetches("https://app.example/other").is_empty());
    assert_eq!(house.records().await, 0);
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/client-metadata+json"] {
        host.show(APP, with(json!({})).header("content-type", kind));
        house.wait(120);
        assert!(is_asked(&house, APP).await, "{kind}");
        house.wait(300);
    }
}

#[tokio::test]
async fn cimd_9_keys_and_methods_beside_what_is_used_do_no_harm() {
    let host = host().await;
    let house = house(&host).await;
    for changes in [
        json!({ "token_endpoint_auth_method": null }),
        json!({ "token_endpoint_auth_method": "tls_client_auth", "token_endpoint_auth_methods_supported": ["none"] }),
        json!({ "jwks": { "keys": [{ "kty": "XYZ" }] } }),
        json!({ "grant_types": null, "response_types": null }),
        json!({ "grant_types": [] }),
        json!({ "unknown": { "member": true }, "jwks": null }),
    ] {
        host.show(APP, Page::json(&but(document(APP), changes.clone())));
        assert!(is_asked(&house, APP).await, "{changes}");
        house.wait(301);
    }
}

#[tokio::test]
async fn cimd_11_s7_nothing_is_answered_at_an_address_that_the_document_does_not_list() {
    let host = host().await;
    let house = house(&host).await;
    for elsewhere in [
        "https://evil.example/cb",
        "https://claude.ai/api/mcp/auth_callback/",
        "https://claude.ai:444/api/mcp/auth_callback",
    ] {
        let (page, _) = refused(Human::new(&house).visit(&house, &asking(APP, elsewhere)).await);
        assert!(matches!(page, RefusalPage::BadRedirect { requested, .. } if requested == elsewhere));
    }
    // AZ-3: the port of a loopback address floats, as for registrations.
    let loopback =
        but(document(APP), json!({ "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"] }));
    host.show(APP, Page::json(&loopback));
    house.wait(301);
    let page = asked(Human::new(&house).visit(&house, &asking(APP, "http://localhost:51234/callback")).await);
    assert!(matches!(&page.destination, Destination::Redirect { is_loopback: true, .. }));
}

#[tokio::test]
async fn cimd_2_an_address_that_is_none_is_an_unknown_client_and_fetches_nothing() {
    let host = host().await;
    let house = house(&host).await;
    for id in [
        "https://app.example",
        "https://app.example/",
        "https://u@app.example/client.json",
        "https://app.example/a/../client.json",
        "https://app.example:443/client.json",
        "http://app.example/client.json",
        "HTTPS://app.example/client.json",
        "https://app.example/client.json#x",
    ] {
        let (page, code) = refused(Human::new(&house).visit(&house, &asking(id, CLAUDE)).await);
        assert_eq!((page, code), (RefusalPage::UnknownClient, "invalid_client"), "{id}");
        assert_eq!(failed(house.server.token(&redeeming(id, "x"), None).await), "invalid_client");
    }
    assert_eq!(host.count(), 0);
}

#[tokio::test]
async fn cimd_13_cimd_17_the_operator_says_whose_documents_are_read() {
    let host = host().await;
    let other = "https://keys.example/c";
    host.show(other, Page::json(&document(other)));
    let pattern = |text: &str| vec![HostPattern::parse(text).unwrap()];

    let house = house_with(&host, |settings, _| settings.cimd.blocked_hosts = pattern("*.example")).await;
    assert!(told(&house, APP).await.contains("not accepted"));

    let house = house_with(&host, |settings, _| {
        settings.cimd.accept = Accept::Trusted;
        settings.cimd.trusted_hosts = pattern("app.example");
    })
    .await;
    let page = asked(Human::new(&house).visit(&house, &asking(APP, CLAUDE)).await);
    assert!(page.document.unwrap().is_trusted);
    assert!(told(&house, other).await.contains("not accepted"));

    let house = house_with(&host, |settings, _| {
        settings.cimd.accept = Accept::Trusted;
        settings.cimd.preload = vec![DocumentUrl::parse(APP).unwrap()];
    })
    .await;
    assert!(is_asked(&house, APP).await);
    assert!(told(&house, "https://app.example/else").await.contains("not accepted"));

    let house = house_with(&host, |settings, _| settings.cimd.accept = Accept::None).await;
    assert!(told(&house, APP).await.contains("not accepted"));
    assert_eq!(host.count(), 2, "only what is accepted is fetched");
}

#[tokio::test]
async fn cimd_16_a_document_that_changed_asks_again_and_ends_a_login_under_way() {
    let host = host().await;
    let house = house(&host).await;
    let human = Human::new(&house);
    answered(human.come_back(&house, &human.reach_callback(&house, &asking(APP, CLAUDE)).await).await);
    assert!(matches!(human.visit(&house, &asking(APP, CLAUDE)).await, Step::GoUpstream { .. }), "remembered");

    let renamed = but(document(APP), json!({ "client_name": "Another App" }));
    host.show(APP, Page::json(&renamed));
    house.wait(301);
    let page = asked(human.visit(&house, &asking(APP, CLAUDE)).await);
    assert_eq!(page.client, "Another App");

    // What is on the page is not what the document says any more: the yes is not taken for it.
    host.show(APP, Page::json(&but(renamed.clone(), json!({ "redirect_uris": [CLAUDE, "https://claude.ai/second"] }))));
    house.wait(301);
    assert_eq!(refused(human.decide(&house, &page, "approve").await).0, RefusalPage::Expired);

    // Nor is a code sent where the document no longer wants one.
    let callback = human.reach_callback(&house, &asking(APP, CLAUDE)).await;
    host.show(APP, Page::json(&but(renamed, json!({ "redirect_uris": ["https://claude.ai/second"] }))));
    house.wait(301);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::Expired);
    // What no one agrees to is no news: the address of a picture, say.
    host.show(APP, Page::json(&but(document(APP), json!({ "logo_uri": "https://app.example/new.png" }))));
    house.wait(301);
    assert!(matches!(human.visit(&house, &asking(APP, CLAUDE)).await, Step::GoUpstream { .. }), "the first edition");
}

#[tokio::test]
async fn cimd_7_a_longer_document_is_read_where_the_operator_allows_it() {
    let host = host().await;
    host.show(APP, Page::json(&but(document(APP), json!({ "client_uri": "x".repeat(60_000) }))));
    let house = house_with(&host, |settings, _| settings.cimd.cap.size = 64 << 10).await;
    assert!(is_asked(&house, APP).await);
    let uris: Vec<String> = (0..99).map(|n| format!("https://app.example/{n}/{}", "x".repeat(550))).collect();
    host.show(APP, Page::json(&but(document(APP), json!({ "redirect_uris": uris }))));
    house.wait(301);
    // The form carries what is needed of it, so that it comes back whole.
    let page = asked(Human::new(&house).visit(&house, &asking(APP, &uris[7])).await);
    assert!(page.sealed_request.expose().len() < 4096);
}

#[tokio::test]
async fn cimd_15_an_id_that_we_issue_is_no_address() {
    let house = house(&host().await).await;
    assert!(house.client(CLAUDE).starts_with("vst1."));
    let asked_for = json!({ "client_id": APP, "redirect_uris": [CLAUDE] });
    assert!(house.register(&asked_for).unwrap()["client_id"].as_str().unwrap().starts_with("vst1."));
}

#[tokio::test]
async fn dp_3_a_document_may_say_that_its_client_always_proves() {
    let host = host().await;
    host.show(APP, Page::json(&but(document(APP), json!({ "dpop_bound_access_tokens": true }))));
    let house = house(&host).await;
    let code = house.code(APP).await;
    let error = house.redeem(APP, &code).await.unwrap_err();
    assert_eq!(error.code.as_str(), "invalid_dpop_proof");
    let proof = Holder::es256(1).proof("POST", "https://mcp.example.com/token", house.clock.now().secs());
    let proof = PresentedProof::One(&proof);
    let tokens = house.server.token_proven(&redeeming(APP, &code), None, proof).await.unwrap();
    assert_eq!(tokens.token_type, "DPoP");
}
