//! A login that lasts, and one that is ended, in a whole town: refresh, renewal after a refusal, revocation.

use std::time::Duration;

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
