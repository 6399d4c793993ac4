//! Logins that are kept: renewed once however many ask, printed, ended.

use serde_json::json;
use vestibule::{cli::SystemClock, domain::Clock as _};

use super::{kit::Home, stranger::Stranger};

async fn logged_in() -> (Stranger, Home) {
    let (stranger, home) = (Stranger::honest().await, Home::new());
    home.log_in(&stranger.url(), &[]).await.ok();
    (stranger, home)
}

#[tokio::test]
async fn a_token_is_printed_alone_and_renewed_only_when_it_must_be() {
    let (stranger, home) = logged_in().await;
    let ended = home.run(&[&stranger.url(), "--print-token"]).await.ok();
    assert_eq!((&*ended.stdout, &*ended.stderr), ("access-secret-1\n", ""));
    assert_eq!(stranger.seen("/token").len(), 1);
    home.expire();
    let ended = home.run(&[&stranger.url(), "--print-token", "--explain"]).await.ok();
    assert_eq!(ended.stdout, "access-secret-2\n", "explanations go to stderr here");
    assert!(ended.stderr.contains("RFC 6749 §6") && !ended.stderr.contains("secret"), "{}", ended.stderr);
    let renewal = &stranger.seen("/token")[1].parameters;
    assert_eq!((&*renewal["refresh_token"], &*renewal["resource"]), ("refresh-secret-1", &*stranger.url()));
    assert_eq!(home.kept()["tokens"]["refresh"], "refresh-secret-2");
}

#[tokio::test]
async fn rfc9700_4_14_two_processes_never_spend_one_refresh_token_twice() {
    let (stranger, home) = logged_in().await;
    home.expire();
    let url = stranger.url();
    let runs: Vec<_> = (0..6).map(|_| home.start(&[&url, "--print-token"])).collect();
    let mut printed = std::collections::BTreeSet::new();
    for run in runs {
        printed.insert(run.end().await.ok().stdout);
    }
    assert!(!stranger.saw_a_replay(), "a spent refresh token ends the login at strict servers");
    assert_eq!(printed.into_iter().collect::<Vec<_>>(), ["access-secret-2\n"]);
    assert_eq!(stranger.seen("/token").len(), 2, "one login, one renewal");
    // Forced, each may renew; none may replay.
    for run in (0..4).map(|_| home.start(&[&url, "--refresh"])).collect::<Vec<_>>() {
        run.end().await.ok();
    }
    assert!(!stranger.saw_a_replay());
}

#[tokio::test]
async fn an_outage_ends_no_login_and_a_dead_refresh_token_does() {
    let (stranger, home) = logged_in().await;
    let url = stranger.url();
    stranger.bend(|_, script| script.token_error = Some((503, json!({ "error": "temporarily_unavailable" }))));
    // Half a minute left: worth renewing, and still good.
    let soon = SystemClock.now().secs() + 30;
    home.change(|kept| kept["tokens"]["expires_at"] = soon.into());
    let ended = home.run(&[&url, "--print-token"]).await.ok();
    assert!(ended.stdout == "access-secret-1\n" && ended.stderr.starts_with("warning: not renewed"), "{ended:?}");
    home.expire();
    home.run(&[&url, "--print-token"]).await.failed_at("refresh");
    stranger.bend(|_, script| script.token_error = Some((400, json!({ "error": "invalid_grant" }))));
    let ended = home.run(&[&url, "--refresh"]).await.failed_at("refresh");
    assert!(ended.stderr.contains("invalid_grant") && !ended.stderr.contains("secret"), "{}", ended.stderr);
    assert!(home.run(&[&url, "--print-token"]).await.stderr.contains("the login has ended"));
    // The client is still good: the next login does not register another.
    stranger.bend(|_, script| script.token_error = None);
    home.log_in(&url, &[]).await.ok();
    assert_eq!(stranger.seen("/register").len(), 1);
    home.log_in(&url, &["--new-client"]).await.ok();
    assert_eq!(stranger.seen("/register").len(), 2);
}

#[tokio::test]
async fn rfc6749_6_a_server_that_does_not_rotate_keeps_its_refresh_token() {
    let (stranger, home) = logged_in().await;
    stranger.bend(|_, script| script.token = json!({ "refresh_token": null }));
    home.run(&[&stranger.url(), "--refresh"]).await.ok();
    assert_eq!(home.kept()["tokens"]["refresh"], "refresh-secret-1");
    assert_eq!(home.kept()["tokens"]["access"], "access-secret-2");
}

#[tokio::test]
async fn rfc7009_2_1_a_logout_revokes_and_forgets_even_when_the_server_fails() {
    let (stranger, home) = logged_in().await;
    let url = stranger.url();
    home.run(&[&url, "--logout"]).await.ok();
    let revoked = &stranger.seen("/revoke")[0].parameters;
    assert_eq!((&*revoked["token"], &*revoked["token_type_hint"]), ("refresh-secret-1", "refresh_token"));
    assert_eq!(revoked["client_id"], "the-client");
    assert!(home.run(&[&url, "--logout"]).await.ok().stdout.contains("There was no login"));

    home.log_in(&url, &[]).await.ok();
    stranger.bend(|_, script| script.revoke = 500);
    home.run(&[&url, "--logout"]).await.failed_at("revoke");
    assert!(home.run(&[&url, "--print-token"]).await.stderr.contains("there is no login"));
}

#[tokio::test]
async fn the_modes_exclude_each_other() {
    let home = Home::new();
    let url = "https://mcp.example.com/mcp";
    for two in [["--refresh", "--logout"], ["--print-token", "--json"], ["--no-login", "--print-token"]] {
        assert_eq!(home.run(&[url, two[0], two[1]]).await.code, 2, "{two:?}");
    }
    assert_eq!(home.run(&[url, "--redirect-uri", "https://evil.example/cb"]).await.code, 2);
}
