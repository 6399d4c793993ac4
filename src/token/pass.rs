//! Passes: an address that one person may use at one Resource, sealed. Nobody else can open it, and nobody can make one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Caller, Mint};

const PURPOSE: &str = "token/pass";

impl Mint {
    /// Seals `address` for the person behind `caller` at their Resource. It outlives the token, as the person does.
    #[must_use]
    pub fn pass(&self, caller: &Caller, address: &str) -> String {
        let parts = &self.0;
        let sealed = parts.keyring.seal(PURPOSE, &place(caller), address.as_bytes(), &*parts.random);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What [`pass`](Self::pass) sealed, for the same person at the same Resource; `None` for all else.
    #[must_use]
    pub fn open_pass(&self, caller: &Caller, pass: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(pass).ok()?;
        String::from_utf8(self.0.keyring.open(PURPOSE, &place(caller), &sealed).ok()?).ok()
    }
}

/// Neither a Resource nor a subject holds a line break.
fn place(caller: &Caller) -> Vec<u8> {
    [caller.resource.as_str(), "\n", caller.identity.subject.as_str()].concat().into_bytes()
}
