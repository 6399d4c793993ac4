//! Token answers as providers write them, made into what RFC 6749 §5 says, so that `oauth2` can read them.
//!
//! Seen in the field: errors inside HTTP 200, form bodies, pages in place of JSON, `expires_in` as a string, `scope` as
//! a list or with commas, no `token_type` (rules 7 and 8).

use serde_json::{Map, Value};

use super::http::Answer;

/// The body was neither JSON nor a form. The text names status and type, never the body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// The same answer by the book: status 200 with a token or 400 with an error, a JSON object of the standard's types.
///
/// # Errors
/// [`Unreadable`].
pub fn by_the_book(answer: &Answer) -> Result<Answer, Unreadable> {
    let kind = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut object = read(kind, answer.body()).ok_or_else(|| {
        Unreadable(format!("status {} with a body of type {:?}", answer.status(), super::metadata::cut(kind)))
    })?;
    let failed = object.get("error").is_some_and(|error| !error.is_null());
    if failed {
        plain_error(&mut object);
    } else {
        plain_token(&mut object);
    }
    let good = !failed && answer.status().is_success();
    let mut book = Answer::new(Value::Object(object).to_string().into_bytes());
    *book.status_mut() = if good { http::StatusCode::OK } else { http::StatusCode::BAD_REQUEST };
    book.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(book)
}

fn read(kind: &str, body: &[u8]) -> Option<Map<String, Value>> {
    if let Ok(Value::Object(object)) = serde_json::from_slice(body) {
        return Some(object);
    }
    let formish = kind.starts_with("application/x-www-form-urlencoded") || kind.starts_with("text/plain");
    if !formish {
        return None;
    }
    let object: Map<_, _> =
        url::form_urlencoded::parse(body).map(|(k, v)| (k.into_owned(), Value::String(v.into_owned()))).collect();
    (object.contains_key("access_token") || object.contains_key("error")).then_some(object)
}

/// `error` as a string; some nest it.
fn plain_error(object: &mut Map<String, Value>) {
    let code = match object.get("error") {
        Some(Value::String(code)) => code.clone(),
        Some(Value::Object(nested)) => {
            let inner = ["code", "type", "error"].iter().find_map(|key| nested.get(*key).and_then(Value::as_str));
            inner.unwrap_or("error").to_owned()
        }
        _ => "error".to_owned(),
    };
    let description = object.get("error_description").and_then(Value::as_str).map(ToOwned::to_owned);
    object.clear();
    object.insert("error".into(), code.into());
    if let Some(description) = description {
        object.insert("error_description".into(), description.into());
    }
}

fn plain_token(object: &mut Map<String, Value>) {
    // Zero and nonsense mean "does not say" (GitHub OAuth Apps say nothing, others 0).
    let seconds = match object.remove("expires_in") {
        Some(Value::Number(number)) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
        object.insert("expires_in".into(), seconds.into());
    }
    let scope = match object.remove("scope") {
        Some(Value::String(text)) => Some(text.replace(',', " ")),
        Some(Value::Array(list)) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    };
    let scope = scope.map(|scope| scope.split_whitespace().collect::<Vec<_>>().join(" "));
    if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
        object.insert("scope".into(), scope.into());
    }
    if !object.get("token_type").is_some_and(Value::is_string) {
        object.insert("token_type".into(), "bearer".into());
    }
    for key in ["refresh_token", "id_token"] {
        if object.get(key).is_some_and(|value| !value.is_string() || value == "") {
            object.remove(key);
        }
    }
}

fn whole(seconds: f64) -> Option<u64> {
    std::time::Duration::try_from_secs_f64(seconds).ok().map(|span| span.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(status: u16, kind: &'static str, body: &str) -> String {
        let mut answer = Answer::new(body.as_bytes().to_vec());
        *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
        answer.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
        match by_the_book(&answer) {
            Ok(book) => {
                // In name order, whatever order some other crate asks of serde_json.
                let object: std::collections::BTreeMap<String, Value> = serde_json::from_slice(book.body()).unwrap();
                format!("{} {}", book.status().as_u16(), serde_json::to_string(&object).unwrap())
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn rule_7_odd_types_become_the_standards() {
        let odd = r#"{"access_token":"a","expires_in":"3600","scope":["openid","email"],"refresh_token":""}"#;
        insta::assert_snapshot!(told(200, "application/json", odd), @r#"200 {"access_token":"a","expires_in":3600,"scope":"openid email","token_type":"bearer"}"#);
        let odd = r#"{"access_token":"a","expires_in":0,"scope":"read:user,user:email","token_type":"Bearer"}"#;
        insta::assert_snapshot!(told(200, "application/json", odd), @r#"200 {"access_token":"a","scope":"read:user user:email","token_type":"Bearer"}"#);
        let odd = r#"{"access_token":"a","expires_in":3599.5,"id_token":null}"#;
        insta::assert_snapshot!(told(200, "text/plain", odd), @r#"200 {"access_token":"a","expires_in":3599,"token_type":"bearer"}"#);
    }

    #[test]
    fn rule_8_errors_in_any_dress_are_errors() {
        let form = "application/x-www-form-urlencoded";
        insta::assert_snapshot!(told(200, form, "error=bad_verification_code&error_uri=x"), @r#"400 {"error":"bad_verification_code"}"#);
        insta::assert_snapshot!(told(200, form, "access_token=a&scope=read%3Auser%2Cuser%3Aemail&token_type=bearer"), @r#"200 {"access_token":"a","scope":"read:user user:email","token_type":"bearer"}"#);
        let nested = r#"{"error":{"message":"no","type":"OAuthException"}}"#;
        insta::assert_snapshot!(told(200, "application/json", nested), @r#"400 {"error":"OAuthException"}"#);
        insta::assert_snapshot!(told(403, "application/json", r#"{"access_token":"a"}"#), @r#"400 {"access_token":"a","token_type":"bearer"}"#);
        insta::assert_snapshot!(told(200, "text/html", "<html>access_token=1</html>"), @r#"status 200 OK with a body of type "text/html""#);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in ".{0,200}", status in 200_u16..500) {
            let text = told(status, "application/json", &body);
            prop_assert!(!text.is_empty());
        }
    }
}
