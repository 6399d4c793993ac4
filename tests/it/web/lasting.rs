//! A login that lasts, and one that is ended, in a whole town: refresh, renewal after a refusal, revocation.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::Value;

use crate::world::town::{Login, Town, http, post_form};

async fn refresh(town: &Town, login: &Login, token: &str) -> (u16, Value) {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    post_form(&format!("{}/token", town.base), &form).await
}

fn said<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}"))
}

#[tokio::test]
async fn behaviour_22_a_login_outlives_its_tokens_and_the_providers() {
    let town = Town::new().await;
    let login = town.login().await;
    let mut tokens = login.tokens.clone();
    for _ in 0..5 {
        assert!(tokens["expires_in"].is_u64());
        assert_eq!(town.call("/notes", Some(said(&tokens, "access_token"))).await.status(), 200);
        town.clock.advance(Duration::from_secs(3600));
        assert_eq!(town.call("/notes", Some(said(&tokens, "access_token"))).await.status(), 401, "expired");
        let (status, next) = refresh(&town, &login, said(&tokens, "refresh_token")).await;
        assert_eq!(status, 200, "{next}");
        assert_ne!(said(&next, "refresh_token"), said(&tokens, "refresh_token"));
        tokens = next;
    }
    town.call("/notes", Some(said(&tokens, "access_token"))).await;
    let injected = town.mcp.last().header("authorization").unwrap().replace("Bearer ", "");
    assert!(town.provider.knows_access(&injected) && injected != login.access_token);
    assert!(!said(&tokens, "refresh_token").contains("provider-"), "UP-10");
}

#[tokio::test]
async fn behaviour_22_a_client_that_trusts_expires_in_to_the_last_moment_is_let_in() {
    for (life, told) in [("1s", 1), ("2s", 1), ("5s", 4), ("60s", 54), ("50m", 2990)] {
        let town = Town::with(&format!("[tokens]\naccess_life = \"{life}\"")).await;
        // Late in its second, as answers mostly come.
        town.clock.advance(Duration::from_millis(990));
        let login = town.login().await;
        assert_eq!(login.tokens["expires_in"], told, "of {life}");
        town.clock.advance(Duration::from_millis(told * 1000));
        assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200, "after {told} s of {life}");
        town.clock.advance(Duration::from_secs(11));
        assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 401, "and not much longer");
    }
}

#[tokio::test]
async fn behaviour_24_an_outage_is_503_with_retry_after() {
    use crate::world::provider::{At, Fault};
    let town = Town::new().await;
    let login = town.login().await;
    town.clock.advance(Duration::from_secs(3600));
    town.provider.set_fault(Fault::Error500(At::Token));
    let body = format!(
        "grant_type=refresh_token&client_id={}&refresh_token={}",
        login.client.id,
        said(&login.tokens, "refresh_token")
    );
    let request =
        http().post(format!("{}/token", town.base)).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 2);
    town.provider.heal();
    town.clock.advance(Duration::from_secs(5));
    assert_eq!(refresh(&town, &login, said(&login.tokens, "refresh_token")).await.0, 200);
}

#[tokio::test]
async fn a_401_of_the_mcp_server_makes_the_next_refresh_renew() {
    let town = Town::new().await;
    let login = town.login().await;
    town.call("/notes", Some(&login.access_token)).await;
    let first = town.mcp.last().header("authorization").unwrap().to_owned();
    let request = http().post(format!("{}/notes", town.base)).bearer_auth(&login.access_token);
    let refused = request.header("x-fake", "unauthorized").body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let (status, tokens) = refresh(&town, &login, said(&login.tokens, "refresh_token")).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(town.call("/notes", Some(said(&tokens, "access_token"))).await.status(), 200);
    assert_ne!(town.mcp.last().header("authorization").unwrap(), first, "another upstream token");
}

#[tokio::test]
async fn rfc7009_a_revoked_login_ends_at_the_next_call() {
    let town = Town::new().await;
    let login = town.login().await;
    let other = town.login().await;
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    let url = format!("{}/revoke", town.base);
    let form = [("token", said(&login.tokens, "refresh_token")), ("client_id", &login.client.id)];
    assert_eq!(post_form(&url, &form).await.0, 200);
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 401);
    assert_eq!(refresh(&town, &login, said(&login.tokens, "refresh_token")).await.1["error"], "invalid_grant");
    assert_eq!(town.call("/notes", Some(&other.access_token)).await.status(), 200);
    let (status, error) = post_form(&url, &[("token", "x"), ("client_id", "nobody")]).await;
    assert_eq!((status, said(&error, "error")), (401, "invalid_client"));
    let (status, error) =
        post_form(&format!("{}/introspect", town.base), &[("token", "x"), ("client_id", &login.client.id)]).await;
    assert_eq!((status, said(&error, "error")), (401, "invalid_client"));
    assert_eq!(http().get(&url).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn s13_behaviour_23_the_whole_house_gives_the_predecessor_its_minute() {
    let town = Town::new().await;
    let login = town.login().await;
    let first = said(&login.tokens, "refresh_token");
    let (_, second) = refresh(&town, &login, first).await;
    assert_eq!(town.call("/notes", Some(said(&second, "access_token"))).await.status(), 200);
    // The successor is in use already when the predecessor comes a last time.
    let (status, third) = refresh(&town, &login, said(&second, "refresh_token")).await;
    assert_eq!(status, 200, "{third}");
    town.clock.advance(Duration::from_secs(59));
    let (status, again) = refresh(&town, &login, first).await;
    assert_eq!((status, said(&again, "refresh_token")), (200, said(&second, "refresh_token")), "{again}");
    town.clock.advance(Duration::from_secs(2));
    let (status, error) = refresh(&town, &login, first).await;
    assert_eq!((status, said(&error, "error")), (400, "invalid_grant"), "61 s");
    for token in [said(&third, "access_token"), said(&again, "access_token"), &login.access_token] {
        assert_eq!(town.call("/notes", Some(token)).await.status(), 401, "the family is revoked");
    }
}

#[tokio::test]
async fn s13_another_client_revokes_and_refreshes_nothing() {
    let town = Town::new().await;
    let (login, stranger) = (town.login().await, town.client_named("Stranger").await);
    let url = format!("{}/revoke", town.base);
    let refresh_token = said(&login.tokens, "refresh_token");
    for token in [refresh_token, &login.access_token] {
        let (status, _) = post_form(&url, &[("token", token), ("client_id", &stranger.id)]).await;
        assert_eq!(status, 200, "RFC 7009 §2.2: as for a token that nobody knows");
    }
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", &stranger.id)];
    let (status, error) = post_form(&format!("{}/token", town.base), &form).await;
    assert_eq!((status, said(&error, "error")), (400, "invalid_grant"));
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    assert_eq!(refresh(&town, &login, refresh_token).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behaviour_23_five_at_once_over_http_get_one_successor() {
    let town = Town::new().await;
    let login = town.login().await;
    let token = said(&login.tokens, "refresh_token");
    let answers = join_all((0..5).map(|_| refresh(&town, &login, token))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let successors: BTreeSet<&str> = answers.iter().map(|(_, tokens)| said(tokens, "refresh_token")).collect();
    assert_eq!(successors.len(), 1, "never a new branch");
    for (_, tokens) in &answers {
        assert_eq!(town.call("/notes", Some(said(tokens, "access_token"))).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s34_fifty_at_upstream_expiry_are_one_renewal_and_fifty_successes() {
    let town = Town::new().await;
    let login = town.login().await;
    let token = said(&login.tokens, "refresh_token");
    town.clock.advance(Duration::from_secs(3600));
    town.provider.forget();
    let answers = join_all((0..50).map(|_| async {
        let (status, tokens) = refresh(&town, &login, token).await;
        assert_eq!(status, 200, "{tokens}");
        town.call("/notes", Some(said(&tokens, "access_token"))).await.status().as_u16()
    }))
    .await;
    assert_eq!(answers, [200; 50]);
    assert_eq!(town.provider.received_at("/token").len(), 1, "one renewal at the provider");
}

#[tokio::test]
async fn behaviour_28_logins_outlast_a_restart_and_a_crash() {
    let mut town = Town::around(1, "", "kind = \"sled\"\npath = \"store\"").await;
    let login = town.login().await;
    let mut tokens = login.tokens.clone();
    for is_crash in [false, true] {
        if is_crash {
            town.kill_and_restart(0).await;
        } else {
            town.restart(0).await;
        }
        assert_eq!(town.call("/notes", Some(said(&tokens, "access_token"))).await.status(), 200);
        let (status, next) = refresh(&town, &login, said(&tokens, "refresh_token")).await;
        assert_eq!(status, 200, "{next}");
        let (status, again) = refresh(&town, &login, said(&tokens, "refresh_token")).await;
        assert_eq!((status, said(&again, "refresh_token")), (200, said(&next, "refresh_token")), "and its grace, too");
        tokens = next;
    }
}
