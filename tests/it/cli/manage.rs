//! `client`, `grant` and `key` against a running server: the real binary on both sides.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use super::{run, stderr, stdout};
use crate::world::town::{Login, Town, post_form};

const SLED: &str = "kind = \"sled\"\npath = \"store\"";

/// What the command says, as JSON.
async fn manage(town: &Town, arguments: &[&str]) -> Value {
    let output = command(town, 0, &[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1, "one document");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn command(town: &Town, at: usize, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).arg("--config").arg(town.file(at)).env_clear();
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn works(town: &Town, login: &Login) -> bool {
    town.call("/notes", Some(&login.access_token)).await.status() == 200
}

async fn refreshed(town: &Town, login: &Login) -> u16 {
    let token = login.tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    post_form(&format!("{}/token", town.base), &form).await.0
}

#[tokio::test]
async fn d7_logins_and_clients_of_a_running_server_over_sled() {
    let town = Town::around(1, "", SLED).await;
    let (one, other) = (town.login().await, town.login().await);
    let listed = manage(&town, &["grant", "list"]).await;
    assert_eq!(listed["grants"].as_array().unwrap().len(), 2);
    let first = manage(&town, &["grant", "list", "--limit", "1"]).await;
    let next = manage(&town, &["grant", "list", "--after", first["next"].as_str().unwrap()]).await;
    assert_eq!((next["grants"].as_array().unwrap().len(), &next["next"]), (1, &Value::Null));
    let people = stdout(&command(&town, 0, &["grant", "list"]).await);
    assert!(people.starts_with("GRANT") && people.contains("@example.com"), "{people}");

    let gid = crate::token::kit::part(&one.access_token, 1)["gid"].as_str().unwrap().to_owned();
    assert_eq!(manage(&town, &["grant", "show", &gid]).await["client_id"], one.client.id);
    manage(&town, &["grant", "revoke", &gid, "--dry-run"]).await;
    assert!(works(&town, &one).await);
    manage(&town, &["grant", "revoke", &gid]).await;
    assert!(!works(&town, &one).await && works(&town, &other).await, "at the next call");

    let clients = manage(&town, &["client", "list"]).await;
    let hash = clients["clients"][0]["client"].as_str().unwrap();
    assert_eq!(manage(&town, &["client", "show", hash]).await["client_id"], other.client.id);
    assert_eq!(manage(&town, &["client", "revoke", hash, "--dry-run"]).await["revoked"], 1);
    assert_eq!(manage(&town, &["client", "block", hash]).await["revoked"], 1);
    assert_eq!((works(&town, &other).await, refreshed(&town, &other).await), (false, 401));
    assert_eq!(manage(&town, &["client", "unblock", &other.client.id]).await["blocked"], false);

    let third = town.login().await;
    let unsure = command(&town, 0, &["grant", "revoke", "--all"]).await;
    assert_eq!(unsure.status.code(), Some(1));
    assert!(stderr(&unsure).contains("--yes"), "{}", stderr(&unsure));
    assert!(works(&town, &third).await);
    assert_eq!(manage(&town, &["grant", "revoke", "--before", "2020-01-01"]).await["revoked"], 0);
    assert_eq!(manage(&town, &["grant", "revoke", "--all", "--yes"]).await["revoked"], 1);
    assert!(!works(&town, &third).await);
    let nothing = command(&town, 0, &["grant", "revoke"]).await;
    assert!(stderr(&nothing).contains("say which logins"), "{}", stderr(&nothing));

    let log = town.end().await;
    let audit: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for message in ["login revoked", "client blocked", "client unblocked", "logins revoked"] {
        let line =
            audit.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("no {message}: {log}"));
        assert_eq!(line["operator"], "key ring");
        assert!(line.to_string().contains("request_id"), "{line}");
    }
}

#[tokio::test]
async fn asm_13_keys_of_a_running_server_rotate_and_a_restart_keeps_them() {
    let mut town = Town::around(1, "", SLED).await;
    let login = town.login().await;
    let listed = manage(&town, &["key", "list"]).await;
    let early = command(&town, 0, &["key", "rotate"]).await;
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("--now"), "{}", stderr(&early));
    let unsure = command(&town, 0, &["key", "rotate", "--now"]).await;
    assert!(stderr(&unsure).contains("--yes"), "{}", stderr(&unsure));
    let rotated = manage(&town, &["key", "rotate", "--now", "--yes"]).await;
    assert_ne!(rotated["keys"][0]["kid"], listed["keys"][0]["kid"]);
    assert!(!works(&town, &login).await);
    town.restart(0).await;
    assert_eq!(manage(&town, &["key", "list"]).await, rotated);
    assert_eq!(refreshed(&town, &login).await, 200, "nobody has to log in again");
}

#[tokio::test]
async fn d11_a_master_key_is_replaced_and_it_is_said_what_the_older_one_is_still_needed_for() {
    let mut town = Town::around(1, "", SLED).await;
    let login = town.login().await;
    let set = |town: &Town, keys: &str| {
        let text = std::fs::read_to_string(town.file(0)).unwrap();
        let line =
            |line: &str| if line.starts_with("secret_key") { format!("secret_key = {keys}") } else { line.to_owned() };
        std::fs::write(town.file(0), text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    };
    let (old, new) = (town.secret_key.clone(), crate::config::KEY);
    set(&town, &format!("[\"{new}\", \"{old}\"]"));
    town.restart(0).await;
    assert!(works(&town, &login).await, "nothing is lost");
    let keys = manage(&town, &["key", "master"]).await;
    let older = &keys["keys"][1];
    assert_eq!((&older["role"], &older["may_be_dropped"]), (&"older".into(), &"no".into()));
    assert_eq!((&older["clients"], &older["logins"]), (&1.into(), &1.into()), "{older}");
    assert!(older["records"].as_u64().unwrap() > 1);
    let resealed = manage(&town, &["key", "master", "--reseal"]).await;
    assert_eq!(resealed["keys"][1]["records"], 0);
    assert!(resealed["reseal"]["resealed"].as_u64().unwrap() > 1);
    assert_eq!(refreshed(&town, &login).await, 200);
    let people = stdout(&command(&town, 0, &["key", "master"]).await);
    assert!(people.contains("MAY BE DROPPED") && people.contains("register again"), "{people}");

    // What dropping it all the same does: the sealed client id cannot be read, so the client has to register again.
    set(&town, &format!("\"{new}\""));
    town.restart(0).await;
    assert_eq!(refreshed(&town, &login).await, 401);
    let again = town.login().await;
    assert!(works(&town, &again).await && again.client.id != login.client.id);
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn d14_what_is_ended_at_one_process_ends_at_the_other_within_seconds() {
    let Some(redis) = crate::store::redis_server::RedisServer::start(&[]) else { return };
    let town = Town::around(2, "", &format!("kind = \"redis\"\nurl = \"{}\"", redis.url())).await;
    let (one, two) = (town.login().await, town.login().await);
    let everywhere = async |login: &Login| [works(&town, login).await, works(&town, login).await];
    let until = async |login: &Login, wanted: [bool; 2]| {
        for _ in 0..300 {
            if everywhere(login).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {wanted:?}");
    };
    assert_eq!((everywhere(&one).await, everywhere(&two).await), ([true; 2], [true; 2]));
    assert_eq!(manage(&town, &["grant", "revoke", "--all", "--yes"]).await["revoked"], 2);
    until(&one, [false; 2]).await;
    until(&two, [false; 2]).await;
    // A replaced key: the other process forgets the old one, and learns the new one.
    let three = town.login().await;
    assert_eq!(everywhere(&three).await, [true; 2]);
    manage(&town, &["key", "rotate", "--now", "--yes"]).await;
    until(&three, [false; 2]).await;
    let four = town.login().await;
    assert_eq!(everywhere(&four).await, [true; 2]);
    // A block, asked of the second process this time.
    let blocked = command(&town, 1, &["client", "block", &four.client.id, "--json"]).await;
    assert!(blocked.status.success(), "{}", stderr(&blocked));
    until(&four, [false; 2]).await;
    assert_eq!(refreshed(&town, &four).await, 401);
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_look_at() {
    let folder = super::installation();
    let path = folder.path().join("vestibule.toml");
    let told = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    assert!(told(&["grant", "list"]).contains("--admin URL"), "port 0 is no address");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = told(&["grant", "list", "--admin", &format!("http://{free}")]);
    assert!(away.contains("is the server running"), "{away}");
    let token = ["grant", "list", "--admin", "http://10.1.2.3:9090", "--token", "x"];
    assert!(told(&token).contains("over https only"), "{}", told(&token));
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"off\"");
    std::fs::write(&path, text).unwrap();
    assert!(told(&["client", "list"]).contains("\"off\""));
    assert!(!Path::new(&folder.path().join("store")).exists(), "no file is opened");
}

#[tokio::test]
async fn another_key_ring_is_refused() {
    let town = Town::around(1, "", SLED).await;
    let other = super::installation();
    let output = tokio::task::spawn_blocking(move || {
        let admin = town.admin.clone();
        (run(other.path(), &["grant", "list", "--admin", &admin]), town)
    });
    let (output, _town) = output.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("401"), "{}", stderr(&output));
}
