//! `[[client]]`: MCP clients that the operator vouches for (DCR-13).

use std::collections::BTreeSet;

use super::{published::published_keys, section::Section, server::demands_proof, tree::Origin};
use crate::{
    domain::{
        Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, GrantType, RegisteredRedirect, Scope,
        UpstreamName,
    },
    oauth::{ClientKeys, Exchange, SpeaksFor, StaticClient, TrustedIssuer},
};

/// What is offered to clients in sections of its own.
#[derive(Clone, Copy)]
pub(super) struct Offers<'a> {
    /// Whether the device grant is on.
    pub(super) device: bool,
    /// Every `[upstream.X]`.
    pub(super) upstreams: &'a [UpstreamName],
    /// Every sound `[issuer.X]`.
    pub(super) issuers: &'a [TrustedIssuer],
}

/// Reads all of them; two with one id are a mistake.
pub(super) fn read(sections: Vec<Section<'_>>, offers: Offers<'_>) -> Vec<StaticClient> {
    let mut clients: Vec<StaticClient> = Vec::new();
    for section in sections {
        let (desk, at, place) = (section.desk, section.at("id"), section.place("id"));
        let Some(client) = one(section, offers) else { continue };
        if clients.iter().any(|other| other.client.id == client.client.id) {
            desk.mistake(&at, &place, "another [[client]] has this id", "give each its own id");
        }
        clients.push(client);
    }
    clients
}

fn one(mut section: Section<'_>, offers: Offers<'_>) -> Option<StaticClient> {
    let id = section.required("id", "\"my-client\"", |text| match text {
        "" => Err("must not be empty"),
        _ if text.starts_with("https://") => {
            Err("an https id is the address of a metadata document and needs no section")
        }
        // RFC 6749 appendix A.1 has spaces in it, and so has the id that Amazon Q falls back to.
        _ if text.len() > 200 || text.trim() != text || !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) => {
            Err("an id has at most 200 characters of plain ASCII, and no space at its ends")
        }
        _ => Ok(ClientId::new(text)),
    });
    let name = section.parsed("name", "\"My client\"", |text| Ok::<_, String>(ClientName::tamed(text)));
    let has_secret = section.has("secret");
    let secret = section.secret("secret");
    let default = if has_secret { "client_secret_basic" } else { "none" };
    let auth_method = section.parsed_or("auth_method", default, "\"client_secret_basic\"", auth_method);
    if let Some(method) = auth_method.filter(|method| method.has_secret() != has_secret) {
        let (problem, remedy) = match method.has_secret() {
            true => {
                ("is missing for this auth_method".to_owned(), "write secret = \"env:NAME\", or auth_method = \"none\"")
            }
            false => (
                format!("is given, but auth_method is \"{}\"", method.as_str()),
                "take the secret out, or choose client_secret_basic",
            ),
        };
        section.wrong("secret", problem, remedy);
    }
    let grants = grants(&mut section, offers);
    let keys = keys(&mut section, auth_method);
    let example = r#"["http://127.0.0.1/callback"]"#;
    if grants.contains(&GrantType::ClientCredentials) && auth_method == Some(ClientAuthMethod::None) {
        let problem = "holds client_credentials, but the client proves itself by nothing";
        section.wrong("grants", problem, "give it a secret");
    }
    if grants.contains(&GrantType::TokenExchange) && auth_method == Some(ClientAuthMethod::None) {
        let problem = "holds token_exchange, but the client proves itself by nothing";
        section.wrong("grants", problem, "give it a secret");
    }
    let exchange = exchange(&mut section, &grants, offers);
    let has_code = grants.contains(&GrantType::AuthorizationCode);
    if has_code != section.has("redirect_uris") {
        let (problem, remedy) = match has_code {
            true => ("is missing", format!("write redirect_uris = {example}")),
            false => ("is given, but grants does not hold authorization_code", "take one of them out".to_owned()),
        };
        section.wrong("redirect_uris", problem, remedy);
    }
    let redirect_uris = section.each("redirect_uris", example, RegisteredRedirect::parse);
    let always_proves = demands_proof(&mut section);
    let scope = section.parsed("scope", "\"mcp\"", |text| Ok::<_, String>(Scope::parse(text)));
    section.finish();
    let client = Client {
        id: id?,
        origin: ClientOrigin::Static,
        name,
        redirect_uris,
        auth_method: auth_method?,
        grants,
        scope,
        always_proves,
        edition: None,
    };
    Some(StaticClient { client, secret, keys: keys?, exchange })
}

/// The ways to a token. What is written in a client's section but not offered would be a silent no later.
fn grants(section: &mut Section<'_>, offers: Offers<'_>) -> BTreeSet<GrantType> {
    const EXAMPLE: &str = r#"["authorization_code", "refresh_token"]"#;
    let (place, is_written) = (section.place("grants"), section.has("grants"));
    let grants: BTreeSet<GrantType> = section
        .each("grants", EXAMPLE, |text| match text {
            "device_code" => Ok(GrantType::DeviceCode),
            "token_exchange" => Ok(GrantType::TokenExchange),
            _ => GrantType::parse(text)
                .ok_or("expected authorization_code, refresh_token, device_code, client_credentials or token_exchange"),
        })
        .into_iter()
        .collect();
    if !is_written {
        section.desk.resolved(section.at("grants"), EXAMPLE, Origin::Default);
        return BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]);
    }
    let at = section.at("grants");
    if grants.contains(&GrantType::DeviceCode) && !offers.device {
        let problem = "holds device_code, which is not offered";
        section.desk.mistake(&at, &place, problem, "write [device] enabled = true, or take it out");
    }
    if grants.iter().all(|grant| *grant == GrantType::RefreshToken) {
        section.desk.mistake(&at, &place, "lets the client begin nothing", format!("write grants = {EXAMPLE}"));
    }
    grants
}

/// Whose tokens it may bring: `exchange` and `exchange_access_tokens`.
fn exchange(section: &mut Section<'_>, grants: &BTreeSet<GrantType>, offers: Offers<'_>) -> Exchange {
    const EXAMPLE: &str = r#"["login"]"#;
    let exchanges = grants.contains(&GrantType::TokenExchange);
    let (has_list, has_access) = (section.has("exchange"), section.has("exchange_access_tokens"));
    for key in [("exchange", has_list), ("exchange_access_tokens", has_access)] {
        if key.1 && !exchanges {
            let problem = "is given, but grants does not hold token_exchange";
            section.wrong(key.0, problem, "take one of them out");
        }
    }
    if exchanges && !has_list {
        let remedy = format!("write exchange = {EXAMPLE}: upstreams and issuers");
        section.wrong("exchange", "is missing: whose tokens may this client exchange?", remedy);
    }
    let from = section.each("exchange", EXAMPLE, |text| {
        let issuer = offers.issuers.iter().find(|issuer| issuer.name.as_str() == text);
        match (offers.upstreams.iter().find(|name| name.as_str() == text), issuer) {
            (Some(upstream), _) => Ok(upstream.clone()),
            (None, Some(issuer)) => match &issuer.speaks_for {
                SpeaksFor::People(introduction) if introduction.audiences.is_empty() => {
                    Err(format!("write audiences in [issuer.{text}]: which of its tokens may be exchanged"))
                }
                SpeaksFor::People(_) => Ok(issuer.name.clone()),
                SpeaksFor::Workloads => Err(format!("[issuer.{text}] does not speak for people")),
            },
            (None, None) => Err(format!("there is neither an [upstream.{text}] nor an [issuer.{text}]")),
        }
    });
    let access_tokens = (exchanges || has_access) && section.yes_or("exchange_access_tokens", false);
    Exchange { from, access_tokens }
}

fn auth_method(text: &str) -> Result<ClientAuthMethod, &'static str> {
    [
        ClientAuthMethod::None,
        ClientAuthMethod::ClientSecretBasic,
        ClientAuthMethod::ClientSecretPost,
        ClientAuthMethod::PrivateKeyJwt,
    ]
    .into_iter()
    .find(|method| method.as_str() == text)
    .ok_or("expected none, client_secret_basic, client_secret_post or private_key_jwt")
}

/// The keys of `auth_method = "private_key_jwt"`: `jwks`, as text or `file:/path`, or `jwks_uri`.
fn keys(section: &mut Section<'_>, method: Option<ClientAuthMethod>) -> Option<Option<ClientKeys>> {
    let signs = method == Some(ClientAuthMethod::PrivateKeyJwt);
    let (has_set, has_uri) = (section.has("jwks"), section.has("jwks_uri"));
    if signs && has_set == has_uri {
        let problem = "private_key_jwt needs the client's public keys, in one place";
        section.wrong("jwks", problem, "write jwks = \"file:/path/keys.json\", or jwks_uri = \"https://…\"");
    } else if !signs && (has_set || has_uri) {
        let key = if has_set { "jwks" } else { "jwks_uri" };
        section.wrong(key, "is given, but only private_key_jwt has keys", "take it out, or choose private_key_jwt");
    }
    let source = published_keys(section, "\"https://build.example.com/jwks.json\"", false);
    let endpoint_audience = signs && section.yes_or("token_endpoint_audience", false);
    match (signs, source) {
        (true, Some(source)) => Some(Some(ClientKeys { source, endpoint_audience })),
        (true, None) => None,
        (false, _) => Some(None),
    }
}
