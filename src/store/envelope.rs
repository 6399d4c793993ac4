//! One record as it lies in the store: `version · expires_at · sealed(JSON)` (architecture §4).
//!
//! The header is readable without a key, so that a sweep need not open anything; it is authenticated all the same,
//! together with the key under which the value lies. A value that was moved, aged or re-read under another name does
//! not open (S32).

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Key, Record};
use crate::{
    crypto::{Keyring, Random},
    domain::Instant,
};

/// The first byte of every envelope. JSON inside only gains optional fields; anything else is a new version.
const VERSION: u8 = 1;
/// Bytes that nearly every record fits into, sealed.
const ROOM: usize = 4096;
/// Version and expiry.
const HEADER: usize = 1 + 8;

/// Why a value is not a record. None of them says anything of the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("not an envelope of this version")]
    Shape,
    #[error("does not open: changed, or moved")]
    Seal,
    #[error("is sealed under master key {0}, which is not in secret_key")]
    OtherKey(String),
    #[error("opens, but does not hold this kind of record")]
    Content,
}

/// Seals a record for its place. The random nonce makes the bytes unique, so they are their own version for `swap`.
pub(super) fn seal<R: Record>(
    record: &R,
    key: &Key,
    keyring: &Keyring,
    random: &dyn Random,
) -> Result<Bytes, serde_json::Error> {
    // Room from the start: each time the text outgrew its place it would leave a copy of secrets behind.
    let mut value = Vec::with_capacity(ROOM);
    let header = header(record.expires());
    value.extend_from_slice(&header);
    let place = associated(&header, key);
    keyring.seal_onto(R::PURPOSE, &place, &mut value, random, |text| serde_json::to_writer(text, record))?;
    // The memory store keeps it as it is.
    value.shrink_to_fit();
    Ok(value.into())
}

/// Opens what lies at `key`.
pub(super) fn open<R: Record>(value: &[u8], key: &Key, keyring: &Keyring) -> Result<R, Unreadable> {
    if value.first() != Some(&VERSION) {
        return Err(Unreadable::Shape);
    }
    let (header, sealed) = value.split_at_checked(HEADER).ok_or(Unreadable::Shape)?;
    let plain = keyring.open(R::PURPOSE, &associated(header, key), sealed).map_err(|_| {
        let foreign = keyring.id_of(sealed).filter(|id| !keyring.ids().contains(id));
        foreign.map_or(Unreadable::Seal, Unreadable::OtherKey)
    })?;
    let plain = Zeroizing::new(plain);
    serde_json::from_slice(&plain).map_err(|_| Unreadable::Content)
}

/// The same record under the current master key, its end and its place as they were; `None` if it does not open.
pub(super) fn resealed(value: &[u8], key: &Key, keyring: &Keyring, random: &dyn Random) -> Option<Bytes> {
    let (header, sealed) = value.split_at_checked(HEADER)?;
    let (kind, _) = key.as_str().split_once('/')?;
    // As every record has it.
    let purpose = format!("store/{kind}");
    let sealed = keyring.reseal(&purpose, &associated(header, key), sealed, random).ok()?;
    Some([header, &sealed].concat().into())
}

/// What is sealed in it; `None` if it is no envelope of ours.
pub(super) fn sealed(value: &[u8]) -> Option<&[u8]> {
    let (header, sealed) = value.split_at_checked(HEADER)?;
    (header.first() == Some(&VERSION)).then_some(sealed)
}

/// When the value may be swept; `None` if it is no envelope of ours. Not authenticated: good for leaving a record
/// out, never for letting it in.
pub(super) fn expiry(value: &[u8]) -> Option<Instant> {
    let (&version, rest) = value.split_first()?;
    let millis: [u8; 8] = *rest.first_chunk()?;
    (version == VERSION).then(|| Instant::from_millis(u64::from_be_bytes(millis)))
}

fn header(expires: Instant) -> [u8; HEADER] {
    let mut header = [VERSION; HEADER];
    header[1..].copy_from_slice(&expires.millis().to_be_bytes());
    header
}

/// The header has a fixed length, so header and key cannot run into one another.
fn associated(header: &[u8], key: &Key) -> Vec<u8> {
    [header, key.as_str().as_bytes()].concat()
}
