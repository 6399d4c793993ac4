//! Whether clients are told that they may be described by documents (ASM-6, ASM-8).

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};
use vestibule::{
    domain::{ClientAuthMethod, DocumentUrl},
    oauth::{Accept, Advertise},
};

use super::{APP, host, house_with, is_asked};
use crate::{
    oauth::house::{House, static_client},
    world::documents::at,
};

fn metadata(house: &House) -> Value {
    serde_json::from_slice(&house.server.metadata()).expect("JSON")
}

fn is_announced(house: &House) -> bool {
    metadata(house)["client_id_metadata_document_supported"] == json!(true)
}

/// Lets the house look around until it announces, or for a second.
async fn looks_around(house: &House) -> bool {
    let server = Arc::clone(&house.server);
    let tending = tokio::spawn(async move { server.tend_documents().await });
    for _ in 0..50 {
        if is_announced(house) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tending.abort();
    is_announced(house)
}

#[tokio::test]
async fn asm_6_asm_8_behaviour_4_what_is_announced_is_what_is_on() {
    let host = host().await;
    let on = house_with(&host, |settings, _| settings.cimd.advertise = Advertise::On).await;
    let said = metadata(&on);
    assert_eq!(said["client_id_metadata_document_supported"], true);
    // Claude takes the road of documents only where it finds both.
    let all = json!(["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]);
    let algs = json!(["ES256", "Ed25519", "EdDSA", "RS256", "PS256"]);
    for endpoint in ["token", "revocation"] {
        assert_eq!(said[format!("{endpoint}_endpoint_auth_methods_supported")], all);
    }
    let confidential = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    assert_eq!(said["introspection_endpoint_auth_methods_supported"], confidential);
    for endpoint in ["token", "revocation", "introspection"] {
        assert_eq!(said[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")], algs);
    }

    let off = house_with(&host, |_, _| {}).await;
    let said = metadata(&off);
    assert_eq!(said.get("client_id_metadata_document_supported"), None);
    assert_eq!(
        said["token_endpoint_auth_methods_supported"],
        json!(["none", "client_secret_basic", "client_secret_post"])
    );
    assert_eq!(said.get("token_endpoint_auth_signing_alg_values_supported"), None);
    assert!(is_asked(&off, APP).await, "accepted all the same");

    let nobody = house_with(&host, |settings, _| {
        (settings.cimd.advertise, settings.cimd.accept) = (Advertise::On, Accept::None);
    })
    .await;
    assert!(!is_announced(&nobody), "never announced where none is accepted");

    // A static client with keys needs the method listed, and no documents.
    let keys = vestibule::oauth::ClientKeys {
        source: vestibule::oauth::KeySource::Published(DocumentUrl::parse("https://keys.example/k").unwrap()),
        endpoint_audience: false,
    };
    let robot = static_client("robot", ClientAuthMethod::PrivateKeyJwt, None);
    let signing = house_with(&host, |settings, _| {
        settings.clients = vec![vestibule::oauth::StaticClient { keys: Some(keys), ..robot }];
    })
    .await;
    assert_eq!(metadata(&signing)["token_endpoint_auth_methods_supported"], all);
    assert!(!is_announced(&signing));
}

#[tokio::test]
async fn auto_announces_when_a_host_of_documents_answers_whatever_it_answers() {
    let host = host().await;
    let probe = "https://vscode.dev/oauth/client-metadata.json";
    let house = house_with(&host, |settings, _| {
        settings.cimd.advertise = Advertise::Auto;
        let silent = DocumentUrl::parse("https://nowhere.example/c").unwrap();
        settings.cimd.probe = vec![silent, DocumentUrl::parse(probe).unwrap()];
    })
    .await;
    assert!(!is_announced(&house), "not before it was seen to work");
    assert!(looks_around(&house).await);
    // A HEAD, which a 404 answers as well as anything.
    assert_eq!(host.fetches(probe)[0].method, Method::HEAD);
}

#[tokio::test]
async fn auto_stays_silent_where_the_way_out_is_closed_until_a_document_comes_through() {
    let host = host().await;
    let house = house_with(&host, |settings, _| settings.cimd.advertise = Advertise::Auto).await;
    for name in ["claude.ai", "chatgpt.com", "vscode.dev"] {
        host.book.leads(name, &[&[at("10.0.0.1")]]);
    }
    assert!(!looks_around(&house).await);
    assert!(host.book.looks("claude.ai") > 0 && host.book.looks("vscode.dev") > 0, "well-known hosts are asked");
    assert!(is_asked(&house, APP).await);
    assert!(is_announced(&house), "there is no better proof");
}

#[tokio::test]
async fn cimd_17_preloaded_documents_are_there_before_anybody_asks() {
    let host = host().await;
    let house = house_with(&host, |settings, _| {
        settings.cimd.advertise = Advertise::Auto;
        settings.cimd.accept = Accept::Trusted;
        settings.cimd.preload = vec![DocumentUrl::parse(APP).unwrap()];
        settings.cimd.probe = settings.cimd.preload.clone();
    })
    .await;
    assert!(looks_around(&house).await);
    assert_eq!(house.records_of("metadata").await, 1);
    let fetches = host.fetches(APP).iter().filter(|fetch| fetch.method == Method::GET).count();
    assert!(is_asked(&house, APP).await);
    assert_eq!((fetches, host.fetches(APP).iter().filter(|fetch| fetch.method == Method::GET).count()), (1, 1));
}
