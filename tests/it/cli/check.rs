//! `check`: mistakes, resolved settings, what to paste, findings.

use std::fs;

use serde_json::Value;

use super::{command, installation, run, stderr, stdout};

#[test]
fn a_sound_installation_is_told_with_origins_and_without_secrets() {
    let folder = installation();
    let output =
        command(folder.path(), &["check", "--offline"]).env("VESTIBULE__TOKENS__CODE_LIFE", "30s").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "public_url = \"https://mcp.example.com\"",
        "# vestibule.toml:2",
        "# environment VESTIBULE__TOKENS__CODE_LIFE",
        "# default",
        "upstream.github.client_secret = ***",
        "GitHub: https://mcp.example.com/callback/github",
        "notes: https://mcp.example.com/notes",
        "a GitHub OAuth App by its id",
        "This can be served.",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for secret in ["hush-hush", crate::config::KEY] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!folder.path().join("store").exists(), "check makes nothing");
}

#[test]
fn all_mistakes_go_to_stderr_and_the_code_is_1() {
    let folder = installation();
    fs::write(folder.path().join("bad.toml"), "listen = 1\n[[resource]]\npath = \"/a\"\n").unwrap();
    let output = run(folder.path(), &["check", "--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    for part in
        ["bad.toml:1: listen", "bad.toml:2: resource[0].allow", "public_url: is missing", "vestibule secret new"]
    {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    let json = run(folder.path(), &["check", "--config", "bad.toml", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["ok"], false);
    assert!(document["mistakes"].as_array().unwrap().iter().any(|m| m["place"] == "bad.toml:1"));
}

#[test]
fn json_holds_what_programs_need() {
    let folder = installation();
    let document: Value =
        serde_json::from_slice(&run(folder.path(), &["check", "--offline", "--json"]).stdout).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["redirect_uris"]["github"], "https://mcp.example.com/callback/github");
    assert_eq!(document["mcp_servers"][0]["url"], "https://mcp.example.com/notes");
}

#[test]
fn operator_row_23_a_public_door_without_consent_fails() {
    let folder = installation();
    let output = command(folder.path(), &["check", "--offline"])
        .env("VESTIBULE__CONSENT__MODE", "dangerous_off")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("FAILURE  consent.mode"), "{}", stdout(&output));
}

#[test]
fn operator_rows_13_17_and_26_are_told() {
    let folder = installation();
    let told = |variables: &[(&str, &str)]| {
        let output = command(folder.path(), &["check", "--offline"]).envs(variables.iter().copied()).output().unwrap();
        stdout(&output) + &stderr(&output)
    };
    let provider = "VESTIBULE__UPSTREAM__GITHUB__PROVIDER";
    let auth0 = told(&[(provider, "auth0"), ("VESTIBULE__UPSTREAM__GITHUB__DOMAIN", "t.eu.auth0.com")]);
    assert!(auth0.contains("Auth0 gives an opaque token"), "{auth0}");
    let google =
        told(&[(provider, "google"), ("VESTIBULE__UPSTREAM__GITHUB__AUTHORIZE_PARAMS__ACCESS_TYPE", "online")]);
    assert!(google.contains("Google gives no refresh token"), "{google}");
    let port = told(&[("VESTIBULE__PUBLIC_URL", "https://mcp.example.com:8443")]);
    assert!(port.contains("port 443 only"), "{port}");
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["check", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nowhere.toml cannot be read"));
}

#[test]
fn a_provider_that_cannot_be_reached_fails_with_its_cause() {
    let folder = installation();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = command(folder.path(), &["check"])
        .env("VESTIBULE__UPSTREAM__GITHUB__PROVIDER", "oidc")
        .env("VESTIBULE__UPSTREAM__GITHUB__ISSUER", format!("http://{closed}"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    let cause = told.split("the provider could not be reached: ").nth(1).unwrap_or_default();
    assert!(cause.lines().next().is_some_and(|line| line.len() > 5), "{told}");
}
