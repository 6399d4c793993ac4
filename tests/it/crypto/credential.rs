//! Credentials find themselves and cannot be made up (S11).

use proptest::prelude::*;
use vestibule::{
    crypto::hash::{Forged, authenticate, issue, secret_hash, sha256},
    domain::{AuthorizationCode, CredentialKind, RefreshToken, UpstreamState},
};

use super::{chance, ring};

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn refresh_token(seed: u64) -> String {
    let (_, text) = issue::<RefreshToken>(&ring(1, &[]), [7; 16], 3, &*chance(seed));
    text.expose().clone()
}

#[test]
fn a_credential_names_its_record_and_generation() {
    let (issued, text) = issue::<RefreshToken>(&ring(1, &[]), [7; 16], 0xdead_beef, &*chance(1));
    assert_eq!(text.expose().len(), 3 + 91);
    assert!(text.expose().starts_with("vr_"));
    let read = authenticate::<RefreshToken>(&ring(1, &[]), text.expose()).unwrap();
    assert_eq!((read.id(), read.generation()), (&[7; 16], 0xdead_beef));
    assert_eq!(secret_hash(&read), secret_hash(&issued));
    assert_eq!(secret_hash(&read).as_bytes(), &sha256(issued.expose_secret()));
}

#[test]
fn a_credential_outlives_the_rotation_of_the_master_key() {
    let text = refresh_token(1);
    assert!(authenticate::<RefreshToken>(&ring(2, &[1]), &text).is_ok());
    assert_eq!(authenticate::<RefreshToken>(&ring(2, &[]), &text).unwrap_err(), Forged);
}

#[test]
fn s35_a_credential_of_one_kind_is_none_of_another() {
    fn body<K: CredentialKind>() -> String {
        let (_, text) = issue::<K>(&ring(1, &[]), [7; 16], 0, &*chance(1));
        text.expose()[K::PREFIX.len()..].to_owned()
    }
    let ring = ring(1, &[]);
    for body in [body::<RefreshToken>(), body::<UpstreamState>()] {
        assert!(authenticate::<AuthorizationCode>(&ring, &format!("vc_{body}")).is_err());
    }
    assert!(authenticate::<RefreshToken>(&ring, &format!("vr_{}", body::<AuthorizationCode>())).is_err());
    assert!(authenticate::<AuthorizationCode>(&ring, &format!("vc_{}", body::<AuthorizationCode>())).is_ok());
}

#[test]
fn one_credential_has_exactly_one_text() {
    let text = refresh_token(1);
    let ring = ring(1, &[]);
    let last = ALPHABET.iter().position(|c| *c == *text.as_bytes().last().unwrap()).unwrap();
    // The two lowest bits of the last character carry nothing; a lenient decoder would take four spellings of it.
    for stray in 1..4 {
        let spelled = format!("{}{}", &text[..text.len() - 1], char::from(ALPHABET[last ^ stray]));
        assert!(authenticate::<RefreshToken>(&ring, &spelled).is_err(), "{stray}");
    }
    let variants = [
        format!("{text}="),
        format!("{text}A"),
        format!(" {text}"),
        format!("{text}\n"),
        text[..text.len() - 1].to_owned(),
        text[3..].to_owned(),
        text.replacen("vr_", "VR_", 1),
        text.replacen("vr_", "vr_vr_", 1),
        "vr_".to_owned(),
        String::new(),
        format!("vr_{}", "é".repeat(46)),
        format!("vr_{}", "+".repeat(91)),
    ];
    for variant in variants {
        assert_eq!(authenticate::<RefreshToken>(&ring, &variant).unwrap_err(), Forged, "{variant:?}");
    }
}

proptest! {
    #[test]
    fn s11_any_changed_character_is_a_forgery(seed: u64, at in 3..94_usize, to in 0..64_usize) {
        let text = refresh_token(seed);
        let mut bytes = text.clone().into_bytes();
        prop_assume!(bytes[at] != ALPHABET[to]);
        bytes[at] = ALPHABET[to];
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(authenticate::<RefreshToken>(&ring(1, &[]), &changed).unwrap_err(), Forged);
        prop_assert!(authenticate::<RefreshToken>(&ring(1, &[]), &text).is_ok());
    }

    #[test]
    fn authenticate_survives_anything(text in "\\PC{0,120}") {
        prop_assert!(authenticate::<RefreshToken>(&ring(1, &[]), &text).is_err());
    }
}
