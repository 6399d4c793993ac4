//! Somebody's public keys: `jwks`, as text or `file:/path`, or `jwks_uri`. Which of them is wanted, the section knows.

use std::sync::Arc;

use super::section::Section;
use crate::{crypto::jwt::published::PublishedKeys, domain::HttpsUrl, oauth::KeySource};

/// Reads whichever is given; `example` is an address for the one who mistook it.
pub(super) fn published_keys(section: &mut Section<'_>, example: &str, http_is_allowed: bool) -> Option<KeySource> {
    let place = (section.at("jwks"), section.place("jwks"));
    let inline = section.secret("jwks").and_then(|text| match PublishedKeys::parse(text.expose().as_bytes()) {
        Ok(keys) => Some(KeySource::Inline(Arc::new(keys))),
        Err(bad) => {
            let remedy = "expected {\"keys\":[…]} with public keys for ES256, Ed25519, RS256 or PS256";
            section.desk.mistake(&place.0, &place.1, bad.to_string(), remedy);
            None
        }
    });
    let fetched =
        section.parsed("jwks_uri", example, |text| HttpsUrl::parse(text, http_is_allowed)).map(KeySource::Configured);
    inline.or(fetched)
}
