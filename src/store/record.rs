//! Which nouns are records, under which key, for how long (the table of architecture §4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    crypto::hash::sha256,
    domain::{
        ApprovedClient, AuthorizationRequest, BrowserId, Client, ClientId, Consent, Device, EnteredCode,
        FetchedDocument, Grant, Instant, ResourceUri, SpentAssertion, SpentProof,
    },
};

/// A noun of the domain that the store keeps.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The first part of its key, and its sealing purpose.
    const KIND: &'static str;
    /// The sealing purpose, `store/` + kind.
    const PURPOSE: &'static str;
    /// Whether a reply waits for it to be crash-safe.
    const DURABLE: bool = true;

    /// The second part of its key.
    fn id(&self) -> String;

    /// When it ends.
    fn expires(&self) -> Instant;
}

/// `grant/{grant_id}`. Removed means revoked; each change of stage is one swap.
impl Record for Grant {
    const KIND: &'static str = "grant";
    const PURPOSE: &'static str = "store/grant";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `request/{request_id}`. Taken at the callback, durably: a crash must not revive a login that was answered (S6).
impl Record for AuthorizationRequest {
    const KIND: &'static str = "request";
    const PURPOSE: &'static str = "store/request";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `device/{device_id}`. Approved by one swap, taken by the winning poll.
impl Record for Device {
    const KIND: &'static str = "device";
    const PURPOSE: &'static str = "store/device";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `user-code/{hmac}`. The first browser that enters the code has it for itself.
impl Record for EnteredCode {
    const KIND: &'static str = "user-code";
    const PURPOSE: &'static str = "store/user-code";

    fn id(&self) -> String {
        self.id.clone()
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `consent/{browser}/{hash of client, redirect host, resource}`. Best effort: losing one in a crash asks once more.
impl Record for Consent {
    const KIND: &'static str = "consent";
    const PURPOSE: &'static str = "store/consent";
    const DURABLE: bool = false;

    fn id(&self) -> String {
        consent_key(&self.browser, (&self.client, self.edition.as_deref()), &self.redirect_host, &self.resource)
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `client/{hash of client_id}`. A sealed client id is up to kilobytes long, hence the hash.
impl Record for ApprovedClient {
    const KIND: &'static str = "client";
    const PURPOSE: &'static str = "store/client";

    fn id(&self) -> String {
        client_id(&self.id)
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `metadata/{hash of url}`. Written when a person has agreed to the client or the client has proved itself, never for a
/// stranger's wish alone. Best effort: losing one in a crash fetches once more.
impl Record for FetchedDocument {
    const KIND: &'static str = "metadata";
    const PURPOSE: &'static str = "store/metadata";
    const DURABLE: bool = false;

    fn id(&self) -> String {
        document_id(&self.url)
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `assertion/{hash of client and jti}`. Inserted, durably: of many who present one assertion, one gets in.
impl Record for SpentAssertion {
    const KIND: &'static str = "assertion";
    const PURPOSE: &'static str = "store/assertion";

    fn id(&self) -> String {
        digest(&[&self.issuer, &self.jti])
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// `proof/{hash of key and jti}`. Inserted, durably: of many who present one proof at `/token`, one gets in.
impl Record for SpentProof {
    const KIND: &'static str = "proof";
    const PURPOSE: &'static str = "store/proof";

    fn id(&self) -> String {
        digest(&[&self.key.to_string(), &self.jti])
    }

    fn expires(&self) -> Instant {
        self.expires
    }
}

/// Where the [`Consent`] of these four lies, for looking one up before there is one (CON-8).
#[must_use]
pub fn consent_id(browser: &BrowserId, client: &Client, redirect_host: &str, resource: &ResourceUri) -> String {
    consent_key(browser, (&client.id, client.edition.as_deref()), redirect_host, resource)
}

fn consent_key(
    browser: &BrowserId,
    (client, edition): (&ClientId, Option<&str>),
    redirect_host: &str,
    resource: &ResourceUri,
) -> String {
    let digest = match edition {
        None => digest(&[client.as_str(), redirect_host, resource.as_str()]),
        Some(edition) => digest(&[client.as_str(), redirect_host, resource.as_str(), edition]),
    };
    format!("{browser}/{digest}")
}

/// Where the [`FetchedDocument`] from there lies.
#[must_use]
pub fn document_id(url: &str) -> String {
    digest(&[url])
}

/// Where the [`ApprovedClient`] of this client lies.
#[must_use]
pub fn client_id(client: &ClientId) -> String {
    digest(&[client.as_str()])
}

/// SHA-256 of the parts, each preceded by its length, so that no text can be moved from one part into the next.
fn digest(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(sha256(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_is_for_its_client_host_and_resource_and_no_other_cut_of_the_same_text() {
        let url = |text| crate::domain::HttpsUrl::parse(text, false).unwrap();
        let resource = ResourceUri::under(&url("https://mcp.example.com"), "/notes");
        let browser = BrowserId::from_bytes([3; 16]);
        let id = |client: &str, host: &str| consent_key(&browser, (&ClientId::new(client), None), host, &resource);
        let one = id("abc", "https://claude.ai");
        assert_eq!(one, id("abc", "https://claude.ai"));
        assert!(one.starts_with(&format!("{browser}/")));
        assert_ne!(one, id("ab", "chttps://claude.ai"));
        assert_ne!(one, id("abc", "https://claude.ai.evil"));
        let elsewhere = ResourceUri::under(&url("https://mcp.example.com"), "/mail");
        assert_ne!(one, consent_key(&browser, (&ClientId::new("abc"), None), "https://claude.ai", &elsewhere));
        let stranger = BrowserId::from_bytes([4; 16]);
        let edition =
            |edition| consent_key(&browser, (&ClientId::new("abc"), Some(edition)), "https://claude.ai", &resource);
        assert_ne!(one, edition("1"));
        assert_ne!(edition("1"), edition("2"));
        assert_ne!(one, consent_key(&stranger, (&ClientId::new("abc"), None), "https://claude.ai", &resource));
    }
}
