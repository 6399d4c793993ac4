//! Floors, nevers and doors, read from the source: the plan in `src/lib.rs` fails loudly when an arrow rises.
//!
//! Every path in `src` that begins with `crate::`, or with the name of a guarded crate, is compared with the rules below.
//! Comments and strings do not count; unit tests do.

use std::{collections::BTreeSet, fs, path::Path};

/// Floors from the ground. Imports fall: a room may name only rooms of lower floors. `telemetry` is the ground itself.
const FLOORS: [&[&str]; 9] = [
    &["telemetry"],
    &["domain"],
    &["crypto"],
    &["upstream", "store"],
    &["token"],
    &["oauth", "proxy", "admin"],
    &["web"],
    &["config"],
    &["cli"],
];

/// Arrows that fall and are still never drawn, each with its why.
const NEVERS: [(&str, &str, &str); 5] = [
    ("web", "store", "handlers translate, they do not decide"),
    ("web", "upstream", "handlers translate, they do not decide"),
    ("web", "crypto", "handlers translate, they do not decide"),
    ("proxy", "store", "the spender asks the mint, which knows whether the Grant lives"),
    ("proxy", "upstream", "the spender never speaks to the provider"),
];

/// Crates that are named behind one door, each with the places that may (a file, or a folder with a final slash).
const DOORS: [(&str, &[&str]); 31] = [
    ("oxide_auth", &["oauth/machine.rs", "oauth/machine/"]),
    ("josekit", &["crypto/jwt.rs", "crypto/jwt/"]),
    ("aes_gcm", &["crypto/"]),
    ("hkdf", &["crypto/"]),
    ("hmac", &["crypto/"]),
    ("sha2", &["crypto/", "web/page.rs"]),
    ("subtle", &["crypto/"]),
    ("rand", &["crypto/random.rs"]),
    ("openidconnect", &["upstream/"]),
    ("oauth2", &["upstream/", "cli/login/"]),
    ("sled", &["store/sled.rs", "store/sled/"]),
    ("redis", &["store/redis.rs", "store/redis/"]),
    ("tokio_postgres", &["store/postgres.rs", "store/postgres/"]),
    ("tokio_postgres_rustls", &["store/postgres.rs", "store/postgres/"]),
    ("deadpool_postgres", &["store/postgres.rs", "store/postgres/"]),
    ("axum", &["web/", "cli/dev/", "cli/login/"]),
    ("askama", &["web/"]),
    ("clap", &["cli/"]),
    ("qrcode", &["web/qr.rs", "cli/"]),
    ("indicatif", &["cli/store.rs"]),
    ("reqwest", &["upstream/http.rs", "cli/dev/", "cli/manage/desk.rs"]),
    ("http_cache_semantics", &["oauth/document/"]),
    ("hyper", &["proxy/", "web/"]),
    ("hyper_util", &["proxy/", "web/"]),
    ("rmcp", &["cli/dev/"]),
    ("http_auth", &["cli/login/challenge.rs"]),
    ("keyring", &["cli/login/keep/keyring.rs"]),
    ("tempfile", &["cli/login/keep/file.rs"]),
    ("etcetera", &["cli/login/keep/file.rs"]),
    ("webbrowser", &["cli/login/authorize.rs"]),
    ("tracing_subscriber", &["telemetry/"]),
];

/// What the language of the house must not know: no runtime, no network, no log.
const NOT_IN_DOMAIN: [&str; 5] = ["tokio", "axum", "reqwest", "hyper", "tracing"];

#[test]
fn no_arrow_rises_and_every_door_is_kept() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 40, "the source was not found");
    let broken: Vec<String> = files.iter().flat_map(|(file, text)| violations(file, text)).collect();
    assert!(broken.is_empty(), "{} broken walls:\n{}", broken.len(), broken.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The broken rules of one file, whose name is relative to `src`.
fn violations(file: &str, text: &str) -> Vec<String> {
    let room = file.split('/').next().unwrap().trim_end_matches(".rs");
    let tokens = tokens(text);
    let mut broken = BTreeSet::new();
    for path in paths(&tokens) {
        match path.as_slice() {
            [root, to, ..] if root == "crate" => broken.extend(arrow(room, to)),
            [root, ..] => broken.extend(door(file, room, root)),
            [] => {}
        }
    }
    broken.into_iter().map(|what| format!("  src/{file}: {what}")).collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn arrow(from: &str, to: &str) -> Option<String> {
    if from == to || matches!(from, "lib" | "main") {
        return None;
    }
    let Some(below) = floor(to) else { return Some(format!("crate::{to} is a room without a floor")) };
    let Some(own) = floor(from) else { return Some(format!("{from} is a room without a floor")) };
    if let Some((_, _, why)) = NEVERS.iter().find(|(a, b, _)| (*a, *b) == (from, to)) {
        return Some(format!("{from} never names {to}: {why}"));
    }
    match below.cmp(&own) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(format!("{from} and {to} are siblings and do not import each other")),
        std::cmp::Ordering::Greater => Some(format!("the arrow from {from} to {to} rises")),
    }
}

fn door(file: &str, room: &str, name: &str) -> Option<String> {
    if room == "domain" && NOT_IN_DOMAIN.contains(&name) {
        return Some(format!("domain does not know {name}"));
    }
    let (_, doors) = DOORS.iter().find(|(guarded, _)| *guarded == name)?;
    let is_door = |door: &&str| if door.ends_with('/') { file.starts_with(*door) } else { file == *door };
    (!doors.iter().any(is_door)).then(|| format!("{name} is named only in {}", doors.join(" and ")))
}

/// Identifiers, `::`, braces, commas and semicolons; comments and literals are gone, the rest is a dot.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let next = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        match (chars[at], next(at + 1)) {
            ('/', '/') => at += chars[at..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                at += 2;
                while at < chars.len() && (next(at), next(at + 1)) != ('*', '/') {
                    at += 1;
                }
                at += 2;
            }
            ('r', '"' | '#') if raw_string(&chars, at).is_some() => at = raw_string(&chars, at).unwrap(),
            ('"', _) => at = string_end(&chars, at),
            ('\'', '\\') => at = at + 3 + chars[at + 3..].iter().take_while(|c| **c != '\'').count() + 1,
            ('\'', _) if next(at + 2) == '\'' => at += 3,
            (':', ':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            (c, _) if c.is_alphabetic() || c == '_' => {
                let word: String = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += word.chars().count();
                tokens.push(word);
            }
            (c, _) if c.is_whitespace() => at += 1,
            (c @ ('{' | '}' | ',' | ';'), _) => {
                tokens.push(c.to_string());
                at += 1;
            }
            _ => {
                tokens.push(".".to_owned());
                at += 1;
            }
        }
    }
    tokens
}

/// Where the raw string that begins at `at` ends; `None` if it is an identifier or a raw identifier.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map_or(' ', |i| chars[i]);
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if (before.is_alphanumeric() && before != 'b') || chars.get(at + 1 + hashes) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = at + 2 + hashes;
    let length = chars[body..].windows(close.len()).position(|window| window == close)?;
    Some(body + length + close.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// All paths of a file, those of `use` trees unfolded. A name that the file itself brings into scope (by `mod`, or as
/// the end of a `use`) is no crate's name there.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let (mut found, mut local, mut at) = (Vec::new(), BTreeSet::new(), 0);
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |i| tokens[i].as_str());
        match tokens[at].as_str() {
            "use" => {
                let mut tree = Vec::new();
                at = unfold(tokens, at + 1, &[], &mut tree);
                local
                    .extend(tree.iter().filter(|path: &&Vec<String>| path.len() > 1).filter_map(|p| p.last().cloned()));
                found.extend(tree);
            }
            "mod" => {
                local.extend(tokens.get(at + 1).cloned());
                at += 2;
            }
            word if before != "::" && is_word(word) && tokens.get(at + 1).is_some_and(|next| next == "::") => {
                let path = tokens[at..].chunks(2).take_while(|pair| is_word(&pair[0])).map(|pair| pair[0].clone());
                found.push(path.take(3).collect());
                at += 1;
            }
            _ => at += 1,
        }
    }
    found.retain(|path| path.len() > 1 && (path[0] == "crate" || !local.contains(&path[0])));
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one branch of a use tree; gives where it ends.
fn unfold(tokens: &[String], mut at: usize, stem: &[String], into: &mut Vec<Vec<String>>) -> usize {
    let mut path = stem.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                // What is no tree at all (`impl Trait + use<>`) must not be walked for ever.
                while tokens.get(at).is_some_and(|token| token != "}" && token != ";") {
                    at = unfold(tokens, at, &path, into);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => {
                // The new name is what the file knows; the path is what it came from.
                into.push(path.clone());
                path = vec![String::new()];
                at += 1;
            }
            word if is_word(word) => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => at += 1,
        }
    }
    if path.len() > stem.len() {
        into.push(path);
    }
    at
}

#[test]
fn a_rising_arrow_is_seen_in_every_spelling() {
    for text in [
        "use crate::oauth::Error;",
        "use crate::{domain::{Grant, Scope}, oauth};",
        "use crate::{\n    domain::Grant,\n    oauth::{self, Error as E},\n};",
        "fn f() { let x = crate::oauth::Error::new(); }",
        "#[serde(with = \"x\")]\nstruct S(crate::oauth::Error);",
        "pub(crate) use crate::oauth;",
        "const A: &str = r#\"\"#; fn f(a: char) { a == '\"'; crate::oauth::x() }",
    ] {
        let broken = violations("token/mint.rs", text);
        assert_eq!(broken, ["  src/token/mint.rs: the arrow from token to oauth rises"], "{text}");
    }
}

#[test]
fn siblings_nevers_and_nameless_rooms_are_seen() {
    let one = |file: &str, text: &str| violations(file, text).join("");
    assert!(one("oauth/token.rs", "use crate::proxy::Proxy;").contains("siblings"));
    assert!(one("store/mod.rs", "use crate::upstream::Upstream;").contains("siblings"));
    assert!(one("web/mcp.rs", "use crate::store::Store;").contains("web never names store"));
    assert!(one("proxy/gate.rs", "use crate::{token::Mint, store::Store};").contains("proxy never names store"));
    assert!(one("web/mod.rs", "use crate::config::Settings;").contains("rises"));
    assert!(one("proxy/gate.rs", "use crate::cellar::Wine;").contains("room without a floor"));
    assert!(one("domain/id.rs", "use tokio::sync::Mutex;").contains("domain does not know tokio"));
}

#[test]
fn a_crate_is_named_only_behind_its_door() {
    let one = |file: &str, text: &str| violations(file, text).join("");
    assert!(one("oauth/authorize.rs", "use oxide_auth::code_grant;").contains("only in oauth/machine.rs"));
    assert!(one("oauth/machine.rs", "use oxide_auth::code_grant;").is_empty());
    assert!(one("token/mint.rs", "fn f() { josekit::jws::ES256 }").contains("only in crypto/jwt.rs"));
    assert!(one("store/redis.rs", "use ::sled::Db;").contains("only in store/sled.rs"));
    assert!(one("oauth/x.rs", "use {axum::Router, http::Request};").contains("only in web/"));
    assert!(one("cli/serve.rs", "use axum::Router;").contains("only in web/"));
    assert!(one("cli/dev/provider.rs", "use axum::Router;").is_empty());
}

#[test]
fn what_only_looks_like_an_arrow_is_none() {
    for (file, text) in [
        ("token/mint.rs", "// use crate::oauth::Error;\n/* crate::oauth */ /// [`crate::oauth`]"),
        ("token/mint.rs", "const A: &str = \"crate::oauth::Error\"; const B: &str = r#\"use crate::oauth;\"#;"),
        ("store/mod.rs", "pub mod sled; fn f() { sled::Sled::open() }"),
        ("store/open.rs", "use super::{memory::Memory, sled::Sled};"),
        ("store/open.rs", "use crate::store::sled; fn f() { sled::open() }"),
        ("web/page.rs", "use crate::{oauth::Step, proxy::Body, domain::Resource};"),
        ("cli/house.rs", "use crate::{config, web::{self, Door}, store};"),
    ] {
        assert!(violations(file, text).is_empty(), "{text}: {:?}", violations(file, text));
    }
}
