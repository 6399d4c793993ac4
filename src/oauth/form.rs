//! The checked request as it travels through the browser, sealed into the consent form.
//!
//! It is sealed, written into a page, escaped, sent, posted back and opened for every login, so it is kept small: short
//! names, and of the client the id alone, which is the whole client or names it (D2, D3) and is asked again anyway (AZ-4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{Keyring, Random},
    domain::{
        AuthorizationRequest, BrowserId, Client, ClientId, Instant, Reply, RequestId, RequestStage, ResourceUri, Scope,
        Secret,
    },
};

const PURPOSE: &str = "oauth/form";
/// Bytes that nearly every form fits into.
const ROOM: usize = 1024;

/// An [`AuthorizationRequest`] that waits for its human, without what its client's id says.
#[derive(Serialize, Deserialize)]
pub(super) struct Form {
    #[serde(rename = "i")]
    id: RequestId,
    #[serde(rename = "c")]
    pub(super) client: ClientId,
    /// Which edition of its document was on the page (CIMD-16).
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) edition: Option<String>,
    #[serde(rename = "a")]
    pub(super) reply: Reply,
    #[serde(rename = "r")]
    resource: ResourceUri,
    #[serde(rename = "o")]
    scope: Scope,
    #[serde(rename = "b")]
    pub(super) browser: BrowserId,
    #[serde(rename = "e")]
    pub(super) expires: Instant,
}

impl Form {
    /// Seals a request for its way through the browser.
    pub(super) fn seal(request: AuthorizationRequest, keyring: &Keyring, random: &dyn Random) -> Secret<String> {
        let form = Self {
            id: request.id,
            client: request.client.id,
            edition: request.client.edition,
            reply: request.reply,
            resource: request.resource,
            scope: request.scope,
            browser: request.browser,
            expires: request.expires,
        };
        let mut plain = Vec::with_capacity(ROOM);
        // Text and numbers: there is nothing in it that JSON cannot say. An empty form would not open again.
        if serde_json::to_writer(&mut plain, &form).is_err() {
            plain.clear();
        }
        Secret::new(URL_SAFE_NO_PAD.encode(keyring.seal(PURPOSE, b"", &plain, random)))
    }

    /// Opens what [`seal`](Self::seal) made.
    pub(super) fn open(sealed: &str, keyring: &Keyring) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = keyring.open(PURPOSE, b"", &bytes).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// The request again, of the client that its id names now.
    pub(super) fn of(self, client: Client) -> AuthorizationRequest {
        AuthorizationRequest {
            id: self.id,
            client,
            reply: self.reply,
            resource: self.resource,
            scope: self.scope,
            browser: self.browser,
            expires: self.expires,
            stage: RequestStage::AwaitingConsent,
        }
    }
}
