//! The safe: keys, seals, credentials, JOSE.
//!
//! **Purpose.** Everything that keeps a secret or proves an origin is done here, so that one room can be read to know
//! how. From the operator's master keys ([`keyring`]) come subkeys by HKDF, one set per *purpose*: a short constant such
//! as `"store/grant"`. What was sealed for one purpose, or for one place (`aad`), opens for no other (S32). A ring may
//! hold older keys: they open and verify, but never seal.
//!
//! Five things are made:
//! - **sealed values** (`seal`): records, client ids, cookies. AES-256-GCM, with a random nonce, or with a nonce that is
//!   a MAC of the content where equal contents must give equal values (D2);
//! - **credentials** ([`hash`]): codes, refresh tokens, `state`. They name their record and bear a MAC, so a forgery dies
//!   before the store is asked (S11);
//! - **signatures** ([`jwt`]): access tokens as JWS, the published keys as JWK; and the signatures of others, by keys that
//!   they publish or, in proofs of possession, bring along;
//! - **envelopes for others** ([`jwt`]): the upstream token as JWE, under a key per Resource that may be given to that
//!   Resource's backend and opens nothing else (D4);
//! - **chance** ([`random`]), from the system or, in tests, from a seed (D16).
//!
//! **Neighbours.** Knows `domain` alone. `store`, `upstream` (chance only), `token`, `oauth` and `cli` lean on it.
//!
//! **Nevers.** No store, no network, no async, no clock. No hand-made primitive: RustCrypto for seals, MACs and hashes,
//! josekit (OpenSSL) for JOSE. `aes_gcm` is named in `seal` alone, `josekit` in [`jwt`] alone. No error says *why* a
//! value was not accepted: that would only help whoever made it up.

pub mod hash;
pub mod jwt;
pub mod keyring;
pub mod random;
mod seal;

pub use keyring::{Keyring, MasterKey, ResourceKey};
pub use random::{Os, Random, Seeded};
pub use seal::Broken;
