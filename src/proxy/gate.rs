//! `Authorization` header → [`Caller`], or a refusal (RFC 6750 §2.1; CH-1, CH-2, CH-7, RS-1).

use std::sync::Arc;

use http::{HeaderMap, header};

use super::challenge::Refusal;
use crate::{
    domain::Resource,
    token::{Caller, Mint, Refused},
};

/// Longer than any token of ours with a 4 KiB upstream token inside (D5); longer ones are not even hashed (S33).
const MAX_TOKEN: usize = 16 * 1024;

/// The bearer token of a request.
///
/// What is malformed behind `Bearer` is an invalid token (401), since that is what makes clients log in again; what is
/// ambiguous is an invalid request (400).
pub(super) fn bearer<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<&'a str, Refusal> {
    if query.is_some_and(holds_token) {
        return Err(Refusal::QueryToken);
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Refusal::NoCredentials) };
    if values.next().is_some() {
        return Err(Refusal::TwoCredentials);
    }
    // `to_str` would look at each byte; the mint refuses what is no token anyway.
    let Ok(value) = std::str::from_utf8(value.as_bytes()) else { return Err(Refusal::Invalid) };
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        // RFC 6750 §3.1: an unsupported method counts as no authentication, so no error code.
        return Err(Refusal::NoCredentials);
    }
    let token = rest.trim_matches(' ');
    if token.is_empty() || token.len() > MAX_TOKEN { Err(Refusal::Invalid) } else { Ok(token) }
}

fn holds_token(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// Verifies the token for this one Resource (S4), and that it permits anything here.
pub(super) async fn admit(mint: &Mint, resource: &Resource, token: &str) -> Result<Arc<Caller>, Refusal> {
    let caller = match mint.verify(token, &resource.uri).await {
        Ok(caller) => caller,
        Err(refused) => {
            if let Refused::Unavailable(cause) = &refused {
                tracing::error!(%cause, "the token could not be checked");
            } else {
                tracing::debug!(reason = %refused, resource = %resource.uri, "token refused");
            }
            return Err(Refusal::from(&refused));
        }
    };
    // The injection was switched on after the token was made; a new one is refused with the reason (CC-1).
    if caller.upstream_token.is_none() && resource.needs_upstream_token() {
        tracing::warn!(resource = %resource.uri, client = %caller.client, "refused: it has no token of the provider's");
        return Err(Refusal::Invalid);
    }
    if resource.lets_in(&caller.scope) { Ok(caller) } else { Err(Refusal::InsufficientScope) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn rfc6750_2_1_the_scheme_is_case_insensitive() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(bearer(&of(&[&format!("{scheme} abc.def")]), None), Ok("abc.def"));
        }
        assert_eq!(bearer(&of(&["Bearer   abc "]), None), Ok("abc"));
    }

    #[test]
    fn ch_2_without_credentials_there_is_no_error() {
        assert_eq!(bearer(&of(&[]), None), Err(Refusal::NoCredentials));
        assert_eq!(bearer(&of(&["Basic YTpi"]), None), Err(Refusal::NoCredentials));
        assert_eq!(bearer(&of(&["Bearerabc"]), None), Err(Refusal::NoCredentials));
    }

    #[test]
    fn ch_1_what_is_malformed_is_an_invalid_token() {
        for value in ["Bearer", "Bearer ", "Bearer    "] {
            assert_eq!(bearer(&of(&[value]), None), Err(Refusal::Invalid), "{value}");
        }
        let mut latin = HeaderMap::new();
        latin.insert(header::AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe9").unwrap());
        assert_eq!(bearer(&latin, None), Err(Refusal::Invalid));
        assert_eq!(bearer(&of(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1))]), None), Err(Refusal::Invalid));
    }

    #[test]
    fn ch_7_two_ways_at_once_are_refused() {
        assert_eq!(bearer(&of(&["Bearer a", "Bearer b"]), None), Err(Refusal::TwoCredentials));
        assert_eq!(bearer(&of(&["Bearer a"]), Some("access_token=a")), Err(Refusal::QueryToken));
        assert_eq!(bearer(&of(&[]), Some("x=1&access%5ftoken=a")), Err(Refusal::QueryToken));
        assert_eq!(bearer(&of(&["Bearer a"]), Some("my_access_token=a&access_tokens=b")), Ok("a"));
    }
}
