//! Documents about a person to an [`Identity`], by the preset's JSON pointers (RFC 6901; UP-5).

use serde_json::Value;

use super::{Failed, metadata::refused, provider::IdentityRules};
use crate::domain::{Identity, Subject, UpstreamName};

/// The longest text taken over from a provider, in bytes (OIDC Core §2 limits `sub` to 255).
const LONGEST: usize = 255;

/// Reads the person out of `documents`, the most trusted first: the subject out of the first alone, the rest out of the
/// first that has it.
///
/// # Errors
/// [`Failed::Refused`] where no document says who it is.
pub fn read(rules: &IdentityRules, upstream: &UpstreamName, documents: &[&Value]) -> Result<Identity, Failed> {
    let subject = documents.first().and_then(|document| subject(document, &rules.subject));
    let subject = subject.ok_or_else(|| refused("it does not say who the person is", None))?;
    let first = |pointer: &str| documents.iter().find_map(|document| text(document, pointer));
    let email = first(&rules.email);
    // Whether an address is verified is only believed of the document that names this very address.
    let email_verified = documents
        .iter()
        .filter(|document| email.is_some() && text(document, &rules.email) == email)
        .any(|document| is_true(document, &rules.email_verified));
    let groups = rules.groups.as_deref();
    Ok(Identity {
        subject: Subject::new(upstream, &subject),
        email,
        email_verified,
        name: first(&rules.name),
        username: first(&rules.username),
        groups: groups.and_then(|p| documents.iter().find_map(|d| list(d, p))).unwrap_or_default(),
    })
}

/// Whether a document lacks what the preset looks for, so that asking userinfo is worth a call.
pub(super) fn has_gaps(rules: &IdentityRules, document: &Value) -> bool {
    text(document, &rules.email).is_none() || rules.groups.as_deref().is_some_and(|p| document.pointer(p).is_none())
}

/// The provider's identifier in a document: a string, or a whole number (GitHub).
fn subject(document: &Value, pointer: &str) -> Option<String> {
    match document.pointer(pointer)? {
        Value::String(_) => text(document, pointer),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// The address that is both primary and verified in a list like GitHub's `/user/emails`.
pub(super) fn primary_email(emails: &Value) -> Option<String> {
    let is = |email: &Value, name: &str| email.get(name) == Some(&Value::Bool(true));
    let list = emails.as_array()?;
    let chosen = list.iter().find(|email| is(email, "primary") && is(email, "verified"))?;
    text(chosen, "/email")
}

fn text(document: &Value, pointer: &str) -> Option<String> {
    let text = document.pointer(pointer)?.as_str()?;
    let fits = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// A bool, or the string `true` (Cognito, Apple).
fn is_true(document: &Value, pointer: &str) -> bool {
    match document.pointer(pointer) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

fn list(document: &Value, pointer: &str) -> Option<Vec<String>> {
    let entries = match document.pointer(pointer)? {
        Value::Array(entries) => entries.as_slice(),
        Value::String(one) => return Some(vec![one.clone()]),
        _ => return None,
    };
    Some(entries.iter().filter_map(|entry| text(entry, "").or_else(|| text(entry, "/name"))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        domain::Allow,
        upstream::{Provider, presets},
    };

    fn person(documents: &[Value]) -> Result<Identity, Failed> {
        let documents: Vec<&Value> = documents.iter().collect();
        let rules = IdentityRules { groups: Some("/groups".into()), ..IdentityRules::default() };
        read(&rules, &UpstreamName::parse("x").unwrap(), &documents)
    }

    #[test]
    fn verified_is_believed_only_of_the_same_address() {
        let mine = json!({ "sub": "1", "email": "a@example.com" });
        let other = json!({ "sub": "1", "email": "b@example.com", "email_verified": true });
        assert!(!person(&[mine.clone(), other]).unwrap().email_verified);
        let same = json!({ "sub": "1", "email": "a@example.com", "email_verified": "true" });
        assert!(person(&[mine, same]).unwrap().email_verified);
    }

    #[test]
    fn subjects_are_strings_or_whole_numbers_and_nothing_else() {
        assert_eq!(person(&[json!({ "sub": 583231 })]).unwrap().subject.as_str(), "x:583231");
        for bad in [json!(null), json!(""), json!(1.5), json!({}), json!("a\nb"), json!("x".repeat(256))] {
            assert!(person(&[json!({ "sub": bad })]).is_err());
        }
    }

    #[test]
    fn groups_are_names() {
        let groups = |value: Value| person(&[json!({ "sub": "1", "groups": value })]).unwrap().groups;
        assert_eq!(groups(json!(["a", 7, { "name": "b" }])), ["a", "b"]);
        assert_eq!(groups(json!("a")), ["a"]);
        assert!(groups(json!(null)).is_empty());
    }

    /// https://github.com/advisories/GHSA-652x-m2gr-hppm, for every provider we know.
    #[test]
    fn s19_a_group_rule_denies_where_the_claim_is_missing_or_odd() {
        let rule = Allow::Only { emails: Vec::new(), subjects: Vec::new(), groups: vec!["staff".into()] };
        for preset in presets::names() {
            let rules = Provider::preset(preset).unwrap().identity;
            let rules = IdentityRules { groups: Some("/claims/groups".into()), ..rules };
            let admits = |groups: Value| {
                let person = json!({ "sub": "1", "id": 1, "email": "staff", "name": "staff", "login": "staff",
                    "groups": ["staff"], "roles": ["staff"], "claims": groups });
                rule.admits(&read(&rules, &UpstreamName::parse("x").unwrap(), &[&person]).unwrap())
            };
            for odd in [
                json!(null),
                json!({}),
                json!("staff"),
                json!(["staff"]),
                json!({ "groups": null }),
                json!({ "groups": true }),
                json!({ "groups": 7 }),
                json!({ "groups": {} }),
                json!({ "groups": { "staff": true } }),
                json!({ "groups": [["staff"]] }),
                json!({ "groups": ["Staff", " staff", "staff ", "staffing", "", "*"] }),
                json!({ "groups": "other,staff" }),
                json!({ "Groups": ["staff"] }),
            ] {
                assert!(!admits(odd.clone()), "{preset}: {odd}");
            }
            assert!(admits(json!({ "groups": ["other", "staff"] })), "{preset}");
        }
    }

    #[test]
    fn only_a_primary_and_verified_address_counts() {
        let list = json!([
            { "email": "a@x", "primary": false, "verified": true },
            { "email": "b@x", "primary": true, "verified": false },
        ]);
        assert_eq!(primary_email(&list), None);
        assert_eq!(primary_email(&json!([{ "email": "c@x", "primary": true, "verified": true }])).unwrap(), "c@x");
        assert_eq!(primary_email(&json!({ "message": "Not Found" })), None);
    }

    proptest! {
        #[test]
        fn any_subject_text_is_kept_or_refused(sub in ".*") {
            if let Ok(identity) = person(&[json!({ "sub": sub })]) {
                prop_assert_eq!(identity.subject.at_provider(), sub);
            }
        }
    }
}
