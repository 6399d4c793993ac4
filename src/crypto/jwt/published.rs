//! Keys that others publish (RFC 7517 §5), for what they sign. Read from strangers, so nothing in them is trusted but
//! that they verify: no private key, no shared secret, no key so large that verifying is work.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::{
    JoseError,
    jwk::Jwk,
    jws::{self, JwsAlgorithm, JwsHeader, JwsVerifier},
};
use serde_json::{Map, Value};

/// Algorithms under which a client's assertion is accepted, in the order of metadata. Asymmetric ones only: with `none` or
/// an HMAC whoever reads the published keys could sign (S35; RFC 8725 §3.1). `Ed25519` is what RFC 9864 calls an `EdDSA`
/// whose curve one need not guess; both names mean that curve here.
pub const ASSERTION_ALGS: [&str; 5] = ["ES256", "Ed25519", "EdDSA", "RS256", "PS256"];

/// The most keys of one set that are looked at.
const MOST_KEYS: usize = 32;
/// The longest RSA modulus (8192 bits) and exponent, in base64url characters.
const LONGEST_RSA: (usize, usize) = (1366, 6);
/// The members that only a private or a shared key has (RFC 7518 §6).
pub(super) const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a text is no set of public keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySet {
    /// Not an object with a list `keys` of objects.
    #[error("is not a JWK set")]
    Malformed,
    /// A private or a symmetric key: whoever published it has lost it (CIMD-9).
    #[error("holds private or symmetric key material")]
    Private,
    /// No key that any of [`ASSERTION_ALGS`] can use.
    #[error("holds no key that we can verify with")]
    Unusable,
}

/// Why a JWS was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Not three parts, an algorithm outside the list, another `typ`, a `crit`.
    #[error("is not a JWT that is accepted here")]
    Foreign,
    /// It names a key that is not in the set (any more, or yet).
    #[error("names a key that is not published")]
    UnknownKey,
    /// The key it names did not make this signature.
    #[error("is not signed by the key it names")]
    Signature,
}

/// One key under one algorithm.
pub(super) struct Verifying {
    kid: Option<String>,
    alg: &'static str,
    verifier: Box<dyn JwsVerifier>,
}

/// A set of public keys, ready to verify with.
pub struct PublishedKeys(Vec<Verifying>);

impl std::fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublishedKeys({})", self.0.len())
    }
}

impl PublishedKeys {
    /// Reads `{"keys":[…]}`. Keys of kinds or for uses that we do not know are passed over.
    ///
    /// # Errors
    /// [`BadKeySet`].
    pub fn parse(text: &[u8]) -> Result<Self, BadKeySet> {
        let set: Value = serde_json::from_slice(text).map_err(|_| BadKeySet::Malformed)?;
        Self::of(&set)
    }

    /// The same out of a larger document.
    ///
    /// # Errors
    /// [`BadKeySet`].
    pub fn of(set: &Value) -> Result<Self, BadKeySet> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(BadKeySet::Malformed)?;
        let mut usable = Vec::new();
        // Every key is looked at for what must not be published, and the first ones are used.
        for (at, key) in keys.iter().enumerate() {
            let key = key.as_object().ok_or(BadKeySet::Malformed)?;
            if PRIVATE.iter().any(|member| key.contains_key(*member)) || text(key, "kty") == Some("oct") {
                return Err(BadKeySet::Private);
            }
            if at < MOST_KEYS {
                usable.extend(algorithms(key).iter().filter_map(|alg| verifying(key, alg)));
            }
        }
        if usable.is_empty() { Err(BadKeySet::Unusable) } else { Ok(Self(usable)) }
    }

    /// The claims of a compact JWS, if one of the keys made it: the one it names by `kid`, or, if it names none, any that
    /// fits its algorithm. `is_typ` judges the header's `typ`.
    ///
    /// # Errors
    /// [`Unproven`].
    pub fn verify(&self, token: &str, is_typ: impl Fn(Option<&str>) -> bool) -> Result<Vec<u8>, Unproven> {
        let header = header_of(token).ok_or(Unproven::Foreign)?;
        let is_plain = header.claim("crit").is_none() && header.claim("b64").is_none();
        let alg = ASSERTION_ALGS.into_iter().find(|alg| header.algorithm() == Some(alg)).ok_or(Unproven::Foreign)?;
        if !is_plain || !is_typ(header.token_type()) {
            return Err(Unproven::Foreign);
        }
        let named = |key: &&Verifying| match header.key_id() {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => true,
        };
        let mut outcome = Unproven::UnknownKey;
        for key in self.0.iter().filter(|key| key.alg == alg).filter(named) {
            match jws::deserialize_compact(token, &*key.verifier) {
                Ok((claims, _)) => return Ok(claims),
                Err(JoseError::InvalidSignature(_)) => outcome = Unproven::Signature,
                Err(_) => return Err(Unproven::Foreign),
            }
        }
        Err(outcome)
    }
}

impl Verifying {
    /// The payload, if this key made the signature.
    pub(super) fn verify(&self, token: &str) -> Option<Vec<u8>> {
        jws::deserialize_compact(token, &*self.verifier).ok().map(|(payload, _)| payload)
    }
}

/// The header, read before any key is chosen.
fn header_of(token: &str) -> Option<JwsHeader> {
    let bytes = strict(token.split('.').next()?)?;
    JwsHeader::from_bytes(&bytes).ok()
}

/// Base64url without padding and without stray bits: one spelling for each value.
pub(super) fn strict(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub(super) fn text<'a>(key: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    key.get(member).and_then(Value::as_str)
}

/// Under which of our algorithms a key may be used: the one it names, or all of its kind.
pub(super) fn algorithms(key: &Map<String, Value>) -> Vec<&'static str> {
    let length = |member| text(key, member).map_or(0, str::len);
    let of_kind: &[&'static str] = match (text(key, "kty"), text(key, "crv")) {
        (Some("EC"), Some("P-256")) => &["ES256"],
        (Some("OKP"), Some("Ed25519")) => &["Ed25519", "EdDSA"],
        (Some("RSA"), _) if length("n") <= LONGEST_RSA.0 && length("e") <= LONGEST_RSA.1 => &["RS256", "PS256"],
        _ => &[],
    };
    let fits = |alg: &&'static str| key.get("alg").is_none_or(|named| named.as_str() == Some(alg));
    of_kind.iter().copied().filter(fits).collect()
}

/// `None` for a key that cannot verify: `use` is `enc`, too short (RSA below 2048 bits), not on its curve.
pub(super) fn verifying(key: &Map<String, Value>, alg: &'static str) -> Option<Verifying> {
    let kid = text(key, "kid").map(str::to_owned);
    let mut bare = key.clone();
    // Which key is meant is decided above: josekit would refuse a token without `kid`.
    bare.remove("kid");
    // And under which algorithm; it knows none of RFC 9864.
    bare.remove("alg");
    let jwk = Jwk::from_map(bare).ok()?;
    let verifier: Box<dyn JwsVerifier> = match alg {
        "ES256" => Box::new(jws::ES256.verifier_from_jwk(&jwk).ok()?),
        "Ed25519" => Box::new(FullySpecified(Box::new(jws::EdDSA.verifier_from_jwk(&jwk).ok()?))),
        "EdDSA" => Box::new(jws::EdDSA.verifier_from_jwk(&jwk).ok()?),
        "RS256" => Box::new(jws::RS256.verifier_from_jwk(&jwk).ok()?),
        _ => Box::new(jws::PS256.verifier_from_jwk(&jwk).ok()?),
    };
    Some(Verifying { kid, alg, verifier })
}

/// The same signatures under the name of RFC 9864 §2.2, which josekit does not know.
#[derive(Debug, Clone)]
struct FullySpecified(Box<dyn JwsVerifier>);

#[derive(Debug, Clone, Copy)]
struct Ed25519;

impl JwsAlgorithm for Ed25519 {
    fn name(&self) -> &'static str {
        "Ed25519"
    }

    fn box_clone(&self) -> Box<dyn JwsAlgorithm> {
        Box::new(*self)
    }
}

impl JwsVerifier for FullySpecified {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        &Ed25519
    }

    fn key_id(&self) -> Option<&str> {
        self.0.key_id()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        self.0.verify(message, signature)
    }

    fn box_clone(&self) -> Box<dyn JwsVerifier> {
        Box::new(self.clone())
    }
}
