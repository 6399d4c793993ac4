//! `Authorization` header → [`Caller`], or a refusal (RFC 6750 §2.1, RFC 9449 §7; CH-1, CH-2, CH-7, RS-1, DP-2).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{challenge::Refusal, route::Route};
use crate::{
    domain::Resource,
    token::{Addressed, Caller, Dpop, Mint, PresentedProof, Refused},
};

/// Longer than any token of ours with a 4 KiB upstream token inside (D5); longer ones are not even hashed (S33).
const MAX_TOKEN: usize = 16 * 1024;

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

impl Scheme {
    fn parse(name: &str) -> Option<Self> {
        [(Self::Bearer, "Bearer"), (Self::Dpop, "DPoP")]
            .into_iter()
            .find_map(|(scheme, own)| own.eq_ignore_ascii_case(name).then_some(scheme))
    }

    /// Whether a request speaks of proofs, whatever else may be wrong with it: so its refusal does, too.
    pub(super) fn is_dpop(headers: &HeaderMap) -> bool {
        let scheme = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().get(..5));
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"DPoP "))
    }
}

/// The access token of a request.
///
/// What is malformed behind `Bearer` is an invalid token (401), since that is what makes clients log in again; what is
/// ambiguous is an invalid request (400).
pub(super) fn presented<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<(Scheme, &'a str), Refusal> {
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
    // RFC 6750 §3.1: an unsupported method counts as no authentication, so no error code.
    let Some(scheme) = Scheme::parse(scheme) else { return Err(Refusal::NoCredentials) };
    let token = rest.trim_matches(' ');
    if token.is_empty() || token.len() > MAX_TOKEN { Err(Refusal::Invalid) } else { Ok((scheme, token)) }
}

fn holds_token(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// Verifies the token for this one Resource (S4), and that it permits anything here.
pub(super) async fn admit(mint: &Mint, resource: &Resource, token: &str) -> Result<Arc<Caller>, Refusal> {
    let caller = mint.verify(token, &resource.uri).await.map_err(|refused| noted(resource, &refused))?;
    if resource.demands_proof {
        return Err(Refusal::ProofDemanded);
    }
    permitted(resource, caller)
}

/// The same for a token that comes with a proof, which has to be made for the address under which the world knows us.
pub(super) async fn admit_proven(
    mint: &Mint,
    route: &Route,
    request: &Parts,
    token: &str,
) -> Result<Arc<Caller>, Refusal> {
    if mint.dpop() == Dpop::Off {
        return Err(Refusal::NoCredentials);
    }
    let resource = &*route.resource;
    let proof = PresentedProof::of(request.headers.get_all("dpop").iter().map(HeaderValue::as_bytes));
    let addressed = Addressed { method: request.method.as_str(), origin: &route.origin, path: request.uri.path() };
    let caller = mint.verify_proven(token, &resource.uri, proof, addressed).await;
    permitted(resource, caller.map_err(|refused| noted(resource, &refused))?)
}

fn noted(resource: &Resource, refused: &Refused) -> Refusal {
    if let Refused::Unavailable(cause) = refused {
        tracing::error!(%cause, "the token could not be checked");
    } else {
        tracing::debug!(reason = %refused, resource = %resource.uri, "token refused");
    }
    Refusal::from(refused)
}

fn permitted(resource: &Resource, caller: Arc<Caller>) -> Result<Arc<Caller>, Refusal> {
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

    fn bearer<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<&'a str, Refusal> {
        presented(headers, query).map(|(scheme, token)| {
            assert_eq!(scheme, Scheme::Bearer);
            token
        })
    }

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
