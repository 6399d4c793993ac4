//! A rolling change of master keys between processes over one store (D11; docs/operations.md).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header::{HOST, RETRY_AFTER};
use serde_json::Value;

use crate::{
    store::server::{Server, over_every_server},
    world::town::{Login, Town, http, post_form},
};

over_every_server!(
    d11_a_new_master_key_that_is_added_first_and_seals_later_is_noticed_by_nobody,
    d11_a_process_without_the_key_that_another_seals_with_says_try_again_and_spoils_nothing,
);

/// Starts one of the processes anew with these master keys, the first of which seals.
async fn give(town: &mut Town, at: usize, keys: &[u8]) {
    let file = town.file(at);
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.starts_with("secret_key")).unwrap();
    let keys: Vec<String> = keys.iter().map(|byte| format!("\"{}\"", STANDARD.encode([*byte; 32]))).collect();
    let text = text.replace(line, &format!("secret_key = [{}]", keys.join(", ")));
    std::fs::write(&file, text).unwrap();
    town.restart(at).await;
}

/// A refresh at one process; status and answer.
async fn refresh(town: &Town, at: usize, login: &Login, token: &str) -> (u16, Value) {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    post_form(&format!("{}/token", town.door(at)), &form).await
}

async fn call(town: &Town, at: usize, token: &str) -> u16 {
    let host = town.base.trim_start_matches("http://");
    let call = http().post(format!("{}/notes", town.door(at))).header(HOST, host).bearer_auth(token);
    let call =
        call.header("content-type", "application/json").body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    call.send().await.unwrap().status().as_u16()
}

fn said(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}")).to_owned()
}

/// The order of the run-book, with the town's key 7 and a new one, 8. At every step both processes refresh what either has
/// made, and a new login goes through both.
async fn d11_a_new_master_key_that_is_added_first_and_seals_later_is_noticed_by_nobody(server: impl Server) {
    let mut town = Town::around(2, "", &server.toml()).await;
    let login = town.login().await;
    let mut tokens = login.tokens.clone();
    for (at, keys) in [(0, [7, 8]), (1, [7, 8]), (0, [8, 7]), (1, [8, 7])] {
        give(&mut town, at, &keys).await;
        for at in [0, 1, 1, 0] {
            let (status, next) = refresh(&town, at, &login, &said(&tokens, "refresh_token")).await;
            assert_eq!(status, 200, "{keys:?}, at {at}: {next}");
            tokens = next;
            for at in [0, 1] {
                assert_eq!(call(&town, at, &said(&tokens, "access_token")).await, 200, "{keys:?}, at {at}");
            }
        }
        let newcomer = town.login().await;
        assert_eq!(refresh(&town, 1 - at, &newcomer, &said(&newcomer.tokens, "refresh_token")).await.0, 200);
    }
}

/// The wrong order: one process seals with a key that the other was never given.
async fn d11_a_process_without_the_key_that_another_seals_with_says_try_again_and_spoils_nothing(server: impl Server) {
    let mut town = Town::around(2, "", &server.toml()).await;
    let login = town.login().await;
    let other = town.login().await;
    give(&mut town, 0, &[8, 7]).await;
    let (status, tokens) = refresh(&town, 0, &login, &said(&login.tokens, "refresh_token")).await;
    assert_eq!(status, 200, "{tokens}");

    // At the old process: nothing that the new one made is refused for good, and nothing of it is touched.
    let form = [("token", said(&tokens, "refresh_token")), ("client_id", login.client.id.clone())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for _ in 0..3 {
        for token in [&tokens, &login.tokens] {
            let (status, answer) = refresh(&town, 1, &login, &said(token, "refresh_token")).await;
            assert_eq!((status, answer["error"].as_str()), (503, Some("temporarily_unavailable")), "{answer}");
        }
        assert_eq!(call(&town, 1, &said(&tokens, "access_token")).await, 503);
        let (status, answer) = post_form(&format!("{}/revoke", town.door(1)), &form).await;
        assert_eq!((status, answer["error"].as_str()), (503, Some("temporarily_unavailable")), "{answer}");
    }
    // A client that registered at the new one is not told to register again, nor its person that it is unknown.
    let registration = serde_json::json!({ "redirect_uris": ["https://late.example/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" });
    let registered = http().post(format!("{}/register", town.door(0))).body(registration.to_string()).send().await;
    let registered: Value = serde_json::from_slice(&registered.unwrap().bytes().await.unwrap()).unwrap();
    let late = said(&registered, "client_id");
    let asked = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", late.as_str())];
    let (status, answer) = post_form(&format!("{}/token", town.door(1)), &asked).await;
    assert_eq!((status, answer["error"].as_str()), (503, Some("temporarily_unavailable")), "{answer}");
    let (status, answer) = post_form(&format!("{}/token", town.door(0)), &asked).await;
    assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_grant")), "{answer}");
    let mut page = url::Url::parse(&format!("{}/authorize", town.door(1))).unwrap();
    page.query_pairs_mut().append_pair("response_type", "code").append_pair("client_id", &late);
    let page = http().get(page).header(HOST, town.base.trim_start_matches("http://")).send().await.unwrap();
    assert_eq!(page.status(), 503);
    assert!(page.headers().contains_key(RETRY_AFTER));
    // What lies under the key that both have goes on, at both.
    assert_eq!(call(&town, 1, &other.access_token).await, 200);
    let (status, mine) = refresh(&town, 1, &other, &said(&other.tokens, "refresh_token")).await;
    assert_eq!(status, 200, "{mine}");
    assert_eq!(refresh(&town, 0, &other, &said(&mine, "refresh_token")).await.0, 200);

    // The old one is given the key: all is as it was.
    give(&mut town, 1, &[7, 8]).await;
    assert_eq!(call(&town, 1, &said(&tokens, "access_token")).await, 200);
    let (status, tokens) = refresh(&town, 1, &login, &said(&tokens, "refresh_token")).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(refresh(&town, 0, &login, &said(&tokens, "refresh_token")).await.0, 200);
    let (status, answer) = refresh(&town, 1, &login, "vr_forged").await;
    assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_grant")), "a forged one is one again");
    let log = town.end().await;
    assert!(log.contains("another process has a master key that is missing here"), "{log}");
    assert!(log.contains("is in use in other processes and missing here"), "{log}");
    assert!(!log.contains("counts as absent"), "{log}");
}
