//! Grants as they lie in the store, opened from outside: to plant a bug in them, and to see what was kept.

use bytes::Bytes;
use vestibule::{
    crypto::hash,
    domain::{Grant, GrantStage, RefreshToken},
    store::{Key, Record as _},
};

use super::{chance::Dice, world::keyring};

/// Version and expiry (`store/envelope.rs`).
const HEADER: usize = 9;

/// The Grant at `key`, if it is one.
pub(super) fn read_grant(key: &Key, value: &[u8]) -> Option<Grant> {
    if !key.as_str().starts_with("grant/") {
        return None;
    }
    let (header, sealed) = value.split_at_checked(HEADER)?;
    let plain = keyring().open(Grant::PURPOSE, &[header, key.as_str().as_bytes()].concat(), sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}

/// The same Grant, whose retired refresh tokens each yield a token that is well made and not the successor.
pub(super) fn with_other_successors(key: &Key, value: &Bytes) -> Bytes {
    let Some(mut grant) = read_grant(key, value) else { return value.clone() };
    let GrantStage::Active { refresh: Some(chain), .. } = &mut grant.stage else { return value.clone() };
    if chain.retired.is_empty() {
        return value.clone();
    }
    let dice = Dice::new(u64::from(chain.generation), 77);
    for retired in &mut chain.retired {
        let (_, text) = hash::issue::<RefreshToken>(&keyring(), *grant.id.as_bytes(), chain.generation, &dice);
        retired.successor = text;
    }
    let header = &value[..HEADER];
    let plain = serde_json::to_vec(&grant).unwrap();
    let sealed = keyring().seal(Grant::PURPOSE, &[header, key.as_str().as_bytes()].concat(), &plain, &dice);
    [header, &sealed].concat().into()
}
