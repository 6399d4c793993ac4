//! JWS, JWE and JWK, with the crate `jsonwebtoken` as an independent judge.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};
use vestibule::{
    crypto::{
        ResourceKey,
        jwt::{Alg, SigningKey, Unverified, decrypt, encrypt, verify},
    },
    domain::{HttpsUrl, ResourceUri, Secret},
};

use super::ring;

const TYP: &str = "at+jwt";
const SECRET: &[u8] = b"a secret that two sides know, of enough bytes";

static EC: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Alg::Es256, "one").unwrap());

fn claims() -> Vec<u8> {
    json!({"sub": "github:42", "aud": "https://mcp.example.com/notes", "exp": 4_000_000_000_u64})
        .to_string()
        .into_bytes()
}

fn shared() -> SigningKey {
    SigningKey::shared(&Secret::new(SECRET.to_vec())).unwrap()
}

fn every_kind() -> Vec<SigningKey> {
    let made = [Alg::Es256, Alg::EdDsa, Alg::Rs256].map(|alg| SigningKey::generate(alg, "one").unwrap());
    made.into_iter().chain([shared()]).collect()
}

fn keys_of(keys: &[&'static str]) -> Vec<ResourceKey> {
    let public = HttpsUrl::parse("https://mcp.example.com", false).unwrap();
    keys.iter().flat_map(|path| ring(1, &[]).resource_keys(&ResourceUri::under(&public, path))).collect()
}

/// A token with a header of one's own choosing around the claims, signed (or not) by `sign`.
fn forged(header: &Value, sign: impl Fn(&str) -> String) -> String {
    let body = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims()));
    let signature = sign(&body);
    format!("{body}.{signature}")
}

#[test]
fn rfc7515_what_we_sign_another_library_verifies_by_the_published_key() {
    for key in every_kind() {
        let token = key.sign(TYP, &claims()).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some(TYP), Some(key.kid())));
        let algorithm: Algorithm = key.alg().as_str().parse().unwrap();
        assert_eq!(header.alg, algorithm);
        let judge = key.public_jwk().map_or_else(
            || DecodingKey::from_secret(SECRET),
            |jwk| DecodingKey::from_jwk(&serde_json::from_value(Value::Object(jwk)).unwrap()).unwrap(),
        );
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["https://mcp.example.com/notes"]);
        let read = jsonwebtoken::decode::<Value>(&token, &judge, &validation).unwrap();
        assert_eq!(read.claims["sub"], "github:42", "{key:?}");
    }
}

#[test]
fn rfc7515_what_another_library_signs_with_our_key_verifies_here() {
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.typ = Some(TYP.to_owned());
    header.kid = Some(shared().kid().to_owned());
    let claims: Value = serde_json::from_slice(&claims()).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(SECRET)).unwrap();
    let read = verify(&token, TYP, &[shared()]).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read).unwrap(), claims);
}

#[test]
fn a_key_comes_back_from_its_record() {
    for key in every_kind() {
        let again = SigningKey::from_private_jwk(&key.to_private_jwk()).unwrap();
        assert_eq!((again.kid(), again.alg(), again.public_jwk()), (key.kid(), key.alg(), key.public_jwk()));
        let token = again.sign(TYP, &claims()).unwrap();
        assert_eq!(verify(&token, TYP, [&key]).unwrap(), claims());
        assert!(!format!("{key:?}").contains(key.to_private_jwk().expose().as_str()));
    }
}

#[test]
fn rfc7517_the_published_key_has_its_name_and_use_and_nothing_private() {
    for key in every_kind() {
        let Some(jwk) = key.public_jwk() else {
            assert_eq!(key.alg(), Alg::Hs256);
            continue;
        };
        assert_eq!((&jwk["kid"], &jwk["use"], &jwk["alg"]), (&json!("one"), &json!("sig"), &json!(key.alg().as_str())));
        for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
            assert!(!jwk.contains_key(private), "{private}");
        }
    }
}

#[test]
fn rfc7518_3_2_a_shared_secret_has_256_bits() {
    assert!(SigningKey::shared(&Secret::new(vec![7; 31])).is_err());
    assert!(SigningKey::shared(&Secret::new(vec![7; 32])).is_ok());
    let names = [7, 8].map(|byte| SigningKey::shared(&Secret::new(vec![byte; 32])).unwrap().kid().to_owned());
    assert_ne!(names[0], names[1]);
}

#[test]
fn s35_none_is_no_signature() {
    for alg in ["none", "None", "NONE", ""] {
        let token = forged(&json!({"alg": alg, "typ": TYP, "kid": "one"}), |_| String::new());
        assert_eq!(verify(&token, TYP, [&*EC]), Err(Unverified::Foreign), "{alg}");
    }
    let token = forged(&json!({"alg": "ES256", "typ": TYP, "kid": "one"}), |_| String::new());
    assert_eq!(verify(&token, TYP, [&*EC]), Err(Unverified::Signature));
}

#[test]
fn s35_a_public_key_is_not_an_hmac_secret() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let jwk = Value::Object(EC.public_jwk().unwrap());
    let point =
        [jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap()].map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    for secret in [jwk.to_string().into_bytes(), point.concat(), [&[4], &*point.concat()].concat()] {
        let token = forged(&json!({"alg": "HS256", "typ": TYP, "kid": "one"}), |body| {
            let mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap().chain_update(body).finalize();
            URL_SAFE_NO_PAD.encode(mac.into_bytes())
        });
        assert_eq!(verify(&token, TYP, [&*EC]), Err(Unverified::Foreign));
        assert_eq!(verify(&token, TYP, [&*EC, &shared()]), Err(Unverified::Foreign));
    }
}

#[test]
fn s35_the_pair_of_kid_and_alg_has_to_be_ours() {
    let token = EC.sign(TYP, &claims()).unwrap();
    let stranger = SigningKey::generate(Alg::Es256, "one").unwrap();
    let renamed = SigningKey::generate(Alg::Es256, "two").unwrap();
    let other_kind = SigningKey::generate(Alg::EdDsa, "one").unwrap();
    assert_eq!(verify(&token, TYP, [&stranger]), Err(Unverified::Signature));
    assert_eq!(verify(&token, TYP, [&renamed]), Err(Unverified::UnknownKey));
    assert_eq!(verify(&token, TYP, [&other_kind]), Err(Unverified::Foreign));
    assert_eq!(verify(&token, TYP, []), Err(Unverified::UnknownKey));
    assert!(verify(&token, TYP, [&renamed, &other_kind, &*EC]).is_ok());
    let sign = |header: &Value| forged(header, |_| token.rsplit('.').next().unwrap().to_owned());
    for header in [
        json!({"alg": "ES256", "typ": TYP}),
        json!({"typ": TYP, "kid": "one"}),
        json!({"alg": "ES256", "typ": TYP, "kid": 1}),
    ] {
        assert_eq!(verify(&sign(&header), TYP, [&*EC]), Err(Unverified::Foreign), "{header}");
    }
}

#[test]
fn s35_a_key_inside_the_header_is_not_used() {
    let stranger = SigningKey::generate(Alg::Es256, "theirs").unwrap();
    let signature = |body: &str| {
        let whole = stranger.sign(TYP, &claims()).unwrap();
        assert!(!body.is_empty());
        whole.rsplit('.').next().unwrap().to_owned()
    };
    let jwk = stranger.public_jwk().unwrap();
    let token = forged(
        &json!({"alg": "ES256", "typ": TYP, "kid": "one", "jwk": jwk, "jku": "https://evil.example/"}),
        signature,
    );
    assert!(verify(&token, TYP, [&*EC]).is_err());
}

#[test]
fn s35_typ_has_to_be_that_of_the_purpose() {
    for typ in ["JWT", "jwt", "AT+JWT", "id+jwt", ""] {
        let token = EC.sign(typ, &claims()).unwrap();
        assert_eq!(verify(&token, TYP, [&*EC]), Err(Unverified::Foreign), "{typ:?}");
    }
}

#[test]
fn rfc7515_4_1_11_an_unknown_crit_is_refused() {
    let signed = EC.sign(TYP, &claims()).unwrap();
    let signature = signed.rsplit('.').next().unwrap();
    for extra in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": 1}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
    ] {
        let mut header = json!({"alg": "ES256", "typ": TYP, "kid": "one"});
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(
            verify(&forged(&header, |_| signature.to_owned()), TYP, [&*EC]),
            Err(Unverified::Foreign),
            "{extra}"
        );
    }
}

#[test]
fn a_signature_of_zeros_and_other_odd_ones_are_refused_without_a_panic() {
    for key in every_kind() {
        for bytes in [
            vec![],
            vec![0; 1],
            vec![0; 63],
            vec![0; 64],
            vec![0; 65],
            vec![0xff; 64],
            vec![0; 256],
            vec![0xff; 256],
            vec![0; 4096],
        ] {
            let header = json!({"alg": key.alg().as_str(), "typ": TYP, "kid": key.kid()});
            let token = forged(&header, |_| URL_SAFE_NO_PAD.encode(&bytes));
            assert_eq!(verify(&token, TYP, [&key]), Err(Unverified::Signature), "{key:?} {}", bytes.len());
        }
    }
}

#[test]
fn texts_that_are_no_jws_are_refused() {
    let token = EC.sign(TYP, &claims()).unwrap();
    let spoilt = [
        String::new(),
        "..".into(),
        "a.b.c".into(),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        token.replace('.', " "),
        "\u{0}.\u{0}.\u{0}".into(),
        "é.é.é".into(),
    ];
    for text in spoilt {
        assert!(verify(&text, TYP, [&*EC]).is_err(), "{text:?}");
    }
}

#[test]
fn d4_the_envelope_is_a_compact_jwe_bound_to_its_token() {
    let keys = keys_of(&["/notes"]);
    let text = encrypt(&keys[0], "the-jti", "https://mcp.example.com/notes", b"gho_secret").unwrap();
    let header = URL_SAFE_NO_PAD.decode(text.split('.').next().unwrap()).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["kid"], json!(keys[0].kid));
    header["kid"] = json!("KID");
    insta::assert_snapshot!(header, @r#"{"enc":"A256GCM","kid":"KID","jti":"the-jti","aud":"https://mcp.example.com/notes","alg":"dir"}"#);
    let open = |jti, aud| decrypt(&keys, jti, aud, &text).map(|plain| plain.expose().clone());
    assert_eq!(open("the-jti", "https://mcp.example.com/notes").unwrap(), b"gho_secret");
    assert!(open("another", "https://mcp.example.com/notes").is_err());
    assert!(open("the-jti", "https://mcp.example.com/files").is_err());
    assert!(!text.contains("gho_secret"));
}

#[test]
fn d4_the_key_of_one_resource_opens_nothing_of_another() {
    let keys = keys_of(&["/notes", "/files"]);
    let text = encrypt(&keys[0], "j", "a", b"x").unwrap();
    assert!(decrypt(&keys[1..], "j", "a", &text).is_err());
    let mistaken = ResourceKey { kid: keys[0].kid.clone(), key: keys[1].key.clone() };
    assert!(decrypt(&[mistaken], "j", "a", &text).is_err());
    assert!(decrypt(&keys, "j", "a", &text).is_ok());
    assert!(decrypt(&[], "j", "a", &text).is_err());
}

#[test]
fn rfc7516_a_shortened_tag_is_refused() {
    let keys = keys_of(&["/notes"]);
    let text = encrypt(&keys[0], "j", "a", b"x").unwrap();
    let (rest, tag) = text.rsplit_once('.').unwrap();
    let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
    assert_eq!(tag.len(), 16);
    for keep in 0..16 {
        let short = format!("{rest}.{}", URL_SAFE_NO_PAD.encode(&tag[..keep]));
        assert!(decrypt(&keys, "j", "a", &short).is_err(), "{keep}");
    }
}

proptest! {
    #[test]
    fn s35_any_flipped_bit_of_a_token_is_refused(at: prop::sample::Index, bit in 0..7_u8) {
        let mut bytes = EC.sign(TYP, &claims()).unwrap().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let token = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&token, TYP, [&*EC]).is_err());
    }

    #[test]
    fn any_flipped_bit_of_an_envelope_breaks_it(plain: Vec<u8>, at: prop::sample::Index, bit in 0..7_u8) {
        let keys = keys_of(&["/notes"]);
        let text = encrypt(&keys[0], "j", "a", &plain).unwrap();
        let opened = decrypt(&keys, "j", "a", &text).unwrap();
        prop_assert_eq!(opened.expose(), &plain);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decrypt(&keys, "j", "a", &String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn verify_and_decrypt_survive_anything(text in "[A-Za-z0-9_.{}\":-]{0,200}") {
        prop_assert!(verify(&text, TYP, [&*EC]).is_err());
        prop_assert!(decrypt(&keys_of(&["/notes"]), "j", "a", &text).is_err());
    }
}
