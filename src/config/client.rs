//! `[[client]]`: MCP clients that the operator vouches for (DCR-13).

use std::collections::BTreeSet;

use super::{section::Section, tree::Origin};
use crate::{
    domain::{Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, GrantType, RegisteredRedirect, Scope},
    oauth::StaticClient,
};

/// The ways to a token that have a section of their own, and whether it turns them on.
#[derive(Clone, Copy)]
pub(super) struct Offers {
    pub(super) device: bool,
}

/// Reads all of them; two with one id are a mistake.
pub(super) fn read(sections: Vec<Section<'_>>, offers: Offers) -> Vec<StaticClient> {
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

fn one(mut section: Section<'_>, offers: Offers) -> Option<StaticClient> {
    let id = section.required("id", "\"my-client\"", |text| match text {
        "" => Err("must not be empty"),
        _ if text.starts_with("https://") => {
            Err("an https id is the address of a metadata document and needs no section")
        }
        _ if text.len() > 200 || !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Err("an id has at most 200 characters, plain ASCII without spaces")
        }
        _ => Ok(ClientId::new(text)),
    });
    let name = section.parsed("name", "\"My client\"", |text| Ok::<_, String>(ClientName::tamed(text)));
    let has_secret = section.has("secret");
    let secret = section.secret("secret");
    let default = if has_secret { "client_secret_basic" } else { "none" };
    let auth_method = section.parsed_or("auth_method", default, "\"client_secret_basic\"", auth_method);
    if let Some(method) = auth_method.filter(|method| method.is_confidential() != has_secret) {
        let (problem, remedy) = match method.is_confidential() {
            true => ("is missing for this auth_method", "write secret = \"env:NAME\", or auth_method = \"none\""),
            false => ("is given, but auth_method is \"none\"", "take the secret out, or choose client_secret_basic"),
        };
        section.wrong("secret", problem, remedy);
    }
    let grants = grants(&mut section, offers);
    let example = r#"["http://127.0.0.1/callback"]"#;
    let has_code = grants.contains(&GrantType::AuthorizationCode);
    if has_code != section.has("redirect_uris") {
        let (problem, remedy) = match has_code {
            true => ("is missing", format!("write redirect_uris = {example}")),
            false => ("is given, but grants does not hold authorization_code", "take one of them out".to_owned()),
        };
        section.wrong("redirect_uris", problem, remedy);
    }
    let redirect_uris = section.each("redirect_uris", example, RegisteredRedirect::parse);
    let scope = section.parsed("scope", "\"mcp\"", |text| Ok::<_, String>(Scope::parse(text)));
    section.finish();
    let client =
        Client { id: id?, origin: ClientOrigin::Static, name, redirect_uris, auth_method: auth_method?, grants, scope };
    Some(StaticClient { client, secret })
}

/// The ways to a token. What is written in a client's section but not offered would be a silent no later.
fn grants(section: &mut Section<'_>, offers: Offers) -> BTreeSet<GrantType> {
    const EXAMPLE: &str = r#"["authorization_code", "refresh_token"]"#;
    let (place, is_written) = (section.place("grants"), section.has("grants"));
    let grants: BTreeSet<GrantType> = section
        .each("grants", EXAMPLE, |text| match text {
            "device_code" => Ok(GrantType::DeviceCode),
            _ => GrantType::parse(text).ok_or("expected authorization_code, refresh_token or device_code"),
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

fn auth_method(text: &str) -> Result<ClientAuthMethod, &'static str> {
    [ClientAuthMethod::None, ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::ClientSecretPost]
        .into_iter()
        .find(|method| method.as_str() == text)
        .ok_or("expected none, client_secret_basic or client_secret_post")
}
