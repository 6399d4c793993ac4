//! Proofs of possession: what is read as one, and what is not (RFC 9449 §4; DP-1).

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};
use vestibule::crypto::jwt::{
    proof::{BadProof, Proof},
    published::{PublishedKeys, Unproven},
};

use crate::world::holder::{Holder, claims, with};

const URL: &str = "https://mcp.example.com/token";

fn read(header: Value, claims: Value) -> Result<Proof, BadProof> {
    Proof::read(&Holder::es256(1).sign(&header, &claims))
}

fn sound() -> (Value, Value) {
    (Holder::es256(1).header(), claims("POST", URL, 1_700_000_000))
}

#[test]
fn rfc9449_4_1_the_example_of_the_rfc_is_read() {
    let proof = Proof::read(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscE\
         JoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19\
         .eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia\
         WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
    )
    .unwrap();
    assert_eq!(proof.key.to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!((proof.jti.as_str(), proof.method.as_str()), ("-BwC3ESc6acc2lTc", "POST"));
    assert_eq!((proof.uri.as_str(), proof.issued.secs()), ("https://server.example.com/token", 1_562_262_616));
    assert_eq!((proof.token_hash, proof.nonce), (None, None));
}

#[test]
fn dp_1_every_algorithm_of_the_metadata_is_read_and_names_its_key_as_others_do() {
    let rsa = |algorithm| Holder::rsa(algorithm);
    for holder in [Holder::es256(1), Holder::ed25519(1), rsa(Algorithm::RS256), rsa(Algorithm::PS256)] {
        let proof = Proof::read(&holder.proof("GET", "HTTPS://Mcp.Example.com:443/notes?a=1#b", 7)).unwrap();
        assert_eq!(proof.key.to_string(), holder.jkt());
        assert_eq!(proof.uri.as_str(), "https://mcp.example.com/notes", "RFC 9449 §4.3: without query and fragment");
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS512] {
        assert_eq!(Proof::read(&rsa(algorithm).proof("GET", URL, 7)), Err(BadProof::Algorithm));
    }
}

#[test]
fn rfc9864_2_2_ed25519_and_eddsa_are_two_names_of_one_algorithm() {
    let holder = Holder::ed25519(1);
    let signed = |alg: &str, jwk: Value| {
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
        Proof::read(&holder.sign(&header, &claims("GET", URL, 7)))
    };
    for alg in ["Ed25519", "EdDSA"] {
        assert_eq!(signed(alg, holder.public()).unwrap().key.to_string(), holder.jkt());
        // A key that names its algorithm is used under that name alone.
        assert!(signed(alg, with(holder.public(), json!({ "alg": alg }))).is_ok());
        assert_eq!(signed(alg, with(holder.public(), json!({ "alg": "ES256" }))), Err(BadProof::Key));
        assert_eq!(signed(alg, Holder::ed25519(2).public()), Err(BadProof::Signature));
        assert_eq!(signed(alg, Holder::es256(1).public()), Err(BadProof::Key));
    }
    assert_eq!(signed("Ed25519", with(holder.public(), json!({ "alg": "EdDSA" }))), Err(BadProof::Key));
    for alg in ["Ed448", "ED25519", "ed25519"] {
        assert_eq!(signed(alg, holder.public()), Err(BadProof::Algorithm));
    }
    // And in the assertions of clients and issuers.
    let keys = PublishedKeys::of(&json!({ "keys": [with(holder.public(), json!({ "kid": "k1" }))] })).unwrap();
    for (alg, by, outcome) in [
        ("Ed25519", &holder, Ok(())),
        ("EdDSA", &holder, Ok(())),
        ("Ed25519", &Holder::ed25519(2), Err(Unproven::Signature)),
        ("Ed448", &holder, Err(Unproven::Foreign)),
    ] {
        let token = by.sign(&json!({ "alg": alg, "kid": "k1" }), &json!({ "iss": "x" }));
        assert_eq!(keys.verify(&token, |_| true).map(drop), outcome, "{alg}");
    }
}

#[test]
fn rfc9449_4_3_a_header_that_is_not_of_a_proof_is_refused() {
    let (header, claims) = sound();
    assert!(read(header.clone(), claims.clone()).is_ok());
    for (changes, why) in [
        (json!({ "typ": "JWT" }), BadProof::Type),
        (json!({ "typ": "at+jwt" }), BadProof::Type),
        (json!({ "typ": "DPOP+JWT" }), BadProof::Type),
        (json!({ "typ": null }), BadProof::Malformed),
        (json!({ "crit": ["x"] }), BadProof::Type),
        (json!({ "b64": false }), BadProof::Type),
        (json!({ "alg": "none" }), BadProof::Algorithm),
        (json!({ "alg": "None" }), BadProof::Algorithm),
        (json!({ "alg": "HS256" }), BadProof::Algorithm),
        (json!({ "alg": "ES384" }), BadProof::Algorithm),
        (json!({ "alg": null }), BadProof::Malformed),
        (json!({ "alg": "RS256" }), BadProof::Key),
        (json!({ "jwk": null }), BadProof::Malformed),
        (json!({ "jwk": "key" }), BadProof::Malformed),
        (json!({ "jwk": {} }), BadProof::Key),
        (json!({ "jwk": Holder::es256(2).public() }), BadProof::Signature),
        (json!({ "jwk": Holder::ed25519(1).public() }), BadProof::Key),
    ] {
        assert_eq!(read(with(header.clone(), changes.clone()), claims.clone()).err(), Some(why), "{changes}");
    }
}

#[test]
fn rfc9449_4_3_the_key_is_public_asymmetric_and_whole() {
    let (header, claims) = sound();
    let jwk = header["jwk"].clone();
    let x = jwk["x"].as_str().unwrap();
    for (changes, why) in [
        // Whoever sends the private half has lost it; a shared secret would let every reader sign.
        (json!({ "d": "AQEB" }), BadProof::Private),
        (json!({ "kty": "oct", "k": "AQEB" }), BadProof::Private),
        (json!({ "kty": "oct" }), BadProof::Private),
        (json!({ "k": "AQEB" }), BadProof::Private),
        (json!({ "p": "AQEB" }), BadProof::Private),
        (json!({ "oth": [] }), BadProof::Private),
        (json!({ "crv": "P-384" }), BadProof::Key),
        (json!({ "crv": null }), BadProof::Key),
        (json!({ "x": null }), BadProof::Key),
        (json!({ "y": jwk["x"] }), BadProof::Key),
        (json!({ "x": format!("{x}=") }), BadProof::Key),
        (json!({ "x": format!("{x}AA") }), BadProof::Key),
        (json!({ "x": format!(" {x}") }), BadProof::Key),
        (json!({ "x": 7 }), BadProof::Key),
        (json!({ "alg": "ES384" }), BadProof::Key),
        (json!({ "use": "enc" }), BadProof::Key),
    ] {
        let header = with(header.clone(), json!({ "jwk": with(jwk.clone(), changes.clone()) }));
        assert_eq!(read(header, claims.clone()).err(), Some(why), "{changes}");
    }
    // An RSA number with zeros before it is the same key under another thumbprint.
    let holder = Holder::rsa(Algorithm::RS256);
    let mut modulus = vec![0];
    modulus.extend(URL_SAFE_NO_PAD.decode(holder.public()["n"].as_str().unwrap()).unwrap());
    for (changes, why) in [
        (json!({ "n": URL_SAFE_NO_PAD.encode(modulus) }), BadProof::Key),
        (json!({ "e": "AAEAAQ" }), BadProof::Key),
        (json!({ "n": "AQAB" }), BadProof::Key),
        (json!({ "n": "_".repeat(4000) }), BadProof::Key),
    ] {
        let jwk = with(holder.public(), changes.clone());
        let proof = holder.sign(&with(holder.header(), json!({ "jwk": jwk })), &claims);
        assert_eq!(Proof::read(&proof).err(), Some(why), "{changes}");
    }
}

#[test]
fn rfc9449_4_2_every_claim_is_there_once_and_of_its_type() {
    let (header, claims) = sound();
    for changes in [
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
        json!({ "jti": "x".repeat(257) }),
        json!({ "htm": null }),
        json!({ "htm": ["POST"] }),
        json!({ "htu": null }),
        json!({ "htu": "/token" }),
        json!({ "htu": "javascript:alert(1)" }),
        json!({ "htu": "https://user@mcp.example.com/token" }),
        json!({ "iat": null }),
        json!({ "iat": "1700000000" }),
        json!({ "ath": 7 }),
        json!({ "nonce": "" }),
        json!({ "nonce": "x".repeat(257) }),
    ] {
        let outcome = read(header.clone(), with(claims.clone(), changes.clone()));
        assert_eq!(outcome.err(), Some(BadProof::Claims), "{changes}");
    }
    // Two readers would take two values from it.
    let (holder, header) = (Holder::es256(1), header.to_string());
    let twice = r#"{"jti":"a","htm":"GET","htm":"POST","htu":"https://mcp.example.com/","iat":1}"#;
    assert_eq!(Proof::read(&holder.sign_text(&header, twice)).err(), Some(BadProof::Claims));
    let header = header.replacen('{', r#"{"alg":"HS256","#, 1);
    assert_eq!(Proof::read(&holder.sign_text(&header, &claims.to_string())).err(), Some(BadProof::Malformed));
}

#[test]
fn s33_a_proof_is_short_and_of_three_parts() {
    let (header, claims) = sound();
    let long = with(claims.clone(), json!({ "more": "x".repeat(5000) }));
    assert_eq!(read(header.clone(), long).err(), Some(BadProof::TooLong));
    let proof = Holder::es256(1).sign(&header, &claims);
    let (unsigned, _) = proof.rsplit_once('.').unwrap();
    for (text, why) in [
        (String::new(), BadProof::Malformed),
        ("..".to_owned(), BadProof::Malformed),
        (unsigned.to_owned(), BadProof::Malformed),
        (format!("{unsigned}."), BadProof::Signature),
        (format!("{proof}.x"), BadProof::Malformed),
        (format!(".{proof}"), BadProof::Malformed),
        (format!("={proof}"), BadProof::Malformed),
        (proof.replacen('.', "\n.", 1), BadProof::Malformed),
    ] {
        assert_eq!(Proof::read(&text).err(), Some(why), "{text:.40}");
    }
}

static SOUND: LazyLock<String> = LazyLock::new(|| {
    let (header, claims) = sound();
    Holder::es256(1).sign(&header, &claims)
});

proptest! {
    #[test]
    fn dp_1_whatever_is_sent_is_judged_and_never_a_panic(text in "\\PC{0,200}(\\.\\PC{0,200}){0,4}") {
        prop_assert!(Proof::read(&text).is_err());
    }

    #[test]
    fn dp_1_no_header_of_a_stranger_panics(
        alg in "ES256|Ed25519|EdDSA|RS256|PS256|none|HS256|\\PC{0,8}",
        kty in "EC|OKP|RSA|oct|\\PC{0,4}",
        crv in "P-256|Ed25519|secp256k1|\\PC{0,4}",
        members in proptest::collection::btree_map("[xyned]", "[A-Za-z0-9_-]{0,60}|\\PC{0,60}", 0..5),
    ) {
        let mut jwk = json!(members);
        jwk["kty"] = kty.into();
        jwk["crv"] = crv.into();
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
        prop_assert!(read(header, sound().1).is_err());
    }

    #[test]
    fn rfc9449_4_3_no_changed_character_goes_unseen(at in 0..SOUND.len(), to in "[A-Za-z0-9_.-]") {
        let mut changed = SOUND.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != *SOUND);
        prop_assert!(Proof::read(&changed).is_err());
    }
}
