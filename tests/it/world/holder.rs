//! A client that holds a key and proves it (RFC 9449): made with the crate `jsonwebtoken`, by which nothing of ours is
//! verified.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, ThumbprintHash},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::provider::keys;

/// A key, and what its holder signs with it.
pub(crate) struct Holder {
    algorithm: Algorithm,
    key: EncodingKey,
}

/// So that no two proofs of a test run have one name.
static NAMES: AtomicU64 = AtomicU64::new(0);

impl Holder {
    /// ES256; the private scalar is `byte`, 32 times.
    pub(crate) fn es256(byte: u8) -> Self {
        Self { algorithm: Algorithm::ES256, key: keys::es256(byte) }
    }

    /// The one RSA key of the tests, under `algorithm`.
    pub(crate) fn rsa(algorithm: Algorithm) -> Self {
        Self { algorithm, key: keys::rsa() }
    }

    /// Ed25519; the seed is `byte`, 32 times.
    pub(crate) fn ed25519(byte: u8) -> Self {
        // PKCS#8 (RFC 8410 §7).
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend([byte; 32]);
        Self { algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&der) }
    }

    fn jwk(&self) -> Jwk {
        Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public half")
    }

    /// The public key: no more than its members.
    pub(crate) fn public(&self) -> Value {
        let mut value = serde_json::to_value(self.jwk()).expect("JSON");
        value.as_object_mut().expect("an object").retain(|name, _| name != "alg");
        value
    }

    /// Its thumbprint (RFC 7638).
    pub(crate) fn jkt(&self) -> String {
        self.jwk().thumbprint(ThumbprintHash::SHA256).expect("a thumbprint")
    }

    /// The header of its proofs.
    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": format!("{:?}", self.algorithm), "jwk": self.public() })
    }

    /// Signs whatever.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs two texts.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|text| URL_SAFE_NO_PAD.encode(text));
        let signed = format!("{header}.{claims}");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).expect("signs");
        format!("{signed}.{signature}")
    }

    /// A sound proof.
    pub(crate) fn proof(&self, method: &str, url: &str, secs: u64) -> String {
        self.sign(&self.header(), &claims(method, url, secs))
    }

    /// A sound proof for a request that presents `token`.
    pub(crate) fn proof_with(&self, method: &str, url: &str, secs: u64, token: &str) -> String {
        self.sign(&self.header(), &with(claims(method, url, secs), json!({ "ath": ath(token) })))
    }
}

/// Sound claims under a name of their own.
pub(crate) fn claims(method: &str, url: &str, secs: u64) -> Value {
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    json!({ "jti": format!("proof-{name}"), "htm": method, "htu": url, "iat": secs })
}

/// The members of both; `null` takes out.
pub(crate) fn with(mut value: Value, changes: Value) -> Value {
    let (members, Value::Object(changes)) = (value.as_object_mut().expect("an object"), changes) else {
        panic!("not an object")
    };
    for (name, change) in changes {
        match change {
            Value::Null => drop(members.remove(&name)),
            change => drop(members.insert(name, change)),
        }
    }
    value
}

/// RFC 9449 §4.2.
pub(crate) fn ath(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
