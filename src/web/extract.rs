//! What a request says, read strictly: bodies under a cap and a clock, parameters in order with their duplicates (they
//! are judged in `oauth`, AZ-9), Basic credentials with form-decoded halves (RFC 6749 §2.3.1).

use std::{fmt, time::Duration};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::{
    domain::Secret,
    oauth::{BasicCredentials, Navigation, Parameters},
    token::PresentedProof,
};

/// `/register` takes 16 KiB: ten redirect URIs of the longest kind fit.
pub(crate) const REGISTER_LIMIT: usize = 16 * 1024;
/// `/token`, `/authorize` by POST and `/consent` take 64 KiB.
pub(crate) const FORM_LIMIT: usize = 64 * 1024;
/// How long a body may take to arrive (S33, slow bodies).
const BODY_TIME: Duration = Duration::from_secs(10);
/// More parameters than anyone sends.
const MAX_PARAMETERS: usize = 128;

/// Why a body or a query could not be read. Texts are ours alone, nothing of the sender's is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body broke off")]
    BrokenOff,
    #[error("send the parameters as application/x-www-form-urlencoded")]
    ContentType,
    #[error("the parameters must be UTF-8 in percent-encoding")]
    NotUtf8,
    #[error("too many parameters")]
    TooMany,
    #[error("a JSON body must be one object whose members are strings")]
    NotJson,
}

impl Unreadable {
    /// The HTTP status that tells it; 400 wherever OAuth clients expect 400 (TOK-2).
    pub(crate) const fn status(self) -> http::StatusCode {
        match self {
            Self::TooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => http::StatusCode::REQUEST_TIMEOUT,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }
}

/// The whole body, if it is small and comes soon. A declared length beyond the limit is refused unread.
pub(crate) async fn body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Unreadable> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(Unreadable::TooLarge);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Unreadable::TooSlow),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Unreadable::TooLarge),
        Ok(Err(_)) => Err(Unreadable::BrokenOff),
    }
}

/// A query string or an `application/x-www-form-urlencoded` body, decoded, in order. Unlike lossy decoders it refuses
/// what is not UTF-8: a `state` has to come back byte for byte (behaviour 19).
pub(crate) fn form(text: &[u8]) -> Result<Parameters, Unreadable> {
    let mut parameters = Vec::new();
    for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(Unreadable::TooMany);
        }
        let (name, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        parameters.push((form_part(name)?, form_part(value)?));
    }
    Ok(parameters)
}

fn form_part(text: &[u8]) -> Result<String, Unreadable> {
    // Names never are encoded, and most values are not.
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return std::str::from_utf8(text).map(str::to_owned).map_err(|_| Unreadable::NotUtf8);
    }
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    let decoded = percent_decode(&spaced).decode_utf8().map_err(|_| Unreadable::NotUtf8)?;
    Ok(decoded.into_owned())
}

/// The parameters of a POST to a machine endpoint: a form, or a JSON object of strings as some clients send it. An
/// unnamed or odd content type is judged by its first byte, since the clients that forget the header mean one of both.
pub(crate) fn parameters(headers: &HeaderMap, body: &[u8]) -> Result<Parameters, Unreadable> {
    let kind = media_type(headers);
    let looks_like_json = body.trim_ascii_start().first() == Some(&b'{');
    match kind.as_deref() {
        Some("application/x-www-form-urlencoded") => form(body),
        Some("application/json") => json(body),
        None | Some("text/plain" | "application/octet-stream") if looks_like_json => json(body),
        None => form(body),
        Some(_) => Err(Unreadable::ContentType),
    }
}

/// The parameters of a form that a person submitted.
pub(crate) fn submitted(headers: &HeaderMap, body: &[u8]) -> Result<Parameters, Unreadable> {
    match media_type(headers).as_deref() {
        Some("application/x-www-form-urlencoded") => form(body),
        _ => Err(Unreadable::ContentType),
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}

fn json(body: &[u8]) -> Result<Parameters, Unreadable> {
    let Members(members) = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    if members.len() > MAX_PARAMETERS { Err(Unreadable::TooMany) } else { Ok(members) }
}

/// The members of a JSON object in order, duplicates kept: a map would let the last one win in silence.
struct Members(Parameters);

/// `resource` may be an array (RFC 8707 §2 repeats it); `null` is as good as absent.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Member {
    One(String),
    Many(Vec<String>),
    None(()),
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Member>()? {
                    match value {
                        Member::One(value) => members.push((name, value)),
                        Member::Many(values) => members.extend(values.into_iter().map(|v| (name.clone(), v))),
                        Member::None(()) => {}
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `Authorization: Basic` was tried and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is not Basic base64(client_id:client_secret)")]
pub(crate) struct BadBasic;

/// The client's Basic credentials, if it tried them. Another scheme counts as none.
pub(crate) fn basic(headers: &HeaderMap) -> Result<Option<BasicCredentials>, BadBasic> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| BadBasic)?;
    let Some((scheme, encoded)) = value.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| BadBasic)?;
    let colon = decoded.iter().position(|b| *b == b':').ok_or(BadBasic)?;
    Ok(Some(BasicCredentials {
        id: form_part(&decoded[..colon]).map_err(|_| BadBasic)?,
        secret: Secret::new(form_part(&decoded[colon + 1..]).map_err(|_| BadBasic)?),
    }))
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1), if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What the `DPoP` header fields hold (RFC 9449 §4.1).
pub(crate) fn proof(headers: &HeaderMap) -> PresentedProof<'_> {
    PresentedProof::of(headers.get_all("dpop").iter().map(http::HeaderValue::as_bytes))
}

/// Whether Basic was tried at all: then an `invalid_client` names the scheme (RFC 6749 §5.2).
pub(crate) fn tried_basic(headers: &HeaderMap) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.as_bytes().get(..6))
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

/// How the browser came here; what does not say so counts as cross-site (S3).
pub(crate) fn navigation(headers: &HeaderMap) -> Navigation {
    match headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes) {
        Some(b"none" | b"same-origin" | b"same-site") => Navigation::Local,
        _ => Navigation::CrossSite,
    }
}

/// Whether a person is reading: only browsers name `text/html`. MCP clients that open a stream do not.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|v| v.to_str().is_ok_and(|v| v.contains("text/html")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    fn authorization(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn pairs(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn az_9_duplicates_stay_in_order_for_the_judge() {
        assert_eq!(
            form(b"a=1&b=x+y&a=%32&c&=&d=").unwrap(),
            pairs(&[("a", "1"), ("b", "x y"), ("a", "2"), ("c", ""), ("", ""), ("d", "")])
        );
        let json = br#"{"grant_type":"x","code":"1","code":"2","resource":["a","b"],"scope":null}"#;
        assert_eq!(
            parameters(&headers("application/json; charset=utf-8"), json).unwrap(),
            pairs(&[("grant_type", "x"), ("code", "1"), ("code", "2"), ("resource", "a"), ("resource", "b")])
        );
    }

    #[test]
    fn behaviour_19_what_is_not_utf8_is_refused_and_not_bent() {
        assert_eq!(form(b"state=%ff"), Err(Unreadable::NotUtf8));
        assert_eq!(form(b"state=100%25%zz").unwrap(), pairs(&[("state", "100%%zz")]));
    }

    #[test]
    fn bodies_are_judged_by_what_they_say_they_are() {
        assert_eq!(parameters(&headers("multipart/form-data"), b"a=1"), Err(Unreadable::ContentType));
        assert_eq!(parameters(&headers("application/json"), b"a=1"), Err(Unreadable::NotJson));
        assert_eq!(parameters(&headers("application/json"), br#"{"a":1}"#), Err(Unreadable::NotJson));
        assert_eq!(parameters(&headers("application/json"), br#"["a"]"#), Err(Unreadable::NotJson));
        assert_eq!(parameters(&HeaderMap::new(), br#" {"a":"1"}"#).unwrap(), pairs(&[("a", "1")]));
        assert_eq!(parameters(&HeaderMap::new(), b"a=1").unwrap(), pairs(&[("a", "1")]));
        assert_eq!(submitted(&headers("text/plain"), b"a=1"), Err(Unreadable::ContentType));
    }

    #[test]
    fn s33_parameters_are_counted() {
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        assert_eq!(form(many.as_bytes()), Err(Unreadable::TooMany));
    }

    #[test]
    fn rfc6749_2_3_1_halves_of_basic_are_form_decoded() {
        let encoded = STANDARD.encode("my%3Aid:p%2Bss+word");
        let credentials = basic(&authorization(&format!("bAsIc {encoded}"))).unwrap().unwrap();
        assert_eq!((credentials.id.as_str(), credentials.secret.expose().as_str()), ("my:id", "p+ss word"));
        assert!(basic(&authorization("Bearer x")).unwrap().is_none());
        assert!(basic(&authorization("Basic !!!")).is_err());
        assert!(basic(&authorization(&format!("Basic {}", STANDARD.encode("no colon")))).is_err());
        assert!(tried_basic(&authorization("Basic !!!")));
        assert!(!tried_basic(&authorization("Bearer x")));
    }

    #[test]
    fn s3_a_navigation_that_does_not_say_so_is_cross_site() {
        assert_eq!(navigation(&HeaderMap::new()), Navigation::CrossSite);
        let mut headers = HeaderMap::new();
        for (value, expected) in [
            ("none", Navigation::Local),
            ("same-origin", Navigation::Local),
            ("same-site", Navigation::Local),
            ("cross-site", Navigation::CrossSite),
            ("nonsense", Navigation::CrossSite),
        ] {
            headers.insert("sec-fetch-site", value.parse().unwrap());
            assert_eq!(navigation(&headers), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn s33_bodies_stop_at_their_limit_declared_or_not() {
        let declared = HeaderMap::from_iter([(header::CONTENT_LENGTH, "11".parse().unwrap())]);
        assert_eq!(body(&declared, Body::from("0123456789x"), 10).await, Err(Unreadable::TooLarge));
        assert_eq!(body(&HeaderMap::new(), Body::from("0123456789x"), 10).await, Err(Unreadable::TooLarge));
        assert_eq!(body(&HeaderMap::new(), Body::from("0123456789"), 10).await.unwrap(), "0123456789");
    }

    proptest! {
        #[test]
        fn what_a_client_encodes_is_what_we_read(given in proptest::collection::vec((".*", ".*"), 0..8)) {
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(&given);
            // An empty name with an empty value is still a pair; the serializer writes it as "=".
            prop_assert_eq!(form(text.finish().as_bytes()).unwrap(), given);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = form(&bytes);
            let _ = json(&bytes);
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                let _ = basic(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
            }
        }
    }
}
