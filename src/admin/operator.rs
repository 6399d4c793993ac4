//! Who may ask: a request signed with the key ring, or the token of the configuration.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Admin, Failed};
use crate::{
    crypto::{Keyring, hash},
    domain::Instant,
};

const PURPOSE: &str = "admin/request";
/// How far the clocks of the two sides may differ; also how long a signed request is good.
const FRESH: Duration = Duration::from_secs(120);
/// The scheme of a signed request.
const SCHEME: &str = "Vestibule";

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'a str,
    /// Path and query, byte for byte.
    pub target: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// By what the operator was known; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Holds the key ring.
    KeyRing,
    /// Holds the token.
    Token,
}

impl Operator {
    /// Its name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyRing => "key ring",
            Self::Token => "token",
        }
    }
}

/// The `Authorization` header by which the holder of the key ring asks for exactly this, now.
#[must_use]
pub fn sign(keyring: &Keyring, now: Instant, method: &str, target: &str, body: &[u8]) -> String {
    let time = now.secs().to_string();
    let mac = keyring.mac(PURPOSE, &parts(&time, method, target, body));
    format!("{SCHEME} {time}.{}", URL_SAFE_NO_PAD.encode(mac))
}

const fn parts<'a>(time: &'a str, method: &'a str, target: &'a str, body: &'a [u8]) -> [&'a [u8]; 4] {
    [time.as_bytes(), method.as_bytes(), target.as_bytes(), body]
}

impl Admin {
    /// Lets an operator in. What is wrong is not told apart but for the clock, which honest people get wrong.
    ///
    /// # Errors
    /// [`Failed::Unauthorized`].
    pub fn admit(&self, asked: Asked<'_>) -> Result<Operator, Failed> {
        const REFUSED: Failed = Failed::Unauthorized(
            "this takes a request signed with the server's secret_key (the vestibule command does that), or the token \
             of [admin]",
        );
        let (scheme, said) = asked.authorization.and_then(|header| header.split_once(' ')).ok_or(REFUSED)?;
        if scheme.eq_ignore_ascii_case("Bearer") {
            return if self.is_token(said) { Ok(Operator::Token) } else { Err(REFUSED) };
        }
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(REFUSED);
        }
        let (time, mac) = said.split_once('.').ok_or(REFUSED)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().filter(|mac| mac.len() == 32).ok_or(REFUSED)?;
        let signed = parts(time, asked.method, asked.target, asked.body);
        if !self.parts.keyring.mac_is(PURPOSE, &signed, &mac) {
            return Err(REFUSED);
        }
        let (made, now) = (Instant::from_secs(time.parse().map_err(|_| REFUSED)?), self.parts.clock.now());
        if made.since(now) > FRESH || now.since(made) > FRESH {
            return Err(Failed::Unauthorized("the request is too old, or the clocks of the two machines differ"));
        }
        Ok(Operator::KeyRing)
    }

    /// Hashing first hides the length of the token from the time that the comparison takes.
    fn is_token(&self, said: &str) -> bool {
        let hashed = |text: &str| hash::sha256(text.as_bytes());
        self.settings.token.as_ref().is_some_and(|token| hash::same(&hashed(token.expose()), &hashed(said)))
    }
}
