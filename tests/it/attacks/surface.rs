//! Attacks on the outline of the house: its paths, its published addresses, its cookies, what it starts.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use url::Url;

use super::raw;
use crate::world::{
    browser::Browser,
    town::{CALLBACK, Town, decide, http, parameter},
};

/// https://github.com/advisories/GHSA-7rh7-c77v-6434: no path is open by a rule, so no spelling of one can be.
#[tokio::test]
async fn s17_no_spelling_of_an_open_path_leads_past_the_gate() {
    let town = Town::new().await;
    let address = town.base.trim_start_matches("http://");
    for open in ["/jwks", "/.well-known/oauth-authorization-server", "/register", "/icon.svg"] {
        for trick in [
            format!("{open}/../notes"),
            format!("{open}/%2e%2e/notes"),
            format!("{open}/..%2fnotes"),
            format!("{open};/../notes"),
            format!("/notes?{open}"),
            format!("/notes#{open}"),
            format!("/notes;{open}"),
            format!("/notes/{open}"),
            format!("//notes{open}"),
            format!("/notes%3f{open}"),
            format!("/notes%00{open}"),
            format!("/./notes/.{open}"),
            format!("{open}\\..\\notes"),
        ] {
            for method in ["GET", "POST"] {
                let head = format!("{method} {trick} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
                let answer = raw(address, format!("{head}content-length: 0\r\n\r\n").as_bytes()).await;
                let status = answer.split(' ').nth(1).unwrap_or_default();
                assert!(!status.starts_with('5'), "{method} {trick}: {answer}");
                assert!(!answer.contains("tools"), "{method} {trick}: {answer}");
            }
        }
    }
    assert!(town.mcp.seen().is_empty(), "nothing came through to the MCP server");
}

/// https://github.com/advisories/GHSA-f24x-5g9q-753f: the cookie of one login is new, and worthless once it is over.
#[tokio::test]
async fn s20_the_cookie_of_a_login_is_new_each_time_and_ends_with_it() {
    let town = Town::new().await;
    let (client, human) = (town.client().await, Browser::new());
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let before = names(&human);
        let page = human.get(&client.authorize_url(&town, "/notes", &[])).await;
        let to_provider = decide(&town, &human, &page, "approve").await.location().expect("to the provider");
        let during = human.cookies("127.0.0.1");
        let callback = human.get(&to_provider).await.location().expect("the callback");
        let done = human.get(&callback).await;
        assert!(parameter(&done.location().expect("back to the client"), "code").is_some());
        for cookie in during.split("; ") {
            let (name, value) = cookie.split_once('=').expect("name and value");
            if !before.contains(name) && !names(&human).contains(name) {
                assert!(seen.insert(value.to_owned()), "the cookie of a login was used before");
            }
        }
        let again = human.get(&callback).await;
        assert!(again.location().is_none(), "what is over cannot be finished again: {again:?}");
    }
    assert_eq!(seen.len(), 2, "each login had a cookie of its own, and both are gone");
}

fn names(human: &Browser) -> BTreeSet<String> {
    let cookies = human.cookies("127.0.0.1");
    cookies.split("; ").filter_map(|cookie| cookie.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}

/// oauth2-proxy GHSA-qqxw, -j7px, -5m6c, -4mf2: there is no parameter to be sent anywhere by, under any of its names.
#[tokio::test]
async fn s21_no_return_parameter_sends_anybody_anywhere() {
    let town = Town::new().await;
    let client = town.client().await;
    for name in
        ["rd", "return", "return_to", "returnTo", "redirect", "redirect_url", "next", "url", "continue", "target"]
    {
        for value in [
            "https://evil.example/",
            "/\\evil.example",
            "//evil.example",
            "/%09/evil.example",
            "\thttps://evil.example",
        ] {
            let human = Browser::new();
            let extra = [(name, value)];
            let url = client.authorize_url(&town, "/notes", &extra);
            let answer = client.approve(&town, &human, &url).await;
            assert!(answer.starts_with(CALLBACK) && !answer.contains("evil.example"), "{name}={value}: {answer}");
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            for path in ["/", "/authorize", "/consent", "/callback/idp", "/notes", "/token", "/nowhere"] {
                let page = human.get(&format!("{}{path}?{query}", town.base)).await;
                let location = page.location().unwrap_or_default();
                assert!(!location.contains("evil.example"), "{path}?{query}: {location}");
                assert!(!page.body.contains("evil.example"), "{path}?{query}: {}", page.body);
            }
        }
    }
}

/// mcp-remote CVE-2025-6514: an address that we publish may end in a shell of the client's machine.
#[tokio::test]
async fn s25_every_published_address_is_plain_and_ours_and_echoes_nobody() {
    let town = Town::new().await;
    let _registered = super::hosted_client(&town, "$(calc.exe)", "https://evil.example/$(calc.exe)").await;
    let mut addresses = Vec::new();
    for document in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/notes",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server/notes",
    ] {
        let response = http()
            .get(format!("{}{document}?x=$(calc.exe)", town.base))
            .header("x-forwarded-host", "evil.example")
            .header("referer", "https://evil.example/$(calc.exe)")
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200, "{document}");
        let text = response.text().await.expect("text");
        assert!(!text.contains("calc") && !text.contains("evil"), "{text}");
        strings(&serde_json::from_str(&text).expect("JSON"), &mut addresses);
    }
    addresses.retain(|text| text.contains("://"));
    assert!(addresses.len() > 20, "the documents are full of addresses: {addresses:?}");
    for text in &addresses {
        let url = Url::parse(text).expect("an address");
        assert_eq!(url.origin().ascii_serialization(), town.base, "{text}");
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.-_".contains(&b)), "{text}");
        assert!(url.query().is_none() && url.fragment().is_none() && url.username().is_empty(), "{text}");
    }
    // The challenge leads to the same document, whatever the MCP server would like to say in its place.
    let challenge = town.call("/notes", None).await.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.contains(&format!("{}/.well-known/oauth-protected-resource/notes\"", town.base)), "{challenge}");
}

fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.values().for_each(|member| strings(member, into)),
        _ => {}
    }
}

/// https://github.com/EvalsOne/MCP-connect/issues/12: whoever starts no program starts none for a stranger.
#[test]
fn s30_no_room_that_serves_requests_can_start_a_program() {
    let mut starters = Vec::new();
    visit(Path::new("src"), &mut |path, text| {
        if ["process::Command", "Command::new", "libc::", "execv"].iter().any(|word| text.contains(word)) {
            starters.push(path.display().to_string());
        }
    });
    starters.retain(|path| !path.starts_with("src/cli/"));
    assert!(starters.is_empty(), "{starters:?} name a way to start programs");
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, see);
        } else {
            see(&path, &fs::read_to_string(&path).unwrap_or_default());
        }
    }
}
