//! The device flow (RFC 8628).

use serde_json::json;

use super::{kit::Home, stranger::Stranger};

#[tokio::test]
async fn rfc8628_3_5_polls_until_the_person_has_said_yes() {
    let stranger = Stranger::bent(|_, script| script.pending = 2).await;
    let home = Home::new();
    let mut run = home.start(&[&stranger.url(), "--device", "--strict"]);
    assert_eq!(run.line(|line| line.starts_with("WDJB")).await.as_deref(), Some("WDJB-MJHT"));
    run.end().await.ok();
    assert_eq!(stranger.seen("/token").len(), 3);
    let asked = &stranger.seen("/device")[0].parameters;
    assert_eq!((&*asked["resource"], &*asked["scope"]), (&*stranger.url(), "read"));
    let registration: serde_json::Value = serde_json::from_slice(&stranger.seen("/register")[0].body).unwrap();
    assert!(registration["grant_types"].to_string().contains("device_code"));
    assert_eq!(home.run(&[&stranger.url(), "--print-token"]).await.ok().stdout, "access-secret-1\n");
    home.run(&[&stranger.url(), "--device"]).await.ok();
    assert_eq!(stranger.seen("/register").len(), 1, "the client of the last login");
    home.log_in(&stranger.url(), &[]).await.ok();
    assert_eq!(stranger.seen("/register").len(), 2, "which may not do for another grant");
}

#[tokio::test]
async fn rfc8628_3_5_a_no_and_a_server_without_the_grant_are_told() {
    let denied = json!({ "error": "access_denied" });
    let stranger = Stranger::bent(|_, script| script.token_error = Some((400, denied))).await;
    Home::new().run(&[&stranger.url(), "--device"]).await.failed_at("device");
    let stranger = Stranger::bent(|_, script| script.metadata()["device_authorization_endpoint"] = json!(null)).await;
    let ended = Home::new().run(&[&stranger.url(), "--device"]).await.failed_at("server metadata");
    assert!(ended.stderr.contains("RFC 8628 §4"));
}
