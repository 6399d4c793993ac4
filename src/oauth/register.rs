//! Dynamic client registration (RFC 7591) that writes nothing: the id is the registration, sealed (D2, DCR-8). What is
//! derived from the id (the secret, the token of RFC 7592) is not written either.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{AuthorizationServer, Error, ErrorCode, metadata::all_scopes};
use crate::{
    domain::{
        ClientAuthMethod, ClientId, ClientName, ClientOrigin, GrantType, RegisteredRedirect, Scope, Secret,
        scope::OFFLINE_ACCESS,
    },
    token::Dpop,
};

/// The longest body that is read.
const LONGEST_BODY: usize = 16 * 1024;
/// The most redirect URIs of one client.
const MOST_REDIRECTS: usize = 10;

/// What is understood of RFC 7591 §2; everything else is ignored, as §2 demands.
#[derive(Deserialize)]
pub(super) struct Asked {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    scope: Option<String>,
    application_type: Option<String>,
    dpop_bound_access_tokens: Option<bool>,
}

/// What of it is enforced.
pub(super) struct Accepted {
    pub(super) redirects: Vec<RegisteredRedirect>,
    pub(super) name: Option<ClientName>,
    pub(super) method: ClientAuthMethod,
    pub(super) grants: BTreeSet<GrantType>,
    pub(super) always_proves: bool,
}

/// RFC 7591 §3.2.1 and RFC 7592 §3: what was accepted and is enforced, defaults filled in, never a `null` (DCR-2,
/// behaviour 7).
#[derive(Serialize)]
pub(super) struct Registered<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id_issued_at: Option<u64>,
    #[serde(with = "crate::domain::secret::in_record_option", skip_serializing_if = "Option::is_none")]
    client_secret: Option<Secret<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    #[serde(with = "crate::domain::secret::in_record_option", skip_serializing_if = "Option::is_none")]
    registration_access_token: Option<Secret<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_client_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    redirect_uris: &'a [String],
    grant_types: Vec<&'static str>,
    response_types: &'static [&'static str],
    token_endpoint_auth_method: &'static str,
    pub(super) application_type: &'static str,
    pub(super) scope: Scope,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dpop_bound_access_tokens: bool,
}

impl Registered<'_> {
    pub(super) fn document(&self) -> Result<Bytes, Error> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|cause| Error::new(ErrorCode::ServerError, "the reply could not be written").because(cause))
    }
}

impl AuthorizationServer {
    /// RFC 7591 §3.1: the 201 document. Writes nothing (D2). `bearer` is the initial access token, where one is needed.
    ///
    /// # Errors
    /// `invalid_redirect_uri`, `invalid_client_metadata`, `invalid_token`, or registration is off.
    pub fn register(&self, body: &[u8], bearer: Option<&str>) -> Result<Bytes, Error> {
        self.may_register(bearer)?;
        let asked = Asked::read(body)?;
        let accepted = self.accept(&asked)?;
        let id = self.seal_client(&accepted);
        if id.as_str().len() > ClientId::LONGEST {
            return Err(redirect("the redirect URIs are too long altogether"));
        }
        let registered = Registered {
            client_id_issued_at: Some(self.parts.clock.now().secs()),
            application_type: application_type(asked.application_type.as_deref(), &accepted.redirects),
            scope: self.registered_scope(asked.scope.as_deref().unwrap_or_default()),
            ..self.registered(&id, &accepted, asked.redirect_uris.as_deref().unwrap_or_default())
        };
        registered.document()
    }

    /// What holds for the client of this id, as far as its id tells.
    pub(super) fn registered<'a>(
        &self,
        id: &'a ClientId,
        accepted: &'a Accepted,
        redirect_uris: &'a [String],
    ) -> Registered<'a> {
        let secret = accepted.method.has_secret().then(|| self.client_secret(id));
        let (token, uri) = self.management(id, accepted.method).unzip();
        Registered {
            client_id: id.as_str(),
            client_id_issued_at: None,
            client_secret_expires_at: secret.as_ref().map(|_| 0),
            client_secret: secret,
            registration_access_token: token,
            registration_client_uri: uri,
            client_name: accepted.name.as_ref().map(ClientName::as_str),
            redirect_uris,
            grant_types: accepted.grants.iter().map(|grant| grant.as_str()).collect(),
            response_types: if accepted.grants.contains(&GrantType::AuthorizationCode) { &["code"] } else { &[] },
            token_endpoint_auth_method: accepted.method.as_str(),
            application_type: application_type(None, &accepted.redirects),
            scope: all_scopes(&self.parts.resources),
            dpop_bound_access_tokens: accepted.always_proves,
        }
    }

    /// Judges a registration.
    pub(super) fn accept(&self, asked: &Asked) -> Result<Accepted, Error> {
        let uris = asked.redirect_uris.as_deref().unwrap_or_default();
        let grants = self.grants(asked.grant_types.as_deref(), asked.response_types.as_deref())?;
        let has_code = grants.contains(&GrantType::AuthorizationCode);
        let redirects = if has_code || !uris.is_empty() { self.redirects(uris)? } else { Vec::new() };
        let method = auth_method(asked.token_endpoint_auth_method.as_deref())?;
        let name = asked.client_name.as_deref().map(ClientName::tamed).filter(|name| !name.as_str().is_empty());
        // Where proofs are off it means nothing, as §2 has it of what a server does not know.
        let always_proves = asked.dpop_bound_access_tokens.unwrap_or(false) && self.parts.mint.dpop() != Dpop::Off;
        Ok(Accepted { redirects, name, method, grants, always_proves })
    }

    /// DCR-5: one bad URI refuses the whole registration; a kept list is never silently shortened.
    fn redirects(&self, uris: &[String]) -> Result<Vec<RegisteredRedirect>, Error> {
        if uris.is_empty() {
            return Err(redirect("redirect_uris must hold at least one URI"));
        }
        if uris.len() > MOST_REDIRECTS {
            return Err(redirect("redirect_uris holds more than 10 URIs"));
        }
        uris.iter()
            .map(|uri| {
                let (parsed, url) = RegisteredRedirect::read(uri).map_err(|bad| redirect(bad.to_string()))?;
                self.check_redirect(&url, ClientOrigin::Sealed).map_err(|unfit| redirect(unfit.to_string()))?;
                Ok(parsed)
            })
            .collect()
    }

    /// The ways to a token that the client may use. Those that we do not have, or not for clients that register
    /// themselves, are dropped, as long as one is left that begins at all: clients copy theirs from lists of their own.
    fn grants(
        &self,
        grant_types: Option<&[String]>,
        response_types: Option<&[String]>,
    ) -> Result<BTreeSet<GrantType>, Error> {
        let grants: BTreeSet<GrantType> = match grant_types {
            None | Some([]) => BTreeSet::from([GrantType::AuthorizationCode]),
            Some(list) => list.iter().filter_map(|name| GrantType::parse(name)).filter(|g| self.offers(*g)).collect(),
        };
        let may_respond = |list: &[String]| list.is_empty() || list.iter().any(|entry| entry == "code");
        match () {
            () if !grants.contains(&GrantType::AuthorizationCode) && !grants.contains(&GrantType::DeviceCode) => {
                Err(metadata("grant_types must hold authorization_code"))
            }
            () if grants.contains(&GrantType::AuthorizationCode) && !response_types.is_none_or(may_respond) => {
                Err(metadata("response_types must hold code"))
            }
            () => Ok(grants),
        }
    }

    /// Whether clients that register themselves may have this way at all.
    const fn offers(&self, grant: GrantType) -> bool {
        match grant {
            GrantType::AuthorizationCode | GrantType::RefreshToken => true,
            GrantType::DeviceCode => self.settings.device.is_some(),
            // Whoever registers itself has nobody's word for who it is (CC-1).
            GrantType::ClientCredentials | GrantType::TokenExchange => false,
        }
    }

    /// What may be asked for of what was registered; the operator's scopes where nothing of it is left. A page of
    /// information: what a client gets is decided at `/authorize`, so that later step-ups do not need a new client.
    fn registered_scope(&self, asked: &str) -> Scope {
        let known = all_scopes(&self.parts.resources);
        let asked = Scope::parse(asked).narrowed_to(&known.joined_with(&Scope::parse(OFFLINE_ACCESS)));
        if asked.is_empty() { known } else { asked }
    }
}

impl Asked {
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        if body.len() > LONGEST_BODY {
            return Err(metadata("the registration is longer than 16 KiB"));
        }
        serde_json::from_slice(body)
            .map_err(|cause| metadata("the body must be a JSON object as in RFC 7591").because(cause))
    }
}

pub(super) fn metadata(description: &'static str) -> Error {
    Error::new(ErrorCode::InvalidClientMetadata, description)
}

fn redirect(description: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorCode::InvalidRedirectUri, description)
}

/// RFC 7591 §2: absent means `client_secret_basic`, and then there has to be a secret (DCR-7, behaviour 8).
fn auth_method(asked: Option<&str>) -> Result<ClientAuthMethod, Error> {
    match asked {
        Some("none") => Ok(ClientAuthMethod::None),
        None | Some("client_secret_basic") => Ok(ClientAuthMethod::ClientSecretBasic),
        Some("client_secret_post") => Ok(ClientAuthMethod::ClientSecretPost),
        Some(_) => Err(metadata("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post")),
    }
}

/// DCR-6: whoever is redirected to loopback or a private scheme is native, whatever it calls itself (Cursor says `web`).
fn application_type(asked: Option<&str>, redirects: &[RegisteredRedirect]) -> &'static str {
    let is_native = redirects.iter().any(|uri| uri.is_loopback() || uri.is_private_scheme());
    if is_native || asked == Some("native") { "native" } else { "web" }
}
