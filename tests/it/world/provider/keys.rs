//! Keys of the fake provider. They guard nothing: the ES256 ones are one byte repeated, the RSA one is public here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::Value;

const RSA: &str = "\
    MIIEowIBAAKCAQEAyY1fzalZADAl505D0YSSqjUom46oXWyf95Zb/CRR88NPxSsQyVSisYujzOYi8AEmsE+upczVeSt0BXKhN0294V2ng9euuR\
    g4QUw0G8iSb9gt5LRqfDBfxGoVBUTcq8NQNYfB6HPcrQ1XxD2UnRi0rqffLgMxALBkeAdilGvSOsBF04jm4gkS6WOA0t+OcvrGhoI0qkR4XM9q\
    vjjfKHH8j28QK5BlYtLVx8Olifx3DRw/miuVj1yX+tCgn2CXUWow1UJp97kwWYn9AF6uDEekbKeb/HTXiCHxs7fQ9fpXPBQ8+WDmUutwszBdU+\
    Xgrp+R0Nd6HY55BPg6TOAyHZFRMQIDAQABAoIBAAIy66enwFPTMqaqYO0JQDxhJhdEYCvcwoYF+uzuTIKXT+h7xswbg0bimh/jJuBtcsmbpPEk\
    IfQXeEWS8ZVT4M1zox86HCriy8JSnYLsFkToG+AR49OFB5Zx/da34JxzHg3ndEMf+Hle2uVGMrfgDCCXrkSnPkKeqgnxMq8h2gJQD7lSQN5qpK\
    w/8oZ/ErZTDfiWjuZZhHzBummbe6VaEJNtiuy/cYlKCgx2rTT5NxDJGQbLKD1oZBAtfiJfHgudehyfweBrL9Q4Tr7ugyJyIatiPeVj8UWIYBYY\
    799s8aRRRqw42LxQT0BN4mtpZ5gfT5TQ44BioYq+WuB7NwfCNdECgYEA98RMkdtNyZvfQAy/EPXEhwu08E+S/NVgaiuMcwtYM3aMnArElC0Xj7\
    ixkj+0hpEEeQnv/Hjcrs0aOG0v9OfmCXmeiSU391cAASmGG6XSuPxUId3pgfsa25lfnD0MC83gwYDqoDVzybfGfCz9kFkWF0WTH0MXTOB7Jj/i\
    hXbiqW0CgYEA0D/wAEncMbXXwd5CbfNzAmHoTbJDnzwq6eVrKwJZ5qNnhNohSZuRQwO2LTHIdmRnVAdlHm9tH8Fig3SyGKlrMEXYsGxwqgFqfQ\
    G392IQoGxrXZuPCR4pPJooPS+CJE9wWlozVc/BkJBPe7hV31y7WkZazEEtFXOnGumDCnexUFUCgYEAmgn/9NqclRCEjwSdsYSq567+kj1WzDw4\
    0ik7C7ds4an9p3IGX31dXaxdMejLarI0TrA/9P6LbV30xEoV+7RFT3S+fNOX5P3A8fgH+Z5x0TKHd/rIl1gvjYHgcHl/yML5zjRBKtOwpiPMkh\
    1ClADe/B70ZgZHMTOLPO+Q/Js6Nk0CgYA1IRrJ+A4FYK869slb49BjuzbZG7HE3kTUh4Nf5amp/eZbLotvjBDzV+8SeLD8A4GZHondye+9Okk3\
    4H3PbOm71xYBbKkRtmrEmbulkY9MXlzF9Pn5CYjbvTim44gAW4P+iSSvr+FiUG720YCXC8GAtpJTqg0me+sWIp0b/o1uQQKBgE7/WRELNZu0ts\
    jMOdz5hdAtfqmKSaDiLajO9/+wIUZdoOS3tTZwFp0bVXTxJ0gHlp+0rfDxn9YFuE0P/njddvDsEhLYHA7G3xt9dQNdr81vVcHta+TbAStkYovt\
    McL6+9fSHLx+7ljh3rOpAQbTU51Az1ED2njGBxuXXdK5aPKp";

/// A key on P-256; the private scalar is `byte`, 32 times.
pub(crate) fn es256(byte: u8) -> EncodingKey {
    // PKCS#8 (RFC 5958) of an EC key without its public half.
    let mut der = vec![
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    der.extend([byte; 32]);
    EncodingKey::from_ec_der(&der)
}

/// The one RSA key.
pub(crate) fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(&STANDARD.decode(RSA).expect("base64"))
}

/// One signing key with its name.
pub(crate) struct Key {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Key {
    /// ES256; the private scalar is `byte`, 32 times.
    pub(crate) fn es256(byte: u8) -> Self {
        Self { kid: format!("es-{byte}"), algorithm: Algorithm::ES256, key: es256(byte) }
    }

    /// RS256.
    pub(crate) fn rs256() -> Self {
        Self { kid: "rs-1".into(), algorithm: Algorithm::RS256, key: rsa() }
    }

    /// The public half, for a key set.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public half");
        jwk.common.key_id = Some(self.kid.clone());
        let mut value = serde_json::to_value(jwk).expect("JSON");
        value["use"] = "sig".into();
        value
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).expect("signs")
    }

    /// The algorithm's name.
    pub(crate) fn algorithm(&self) -> &'static str {
        if self.algorithm == Algorithm::RS256 { "RS256" } else { "ES256" }
    }
}
