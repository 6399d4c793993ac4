//! Issue and authenticate credentials; hashes; constant-time comparison.
//!
//! ```text
//! text   = PREFIX ‖ base64url(id (16) ‖ generation (4, big endian) ‖ secret (32) ‖ mac (16))
//! mac    = HMAC-SHA256(subkey "credential", PREFIX, id, generation, secret), first half
//! record = SHA-256(secret)
//! ```

use base64::{
    Engine as _,
    engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Keyring, Random};
use crate::domain::{CodeChallenge, CodeVerifier, Credential, CredentialKind, Secret, grant::SecretHash};

/// The text is not a credential of ours, or its MAC is wrong. The store is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a credential of ours")]
pub struct Forged;

const PURPOSE: &str = "credential";
const BODY: usize = 16 + 4 + 32;
const MAC: usize = 16;
/// Length of base64url without padding of body and MAC.
const TEXT: usize = ((BODY + MAC) * 4).div_ceil(3);
/// Refuses padding, foreign characters and stray trailing bits, so that one credential has exactly one text.
const STRICT: GeneralPurpose = URL_SAFE_NO_PAD;

/// Makes a credential and its text (prefix + base64url of id, generation, secret, MAC).
#[must_use]
pub fn issue<K: CredentialKind>(
    keyring: &Keyring,
    id: [u8; 16],
    generation: u32,
    random: &dyn Random,
) -> (Credential<K>, Secret<String>) {
    let secret = Zeroizing::new(random.bytes::<32>());
    let mac = keyring.mac(PURPOSE, &[K::PREFIX.as_bytes(), &id, &generation.to_be_bytes(), secret.as_slice()]);
    let mut raw = Zeroizing::new([0; BODY + MAC]);
    raw[..16].copy_from_slice(&id);
    raw[16..20].copy_from_slice(&generation.to_be_bytes());
    raw[20..BODY].copy_from_slice(secret.as_slice());
    raw[BODY..].copy_from_slice(&mac[..MAC]);
    let mut text = String::with_capacity(K::PREFIX.len() + TEXT);
    text.push_str(K::PREFIX);
    STRICT.encode_string(*raw, &mut text);
    (Credential::from_parts(id, generation, *secret), Secret::new(text))
}

/// Reads a credential back, if its MAC is ours under any key of the ring.
///
/// # Errors
/// [`Forged`].
pub fn authenticate<K: CredentialKind>(keyring: &Keyring, text: &str) -> Result<Credential<K>, Forged> {
    let encoded = text.strip_prefix(K::PREFIX).filter(|rest| rest.len() == TEXT).ok_or(Forged)?;
    let mut raw = Zeroizing::new([0_u8; BODY + MAC]);
    let length = STRICT.decode_slice(encoded, raw.as_mut_slice()).map_err(|_| Forged)?;
    if length != BODY + MAC {
        return Err(Forged);
    }
    let (id, rest) = raw.split_first_chunk::<16>().ok_or(Forged)?;
    let (generation, rest) = rest.split_first_chunk::<4>().ok_or(Forged)?;
    let (secret, mac) = rest.split_first_chunk::<32>().ok_or(Forged)?;
    if !keyring.mac_is(PURPOSE, &[K::PREFIX.as_bytes(), id, generation, secret], mac) {
        return Err(Forged);
    }
    Ok(Credential::from_parts(*id, u32::from_be_bytes(*generation), *secret))
}

/// SHA-256 of the credential's secret, as records keep it. The secret has 256 bits, so no slow hash is needed.
#[must_use]
pub fn secret_hash<K: CredentialKind>(credential: &Credential<K>) -> SecretHash {
    SecretHash::from_bytes(sha256(credential.expose_secret()))
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// RFC 7636 §4.2: `BASE64URL(SHA256(verifier))`.
#[must_use]
pub fn s256(verifier: &CodeVerifier) -> CodeChallenge {
    let text = URL_SAFE_NO_PAD.encode(sha256(verifier.expose().as_bytes()));
    #[expect(clippy::expect_used, reason = "base64url of 32 bytes is 43 characters of its alphabet")]
    CodeChallenge::parse(&text).expect("an S256 challenge")
}

/// Equality that takes the same time wherever the difference lies.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::{s256, same};
    use crate::domain::CodeVerifier;

    #[test]
    fn rfc7636_appendix_b_example() {
        let verifier = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        assert_eq!(s256(&verifier).as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn sameness() {
        assert!(same(b"", b"") && same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }
}
