//! Master keys, subkeys, seals and MACs.

use proptest::{collection::vec, prelude::*};
use vestibule::{
    crypto::{Keyring, MasterKey},
    domain::{HttpsUrl, ResourceUri},
};

use super::{chance, master, ring};

#[test]
fn a_master_key_is_read_in_every_spelling_of_base64() {
    let text = master(1).to_text().expose().clone();
    let url_safe = text.replace('+', "-").replace('/', "_");
    let spellings =
        [text.clone(), text.trim_end_matches('=').to_owned(), url_safe.trim_end_matches('=').to_owned(), url_safe];
    for spelling in spellings.into_iter().chain([format!(" {text}\n")]) {
        let key = MasterKey::parse(&spelling).unwrap();
        assert_eq!(key.to_text(), master(1).to_text(), "{spelling:?}");
    }
}

#[test]
fn a_master_key_has_exactly_32_bytes() {
    let short = "A".repeat(42);
    let long = "A".repeat(44);
    for text in ["", "secret", &short, &long, "not base64 at all, but 43 characters long!!"] {
        assert!(MasterKey::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_master_key_does_not_print_itself() {
    assert_eq!(format!("{:?}", master(1)), "MasterKey(***)");
}

#[test]
fn what_an_older_key_sealed_still_opens_and_what_is_sealed_bears_the_current() {
    let before = ring(1, &[]);
    let sealed = before.seal("store/grant", b"grant/a", b"value", &*chance(1));
    let equal = before.seal_synthetic("client", b"", b"value");
    let rotated = ring(2, &[1]);
    assert_eq!(rotated.open("store/grant", b"grant/a", &sealed).unwrap(), b"value");
    assert_eq!(rotated.open("client", b"", &equal).unwrap(), b"value");
    let fresh = rotated.seal("store/grant", b"grant/a", b"value", &*chance(2));
    assert!(before.open("store/grant", b"grant/a", &fresh).is_err());
    assert_eq!(ring(2, &[]).open("store/grant", b"grant/a", &fresh).unwrap(), b"value");
    assert_ne!(before.id(), rotated.id());
}

#[test]
fn s32_a_sealed_value_opens_for_its_purpose_and_place_only() {
    let ring = ring(1, &[]);
    for sealed in [ring.seal("a", b"place", b"value", &*chance(1)), ring.seal_synthetic("a", b"place", b"value")] {
        assert_eq!(ring.open("a", b"place", &sealed).unwrap(), b"value");
        assert!(ring.open("b", b"place", &sealed).is_err());
        assert!(ring.open("a", b"other", &sealed).is_err());
        assert!(ring.open("a", b"", &sealed).is_err());
    }
}

#[test]
fn what_is_sealed_in_its_place_is_the_same_and_leaves_nothing_of_a_failure() {
    let ring = ring(1, &[]);
    let mut out = Vec::with_capacity(100);
    out.extend_from_slice(b"before");
    let write = |text: &mut Vec<u8>| {
        text.extend_from_slice(b"value");
        Ok::<_, ()>(())
    };
    ring.seal_onto("a", b"place", &mut out, &*chance(1), write).unwrap();
    let sealed = ring.seal("a", b"place", b"value", &*chance(1));
    assert_eq!(out, [b"before".as_slice(), &sealed].concat());
    let failed = ring.seal_onto("a", b"place", &mut out, &*chance(1), |text| {
        text.extend_from_slice(b"a secret");
        Err("no more")
    });
    assert_eq!(failed, Err("no more"));
    assert_eq!(out, [b"before".as_slice(), &sealed].concat());
}

#[test]
fn d2_equal_contents_give_equal_values_only_when_asked_for() {
    let ring = ring(1, &[]);
    assert_eq!(ring.seal_synthetic("client", b"a", b"v"), ring.seal_synthetic("client", b"a", b"v"));
    assert_ne!(ring.seal_synthetic("client", b"a", b"v"), ring.seal_synthetic("client", b"a", b"w"));
    assert_ne!(ring.seal_synthetic("client", b"a", b"v")[5..17], ring.seal_synthetic("client", b"b", b"v")[5..17]);
    let random = chance(1);
    assert_ne!(ring.seal("client", b"a", b"v", &*random), ring.seal("client", b"a", b"v", &*random));
}

#[test]
fn the_layout_of_a_sealed_value_is_steady() {
    // Records, cookies and client ids in the field depend on this one: a change needs a new version byte.
    let key = MasterKey::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let ring = Keyring::new(key, vec![]);
    let sealed = ring.seal_synthetic("client", b"place", b"value");
    let hex: String = sealed.iter().map(|b| format!("{b:02x}")).collect();
    insta::assert_snapshot!(hex, @"02e9f715c935597580d7c0a69c4c0d747591dc27330b68e7cddcce2f646f148936eb51ebdf61");
    assert_eq!(hex[2..10], ring.id());
}

#[test]
fn more_purposes_than_the_table_holds_still_work() {
    let ring = ring(1, &[]);
    let purposes: Vec<&'static str> = (0..100).map(|n| &*Box::leak(format!("purpose/{n}").into_boxed_str())).collect();
    let macs: Vec<_> = purposes.iter().map(|purpose| ring.mac(purpose, &[b"x"])).collect();
    for (purpose, mac) in purposes.iter().zip(&macs) {
        assert_eq!(ring.mac(purpose, &[b"x"]), *mac);
        assert_eq!(super::ring(1, &[]).mac(purpose, &[b"x"]), *mac);
    }
    let distinct: std::collections::BTreeSet<_> = macs.iter().collect();
    assert_eq!(distinct.len(), 100);
}

#[test]
fn a_mac_binds_every_part_in_its_place() {
    let ring = ring(1, &[]);
    let mac = ring.mac("csrf", &[b"ab", b"c"]);
    assert!(ring.mac_is("csrf", &[b"ab", b"c"], &mac));
    assert!(ring.mac_is("csrf", &[b"ab", b"c"], &mac[..16]));
    assert!(super::ring(2, &[1]).mac_is("csrf", &[b"ab", b"c"], &mac));
    assert!(!super::ring(2, &[]).mac_is("csrf", &[b"ab", b"c"], &mac));
    assert!(!ring.mac_is("csrf", &[b"a", b"bc"], &mac));
    assert!(!ring.mac_is("csrf", &[b"abc"], &mac));
    assert!(!ring.mac_is("other", &[b"ab", b"c"], &mac));
    for length in [0, 1, 15, 17, 31] {
        assert!(!ring.mac_is("csrf", &[b"ab", b"c"], &mac[..length]), "{length}");
    }
}

#[test]
fn d4_every_resource_has_its_own_key_under_every_master_key() {
    let public = HttpsUrl::parse("https://mcp.example.com", false).unwrap();
    let [notes, files] = ["/notes", "/files"].map(|path| ResourceUri::under(&public, path));
    let keys = ring(2, &[1]).resource_keys(&notes);
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1].key, ring(1, &[]).resource_keys(&notes)[0].key);
    assert_eq!(keys[1].kid, ring(1, &[]).resource_keys(&notes)[0].kid);
    let others = ring(2, &[1]).resource_keys(&files);
    let mut kids: Vec<_> = keys.iter().chain(&others).map(|key| key.kid.clone()).collect();
    kids.sort_unstable();
    kids.dedup();
    assert_eq!(kids.len(), 4);
    assert_ne!(keys[0].key, others[0].key);
}

proptest! {
    #[test]
    fn s32_any_flipped_bit_breaks_the_seal(plain in vec(any::<u8>(), 0..200), aad in vec(any::<u8>(), 0..40), at: prop::sample::Index, bit in 0..8_u8, synthetic: bool) {
        let ring = ring(1, &[2]);
        let mut sealed =
            if synthetic { ring.seal_synthetic("p", &aad, &plain) } else { ring.seal("p", &aad, &plain, &*chance(3)) };
        prop_assert_eq!(&ring.open("p", &aad, &sealed).unwrap(), &plain);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(ring.open("p", &aad, &sealed).is_err());
    }

    #[test]
    fn s32_a_shortened_or_lengthened_value_is_broken(plain in vec(any::<u8>(), 0..50), keep: prop::sample::Index, extra in vec(any::<u8>(), 1..20)) {
        let ring = ring(1, &[]);
        let sealed = ring.seal("p", b"", &plain, &*chance(3));
        prop_assert!(ring.open("p", b"", &sealed[..keep.index(sealed.len())]).is_err());
        let longer = [sealed, extra].concat();
        prop_assert!(ring.open("p", b"", &longer).is_err());
    }

    #[test]
    fn open_survives_anything(bytes in vec(any::<u8>(), 0..100)) {
        prop_assert!(ring(1, &[]).open("p", b"", &bytes).is_err());
    }
}
