//! What a request asks the MCP server to do: told by its headers on the newer wire, and by its body.
//!
//! A rule that trusts one reader while the MCP server believes another is no rule. So whatever two readers could take for
//! two things is refused: members that stand twice, members that differ from ours only by case (some servers match them
//! so), headers that say another thing than the body (RS-8).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::step_up::Operation;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The first revision whose servers compare the headers with the body.
const MIRRORED_SINCE: &str = "2026-07-28";

/// The headers contradict themselves or the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch;

/// The operation as the headers tell it; `None` on the older wire, where they mean nothing.
pub(super) fn in_headers(headers: &HeaderMap) -> Result<Option<Operation>, Mismatch> {
    let version = one(headers, &VERSION)?.unwrap_or_default();
    let is_date = version.len() == MIRRORED_SINCE.len() && version.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if !is_date || version < MIRRORED_SINCE {
        return Ok(None);
    }
    let Some(method) = one(headers, &METHOD)? else { return Ok(None) };
    let name = one(headers, &NAME)?.map(decoded).transpose()?;
    Ok(Some(Operation { method: method.to_owned(), name }))
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Mismatch> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().map_err(|_| Mismatch)).transpose()?;
    if values.next().is_some() { Err(Mismatch) } else { Ok(value.map(str::trim)) }
}

/// A value that would not fit into a header travels as `=?base64?…?=` (SEP-2243).
fn decoded(value: &str) -> Result<String, Mismatch> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let bytes = STANDARD.decode(inner).map_err(|_| Mismatch)?;
    String::from_utf8(bytes).map_err(|_| Mismatch)
}

/// The operations of a body: none in an answer, several in a batch.
///
/// # Errors
/// When it is no JSON, or could be read in two ways.
pub(super) fn in_body(body: &[u8]) -> Result<Vec<Operation>, serde_json::Error> {
    serde_json::from_slice::<Messages>(body).map(|Messages(all)| all)
}

/// Holds what the headers say against what the body says. A name in the header that the body has no place for is no
/// contradiction: rules of names look at the body's own.
pub(super) fn agree(told: &Operation, bodily: &[Operation]) -> Result<(), Mismatch> {
    match bodily {
        [] => Ok(()),
        [one] if one.method == told.method && (one.name.is_none() || one.name == told.name) => Ok(()),
        _ => Err(Mismatch),
    }
}

struct Messages(Vec<Operation>);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Messages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message, or an array of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Messages, A::Error> {
        Ok(Messages(message(map)?.into_iter().collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Messages, A::Error> {
        let mut all = Vec::new();
        while let Some(Message(operation)) = seq.next_element()? {
            all.extend(operation);
        }
        Ok(Messages(all))
    }
}

/// One message of a batch.
struct Message(Option<Operation>);

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Message;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Message, A::Error> {
                message(map).map(Message)
            }
        }
        deserializer.deserialize_map(One)
    }
}

fn message<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Operation>, A::Error> {
    let (mut method, mut params) = (None::<String>, None::<Params>);
    while let Some(key) = map.next_key::<String>()? {
        match known(&key, &["method", "params"])? {
            Some("method") => fill(&mut method, map.next_value()?)?,
            Some(_) => fill(&mut params, map.next_value()?)?,
            None => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    Ok(method.map(|method| Operation { name: params.unwrap_or_default().name_for(&method), method }))
}

/// Names in `params`; of parameters by position, and of other shapes, there are none.
#[derive(Default)]
struct Params {
    name: Option<String>,
    uri: Option<String>,
    task: Option<String>,
}

impl Params {
    fn name_for(self, method: &str) -> Option<String> {
        match method.split('/').next() {
            Some("resources") => self.uri,
            Some("tasks") => self.task,
            _ => self.name,
        }
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Looked at twice, so that what is no object can be passed over without knowing its shape.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        let mut inner = serde_json::Deserializer::from_str(raw.get());
        inner.deserialize_map(Named).map_err(D::Error::custom)
    }
}

struct Named;

impl<'de> Visitor<'de> for Named {
    type Value = Params;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the parameters of a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
        let mut params = Params::default();
        while let Some(key) = map.next_key::<String>()? {
            let slot = match known(&key, &["name", "uri", "taskId"])? {
                Some("name") => &mut params.name,
                Some("uri") => &mut params.uri,
                Some(_) => &mut params.task,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            fill(slot, map.next_value()?)?;
        }
        Ok(params)
    }
}

/// Which of `ours` the member is. One that only some readers would take for it is refused: another case, or letters
/// beyond ASCII, which case folding may turn into ASCII.
fn known<E: serde::de::Error>(key: &str, ours: &[&'static str]) -> Result<Option<&'static str>, E> {
    if let Some(exact) = ours.iter().find(|own| **own == key) {
        return Ok(Some(exact));
    }
    if !key.is_ascii() || ours.iter().any(|own| own.eq_ignore_ascii_case(key)) {
        return Err(E::custom("a member that could be taken for another"));
    }
    Ok(None)
}

fn fill<T, E: serde::de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::custom("a member stands twice")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn told(values: &[(&'static str, &str)]) -> Result<Option<Operation>, Mismatch> {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        in_headers(&headers)
    }

    fn operation(method: &str, name: Option<&str>) -> Operation {
        Operation { method: method.to_owned(), name: name.map(str::to_owned) }
    }

    #[test]
    fn headers_count_only_where_servers_compare_them_with_the_body() {
        let of = |version| told(&[("mcp-protocol-version", version), ("mcp-method", "tools/call"), ("mcp-name", "x")]);
        assert_eq!(of("2026-07-28"), Ok(Some(operation("tools/call", Some("x")))));
        assert_eq!(of("2027-01-01"), Ok(Some(operation("tools/call", Some("x")))));
        for older in ["2025-11-25", "2024-11-05", "", "9", "DRAFT-2026", "2026-07-2x"] {
            assert_eq!(of(older), Ok(None), "{older}");
        }
        assert_eq!(told(&[("mcp-method", "tools/call")]), Ok(None));
    }

    #[test]
    fn rs_8_the_sentinel_is_decoded_before_anything_is_compared() {
        let name = |value: &str| {
            let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", value)];
            told(&headers).map(|operation| operation.unwrap().name.unwrap())
        };
        assert_eq!(name("=?base64?ZGVsZXRlX2FsbA==?=").unwrap(), "delete_all");
        assert_eq!(name("=?base64?w7ZscGVu?=").unwrap(), "ölpen");
        assert_eq!(name("=?BASE64?ZGVsZXRlX2FsbA==?=").unwrap(), "=?BASE64?ZGVsZXRlX2FsbA==?=", "letters count");
        assert_eq!(name("=?base64?%%%?="), Err(Mismatch));
        assert_eq!(name("=?base64?/w==?="), Err(Mismatch), "not UTF-8");
    }

    #[test]
    fn rs_8_what_stands_twice_or_differs_is_a_mismatch() {
        let modern = ("mcp-protocol-version", "2026-07-28");
        assert_eq!(told(&[modern, ("mcp-method", "a"), ("mcp-method", "b")]), Err(Mismatch));
        assert_eq!(told(&[modern, ("mcp-method", "a"), ("mcp-name", "x"), ("mcp-name", "x")]), Err(Mismatch));
        assert_eq!(told(&[modern, modern, ("mcp-method", "a")]), Err(Mismatch));
        let header = operation("tools/call", Some("list"));
        assert_eq!(agree(&header, &[operation("tools/call", Some("list"))]), Ok(()));
        assert_eq!(agree(&header, &[]), Ok(()), "an answer asks for nothing");
        for body in [
            vec![operation("tools/call", Some("delete"))],
            vec![operation("tools/call", Some("List"))],
            vec![operation("Tools/call", Some("list"))],
            vec![operation("tools/call", Some("list")), operation("tools/call", Some("delete"))],
        ] {
            assert_eq!(agree(&header, &body), Err(Mismatch), "{body:?}");
        }
    }

    #[test]
    fn a_body_tells_its_operations() {
        for (body, expected) in [
            (
                r#"{"method":"tools/call","params":{"name":"x","arguments":{"name":"y"}}}"#,
                vec![("tools/call", Some("x"))],
            ),
            (
                r#"{"params":{"uri":"a://b","name":"no"},"method":"resources/read"}"#,
                vec![("resources/read", Some("a://b"))],
            ),
            (r#"{"method":"tasks/cancel","params":{"taskId":"7"}}"#, vec![("tasks/cancel", Some("7"))]),
            (r#"{"method":"ping"}"#, vec![("ping", None)]),
            (r#"{"method":"tools/call","params":[1,2]}"#, vec![("tools/call", None)]),
            (r#"{"method":"tools/call","params":null}"#, vec![("tools/call", None)]),
            (r#"{"id":1,"result":{"method":"x"}}"#, vec![]),
            (r#"[{"method":"a"},{"id":1,"result":1},{"method":"b"}]"#, vec![("a", None), ("b", None)]),
            (r#"{"\u006dethod":"tools/call"}"#, vec![("tools/call", None)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(method, name)| operation(method, name)).collect();
            assert_eq!(in_body(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    /// Each of these is read in two ways by two readers of JSON that are in use.
    #[test]
    fn rs_8_what_two_readers_would_take_for_two_things_is_refused() {
        for body in [
            r#"{"method":"tools/list","method":"tools/call"}"#,
            r#"{"method":"tools/list","Method":"tools/call"}"#,
            r#"{"method":"tools/list","METHOD":"tools/call"}"#,
            r#"{"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":7}}"#,
            r#"{"method":7}"#,
            r#"{"method":"a"} {"method":"b"}"#,
            r#"[[{"method":"a"}]]"#,
            "",
            "null",
            "\u{feff}{}",
            "{",
        ] {
            assert!(in_body(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = in_body(&body);
        }

        #[test]
        fn whatever_is_accepted_is_what_another_reader_sees(method in "[a-z/]{1,12}", name in "\\PC{0,12}", extra in "\\PC{0,6}") {
            let body = serde_json::json!({ "method": method, "params": { "name": name, extra: 1 } });
            if let Ok(operations) = in_body(body.to_string().as_bytes()) {
                let read: serde_json::Value = serde_json::from_str(&body.to_string()).unwrap();
                prop_assert_eq!(&operations[0].method, read["method"].as_str().unwrap());
                if !method.starts_with("resources") && !method.starts_with("tasks") {
                    prop_assert_eq!(operations[0].name.as_deref(), read["params"]["name"].as_str());
                }
            }
        }
    }
}
