//! Two processes over one Redis or PostgreSQL, with a dumb round-robin in front: who begins at one may go on at the other (behaviours
//! 11 and 28; D7, D14).

use std::time::Duration;

use serde_json::Value;

use crate::{
    store::server::{Server, over_every_server},
    world::town::{Login, Town, post_form},
};

async fn refresh(town: &Town, login: &Login, token: &str) -> (u16, Value) {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    post_form(&format!("{}/token", town.base), &form).await
}

fn said<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}"))
}

/// Both processes: the round-robin sends two calls in a row to two of them.
async fn statuses(town: &Town, token: &str) -> [u16; 2] {
    [town.call("/notes", Some(token)).await.status().as_u16(), town.call("/notes", Some(token)).await.status().as_u16()]
}

over_every_server!(
    behaviour_28_a_login_goes_from_one_process_to_the_other_at_every_step,
    d14_a_revocation_at_one_process_ends_the_token_at_the_other,
    behaviour_11_a_rolling_restart_loses_no_login,
);

async fn behaviour_28_a_login_goes_from_one_process_to_the_other_at_every_step(server: impl Server) {
    let town = Town::around(2, "", &server.toml()).await;
    // Seven requests make a login, so the second one begins at the other process.
    for _ in 0..4 {
        let login = town.login().await;
        assert_eq!(statuses(&town, &login.access_token).await, [200, 200]);
        let mut tokens = login.tokens.clone();
        for _ in 0..3 {
            let (status, next) = refresh(&town, &login, said(&tokens, "refresh_token")).await;
            assert_eq!(status, 200, "{next}");
            tokens = next;
        }
        assert_eq!(statuses(&town, said(&tokens, "access_token")).await, [200, 200]);
    }
}

async fn d14_a_revocation_at_one_process_ends_the_token_at_the_other(server: impl Server) {
    let town = Town::around(2, "", &server.toml()).await;
    let login = town.login().await;
    assert_eq!(statuses(&town, &login.access_token).await, [200, 200]);
    let form = [("token", said(&login.tokens, "refresh_token")), ("client_id", &login.client.id)];
    assert_eq!(post_form(&format!("{}/revoke", town.base), &form).await.0, 200);
    // Documented as five seconds; the loop only keeps a broken one from hanging.
    for _ in 0..300 {
        if statuses(&town, &login.access_token).await == [401, 401] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still let in after half a minute");
}

async fn behaviour_11_a_rolling_restart_loses_no_login(server: impl Server) {
    let mut town = Town::around(2, "", &server.toml()).await;
    let login = town.login().await;
    let mut tokens = login.tokens.clone();
    for at in [0, 1, 0, 1] {
        town.restart(at).await;
        assert_eq!(statuses(&town, said(&tokens, "access_token")).await, [200, 200], "after restart of {at}");
        let (status, next) = refresh(&town, &login, said(&tokens, "refresh_token")).await;
        assert_eq!(status, 200, "{next}");
        tokens = next;
    }
}
