//! Proofs of possession (DPoP, RFC 9449 §4): a JWS by the key that stands in its own header. Whoever makes one chooses
//! everything in it, so it proves one thing: that its maker holds that key. What it was made for is judged in `token`.

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::published::{ASSERTION_ALGS, PRIVATE, algorithms, strict, text, verifying};
use crate::{
    crypto::hash::sha256,
    domain::{Instant, Thumbprint},
};

/// Algorithms of proofs, in the order of metadata: asymmetric ones only (RFC 9449 §11.6), so that nobody who has seen a
/// proof could make the next.
pub const PROOF_ALGS: [&str; 5] = ASSERTION_ALGS;

/// The longest proof that is looked at, in bytes: one by an RSA key of 4096 bits has about 2000.
const LONGEST: usize = 6 * 1024;
/// The longest `jti` and `nonce`, in bytes.
const LONGEST_NAME: usize = 256;
/// The longest RSA modulus (4096 bits), in base64url characters: proofs are verified for every call.
const LONGEST_MODULUS: usize = 683;

/// Why a text is no proof (RFC 9449 §4.3, checks 2 to 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// Longer than any sound one.
    #[error("the DPoP proof is too long")]
    TooLong,
    /// Not three parts, or its header is not one.
    #[error("the DPoP proof is not a JWT whose header holds typ, alg and jwk")]
    Malformed,
    /// A JWT of another kind, or one that demands what we do not understand.
    #[error("the typ of the DPoP proof is not dpop+jwt")]
    Type,
    /// `none`, a MAC, or an algorithm that is not ours.
    #[error("the alg of the DPoP proof is not accepted here")]
    Algorithm,
    /// Whoever sends a private key has lost it.
    #[error("the jwk of the DPoP proof holds private or symmetric key material")]
    Private,
    /// Not a key of that algorithm.
    #[error("the jwk of the DPoP proof is not a public key for its alg")]
    Key,
    /// Made by another key.
    #[error("the DPoP proof is not signed by its jwk")]
    Signature,
    /// A claim is missing, twice there, or not of its type.
    #[error("the DPoP proof must hold jti, htm, htu and iat, each once and of its type")]
    Claims,
}

/// A proof whose maker holds `key`. There is no other way to get one than [`read`](Self::read).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The key that made it.
    pub key: Thumbprint,
    /// Its name, chosen by its maker: 1 to 256 bytes.
    pub jti: String,
    /// The HTTP method that it was made for.
    pub method: String,
    /// The address that it was made for, normalised, without query and fragment.
    pub uri: Url,
    /// When its maker says it was made.
    pub issued: Instant,
    /// The hash of the access token that it was made for (`ath`), in base64url.
    pub token_hash: Option<String>,
    /// The nonce of ours that it repeats.
    pub nonce: Option<String>,
}

/// Anything else in it means nothing. A member that stands twice is refused.
#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
    jwk: Map<String, Value>,
    #[serde(default)]
    crit: Option<Value>,
    #[serde(default)]
    b64: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
    #[serde(default)]
    ath: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
}

impl Proof {
    /// Reads and verifies one proof.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn read(proof: &str) -> Result<Self, BadProof> {
        if proof.len() > LONGEST {
            return Err(BadProof::TooLong);
        }
        let mut parts = proof.split('.');
        let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(BadProof::Malformed);
        };
        let header = strict(header).ok_or(BadProof::Malformed)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| BadProof::Malformed)?;
        if header.typ != "dpop+jwt" || header.crit.is_some() || header.b64.is_some() {
            return Err(BadProof::Type);
        }
        let alg = PROOF_ALGS.into_iter().find(|alg| *alg == header.alg).ok_or(BadProof::Algorithm)?;
        if PRIVATE.iter().any(|member| header.jwk.contains_key(*member)) || text(&header.jwk, "kty") == Some("oct") {
            return Err(BadProof::Private);
        }
        let key = thumbprint(&header.jwk).filter(|_| algorithms(&header.jwk).contains(&alg)).ok_or(BadProof::Key)?;
        let verifying = verifying(&header.jwk, alg).ok_or(BadProof::Key)?;
        let claims = verifying.verify(proof).ok_or(BadProof::Signature)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| BadProof::Claims)?;
        let is_name = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME;
        if !is_name(&claims.jti) || claims.nonce.as_deref().is_some_and(|nonce| !is_name(nonce)) {
            return Err(BadProof::Claims);
        }
        Ok(Self {
            key,
            jti: claims.jti,
            method: claims.htm,
            uri: target(&claims.htu).ok_or(BadProof::Claims)?,
            issued: Instant::from_numeric_date(claims.iat),
            token_hash: claims.ath,
            nonce: claims.nonce,
        })
    }
}

/// RFC 9449 §4.3: compared without query and fragment, in the normal form of RFC 3986 §6.2.2 and §6.2.3.
fn target(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// RFC 7638 §3: of the members that make the key, in lexical order. They are strict base64url, so there is nothing to
/// escape and each key has one thumbprint.
fn thumbprint(key: &Map<String, Value>) -> Option<Thumbprint> {
    let bytes = |member, lengths: std::ops::RangeInclusive<usize>| {
        text(key, member).filter(|text| strict(text).is_some_and(|bytes| lengths.contains(&bytes.len())))
    };
    let canonical = match (text(key, "kty")?, text(key, "crv")) {
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x", 32..=32)?, bytes("y", 32..=32)?);
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        ("OKP", Some("Ed25519")) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, bytes("x", 32..=32)?),
        ("RSA", _) => {
            let (n, e) = (bytes("n", 256..=512)?, bytes("e", 1..=4)?);
            let has_zeros = [n, e].iter().any(|number| strict(number).is_none_or(|bytes| bytes.starts_with(&[0])));
            if n.len() > LONGEST_MODULUS || has_zeros {
                return None;
            }
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        }
        _ => return None,
    };
    Some(Thumbprint::from_bytes(sha256(canonical.as_bytes())))
}
