//! Who the client is: found by its id (D2, D3), whichever of the three origins it has.

use std::collections::BTreeSet;

use super::{
    AuthorizationServer, Error, ErrorCode, Manage, Refusal, RefusalPage,
    document::{Described, Failure},
    register::Accepted,
};
use crate::{
    domain::{
        ApprovedClient, Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, DocumentUrl, GrantType,
        RegisteredRedirect, Secret, uri::LoopbackPorts,
    },
    store::{self, Unavailable},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

pub(super) const SECRET_PURPOSE: &str = "oauth/client-secret";

/// A registration as it travels inside a `client_id`: short names, since it is in every URL.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(rename = "r")]
    redirect_uris: Vec<RegisteredRedirect>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    name: Option<ClientName>,
    #[serde(rename = "a", default = "public", skip_serializing_if = "is_public")]
    auth_method: ClientAuthMethod,
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    may_refresh: bool,
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    may_use_device: bool,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    without_code: bool,
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    always_proves: bool,
}

impl Sealed {
    fn grants(&self) -> BTreeSet<GrantType> {
        let code = (!self.without_code).then_some(GrantType::AuthorizationCode);
        let refresh = self.may_refresh.then_some(GrantType::RefreshToken);
        let device = self.may_use_device.then_some(GrantType::DeviceCode);
        [code, refresh, device].into_iter().flatten().collect()
    }
}

const fn public() -> ClientAuthMethod {
    ClientAuthMethod::None
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_public(method: &ClientAuthMethod) -> bool {
    !method.is_confidential()
}

/// Why there is no client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoClient {
    /// The id means nothing here.
    Unknown,
    /// It names a document, which is not to be had.
    NoDocument(DocumentUrl, Failure),
}

/// For programs. What may pass is 503, so that nobody throws a registration away over a host's bad minute.
impl From<NoClient> for Error {
    fn from(none: NoClient) -> Self {
        let NoClient::NoDocument(_, failure) = none else {
            return Self::new(ErrorCode::InvalidClient, "client_id is not known here; register again");
        };
        match &failure {
            Failure::Unreachable(_) | Failure::Busy => {
                let code = ErrorCode::TemporarilyUnavailable;
                Self::new(code, "the client's metadata document cannot be fetched, try again").because(failure)
            }
            Failure::NotAccepted | Failure::Gone | Failure::Invalid(_) => {
                Self::new(ErrorCode::InvalidClient, format!("the client's metadata document is refused: {failure}"))
            }
        }
    }
}

/// For people.
impl From<NoClient> for Refusal {
    fn from(none: NoClient) -> Self {
        let page = match &none {
            NoClient::Unknown => RefusalPage::UnknownClient,
            NoClient::NoDocument(url, _) => RefusalPage::NoDocument { url: url.to_string() },
        };
        Self::new(none.into(), page)
    }
}

impl AuthorizationServer {
    /// Makes the id of a registration out of the registration itself. Equal public registrations give equal ids: the
    /// ports of loopback addresses are taken away first, unless the operator lets them count (AZ-3). Confidential ones are
    /// salted.
    pub(super) fn seal_client(&self, accepted: &Accepted) -> ClientId {
        let Accepted { redirects, name, method, grants, always_proves } = accepted;
        let sealed = Sealed {
            redirect_uris: self.kept(redirects),
            name: name.clone(),
            auth_method: *method,
            may_refresh: grants.contains(&GrantType::RefreshToken),
            may_use_device: grants.contains(&GrantType::DeviceCode),
            without_code: !grants.contains(&GrantType::AuthorizationCode),
            always_proves: *always_proves,
        };
        let plain = serde_json::to_vec(&sealed).unwrap_or_default();
        let keyring = &self.parts.keyring;
        let is_its_own = method.is_confidential() || self.settings.registration.manage == Manage::All;
        let bytes = if is_its_own {
            keyring.seal(ClientId::PURPOSE, b"", &plain, &*self.parts.random)
        } else {
            keyring.seal_synthetic(ClientId::PURPOSE, b"", &plain)
        };
        let mut id = String::with_capacity(ClientId::SEALED.len() + bytes.len().div_ceil(3) * 4);
        id.push_str(ClientId::SEALED);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut id);
        ClientId::new(id)
    }

    /// The redirect URIs as a sealed id holds them: in order, each once, without the ports that mean nothing.
    pub(super) fn kept(&self, redirect_uris: &[RegisteredRedirect]) -> Vec<RegisteredRedirect> {
        let keep = match self.settings.registration.redirects.loopback.ports {
            LoopbackPorts::Any => RegisteredRedirect::without_loopback_port,
            LoopbackPorts::Exact => RegisteredRedirect::clone,
        };
        let mut kept: Vec<_> = redirect_uris.iter().map(keep).collect();
        kept.sort();
        kept.dedup();
        kept
    }

    /// The secret of a confidential sealed client: derived, never stored (D2).
    pub(super) fn client_secret(&self, id: &ClientId) -> Secret<String> {
        Secret::new(URL_SAFE_NO_PAD.encode(self.parts.keyring.mac(SECRET_PURPOSE, &[id.as_str().as_bytes()])))
    }

    /// Static clients first, since the operator may have named one as he liked; then sealed registrations, which cost no
    /// look anywhere; then documents (CIMD-1: found alike at every endpoint).
    pub(super) async fn find_client(&self, id: &str) -> Result<Client, NoClient> {
        match self.known_client(id) {
            Some(client) => Ok(client),
            None => self.described(id).await.map(|described| described.client),
        }
    }

    /// The client whose id is the address of its document.
    pub(super) async fn described(&self, id: &str) -> Result<Described, NoClient> {
        if !id.starts_with("https://") {
            return Err(NoClient::Unknown);
        }
        match self.client_documents.client(id).await {
            Some(Ok(described)) => Ok(described),
            Some(Err((url, failure))) => Err(NoClient::NoDocument(url, failure)),
            None => Err(NoClient::Unknown),
        }
    }

    /// A client that needs no document.
    pub(super) fn known_client(&self, id: &str) -> Option<Client> {
        if id.len() > ClientId::LONGEST {
            return None;
        }
        let id = ClientId::new(id);
        if let Some(known) = self.statics.get(&id) {
            return Some(known.client.clone());
        }
        let bytes = URL_SAFE_NO_PAD.decode(id.as_str().strip_prefix(ClientId::SEALED)?).ok()?;
        let plain = self.parts.keyring.open(ClientId::PURPOSE, b"", &bytes).ok()?;
        let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
        Some(Client {
            id,
            origin: ClientOrigin::Sealed,
            grants: sealed.grants(),
            name: sealed.name,
            redirect_uris: sealed.redirect_uris,
            auth_method: sealed.auth_method,
            scope: None,
            always_proves: sealed.always_proves,
            edition: None,
        })
    }

    /// Whether the operator has shut this client out.
    pub(super) async fn is_blocked(&self, id: &ClientId) -> Result<bool, Unavailable> {
        let record: Option<ApprovedClient> = self.parts.store.get(&store::client_id(id)).await?;
        Ok(record.is_some_and(|client| client.blocked))
    }
}
