//! JWT, JWE and JWK sets: what was edited does not verify, and no stranger's bytes open the gate (S35).
#![no_main]

use axum::body::Body;
use http::{Method, Request, header};
use libfuzzer_sys::fuzz_target;
use vestibule::{
    crypto::{
        Keyring,
        jwt::{self, SigningKey, published::PublishedKeys},
    },
    domain::{HttpsUrl, ResourceUri, Secret},
};
use vestibule_fuzz::{Door, ORIGIN, PUBLISHED, edited, keyring};

const TYP: &str = "at+jwt";
const CLAIMS: &[u8] = br#"{"iss":"https://mcp.example.com","sub":"alice","exp":4102444800}"#;

struct Bench {
    door: Door,
    ring: Keyring,
    key: SigningKey,
    published: PublishedKeys,
    token: String,
    notes: ResourceUri,
    sealed: String,
}

impl Bench {
    fn new() -> Self {
        // Always the same key, or what was found would not be found again. It is the example of RFC 7515 A.3.
        let jwk = r#"{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
        let key = SigningKey::from_private_jwk(&Secret::new(jwk.to_owned())).unwrap();
        let published = PublishedKeys::parse(PUBLISHED.as_bytes()).unwrap();
        let ring = keyring();
        let token = key.sign(TYP, CLAIMS).unwrap();
        let notes = ResourceUri::under(&HttpsUrl::parse(ORIGIN, false).unwrap(), "/notes");
        let sealed = jwt::encrypt(&ring.resource_keys(&notes)[0], "jti-1", notes.as_str(), b"upstream").unwrap();
        Self { door: Door::new(), ring, key, published, token, notes, sealed }
    }
}

thread_local!(static BENCH: Bench = Bench::new());

fuzz_target!(|data: &[u8]| BENCH.with(|bench| {
    let token = edited(&bench.token, data);
    if let Ok(claims) = jwt::verify(&token, TYP, [&bench.key]) {
        assert_eq!(claims, CLAIMS, "{token}");
    }
    if let Ok(claims) = bench.published.verify(&token, |typ| typ == Some(TYP)) {
        assert_eq!(claims, CLAIMS, "{token}");
    }
    let keys = bench.ring.resource_keys(&bench.notes);
    let sealed = edited(&bench.sealed, data);
    if let Ok(plain) = jwt::decrypt(&keys, "jti-1", bench.notes.as_str(), &sealed) {
        assert_eq!(plain.expose(), b"upstream", "{sealed}");
    }
    assert!(jwt::decrypt(&keys, "jti-2", bench.notes.as_str(), &bench.sealed).is_err());

    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(jwt::verify(text, TYP, [&bench.key]).is_err());
    assert!(jwt::decrypt(&keys, "jti-1", bench.notes.as_str(), text).is_err());
    // A stranger's key set, and a stranger's token under it: the first line and the rest.
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(keys) = PublishedKeys::parse(rest.as_bytes()) {
        drop(keys.verify(first, |_| true));
    }
    drop(bench.published.verify(first, |_| true));
    let request = Request::builder().method(Method::POST).uri("/notes").header(header::HOST, "mcp.example.com");
    if let Ok(request) = request.header(header::AUTHORIZATION, format!("Bearer {first}")).body(Body::from("{}")) {
        let answer = bench.door.ask(request);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.headers.get_all(header::WWW_AUTHENTICATE).iter().count(), 1);
    }
}));
