//! Master keys and what is derived from them (HKDF-SHA256, RFC 5869): for every purpose its own subkeys.

use std::sync::OnceLock;

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
    },
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    Random,
    seal::{self, Broken, Cipher, Head, NONCE, Version},
};
use crate::domain::{ResourceUri, Secret};

/// 32 bytes from which everything is derived (`secret_key`).
#[derive(Clone, Debug)]
pub struct MasterKey(Secret<[u8; 32]>);

/// The text is not 32 bytes in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key is 32 random bytes in base64; `vestibule secret new` makes one")]
pub struct BadMasterKey;

const PADDING_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl MasterKey {
    /// Reads base64 (standard or URL alphabet, with or without padding) of exactly 32 bytes.
    ///
    /// # Errors
    /// [`BadMasterKey`].
    pub fn parse(text: &str) -> Result<Self, BadMasterKey> {
        let text = text.trim();
        let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let bytes = GeneralPurpose::new(alphabet, PADDING_OR_NOT).decode(text).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| BadMasterKey)?;
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| BadMasterKey)?;
        Ok(Self(Secret::new(key)))
    }

    /// A fresh key.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        Self(Secret::new(random.bytes()))
    }

    /// The key as base64, for `vestibule secret new`.
    #[must_use]
    pub fn to_text(&self) -> Secret<String> {
        Secret::new(BASE64.encode(self.0.expose()))
    }
}

/// The key of one Resource, by which upstream tokens travel inside access tokens (D4).
#[derive(Clone, Debug)]
pub struct ResourceKey {
    /// Names the key in the JWE header.
    pub kid: String,
    /// 256 bits for `A256GCM`.
    pub key: Secret<[u8; 32]>,
}

/// Current and older master keys with their derived subkeys (derived once, kept).
pub struct Keyring {
    current: Ring,
    older: Vec<Ring>,
}

impl Keyring {
    /// A ring that seals with `current` and opens with any.
    #[must_use]
    pub fn new(current: MasterKey, older: Vec<MasterKey>) -> Self {
        Self { current: Ring::new(&current), older: older.iter().map(Ring::new).collect() }
    }

    /// Short public name of the current master key, for the start-up line.
    #[must_use]
    pub fn id(&self) -> String {
        name(self.current.id)
    }

    /// Short public names of all master keys, the current one first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.rings().map(|ring| name(ring.id)).collect()
    }

    /// The short name of the master key that a sealed value says it lies under; nothing of it is proven.
    #[must_use]
    pub fn id_of(&self, sealed: &[u8]) -> Option<String> {
        seal::head(sealed).ok().map(|head| name(head.key_id))
    }

    /// Seals under the current key what [`seal`](Self::seal) made under an older one, without showing it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn reseal(&self, purpose: &str, aad: &[u8], sealed: &[u8], random: &dyn Random) -> Result<Vec<u8>, Broken> {
        let Head { version: Version::Random, key_id } = seal::head(sealed)? else { return Err(Broken) };
        // Derived each time: the table of subkeys is for the purposes that the house knows by name.
        let keys = |ring: &Ring| Subkeys::derive(&ring.root, purpose);
        let opened = self.rings().filter(|ring| ring.id == key_id).find_map(|ring| {
            let plain = seal::open(&keys(ring).random, aad, sealed).ok()?;
            Some(Zeroizing::new(plain))
        });
        let head = Head { version: Version::Random, key_id: self.current.id };
        let plain = opened.ok_or(Broken)?;
        Ok(seal::seal(&keys(&self.current).random, &head, random.bytes(), aad, &plain))
    }

    /// Seals with a random nonce under the subkey of `purpose` (a short constant such as `"store/grant"`). `aad` binds
    /// the result to its place. The output carries the key id.
    #[must_use]
    pub fn seal(&self, purpose: &'static str, aad: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
        let head = Head { version: Version::Random, key_id: self.current.id };
        self.current.with(purpose, |keys| seal::seal(&keys.random, &head, random.bytes(), aad, plain))
    }

    /// [`seal`](Self::seal) of what `write` appends to `out`, in its place: of what is secret in it no second copy is made.
    ///
    /// # Errors
    /// That of `write`; what it wrote is wiped then.
    pub fn seal_onto<E>(
        &self,
        purpose: &'static str,
        aad: &[u8],
        out: &mut Vec<u8>,
        random: &dyn Random,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = Head { version: Version::Random, key_id: self.current.id };
        self.current.with(purpose, |keys| seal::seal_onto(&keys.random, &head, random.bytes(), aad, out, write))
    }

    /// Seals with a nonce that is a MAC of the content, so that equal contents give equal values (D2).
    #[must_use]
    pub fn seal_synthetic(&self, purpose: &'static str, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let head = Head { version: Version::Synthetic, key_id: self.current.id };
        self.current.with(purpose, |keys| {
            let mac = mac(&keys.nonce, &[aad, plain]);
            let mut nonce = [0; NONCE];
            nonce.copy_from_slice(&mac[..NONCE]);
            seal::seal(&keys.synthetic, &head, nonce, aad, plain)
        })
    }

    /// Opens what either `seal` made.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open(&self, purpose: &'static str, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let Head { version, key_id } = seal::head(sealed)?;
        // Two keys may share a short id by accident, so a failure under one does not speak for the other.
        for ring in self.rings().filter(|ring| ring.id == key_id) {
            let opened = ring.with(purpose, |keys| match version {
                Version::Random => seal::open(&keys.random, aad, sealed),
                Version::Synthetic => seal::open(&keys.synthetic, aad, sealed),
            });
            if opened.is_ok() {
                return opened;
            }
        }
        Err(Broken)
    }

    /// HMAC-SHA256 of the length-prefixed parts under the current subkey of `purpose`.
    #[must_use]
    pub fn mac(&self, purpose: &'static str, parts: &[&[u8]]) -> [u8; 32] {
        self.current.with(purpose, |keys| mac(&keys.mac, parts))
    }

    /// The MAC of the parts under every key of the ring, the current one first: for looking up what is named by its MAC.
    pub fn macs(&self, purpose: &'static str, parts: &[&[u8]]) -> impl Iterator<Item = [u8; 32]> {
        self.rings().map(move |ring| ring.with(purpose, |keys| mac(&keys.mac, parts)))
    }

    /// Whether `claimed` is the MAC of the parts under the current key or an older one; constant time. It may be the
    /// whole MAC or its first 16 bytes; any other length is not a MAC of ours.
    #[must_use]
    pub fn mac_is(&self, purpose: &'static str, parts: &[&[u8]], claimed: &[u8]) -> bool {
        matches!(claimed.len(), 16 | 32)
            && self.rings().any(|ring| {
                let own = ring.with(purpose, |keys| mac(&keys.mac, parts));
                own[..claimed.len()].ct_eq(claimed).into()
            })
    }

    /// The keys of a Resource: the current one first, then those of older master keys.
    #[must_use]
    pub fn resource_keys(&self, resource: &ResourceUri) -> Vec<ResourceKey> {
        self.rings().map(|ring| ring.resource_key(resource)).collect()
    }

    fn rings(&self) -> impl Iterator<Item = &Ring> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({}, {} older)", self.id(), self.older.len())
    }
}

fn name(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// How many purposes are kept. The house has about twenty; one beyond the table is only derived each time.
const SLOTS: usize = 64;

/// One master key and its subkeys.
struct Ring {
    id: [u8; 4],
    root: Hkdf<Sha256>,
    /// An open-addressed table that only grows: found without a lock, since a filled slot never changes.
    slots: Box<[OnceLock<(&'static str, Subkeys)>]>,
}

/// Everything a purpose may need, each under an HKDF info of its own.
struct Subkeys {
    random: Cipher,
    synthetic: Cipher,
    nonce: Hmac<Sha256>,
    mac: Hmac<Sha256>,
}

impl Ring {
    fn new(master: &MasterKey) -> Self {
        let root = Hkdf::new(Some(b"vestibule/1"), master.0.expose());
        let id = *derive::<4>(&root, "id", "");
        Self { id, root, slots: std::iter::repeat_with(OnceLock::new).take(SLOTS).collect() }
    }

    fn with<T>(&self, purpose: &'static str, work: impl FnOnce(&Subkeys) -> T) -> T {
        let start = purpose.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        for step in 0..SLOTS {
            let slot = &self.slots[start.wrapping_add(step) % SLOTS];
            let (owner, keys) = slot.get_or_init(|| (purpose, Subkeys::derive(&self.root, purpose)));
            if *owner == purpose {
                return work(keys);
            }
        }
        work(&Subkeys::derive(&self.root, purpose))
    }

    fn resource_key(&self, resource: &ResourceUri) -> ResourceKey {
        let kid = URL_SAFE_NO_PAD.encode(*derive::<9>(&self.root, "resource-kid", resource.as_str()));
        let key = Secret::new(*derive::<32>(&self.root, "resource", resource.as_str()));
        ResourceKey { kid, key }
    }
}

impl Subkeys {
    fn derive(root: &Hkdf<Sha256>, purpose: &str) -> Self {
        Self {
            random: Cipher::new(&derive(root, "seal", purpose)),
            synthetic: Cipher::new(&derive(root, "seal-synthetic", purpose)),
            nonce: keyed(&derive(root, "nonce", purpose)),
            mac: keyed(&derive(root, "mac", purpose)),
        }
    }
}

/// RFC 5869 §2.3. The use comes first and never contains a NUL, so no purpose can imitate another use.
#[expect(clippy::expect_used, reason = "N is at most 32, HKDF refuses beyond 8160; a silent fallback is a zero key")]
fn derive<const N: usize>(root: &Hkdf<Sha256>, r#use: &str, purpose: &str) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    root.expand_multi_info(&[r#use.as_bytes(), b"\0", purpose.as_bytes()], key.as_mut()).expect("a short key");
    key
}

/// HMAC pads short keys with zeros (RFC 2104 §2), which makes this the same as keying with the 32 bytes.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// Each part is preceded by its length, so that bytes cannot move from one part into the next.
fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
