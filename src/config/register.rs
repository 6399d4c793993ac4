//! `[register]`: who may register, and where strangers' answers may go.

use std::collections::BTreeSet;

use super::{section::Section, tree::Origin};
use crate::{
    domain::{
        HostPattern,
        uri::{Loopback, LoopbackHosts, LoopbackPorts},
    },
    oauth::{Gate, Manage, RedirectRules, Registration},
};

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 32;

/// Reads the section.
pub(super) fn read(top: &mut Section<'_>) -> Option<Registration> {
    let mut section = top.section("register");
    let gate = gate(&mut section);
    let manage =
        section.parsed_or("manage", "confidential", "\"confidential\", \"all\", or \"off\"", |text| match text {
            "off" => Ok(Manage::Off),
            "confidential" => Ok(Manage::Confidential),
            "all" => Ok(Manage::All),
            _ => Err("expected confidential (clients with a secret), all or off"),
        });
    let hosts = section.parsed_or("loopback_hosts", "alike", "\"alike\", or \"distinct\"", |text| match text {
        "alike" => Ok(LoopbackHosts::Alike),
        "distinct" => Ok(LoopbackHosts::Distinct),
        _ => Err("expected alike (localhost, 127.0.0.1 and [::1] stand for one another) or distinct"),
    });
    let ports = section.parsed_or("loopback_ports", "any", "\"any\", or \"exact\"", |text| match text {
        "any" => Ok(LoopbackPorts::Any),
        "exact" => Ok(LoopbackPorts::Exact),
        _ => Err("expected any (programs take a free port for each login) or exact"),
    });
    let redirects = RedirectRules {
        loopback: Loopback { hosts: hosts.unwrap_or_default(), ports: ports.unwrap_or_default() },
        hosts: some_of(&mut section, "redirect_hosts", r#"["claude.ai", "*.example.com", "localhost"]"#, |text| {
            HostPattern::parse(text).map_err(|bad| bad.to_string())
        }),
        private_schemes: some_of(&mut section, "private_schemes", r#"["cursor", "vscode"]"#, scheme)
            .map(BTreeSet::from_iter),
    };
    section.finish();
    hosts.and(ports)?;
    Some(Registration { gate: gate?, manage: manage?, redirects })
}

fn gate(section: &mut Section<'_>) -> Option<Gate> {
    let is_on = section.yes_or("enabled", true);
    if !section.has("initial_access_tokens") {
        section.take("initial_access_tokens");
        return Some(if is_on { Gate::Open } else { Gate::Closed });
    }
    if !is_on {
        let remedy = "take them out, or write enabled = true";
        section.wrong("initial_access_tokens", "are given, but nobody may register", remedy);
    }
    let (path, place) = (section.at("initial_access_tokens"), section.place("initial_access_tokens"));
    let tokens = section.secrets("initial_access_tokens", r#"["env:NAME", "file:/path"]"#)?;
    if tokens.is_empty() {
        let remedy = "write initial_access_tokens = [\"env:NAME\"], or enabled = false";
        section.desk.mistake(&path, &place, "is an empty list: nobody could register", remedy);
    }
    if tokens.iter().any(|token| token.expose().len() < SHORTEST_TOKEN) {
        let problem = "holds one shorter than 32 bytes: it can be guessed";
        section.desk.mistake(&path, &place, problem, "make each with `vestibule secret new`");
    }
    Some(Gate::Token(tokens))
}

/// A list that narrows; absent, or with `"*"` in it, it does not.
fn some_of<T>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    if !section.has(key) {
        section.desk.resolved(section.at(key), r#"["*"]"#, Origin::Default);
        section.take(key);
        return None;
    }
    let each = section.each(key, example, |text| if text == "*" { Ok(None) } else { parse(text).map(Some) });
    each.into_iter().collect()
}

/// RFC 3986 §3.1, without the colon.
fn scheme(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches("://").trim_end_matches(':').to_ascii_lowercase();
    let is_scheme = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    match text.as_str() {
        "http" | "https" => Err("https and loopback are no private schemes; redirect_hosts speaks of them".to_owned()),
        _ if is_scheme => Ok(text),
        _ => Err("expected the name of a scheme".to_owned()),
    }
}
