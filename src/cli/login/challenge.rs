//! `WWW-Authenticate` (RFC 9110 §11.6.1) as a client reads it.

use http::{HeaderMap, header};

/// What a Bearer challenge says (RFC 6750 §3, RFC 9728 §5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) resource_metadata: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
}

/// What the headers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// The first Bearer challenge.
    Bearer(Challenge),
    /// Challenges of these other schemes only.
    Others(Vec<String>),
    /// No header.
    Nothing,
    /// A header that does not follow the grammar, and why.
    Unreadable(String),
}

/// Reads all `WWW-Authenticate` headers of an answer. One that cannot be read does not hide a good one beside it.
pub(super) fn read(headers: &HeaderMap) -> Read {
    let (mut others, mut unreadable) = (Vec::new(), None);
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else {
            unreadable = Some("a challenge with bytes beyond ASCII".to_owned());
            continue;
        };
        match http_auth::parse_challenges(text) {
            Ok(challenges) => {
                for challenge in challenges {
                    if challenge.scheme.eq_ignore_ascii_case("bearer") {
                        return Read::Bearer(of(&challenge));
                    }
                    others.push(challenge.scheme.to_owned());
                }
            }
            Err(error) => unreadable = Some(format!("{text:?}: {error}")),
        }
    }
    match unreadable {
        Some(why) => Read::Unreadable(why),
        None if others.is_empty() => Read::Nothing,
        None => Read::Others(others),
    }
}

fn of(challenge: &http_auth::ChallengeRef<'_>) -> Challenge {
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
    };
    Challenge {
        resource_metadata: parameter("resource_metadata"),
        scope: parameter("scope"),
        error: parameter("error"),
        error_description: parameter("error_description"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_headers(values: &[&'static str]) -> Read {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, http::HeaderValue::from_static(value));
        }
        read(&headers)
    }

    #[test]
    fn rfc9728_5_1_the_pointer_is_found_among_others() {
        let told = of_headers(&[
            "Basic realm=\"a, b\", bearer error=\"invalid_token\", resource_metadata=\"https://a/x\", scope=\"r w\"",
        ]);
        let Read::Bearer(challenge) = told else { panic!("{told:?}") };
        assert_eq!(challenge.resource_metadata.as_deref(), Some("https://a/x"));
        assert_eq!((challenge.scope.as_deref(), challenge.error.as_deref()), (Some("r w"), Some("invalid_token")));
        assert_eq!(
            of_headers(&["Basic realm=\"x\"", "Negotiate"]),
            Read::Others(vec!["Basic".into(), "Negotiate".into()])
        );
        assert_eq!(of_headers(&[]), Read::Nothing);
    }

    #[test]
    fn a_broken_challenge_does_not_hide_a_good_one() {
        assert!(matches!(of_headers(&["Bearer a=\"b"]), Read::Unreadable(_)));
        assert!(matches!(of_headers(&["Bearer a=\"b", "Bearer scope=\"x\""]), Read::Bearer(_)));
    }
}
