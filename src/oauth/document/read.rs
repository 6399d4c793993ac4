//! A document's text becomes a client: what must be in it, and what must not (CIMD-3, CIMD-4, CIMD-9).

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Invalid;
use crate::{
    crypto::{
        hash::sha256,
        jwt::published::{BadKeySet, PublishedKeys},
    },
    domain::{
        Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, DocumentUrl, GrantType, RegisteredRedirect,
    },
};

/// More redirect URIs than any client has.
const MOST_REDIRECTS: usize = 100;

/// What is understood of a document; everything else is ignored (draft §4.1).
#[derive(Deserialize)]
struct Said {
    client_id: String,
    client_name: String,
    redirect_uris: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    /// What the client is able to, beside what it prefers (OpenID Connect RP Metadata Choices; ChatGPT).
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    grant_types: Option<Vec<String>>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
    #[serde(default)]
    jwks: Option<Value>,
    #[serde(default)]
    jwks_uri: Option<String>,
    #[serde(default)]
    dpop_bound_access_tokens: bool,
}

/// A client as its document describes it.
#[derive(Debug)]
pub(super) struct ClientDocument {
    pub(super) client: Client,
    pub(super) keys: Option<DocumentKeys>,
    /// Whether it may also come as a public client.
    pub(super) may_be_public: bool,
}

/// Where the client's keys are.
#[derive(Debug, Clone)]
pub(super) enum DocumentKeys {
    Inline(Arc<PublishedKeys>),
    At(DocumentUrl),
}

/// Reads the document that lies at `url`.
pub(super) fn client(url: &str, text: &str) -> Result<ClientDocument, Invalid> {
    let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| invalid("is not a JSON object"))?;
    // Whoever publishes a secret has none (CIMD-9).
    if members.keys().any(|name| name.starts_with("client_secret")) {
        return Err(invalid("holds a client secret"));
    }
    // Read from the text, not from the members: a name that comes twice is refused here.
    let said: Said = serde_json::from_str(text)
        .map_err(|_| invalid("must hold client_id, client_name and redirect_uris, each once and of its type"))?;
    if said.client_id != url {
        return Err(invalid("names another client_id than its own address"));
    }
    let name = ClientName::tamed(&said.client_name);
    if name.as_str().is_empty() {
        return Err(invalid("has an empty client_name"));
    }
    let redirect_uris = redirects(&said.redirect_uris)?;
    check_grants(&said)?;
    // Looked at even where it is not used: key material is not to be published.
    let keys = keys(&said)?;
    let (auth_method, may_be_public) = auth_method(&said)?;
    if auth_method == ClientAuthMethod::PrivateKeyJwt && keys.is_none() {
        return Err(invalid("says private_key_jwt and shows no key for it"));
    }
    let keys = keys.filter(|_| auth_method == ClientAuthMethod::PrivateKeyJwt);
    let edition = edition(&said, &name, auth_method);
    // Absent grant types: unlike in a registration nobody is asked for, so a client that can refresh shall be able to.
    let lists = |grant: GrantType| said.grant_types.as_ref().is_none_or(|all| all.iter().any(|g| g == grant.as_str()));
    let mut grants = BTreeSet::from([GrantType::AuthorizationCode]);
    grants.extend(lists(GrantType::RefreshToken).then_some(GrantType::RefreshToken));
    grants.extend((said.grant_types.is_some() && lists(GrantType::DeviceCode)).then_some(GrantType::DeviceCode));
    let client = Client {
        id: ClientId::new(url),
        origin: ClientOrigin::Metadata,
        name: Some(name),
        redirect_uris,
        auth_method,
        grants,
        scope: None,
        always_proves: said.dpop_bound_access_tokens,
        edition: Some(edition),
    };
    Ok(ClientDocument { client, keys, may_be_public })
}

/// Reads the key set that lies somewhere.
pub(super) fn key_set(_: &str, text: &str) -> Result<PublishedKeys, Invalid> {
    PublishedKeys::parse(text.as_bytes()).map_err(|bad| Invalid(Cow::Owned(bad.to_string())))
}

/// One bad URI refuses the whole document, as it does a registration (DCR-5, S7).
fn redirects(uris: &[String]) -> Result<Vec<RegisteredRedirect>, Invalid> {
    if uris.is_empty() {
        return Err(invalid("has no redirect_uris"));
    }
    if uris.len() > MOST_REDIRECTS {
        return Err(invalid("has more than 100 redirect_uris"));
    }
    let parsed = uris.iter().map(|uri| RegisteredRedirect::parse(uri));
    parsed
        .collect::<Result<_, _>>()
        .map_err(|bad| Invalid(Cow::Owned(format!("holds a redirect URI that is refused: {bad}"))))
}

fn check_grants(said: &Said) -> Result<(), Invalid> {
    let lacks = |list: &Option<Vec<String>>, wanted: &str| {
        list.as_ref().is_some_and(|list| !list.is_empty() && !list.iter().any(|entry| entry == wanted))
    };
    if lacks(&said.grant_types, "authorization_code") || lacks(&said.response_types, "code") {
        return Err(invalid("does not ask for authorization codes"));
    }
    Ok(())
}

/// The method that the client prefers among those we have, and whether it may come without any. Shared secrets are none:
/// there is nobody to share them with (CIMD-9).
fn auth_method(said: &Said) -> Result<(ClientAuthMethod, bool), Invalid> {
    let listed = said.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
    let lists = |method: &str| listed.iter().any(|entry| entry == method);
    match said.token_endpoint_auth_method.as_deref() {
        Some("none") => Ok((ClientAuthMethod::None, true)),
        Some("private_key_jwt") => Ok((ClientAuthMethod::PrivateKeyJwt, lists("none"))),
        Some(method) if method.starts_with("client_secret") => Err(invalid("asks for a shared secret")),
        // A method that we do not have, or none named.
        _ if lists("none") || (said.token_endpoint_auth_method.is_none() && !lists("private_key_jwt")) => {
            Ok((ClientAuthMethod::None, true))
        }
        _ if lists("private_key_jwt") => Ok((ClientAuthMethod::PrivateKeyJwt, false)),
        Some(_) | None => Err(invalid("has neither none nor private_key_jwt as token_endpoint_auth_method")),
    }
}

fn keys(said: &Said) -> Result<Option<DocumentKeys>, Invalid> {
    match (&said.jwks, &said.jwks_uri) {
        (Some(_), Some(_)) => Err(invalid("has both jwks and jwks_uri")),
        (Some(set), None) => {
            match PublishedKeys::of(set) {
                Ok(keys) => Ok(Some(DocumentKeys::Inline(Arc::new(keys)))),
                // Keys for something else; whether that is too few is decided by the method.
                Err(BadKeySet::Unusable) => Ok(None),
                Err(bad) => Err(Invalid(Cow::Owned(format!("jwks {bad}")))),
            }
        }
        (None, Some(uri)) => {
            let url = DocumentUrl::parse(uri).map_err(|bad| Invalid(Cow::Owned(format!("jwks_uri {bad}"))))?;
            Ok(Some(DocumentKeys::At(url)))
        }
        (None, None) => Ok(None),
    }
}

/// What a person agrees to: when any of it changes, they are asked anew (CIMD-16). Keys behind a `jwks_uri` rotate under
/// one address, which is what was agreed to.
fn edition(said: &Said, name: &ClientName, method: ClientAuthMethod) -> String {
    let mut redirects = said.redirect_uris.clone();
    redirects.sort();
    let told = serde_json::json!([name.as_str(), redirects, method.as_str(), said.jwks, said.jwks_uri]);
    URL_SAFE_NO_PAD.encode(&sha256(told.to_string().as_bytes())[..16])
}

fn invalid(why: &'static str) -> Invalid {
    Invalid(Cow::Borrowed(why))
}
