//! A device that has no browser of its own and waits for its human to agree elsewhere (RFC 8628).

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    BrowserId, Client, DeviceId, Identity, Instant, ResourceUri, Scope, UpstreamName, UpstreamTokens, grant::SecretHash,
};

/// A device authorization under way (RFC 8628 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, inside its device code.
    pub id: DeviceId,
    /// Of the device code's secret.
    pub secret: SecretHash,
    /// The client that asks, as it was when it asked.
    pub client: Client,
    /// The MCP server it is for.
    pub resource: ResourceUri,
    /// What the client will get, already narrowed.
    pub scope: Scope,
    /// From where it asked.
    pub place: Place,
    /// When it asked.
    pub asked: Instant,
    /// When it is void.
    pub expires: Instant,
    /// Seconds that have to lie between two polls (RFC 8628 §3.5).
    pub interval: u32,
    /// The latest poll.
    #[serde(default)]
    pub polled: Option<Instant>,
    /// Where it stands.
    pub state: DeviceState,
}

/// Where a [`Device`] stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Nobody has decided yet.
    Pending,
    /// A human agreed and logged in; the next poll takes it all.
    Approved(Box<Approval>),
    /// The human or the provider said no.
    Denied,
}

/// A human's yes to a device, and what the provider said of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub identity: Identity,
    /// Where they logged in.
    pub upstream: UpstreamName,
    /// What the provider gave.
    pub tokens: UpstreamTokens,
    /// When.
    pub given: Instant,
}

/// From where a device asked: its human compares it with what they know (RFC 8628 §5.4). Told by the network and by the
/// device itself, so it warns and never permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The address, as our trusted proxies saw it.
    pub address: IpAddr,
    /// What its program calls itself, if it does: at most 120 characters, tamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

impl Place {
    /// A place, of whose program only what can be shown is kept.
    #[must_use]
    pub fn new(address: IpAddr, program: Option<&str>) -> Self {
        let tamed = |text: &str| text.chars().filter(|c| matches!(c, ' '..='~')).take(120).collect::<String>();
        let program = program.map(tamed).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Self { address: address.to_canonical(), program }
    }

    /// Whether two places are probably on one network: the same IPv4 address, the same /64 of IPv6.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a == b,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
            _ => false,
        }
    }
}

/// `user-code/{hmac}`: leads from the code that a human types to the [`Device`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnteredCode {
    /// HMAC of the code: the code itself has too few letters for a bare hash.
    pub id: String,
    /// The device that shows it.
    pub device: DeviceId,
    /// The browser in which it was entered. To every other one it is unknown from then on.
    #[serde(default)]
    pub browser: Option<BrowserId>,
    /// When it is forgotten.
    pub expires: Instant,
}

/// What the device shows and its human types: eight consonants, so that no word and no digit comes about (RFC 8628 §6.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserCode([u8; 8]);

/// Twenty letters: eight of them are 34.5 bits.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl UserCode {
    /// A code out of random bytes, if enough of them lead to a letter without favouring any.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Option<Self> {
        let fair = bytes.iter().filter(|byte| **byte < 240).map(|byte| LETTERS[usize::from(byte % 20)]);
        let letters: Vec<u8> = fair.take(8).collect();
        letters.try_into().ok().map(Self)
    }

    /// What a human typed: case, dashes and spaces do not count.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let typed = typed.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_uppercase());
        let letter = |c: char| LETTERS.iter().copied().find(|letter| char::from(*letter) == c);
        let letters: Option<Vec<u8>> = typed.take(9).map(letter).collect();
        letters?.try_into().ok().map(Self)
    }

    /// The letters without the dash.
    #[must_use]
    pub const fn letters(&self) -> &[u8; 8] {
        &self.0
    }
}

/// `BCDF-GHJK`.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            let dash = if at == 4 { "-" } else { "" };
            write!(f, "{dash}{}", char::from(*letter))?;
        }
        Ok(())
    }
}

/// For ten minutes it is as good as a password.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8628_6_1_what_is_typed_may_be_untidy() {
        let code = UserCode::parse("bcdf-ghjk").unwrap();
        assert_eq!(code.to_string(), "BCDF-GHJK");
        for same in ["BCDFGHJK", " bcdf ghjk ", "B-C-D-F-G-H-J-K", "BCDF\u{2013}GHJK."] {
            assert_eq!(UserCode::parse(same), Some(code), "{same}");
        }
        for other in ["", "BCDF-GHJ", "BCDF-GHJKL", "ABCD-FGHJ", "BCDF-GHJ1", "BCDF-GHJÄ", &"B".repeat(100_000)] {
            assert_eq!(UserCode::parse(other), None, "{other:.20}");
        }
    }

    #[test]
    fn dev_1_every_letter_is_as_likely_as_every_other() {
        let mut counts = [0_u32; 20];
        for byte in 0..=u8::MAX {
            let mut bytes = [255; 32];
            bytes[..8].fill(byte);
            match UserCode::from_random(&bytes) {
                Some(code) => counts[LETTERS.iter().position(|letter| *letter == code.letters()[0]).unwrap()] += 1,
                None => assert!(byte >= 240),
            }
        }
        assert_eq!(counts, [12; 20]);
        assert_eq!(UserCode::from_random(&[255; 32]), None);
        assert_eq!(format!("{:?}", UserCode::from_random(&[0; 32])), "Some(UserCode(***))");
    }

    #[test]
    fn places_are_near_on_one_network_only() {
        let place = |address: &str| Place::new(address.parse().unwrap(), None);
        assert!(place("192.0.2.1").is_near(&place("::ffff:192.0.2.1")));
        assert!(place("2001:db8::1").is_near(&place("2001:db8::2")));
        assert!(!place("2001:db8:0:1::1").is_near(&place("2001:db8::1")));
        assert!(!place("192.0.2.1").is_near(&place("192.0.2.2")));
        let program = |text| Place::new(IpAddr::from([1, 2, 3, 4]), Some(text)).program;
        assert_eq!(program("curl/8.0\u{202e}\n"), Some("curl/8.0".to_owned()));
        assert_eq!(program(" \t"), None);
        assert_eq!(program(&"x".repeat(500)).unwrap().len(), 120);
    }
}
