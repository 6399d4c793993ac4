//! `[[client]]`: MCP clients that the operator vouches for (DCR-13).

use super::section::Section;
use crate::{
    domain::{Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, RegisteredRedirect, Scope},
    oauth::StaticClient,
};

/// Reads all of them; two with one id are a mistake.
pub(super) fn read(sections: Vec<Section<'_>>) -> Vec<StaticClient> {
    let mut clients: Vec<StaticClient> = Vec::new();
    for section in sections {
        let (desk, at, place) = (section.desk, section.at("id"), section.place("id"));
        let Some(client) = one(section) else { continue };
        if clients.iter().any(|other| other.client.id == client.client.id) {
            desk.mistake(&at, &place, "another [[client]] has this id", "give each its own id");
        }
        clients.push(client);
    }
    clients
}

fn one(mut section: Section<'_>) -> Option<StaticClient> {
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
    let example = r#"["http://127.0.0.1/callback"]"#;
    if !section.has("redirect_uris") {
        section.wrong("redirect_uris", "is missing", format!("write redirect_uris = {example}"));
    }
    let redirect_uris = section.each("redirect_uris", example, RegisteredRedirect::parse);
    let scope = section.parsed("scope", "\"mcp\"", |text| Ok::<_, String>(Scope::parse(text)));
    section.finish();
    let client = Client {
        id: id?,
        origin: ClientOrigin::Static,
        name,
        redirect_uris,
        auth_method: auth_method?,
        may_refresh: true,
        scope,
    };
    Some(StaticClient { client, secret })
}

fn auth_method(text: &str) -> Result<ClientAuthMethod, &'static str> {
    [ClientAuthMethod::None, ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::ClientSecretPost]
        .into_iter()
        .find(|method| method.as_str() == text)
        .ok_or("expected none, client_secret_basic or client_secret_post")
}
