//! Who the client is: found by its id (D2, D3), whichever of the three origins it has.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    AuthorizationServer, Error, ErrorCode, Refusal, RefusalPage,
    document::{Described, Failure},
};
use crate::{
    domain::{
        ApprovedClient, Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, DocumentUrl, GrantType, HttpsUrl,
        RegisteredRedirect, Secret, uri::LoopbackHosts,
    },
    store::{self, Unavailable},
};

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
        Self { error: none.into(), page }
    }
}

impl AuthorizationServer {
    /// Makes the id of a registration out of the registration itself. Equal public registrations give equal ids: the
    /// ports of loopback addresses, which mean nothing (AZ-3), are taken away first. Confidential ones are salted.
    pub(super) fn seal_client(
        &self,
        redirect_uris: &[RegisteredRedirect],
        name: Option<ClientName>,
        auth_method: ClientAuthMethod,
        grants: &BTreeSet<GrantType>,
    ) -> ClientId {
        let mut portless: Vec<_> = redirect_uris.iter().map(RegisteredRedirect::without_loopback_port).collect();
        portless.sort();
        portless.dedup();
        let sealed = Sealed {
            redirect_uris: portless,
            name,
            auth_method,
            may_refresh: grants.contains(&GrantType::RefreshToken),
            may_use_device: grants.contains(&GrantType::DeviceCode),
            without_code: !grants.contains(&GrantType::AuthorizationCode),
        };
        let plain = serde_json::to_vec(&sealed).unwrap_or_default();
        let keyring = &self.parts.keyring;
        let bytes = if auth_method.is_confidential() {
            keyring.seal(ClientId::PURPOSE, b"", &plain, &*self.parts.random)
        } else {
            keyring.seal_synthetic(ClientId::PURPOSE, b"", &plain)
        };
        let mut id = String::with_capacity(ClientId::SEALED.len() + bytes.len().div_ceil(3) * 4);
        id.push_str(ClientId::SEALED);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut id);
        ClientId::new(id)
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
            edition: None,
        })
    }

    /// Whether the operator has shut this client out.
    pub(super) async fn is_blocked(&self, id: &ClientId) -> Result<bool, Unavailable> {
        let record: Option<ApprovedClient> = self.parts.store.get(&store::client_id(id)).await?;
        Ok(record.is_some_and(|client| client.blocked))
    }

    /// What is refused of redirect URIs beyond the rules of `domain`, at `/register` and at `/authorize` alike
    /// (behaviour 10).
    pub(super) fn check_redirect(&self, url: &Url) -> Result<(), &'static str> {
        if is_own_callback(url, &self.settings.public_url, self.settings.loopback_hosts) {
            return Err("this is our own callback");
        }
        // AZ-8: each of these stands once in an answer, and it is we who put it there.
        if url.query_pairs().any(|(name, _)| matches!(&*name, "code" | "state" | "iss" | "error")) {
            return Err("a redirect URI must not hold code, state, iss or error itself");
        }
        Ok(())
    }
}

/// S10: a client that received the provider's answers at our own callback could finish other people's logins.
fn is_own_callback(uri: &Url, own: &HttpsUrl, hosts: LoopbackHosts) -> bool {
    let own_url = own.as_url();
    let same_host = uri.host() == own_url.host()
        || (hosts == LoopbackHosts::Alike && own.is_loopback() && is_loopback_name(uri.host_str()));
    uri.scheme() == own_url.scheme()
        && same_host
        && uri.port_or_known_default() == own_url.port_or_known_default()
        && uri
            .path()
            .strip_prefix(own_url.path().trim_end_matches('/'))
            .is_some_and(|path| path.trim_start_matches('/').to_ascii_lowercase().starts_with("callback/"))
}

fn is_loopback_name(host: Option<&str>) -> bool {
    matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(public: &str, uri: &str) -> bool {
        let public = HttpsUrl::parse(public, false).unwrap();
        is_own_callback(&Url::parse(uri).unwrap(), &public, LoopbackHosts::Alike)
    }

    #[test]
    fn s10_our_callback_is_known_in_every_spelling() {
        assert!(own("https://mcp.example.com", "https://mcp.example.com/callback/google"));
        assert!(own("https://mcp.example.com", "https://MCP.example.com:443//callback/google?x=1"));
        assert!(own("http://127.0.0.1:8080", "http://localhost:8080/callback/google"));
        assert!(own("https://mcp.example.com/base", "https://mcp.example.com/base/callback/x"));
        assert!(!own("https://mcp.example.com", "https://mcp.example.com/callbacks"));
        assert!(!own("https://mcp.example.com", "https://claude.ai/callback/x"));
        // Claude Code and Codex on the machine of `vestibule dev`.
        assert!(!own("http://127.0.0.1:8080", "http://localhost:3118/callback"));
        assert!(!own("http://127.0.0.1:8080", "http://localhost:8080/callback"));
        assert!(!own("http://127.0.0.1:8080", "http://127.0.0.1:37819/callback/abc"));
    }
}
