//! `vestibule doctor`: nothing to find at our own house; at strangers, each operator row with its remedy (behaviour 30).

use serde_json::{Value, json};

use super::{
    kit::{Ended, Home},
    stranger::{Listening, Script, Stranger},
    town::{log_in, town},
};

/// The faults that are found, as "step: what is expected".
async fn faults(bend: impl FnOnce(&str, &mut Script)) -> Vec<String> {
    let stranger = Stranger::bent(bend).await;
    let ended = Home::new().doctor(&[&stranger.url(), "--json"]).await;
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mut found = Vec::new();
    for step in told["steps"].as_array().unwrap() {
        for check in step["checks"].as_array().unwrap() {
            if check["verdict"] == "deviates" || check["verdict"] == "failed" {
                assert!(check["remedy"].as_str().unwrap().len() > 20, "{check}");
                found.push(format!("{}: {}", step["name"].as_str().unwrap(), check["expected"].as_str().unwrap()));
            }
        }
    }
    assert_eq!(told["faults"], found.len());
    assert_eq!((ended.code, &told["ok"]), (i32::from(!found.is_empty()), &json!(found.is_empty())));
    assert!(stranger.seen("/register").iter().all(|seen| seen.method != "POST"), "nothing is registered");
    assert!(stranger.all().iter().all(|seen| seen.path != "/authorize"), "nobody is asked");
    found
}

const SLASHES: &str = "with and without a slash: the URL answers with and without a slash at its end";
const PREFLIGHT: &str = "clients in a browser: a preflight is answered without a token and allows what clients send";
const SAME_TO_ALL: &str = "names of clients: the answer does not depend on the name that a client gives itself";

#[tokio::test]
async fn behaviour_30_doctor_finds_no_fault_at_our_own_house() {
    let (_town, _server, url) = town().await;
    let Ended { code, stdout, .. } = Home::new().doctor(&[&url]).await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains(&format!("No fault found. Paste {url} into any client.")), "{stdout}");
    assert!(!stdout.contains("DEVIATES") && !stdout.contains("FAILED"), "{stdout}");
    for step in ["address", "well-known places", "with and without a slash", "clients in a browser", "names of clients"]
    {
        assert!(stdout.contains(&format!("\n{step}\n")) || stdout.starts_with(step), "{step}: {stdout}");
    }
}

#[tokio::test]
async fn behaviour_30_a_kept_login_is_used_over_two_connections() {
    let stranger = Stranger::honest().await;
    let home = Home::new();
    home.log_in(&stranger.url(), &[]).await.ok();
    let before = stranger.seen("/mcp").len();
    let ended = home.doctor(&[&stranger.url()]).await;
    assert!(ended.stdout.contains("POST tools/list → 200"), "{}", ended.stdout);
    let later = &stranger.seen("/mcp")[before..];
    assert!(later.iter().any(|seen| seen.headers.contains_key("mcp-session-id")));
}

#[tokio::test]
async fn behaviour_30_operator_rows_7_and_8_slashes_and_preflights_of_a_plain_server() {
    let found = faults(|_, _| {}).await;
    assert_eq!(found.iter().filter(|fault| *fault == SLASHES).count(), 1, "{found:?}");
    // The MCP server, both documents, /register, /token.
    assert_eq!(found.iter().filter(|fault| *fault == PREFLIGHT).count(), 5, "{found:?}");
    assert!(!found.contains(&SAME_TO_ALL.to_owned()), "{found:?}");
}

#[tokio::test]
async fn behaviour_30_operator_row_1_bot_rules_that_bar_hosted_clients() {
    let found = faults(|_, script| script.bars_bots = true).await;
    assert_eq!(found.iter().filter(|fault| *fault == SAME_TO_ALL).count(), 3, "{found:?}");
}

#[tokio::test]
async fn behaviour_30_operator_rows_2_4_5_and_6_documents_that_speak_of_another_place() {
    let found = faults(|_, script| script.prm()["resource"] = "http://10.0.0.7/mcp".into()).await;
    assert!(found.contains(&"resource metadata: `resource` is the URL that was asked for".to_owned()), "{found:?}");
    let found = faults(|base, script| script.metadata()["issuer"] = format!("{base}/").into()).await;
    assert!(found.iter().any(|fault| fault.contains("`issuer` is the issuer")), "{found:?}");
    let swallowed = |_: &str, script: &mut Script| {
        script.documents.remove("/.well-known/oauth-protected-resource/mcp");
    };
    let found = faults(swallowed).await;
    let place = "well-known places: the resource metadata can be fetched where clients look for it";
    assert!(found.contains(&place.to_owned()), "{found:?}");
}

#[tokio::test]
async fn behaviour_30_operator_row_26_a_port_and_a_private_name_are_told() {
    // Nobody is there; what can be told of the address is told all the same.
    let ended = Home::new().doctor(&["https://10.255.255.1:8443/mcp"]).await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("came: port 8443") && ended.stdout.contains("is at 10.255.255.1"),
        "{}",
        ended.stdout
    );
}

/// What is found of the stream by whoever has a login.
async fn stream(listening: Listening) -> (i32, String) {
    let stranger = Stranger::bent(|_, script| script.listening = listening).await;
    let home = Home::new();
    home.log_in(&stranger.url(), &[]).await.ok();
    let ended = home.doctor(&[&stranger.url()]).await;
    let step = ended.stdout.split_once("\nstream\n").unwrap_or_else(|| panic!("{}", ended.stdout)).1;
    (ended.code, step.to_owned())
}

#[tokio::test]
async fn behaviour_30_operator_row_21_a_proxy_that_buffers_streams_is_told_of() {
    let (code, step) = stream(Listening::Buffered).await;
    assert_eq!(code, 1);
    let (_, found) = step.split_once("DEVIATES  an event stream opens before anything comes on it").unwrap();
    assert!(found.contains("nothing for 5 s") && found.contains("proxy_buffering off"), "{step}");
    let (_, step) = stream(Listening::Opens).await;
    assert!(step.contains("ok        an event stream opens") && !step.contains("DEVIATES"), "{step}");
    let (_, step) = stream(Listening::NotOffered).await;
    assert!(step.contains("405 Method Not Allowed: this server offers none") && !step.contains("DEVIATES"), "{step}");
}

#[tokio::test]
async fn behaviour_30_operator_row_21_a_stream_opens_at_once_through_our_own_house() {
    let (town, _server, url) = town().await;
    let home = Home::new();
    log_in(&town, &home, &url).await;
    let ended = home.doctor(&[&url]).await;
    assert!(
        ended.code == 0 && ended.stdout.contains("GET") && ended.stdout.contains("(an event stream) → 200 OK"),
        "{}",
        ended.stdout
    );
}
