//! `store export` and `store import`: from one store to another, and nobody is logged out.

use std::{fs, path::Path};

use serde_json::Value;

use super::{run, stderr, stdout};
use crate::world::town::{Login, Town, post_form};

const SLED: &str = "kind = \"sled\"\npath = \"store\"";

/// A town that has lived on sled, now stopped: its folder, and a login of that time.
async fn emigrants() -> (Town, std::path::PathBuf, Login) {
    let mut town = Town::around(1, "", SLED).await;
    let login = town.login().await;
    let folder = town.stop(0).await;
    (town, folder, login)
}

/// A second file beside the first, over another store.
fn settle(folder: &Path, store: &str) {
    let text = fs::read_to_string(folder.join("vestibule.toml")).unwrap();
    assert!(text.contains(SLED));
    fs::write(folder.join("new.toml"), text.replace(SLED, store)).unwrap();
}

/// What the command said, which must have gone well.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Why the command did not go well.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

const EXPORT: [&str; 4] = ["store", "export", "--config", "vestibule.toml"];
const IMPORT: [&str; 4] = ["store", "import", "--config", "new.toml"];

fn with<'a>(words: &[&'a str], last: &'a str) -> Vec<&'a str> {
    words.iter().copied().chain([last]).collect()
}

/// The login of before works on: its access token, its refresh token, the next ones, and a revocation.
async fn goes_on(town: &Town, login: &Login) {
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    let token = login.tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    let (status, tokens) = post_form(&format!("{}/token", town.base), &form).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(town.call("/notes", tokens["access_token"].as_str()).await.status(), 200);
}

async fn a_login_moves_to(store: &str) {
    let (mut town, folder, login) = emigrants().await;
    settle(&folder, store);
    let said = done(&folder, &with(&EXPORT, "all.jsonl"));
    assert!(said.contains("records exported to all.jsonl"), "{said}");
    let lines = fs::read_to_string(folder.join("all.jsonl")).unwrap();
    for secret in ["person@example.com", "provider-", login.client.id.as_str()] {
        assert!(!lines.contains(secret), "nothing lies open");
    }
    let records = lines.lines().count() - 2;
    assert!(lines.contains("\"grant/") && lines.contains("\"signing-key/") && !lines.contains("\"house/"));
    let said = done(&folder, &with(&IMPORT, "all.jsonl"));
    assert_eq!(said, format!("{records} records imported, 0 were there already, 0 have expired meanwhile\n"));
    let said = done(&folder, &with(&IMPORT, "all.jsonl"));
    assert_eq!(said, format!("0 records imported, {records} were there already, 0 have expired meanwhile\n"));
    fs::copy(folder.join("new.toml"), folder.join("vestibule.toml")).unwrap();
    town.start(0).await;
    goes_on(&town, &login).await;
    // What the new store has changed since is newer than the file.
    town.stop(0).await;
    let said = done(&folder, &with(&IMPORT, "all.jsonl"));
    assert!(said.starts_with("0 records imported") && said.contains("stay as this store had them"), "{said}");
}

#[tokio::test]
async fn a_login_moves_to_another_folder() {
    a_login_moves_to("kind = \"sled\"\npath = \"other\"").await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_login_moves_to_redis() {
    use crate::store::{redis_server::RedisServer, server::Server as _};
    if let Some(server) = RedisServer::start(&[]) {
        a_login_moves_to(&server.toml()).await;
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_login_moves_to_postgres() {
    use crate::store::{postgres_server::PostgresServer, server::Server as _};
    if let Some(server) = PostgresServer::start(&[]) {
        a_login_moves_to(&server.toml()).await;
    }
}

#[tokio::test]
async fn a_store_that_a_server_holds_is_not_opened() {
    let town = Town::around(1, "", SLED).await;
    let folder = town.folder(0);
    let said = refused(&folder, &with(&EXPORT, "all.jsonl"));
    assert!(said.contains("is held by another process (pid "), "{said}");
    assert!(!folder.join("all.jsonl").exists());
}

#[tokio::test]
async fn an_interrupted_export_goes_on_and_gives_the_same_file() {
    let (_town, folder, _login) = emigrants().await;
    done(&folder, &with(&EXPORT, "whole.jsonl"));
    let whole = fs::read_to_string(folder.join("whole.jsonl")).unwrap();
    let said = refused(&folder, &with(&EXPORT, "whole.jsonl"));
    assert!(said.contains("is there already"), "{said}");
    // The head carries a fresh nonce each time; what was begun is gone on with, whole or cut in the middle of a line.
    let second = whole.match_indices('\n').nth(1).unwrap().0 + 1;
    for cut in [second, second + 7] {
        fs::write(folder.join("part.jsonl.partial"), &whole[..cut]).unwrap();
        let said = done(&folder, &with(&EXPORT, "part.jsonl"));
        assert!(said.contains(", 1 of them in an earlier attempt"), "{said}");
        assert_eq!(fs::read_to_string(folder.join("part.jsonl")).unwrap(), whole);
        assert!(!folder.join("part.jsonl.partial").exists());
        fs::remove_file(folder.join("part.jsonl")).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_a_whole_export_of_this_ring_changes_nothing() {
    let (_town, folder, _login) = emigrants().await;
    settle(&folder, "kind = \"sled\"\npath = \"other\"");
    done(&folder, &with(&EXPORT, "all.jsonl"));
    let whole = fs::read_to_string(folder.join("all.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let try_with = |text: String| {
        fs::write(folder.join("bad.jsonl"), text).unwrap();
        refused(&folder, &with(&IMPORT, "bad.jsonl"))
    };
    let without_the_last = lines[..lines.len() - 1].join("\n");
    assert!(try_with(without_the_last.clone()).contains("ends in the middle"));
    assert!(try_with(whole[..whole.len() / 2].to_owned()).contains("line "));
    assert!(try_with(String::new()).contains("ends in the middle"));
    assert!(try_with("{\"some\": \"json\"}\n".to_owned()).contains("line 1 is not what an export holds"));
    assert!(try_with([lines[0], lines[lines.len() - 1]].join("\n")).contains("and holds 0"));
    assert!(try_with(format!("{whole}{}\n", lines[1])).contains("after the end"));
    assert!(try_with(whole.replace("\"vestibule_store\":1", "\"vestibule_store\":9")).contains("version 9"));
    let mut record: Value = serde_json::from_str(lines[1]).unwrap();
    record["expires"] = (record["expires"].as_u64().unwrap() + 1).into();
    let longer = whole.replace(lines[1], &record.to_string());
    assert!(try_with(longer).contains("line 2"), "a life cannot be made longer");

    let other = run(&folder, &["secret", "new"]);
    let text = fs::read_to_string(folder.join("new.toml")).unwrap();
    let key = text.lines().find(|line| line.starts_with("secret_key")).unwrap();
    fs::write(
        folder.join("new.toml"),
        text.replace(key, &format!("secret_key = \"{}\"", stdout(&other).trim())).replace("other", "third"),
    )
    .unwrap();
    let said = refused(&folder, &with(&IMPORT, "all.jsonl"));
    assert!(said.contains("sealed under another secret_key"), "{said}");
    let said = done(&folder, &["store", "export", "--config", "new.toml", "third.jsonl"]);
    assert!(said.starts_with("0 records"), "nothing was imported: {said}");
}

#[test]
fn a_memory_and_a_folder_that_is_not_there_are_refused() {
    let folder = super::installation();
    let said = refused(folder.path(), &with(&EXPORT, "all.jsonl"));
    assert!(said.contains("there is no store at"), "{said}");
    assert!(!folder.path().join("store").exists(), "an export makes nothing");
    let text = fs::read_to_string(folder.path().join("vestibule.toml")).unwrap();
    fs::write(folder.path().join("new.toml"), text.replace("path = \"store\"", "kind = \"memory\"")).unwrap();
    fs::write(folder.path().join("all.jsonl"), "").unwrap();
    let said = refused(folder.path(), &with(&IMPORT, "all.jsonl"));
    assert!(said.contains("memory"), "{said}");
}
