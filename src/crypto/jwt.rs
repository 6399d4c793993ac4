//! JOSE objects: JWS (RFC 7515), JWE (RFC 7516), JWK (RFC 7517). With [`published`] and
//! [`proof`] the only place that names `josekit`.
//!
//! Verification trusts nothing of the header: it names a key by the exact pair of `kid` and `alg`, and only a key that
//! we hold under this very pair is tried. So neither `none`, nor a public key taken for an HMAC secret, nor an unknown
//! `crit` gets as far as a signature check (S35; RFC 8725 §3.1).

pub mod proof;
pub mod published;

use std::cell::Cell;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use josekit::{
    JoseError, Value,
    jwe::{self, JweHeader},
    jwk::{
        Jwk,
        alg::{ec::EcCurve, ed::EdCurve},
    },
    jws::{self, JwsHeader, JwsSigner, JwsVerifier},
};
use sha2::Sha256;

use super::{ResourceKey, seal::Broken};
use crate::domain::Secret;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alg {
    /// ECDSA P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// HMAC with SHA-256.
    Hs256,
}

impl Alg {
    /// The name in JWS headers and metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Es256, Self::EdDsa, Self::Rs256, Self::Hs256].into_iter().find(|alg| alg.as_str() == name)
    }
}

/// A key cannot be made, read or used. Says nothing of the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing key: {0}")]
pub struct BadKey(&'static str);

impl BadKey {
    /// For a key set in which not exactly one key signs.
    pub const NO_CURRENT: Self = Self("a stored key set needs exactly one current key");
    /// For a key that could not be made.
    pub const FAILED: Self = Self("generation failed");
}

/// Why a JWS was not accepted. The difference is for caches, never for strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Not three parts, no `kid`, a `kid` with another `alg`, another `typ`, a `crit`: no key was tried.
    #[error("not signed by a key of ours")]
    Foreign,
    /// Of the right shape, by a `kid` that is not among the keys: no key was tried.
    #[error("signed by a key that is not known")]
    UnknownKey,
    /// A key of ours was named and did not make this signature.
    #[error("the signature does not match")]
    Signature,
}

type Pair = (Box<dyn JwsSigner>, Box<dyn JwsVerifier>);

/// A key that signs access tokens, with its name and its one algorithm.
pub struct SigningKey {
    kid: String,
    alg: Alg,
    private: Jwk,
    signer: Box<dyn JwsSigner>,
    verifier: Box<dyn JwsVerifier>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({} {})", self.alg.as_str(), self.kid)
    }
}

impl SigningKey {
    /// A fresh key named `kid`. OpenSSL's generator makes it: signatures and keys are the one place where a seeded
    /// [`Random`](super::Random) has no say.
    ///
    /// # Errors
    /// [`BadKey`]; always for HS256, whose secret is not ours to choose.
    pub fn generate(alg: Alg, kid: &str) -> Result<Self, BadKey> {
        let mut jwk = match alg {
            Alg::Es256 => Jwk::generate_ec_key(EcCurve::P256),
            Alg::EdDsa => Jwk::generate_ed_key(EdCurve::Ed25519),
            Alg::Rs256 => Jwk::generate_rsa_key(2048),
            Alg::Hs256 => return Err(BadKey("HS256 needs the shared secret")),
        }
        .map_err(|_| BadKey::FAILED)?;
        jwk.set_key_id(kid);
        jwk.set_algorithm(alg.as_str());
        jwk.set_key_use("sig");
        Self::from_jwk(jwk)
    }

    /// A secret shared with whoever verifies. Its name is a MAC of nothing under it, the same in every replica.
    ///
    /// # Errors
    /// [`BadKey`] below 32 bytes (RFC 7518 §3.2).
    pub fn shared(secret: &Secret<Vec<u8>>) -> Result<Self, BadKey> {
        if secret.expose().len() < 32 {
            return Err(BadKey("an HS256 secret has at least 32 bytes (RFC 7518 section 3.2)"));
        }
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose()).map_err(|_| BadKey("unusable secret"))?;
        let mut jwk = Jwk::new("oct");
        jwk.set_key_value(secret.expose());
        jwk.set_key_id(URL_SAFE_NO_PAD.encode(&mac.chain_update(b"kid").finalize().into_bytes()[..9]));
        jwk.set_algorithm(Alg::Hs256.as_str());
        jwk.set_key_use("sig");
        Self::from_jwk(jwk)
    }

    /// Reads what [`to_private_jwk`](Self::to_private_jwk) wrote.
    ///
    /// # Errors
    /// [`BadKey`] if it is not a private JWK with `kid` and one of our algorithms.
    pub fn from_private_jwk(text: &Secret<String>) -> Result<Self, BadKey> {
        Self::from_jwk(Jwk::from_bytes(text.expose()).map_err(|_| BadKey("not a JWK"))?)
    }

    fn from_jwk(private: Jwk) -> Result<Self, BadKey> {
        let kid = private.key_id().ok_or(BadKey("no kid"))?.to_owned();
        let alg = private.algorithm().and_then(Alg::parse).ok_or(BadKey("no algorithm of ours"))?;
        let pair = || -> Result<Pair, JoseError> {
            Ok(match alg {
                Alg::Es256 => (
                    Box::new(jws::ES256.signer_from_jwk(&private)?),
                    Box::new(jws::ES256.verifier_from_jwk(&public_of(&private)?)?),
                ),
                Alg::EdDsa => (
                    Box::new(jws::EdDSA.signer_from_jwk(&private)?),
                    Box::new(jws::EdDSA.verifier_from_jwk(&public_of(&private)?)?),
                ),
                Alg::Rs256 => (
                    Box::new(jws::RS256.signer_from_jwk(&private)?),
                    Box::new(jws::RS256.verifier_from_jwk(&public_of(&private)?)?),
                ),
                Alg::Hs256 => {
                    (Box::new(jws::HS256.signer_from_jwk(&private)?), Box::new(jws::HS256.verifier_from_jwk(&private)?))
                }
            })
        };
        let (signer, verifier) = pair().map_err(|_| BadKey("the JWK does not fit its algorithm"))?;
        Ok(Self { kid, alg, private, signer, verifier })
    }

    /// The private JWK, for a sealed record.
    #[must_use]
    pub fn to_private_jwk(&self) -> Secret<String> {
        Secret::new(self.private.to_string())
    }

    /// The public JWK with `kid`, `alg` and `use`, for the published set. `None` for HS256, where publishing would be
    /// giving the key away.
    #[must_use]
    pub fn public_jwk(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        (self.alg != Alg::Hs256).then(|| public_of(&self.private).ok()).flatten().map(Into::into)
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its one algorithm.
    #[must_use]
    pub const fn alg(&self) -> Alg {
        self.alg
    }

    /// Signs `claims` as a compact JWS with `typ`, `alg` and `kid`.
    ///
    /// # Errors
    /// [`BadKey`] if OpenSSL refuses.
    pub fn sign(&self, typ: &str, claims: &[u8]) -> Result<String, BadKey> {
        let mut header = JwsHeader::new();
        header.set_token_type(typ);
        jws::serialize_compact(claims, &header, &*self.signer).map_err(|_| BadKey("signing failed"))
    }
}

/// `to_public_key` keeps `use` but loses `kid` and `alg`.
fn public_of(private: &Jwk) -> Result<Jwk, JoseError> {
    let mut public = private.to_public_key()?;
    if let Some(kid) = private.key_id() {
        public.set_key_id(kid);
    }
    if let Some(alg) = private.algorithm() {
        public.set_algorithm(alg);
    }
    Ok(public)
}

/// The claims of a compact JWS with exactly this `typ`, if one of `keys` made it.
///
/// # Errors
/// [`Unverified`].
pub fn verify<'k>(
    token: &str,
    typ: &str,
    keys: impl IntoIterator<Item = &'k SigningKey> + Clone,
) -> Result<Vec<u8>, Unverified> {
    let is_unknown = Cell::new(false);
    let select = |header: &JwsHeader| {
        if header.token_type() != Some(typ) || header.claim("crit").is_some() || header.claim("b64").is_some() {
            return Ok(None);
        }
        let (kid, alg) = (header.key_id(), header.algorithm());
        let found = keys.clone().into_iter().find(|key| kid == Some(key.kid()) && alg == Some(key.alg.as_str()));
        let is_ours = |kid: &str| keys.clone().into_iter().any(|key| key.kid() == kid);
        let is_published = alg.and_then(Alg::parse).is_some_and(|alg| alg != Alg::Hs256);
        is_unknown.set(is_published && kid.is_some_and(|kid| !is_ours(kid)));
        Ok(found.map(|key| &*key.verifier))
    };
    match jws::deserialize_compact_with_selector(token, select) {
        Ok((claims, _)) => Ok(claims),
        Err(JoseError::InvalidSignature(_)) => Err(Unverified::Signature),
        Err(_) if is_unknown.get() => Err(Unverified::UnknownKey),
        Err(_) => Err(Unverified::Foreign),
    }
}

/// Encrypts `plain` for one Resource as a compact JWE: `dir`, `A256GCM`. `jti` and `aud` of the token around it are
/// repeated in the protected header (RFC 7519 §5.3), so that it cannot be moved into another token.
///
/// # Errors
/// [`BadKey`] if OpenSSL refuses.
pub fn encrypt(key: &ResourceKey, jti: &str, aud: &str, plain: &[u8]) -> Result<String, BadKey> {
    let made = || -> Result<String, JoseError> {
        let mut header = JweHeader::new();
        header.set_content_encryption("A256GCM");
        header.set_key_id(&key.kid);
        header.set_claim("jti", Some(Value::from(jti)))?;
        header.set_claim("aud", Some(Value::from(aud)))?;
        jwe::serialize_compact(plain, &header, &jwe::Dir.encrypter_from_bytes(key.key.expose())?)
    };
    made().map_err(|_| BadKey("encryption failed"))
}

/// Opens what [`encrypt`] made with one of `keys` for the token `jti` with audience `aud`.
///
/// # Errors
/// [`Broken`].
pub fn decrypt(keys: &[ResourceKey], jti: &str, aud: &str, text: &str) -> Result<Secret<Vec<u8>>, Broken> {
    // OpenSSL takes GCM tags down to a few bits, and josekit hands on what it finds: a whole one is 22 characters.
    let lengths: Vec<usize> = text.split('.').map(str::len).collect();
    if !matches!(lengths[..], [_, 0, 16, _, 22]) {
        return Err(Broken);
    }
    let decrypters: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut decrypter = jwe::Dir.decrypter_from_bytes(key.key.expose())?;
            decrypter.set_key_id(&key.kid);
            Ok(decrypter)
        })
        .collect::<Result<_, JoseError>>()
        .map_err(|_| Broken)?;
    let select = |header: &JweHeader| {
        let says = |name, value: &str| header.claim(name).and_then(Value::as_str) == Some(value);
        // A `zip` would be a decompression bomb's door, a `crit` something we do not understand.
        let plain = header.claim("zip").is_none() && header.claim("crit").is_none();
        if !(plain && says("enc", "A256GCM") && says("jti", jti) && says("aud", aud)) {
            return Ok(None);
        }
        let found = decrypters.iter().find(|decrypter| decrypter.key_id() == header.key_id());
        Ok(found.map(|decrypter| &**decrypter))
    };
    jwe::deserialize_compact_with_selector(text, select).map(|(plain, _)| Secret::new(plain)).map_err(|_| Broken)
}
