//! `[upstream.X]`: a preset, the operator's variables and overrides, and our credentials there.

use std::collections::BTreeMap;

use super::{
    desk::shown,
    disk,
    mistake::nearest,
    section::Section,
    tree::{Node, Value},
};
use crate::{
    domain::{HttpsUrl, UpstreamName},
    upstream::{
        self, Provider, presets,
        provider::{ClientAuth, EndpointTexts, Overrides, Preset},
    },
};

/// Larger than any provider file.
const LONGEST: u64 = 256 * 1024;

/// The names of all, and those that are sound.
pub(super) fn read(
    mut all: Section<'_>,
    public_url: Option<&HttpsUrl>,
    dangerous_allow_http: bool,
) -> (Vec<UpstreamName>, Vec<upstream::Settings>) {
    let (mut names, mut settings) = (Vec::new(), Vec::new());
    if all.is_empty() {
        all.desk.mistake(
            "upstream",
            &all.origin,
            "there is no provider where people log in",
            "write [upstream.google] with provider, client_id and client_secret",
        );
    }
    for (key, node) in all.rest() {
        let path = all.at(&key);
        let name = match UpstreamName::parse(&key) {
            Ok(name) => name,
            Err(error) => {
                all.desk.mistake(&path, &node.origin, error.to_string(), "rename the section");
                continue;
            }
        };
        names.push(name.clone());
        let Node { value: Value::Table(table), origin } = node else {
            let problem = format!("expected a section, found {}", node.value.shape());
            all.desk.mistake(&path, &node.origin, problem, format!("write [upstream.{key}]"));
            continue;
        };
        let section = Section::new(all.desk, path, origin, table);
        settings.extend(one(section, name, public_url, dangerous_allow_http));
    }
    (names, settings)
}

fn one(
    mut section: Section<'_>,
    name: UpstreamName,
    public_url: Option<&HttpsUrl>,
    dangerous_allow_http: bool,
) -> Option<upstream::Settings> {
    let preset = preset(&mut section);
    let mut variables = free_texts(&mut section, "variables");
    for variable in preset.iter().flat_map(|preset| &preset.variables) {
        if let Some(value) = section.free_text(variable) {
            variables.insert(variable.clone(), value);
        }
    }
    let overrides = overrides(&mut section, variables, dangerous_allow_http);
    let client_id =
        section.required("client_id", "\"the id that the provider gave our app\"", |text| match text.trim() {
            "" => Err("must not be empty"),
            id => Ok(id.to_owned()),
        });
    let place = section.place("client_secret");
    let had_secret = section.has("client_secret");
    let client_secret = section.secret("client_secret");
    let provider = preset.and_then(|preset| fill(&section, preset, &overrides));
    let needs_secret = provider.as_ref().is_some_and(|provider| provider.token.client_auth != ClientAuth::None);
    if needs_secret && !had_secret {
        let remedy = "write client_secret = \"env:NAME\", or \"file:/path\"; for a public app client_auth = \"none\"";
        section.desk.mistake(&section.at("client_secret"), &place, "is missing", remedy);
    }
    section.finish();
    let callback = HttpsUrl::parse(&format!("{}/callback/{name}", public_url?.trimmed()), dangerous_allow_http).ok()?;
    Some(upstream::Settings { name, provider: provider?, client_id: client_id?, client_secret, callback })
}

/// What is publicly known: compiled in, or the operator's own file.
fn preset(section: &mut Section<'_>) -> Option<Preset> {
    let known: Vec<&str> = presets::names().collect();
    if section.has("provider_file") {
        if section.has("provider") {
            section.wrong("provider_file", "both provider and provider_file are given", "keep one");
        }
        section.take("provider");
        let folder = section.desk.folder.clone();
        return section.parsed("provider_file", "\"./mine.toml\"", |text| {
            let text = disk::read_text(&folder.join(text), LONGEST).map_err(|e| e.to_string())?;
            Provider::from_toml(&text).map_err(|e| e.to_string())
        });
    }
    section.required("provider", "\"google\", or \"oidc\" with issuer", |text| {
        Provider::preset(text).ok_or_else(|| match nearest(text, &known) {
            Some(near) => format!("is not a provider known here; did you mean {near:?}?"),
            None => format!("is not a provider known here; known are {}", known.join(", ")),
        })
    })
}

fn overrides(section: &mut Section<'_>, variables: BTreeMap<String, String>, dangerous_allow_http: bool) -> Overrides {
    let any = |text: &str| Ok::<_, String>(text.to_owned());
    let title = section.parsed("title", "\"Example Corp\"", |text| match text.trim() {
        "" => Err("must not be empty"),
        title if title.chars().count() > 64 => Err("must have at most 64 characters"),
        title => Ok(title.to_owned()),
    });
    let issuer = section.parsed("issuer", "\"https://login.example.com\"", any);
    let mut texts = section.section("endpoints");
    let url = "\"https://login.example.com/…\"";
    let endpoints = EndpointTexts {
        authorize: texts.parsed("authorize", url, any),
        token: texts.parsed("token", url, any),
        userinfo: texts.parsed("userinfo", url, any),
        emails: texts.parsed("emails", url, any),
        jwks: texts.parsed("jwks", url, any),
        revoke: texts.parsed("revoke", url, any),
    };
    texts.finish();
    let mut params = free_texts(section, "authorize_params");
    params.extend(free_texts(section, "params"));
    let scopes = |section: &mut Section<'_>, key| {
        section.has(key).then(|| section.each(key, r#"["openid", "email"]"#, super::section::scope_token))
    };
    let identity_scopes = scopes(section, "identity_scopes");
    let offline_scopes = scopes(section, "offline_scopes");
    let client_auth = section.parsed("client_auth", "\"basic\", \"post\", \"none\" or \"auto\"", |text| match text {
        "auto" => Ok(ClientAuth::Auto),
        "basic" => Ok(ClientAuth::Basic),
        "post" => Ok(ClientAuth::Post),
        "none" => Ok(ClientAuth::None),
        _ => Err("is not a way to authenticate"),
    });
    let groups = section.parsed("groups", "\"/groups\"", any);
    Overrides {
        title,
        variables,
        issuer,
        endpoints,
        params,
        identity_scopes,
        offline_scopes,
        client_auth,
        groups,
        dangerous_allow_http,
    }
}

/// A table of texts under free keys.
fn free_texts(section: &mut Section<'_>, key: &'static str) -> BTreeMap<String, String> {
    let mut table = section.section(key);
    let mut texts = BTreeMap::new();
    for (key, node) in table.rest() {
        let path = table.at(&key);
        match node.value {
            Value::Text(text) => {
                section.desk.resolved(path, format!("{text:?}"), node.origin);
                texts.insert(key, text);
            }
            other => {
                let problem = format!("expected a string, found {}", other.shape());
                section.desk.mistake(&path, &node.origin, problem, format!("write {key} = \"…\""));
            }
        }
    }
    texts
}

fn fill(section: &Section<'_>, preset: Preset, overrides: &Overrides) -> Option<Provider> {
    let title = preset.title.clone();
    match preset.fill(overrides) {
        Ok(provider) => Some(provider),
        Err(mistakes) => {
            for mistake in mistakes {
                let remedy = format!("see the page about {} in docs/providers", shown(&title));
                section.desk.mistake(&section.at(&mistake.path), &section.origin, mistake.text, remedy);
            }
            None
        }
    }
}
