//! AES-256-GCM (NIST SP 800-38D) and the layout of a sealed value. The only file that names `aes_gcm`.
//!
//! ```text
//! version (1) · key id (4) · nonce (12) · ciphertext · tag (16)
//! ```
//! The first five bytes and the caller's place are authenticated with the ciphertext, so a value cannot be moved,
//! relabelled or shortened (S32). The version also says how the nonce was made, and each way has a subkey of its own:
//! a random nonce and a synthetic one can never meet under one key.

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce, Tag,
    aead::{AeadInOut, inout::InOutBuf},
};
use zeroize::Zeroize as _;

/// Sealed bytes did not open: wrong key, wrong name, or changed (S32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed value does not open")]
pub struct Broken;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
const TAG: usize = 16;
const HEADER: usize = 5;

/// How the nonce of a sealed value came about; the first byte of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// From `Random`.
    Random = 1,
    /// A MAC of the content: equal contents give equal values (D2).
    Synthetic = 2,
}

/// One expanded AES key.
pub(super) struct Cipher(Aes256Gcm);

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }
}

/// What the head of a sealed value says; nothing of it is proven before [`open`].
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) key_id: [u8; 4],
}

/// Seals `plain` for the place `aad`.
pub(super) fn seal(cipher: &Cipher, head: &Head, nonce: [u8; NONCE], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + NONCE + plain.len() + TAG);
    let start = begin(&mut sealed, head, &nonce);
    sealed.extend_from_slice(plain);
    end(cipher, &nonce, aad, &mut sealed, start);
    sealed
}

/// Appends to `out` the sealed form of what `write` appends to it. It is sealed where it stands, so nothing of it is left
/// over, as long as `out` need not grow for it. On a failure `out` is as it was, and what was written is wiped.
pub(super) fn seal_onto<E>(
    cipher: &Cipher,
    head: &Head,
    nonce: [u8; NONCE],
    aad: &[u8],
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let before = out.len();
    let start = begin(out, head, &nonce);
    let written = write(out);
    if written.is_ok() {
        end(cipher, &nonce, aad, out, start);
    } else {
        out[before..].zeroize();
        out.truncate(before);
    }
    written
}

/// Version, key and nonce; returns where what is sealed begins.
fn begin(out: &mut Vec<u8>, head: &Head, nonce: &[u8; NONCE]) -> usize {
    out.push(head.version as u8);
    out.extend_from_slice(&head.key_id);
    out.extend_from_slice(nonce);
    out.len()
}

/// Seals in its place what begins at `start`, and adds the tag.
#[expect(clippy::expect_used, reason = "AES-GCM refuses only beyond 64 GiB; to go on without a seal would leak")]
fn end(cipher: &Cipher, nonce: &[u8; NONCE], aad: &[u8], out: &mut Vec<u8>, start: usize) {
    let head = start - NONCE - HEADER;
    let bound = bound_to(&out[head..head + HEADER], aad);
    let buffer = InOutBuf::from(&mut out[start..]);
    let tag = cipher.0.encrypt_inout_detached(&Nonce::from(*nonce), &bound, buffer).expect("a value below 64 GiB");
    out.extend_from_slice(&tag);
}

/// Reads the head of a sealed value.
pub(super) fn head(sealed: &[u8]) -> Result<Head, Broken> {
    if sealed.len() < HEADER + NONCE + TAG {
        return Err(Broken);
    }
    let version = match sealed[0] {
        1 => Version::Random,
        2 => Version::Synthetic,
        _ => return Err(Broken),
    };
    let key_id = sealed[1..HEADER].try_into().map_err(|_| Broken)?;
    Ok(Head { version, key_id })
}

/// Opens what [`seal`] made for the place `aad`.
pub(super) fn open(cipher: &Cipher, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Broken> {
    let (header, rest) = sealed.split_at_checked(HEADER).ok_or(Broken)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(Broken)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(Broken)?;
    let mut plain = ciphertext.to_vec();
    let buffer = InOutBuf::from(plain.as_mut_slice());
    cipher
        .0
        .decrypt_inout_detached(&Nonce::from(*nonce), &bound_to(header, aad), buffer, &Tag::from(*tag))
        .map_err(|_| Broken)?;
    Ok(plain)
}

/// The header has a fixed length, so header and place cannot be shifted against each other.
fn bound_to(header: &[u8], aad: &[u8]) -> Vec<u8> {
    [header, aad].concat()
}
