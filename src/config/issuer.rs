//! `[issuer.X]`: whose word for people or workloads is believed (EMA-1, WIF-1).

use super::{
    published::published_keys,
    section::Section,
    tree::{Node, Value},
};
use crate::{
    domain::UpstreamName,
    oauth::{Introduction, KeySource, SpeaksFor, TrustedIssuer},
    upstream::provider::IdentityRules,
};

/// Reads all of them; `upstreams` are the names that are taken.
pub(super) fn read(mut all: Section<'_>, upstreams: &[UpstreamName], http_is_allowed: bool) -> Vec<TrustedIssuer> {
    let mut issuers: Vec<TrustedIssuer> = Vec::new();
    for (name, node) in all.rest() {
        let (desk, path) = (all.desk, all.at(&name));
        let Node { value: Value::Table(table), origin } = node else {
            desk.mistake(&path, &node.origin, "is not a section", format!("write [{path}]"));
            continue;
        };
        let section = Section::new(desk, path.clone(), origin.clone(), table);
        let place = section.place("issuer");
        let Ok(name) = UpstreamName::parse(&name) else {
            let remedy = "1 to 32 characters out of a-z, 0-9, '-' and '_', and not \"client\"";
            desk.mistake(&path, &origin, "is not a name for an issuer", remedy);
            continue;
        };
        if upstreams.contains(&name) {
            let problem = format!("there is an [upstream.{name}] already, and their subjects would be mixed up");
            desk.mistake(&path, &origin, problem, "give the issuer a name of its own, and say upstream = \"…\" in it");
        }
        let Some(issuer) = one(section, name, upstreams, http_is_allowed) else { continue };
        if issuers.iter().any(|other| other.issuer == issuer.issuer) {
            desk.mistake(&format!("{path}.issuer"), &place, "another [issuer] has it", "write each issuer once");
        }
        issuers.push(issuer);
    }
    issuers
}

fn one(
    mut section: Section<'_>,
    name: UpstreamName,
    upstreams: &[UpstreamName],
    http_is_allowed: bool,
) -> Option<TrustedIssuer> {
    let issuer = section.required("issuer", "\"https://login.example.com\"", |text| match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    });
    let speaks_for_people = section.parsed_or("speaks_for", "people", "\"people\"", |text| match text {
        "people" => Ok(true),
        "workloads" => Ok(false),
        _ => Err("expected people or workloads"),
    });
    let keys = keys(&mut section, http_is_allowed);
    let (has_upstream, has_groups) = (section.has("upstream"), section.has("groups"));
    let has_vouching = section.has("vouches_for_emails");
    let people_of = section.parsed("upstream", "\"login\"", |text| {
        let found = upstreams.iter().find(|upstream| upstream.as_str() == text);
        found.cloned().ok_or_else(|| format!("there is no [upstream.{text}]"))
    });
    let groups = section.parsed("groups", "\"/groups\"", |text| match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("expected a JSON pointer, which begins with /"),
    });
    let is_asked = has_vouching || speaks_for_people != Some(false);
    let vouches_for_emails = is_asked && section.yes_or("vouches_for_emails", false);
    let has_audiences = section.has("audiences");
    let audiences = section.each("audiences", r#"["https://old.example.com"]"#, |text| match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    });
    if speaks_for_people == Some(false) {
        let given = [
            ("upstream", has_upstream),
            ("groups", has_groups),
            ("vouches_for_emails", has_vouching),
            ("audiences", has_audiences),
        ];
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            section.wrong(key, "is about people, but the issuer speaks for workloads", "take it out");
        }
    }
    section.finish();
    // A mistake in `upstream` must not make other people of them.
    if has_upstream && people_of.is_none() {
        return None;
    }
    let speaks_for = match speaks_for_people? {
        false => SpeaksFor::Workloads,
        true => SpeaksFor::People(Box::new(Introduction {
            people_of: people_of.unwrap_or_else(|| name.clone()),
            rules: IdentityRules { groups, ..IdentityRules::default() },
            audiences,
            vouches_for_emails,
        })),
    };
    Some(TrustedIssuer { name, issuer: issuer?, keys: keys?, speaks_for })
}

/// `jwks`, as text or `file:/path`, or `jwks_uri`.
fn keys(section: &mut Section<'_>, http_is_allowed: bool) -> Option<KeySource> {
    if section.has("jwks") == section.has("jwks_uri") {
        let remedy = "write jwks_uri = \"https://…\", or jwks = \"file:/path/keys.json\"";
        section.wrong("jwks_uri", "an issuer's public keys are in one place", remedy);
    }
    published_keys(section, "\"https://login.example.com/jwks.json\"", http_is_allowed)
}
