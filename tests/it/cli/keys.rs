//! `secret new` and `key show`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{installation, run, stderr, stdout};

#[test]
fn secret_new_prints_a_key_that_the_configuration_takes() {
    let folder = installation();
    let (one, two) = (run(folder.path(), &["secret", "new"]), run(folder.path(), &["secret", "new"]));
    assert!(one.status.success());
    assert_ne!(one.stdout, two.stdout);
    let key = stdout(&one);
    assert_eq!(key.lines().count(), 1, "nothing but the key, so that it can be redirected into a file");
    assert!(vestibule::crypto::MasterKey::parse(key.trim()).is_ok());
}

#[test]
fn rfc7517_key_show_prints_the_resources_key_as_jwk() {
    let folder = installation();
    let show = |resource: &str| run(folder.path(), &["key", "show", "--resource", resource, "--json"]);
    let by_path = show("/notes");
    assert!(by_path.status.success(), "{}", stderr(&by_path));
    let jwk: Value = serde_json::from_slice(&by_path.stdout).unwrap();
    assert_eq!((&jwk["kty"], &jwk["alg"], &jwk["use"]), (&"oct".into(), &"dir".into(), &"enc".into()));
    assert_eq!(URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap().len(), 32);
    assert_eq!(show("https://mcp.example.com/notes").stdout, by_path.stdout);
    let unknown = show("/other");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("there is https://mcp.example.com/notes"));
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_2() {
    let folder = installation();
    assert_eq!(run(folder.path(), &["sreve"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &[]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["--help"]).status.code(), Some(0));
}
