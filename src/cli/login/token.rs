//! The token endpoint: a code, a device code or a refresh token for tokens (RFC 6749 §4.1.3, §6), and what the answer
//! must look like; and giving tokens back (RFC 7009).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header;
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ErrorResponse, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse},
};
use serde_json::Value;
use url::Url;

use super::{
    keep::{Client, Login, Tokens},
    report::{Report, Stopped, plain},
    rules as rule,
    wire::{NoGo, Wire, of},
};
use crate::domain::{CodeVerifier, Secret};

/// Our client as `oauth2` knows it.
pub(super) type OAuth = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// Why there are no tokens.
pub(super) type Refusal<E = BasicErrorResponse> = RequestTokenError<NoGo, E>;

/// The client, ready to ask at this endpoint.
pub(super) fn client(client: &Client, token_endpoint: &Url) -> OAuth {
    let mut oauth =
        BasicClient::new(ClientId::new(client.id.clone())).set_token_uri(TokenUrl::from_url(token_endpoint.clone()));
    if let Some(secret) = &client.secret {
        oauth = oauth.set_client_secret(ClientSecret::new(secret.expose().clone()));
    }
    // `BasicAuth` form-encodes both halves first (RFC 6749 §2.3.1).
    oauth.set_auth_type(if client.secret_in_body { AuthType::RequestBody } else { AuthType::BasicAuth })
}

/// A code for tokens.
pub(super) async fn redeem(
    wire: &Wire,
    oauth: &OAuth,
    code: &Secret<String>,
    verifier: &CodeVerifier,
    redirect: &RedirectUrl,
    resource: &str,
) -> Result<BasicTokenResponse, Refusal> {
    let request = oauth.exchange_code(AuthorizationCode::new(code.expose().clone()));
    let request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()));
    let request = request.set_redirect_uri(std::borrow::Cow::Borrowed(redirect));
    request.add_extra_param("resource", resource).request_async(wire).await
}

/// A refresh token for tokens.
pub(super) async fn renew(
    wire: &Wire,
    login: &Login,
    endpoint: &Url,
    refresh: &Secret<String>,
) -> Result<BasicTokenResponse, Refusal> {
    let token = RefreshToken::new(refresh.expose().clone());
    let oauth = client(&login.client, endpoint);
    oauth.exchange_refresh_token(&token).add_extra_param("resource", &*login.resource).request_async(wire).await
}

/// What the endpoint said instead, in one line, without a secret of ours: an error text may quote what it refuses (S29).
pub(super) fn told<E: ErrorResponse + Told>(error: &Refusal<E>, secrets: &[&str]) -> String {
    let mut text = match error {
        RequestTokenError::ServerResponse(said) => said.words(),
        RequestTokenError::Request(none) => none.to_string(),
        // The body is in the error and holds whatever it holds: only the place of the fault is told.
        RequestTokenError::Parse(fault, _) => {
            format!("no token answer: unexpected value at {:?}", fault.path().to_string())
        }
        RequestTokenError::Other(_) => "no token answer".to_owned(),
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    plain(&text)
}

/// Code and description of an OAuth error.
pub(super) trait Told {
    fn words(&self) -> String;
}

impl<T: oauth2::ErrorResponseType + AsRef<str>> Told for oauth2::StandardErrorResponse<T> {
    fn words(&self) -> String {
        match self.error_description() {
            Some(description) => format!("{}: {description}", self.error().as_ref()),
            None => self.error().as_ref().to_owned(),
        }
    }
}

/// Whether the login is over, and not only this attempt (RFC 6749 §5.2): the refresh token or the client is not known
/// any more. An outage is neither.
pub(super) fn is_final(error: &Refusal) -> bool {
    matches!(error, RequestTokenError::ServerResponse(said)
        if matches!(said.error().as_ref(), "invalid_grant" | "invalid_client" | "unauthorized_client"))
}

/// Judges an answer and makes it what is kept.
pub(super) fn judged(
    wire: &Wire,
    report: &mut Report,
    answer: &BasicTokenResponse,
    asked: Asked<'_>,
    now: u64,
) -> Result<Tokens, Stopped> {
    let heard = wire.heard();
    let access = Secret::new(answer.access_token().secret().clone());
    // RFC 6749 appendix A.12. It goes to a terminal and into a header: neither may be written to by a server.
    if !access.expose().bytes().all(|b| (0x21..=0x7e).contains(&b)) || access.expose().is_empty() {
        return Err(report.fails(&rule::TOKEN, "an access token with characters that none may have"));
    }
    let kind = if claims(access.expose()).is_some() { "JWT" } else { "opaque" };
    report.meets(&rule::TOKEN, format!("{}, {kind}, {} characters", heard.status, access.expose().len()));
    match heard.token_type.as_deref() {
        Some(spelt) if spelt.eq_ignore_ascii_case("bearer") => report.meets(&rule::TOKEN_TYPE, format!("{spelt:?}")),
        None => report.deviates(&rule::TOKEN_TYPE, "none")?,
        Some(other) => return Err(report.fails(&rule::TOKEN_TYPE, format!("{other:?}"))),
    }
    let cache = of(&heard.headers, header::CACHE_CONTROL);
    if cache.to_ascii_lowercase().contains("no-store") {
        report.meets(&rule::NO_STORE, cache);
    } else {
        report.deviates(&rule::NO_STORE, format!("Cache-Control {cache:?}"))?;
    }
    match answer.expires_in() {
        Some(life) => report.meets(&rule::EXPIRES, format!("{} s", life.as_secs())),
        None => report.notes(&rule::EXPIRES, "not said"),
    }
    let refresh = answer.refresh_token().map(|token| Secret::new(token.secret().clone()));
    match (&refresh, asked.spent) {
        (Some(new), Some(old)) if asked.is_public && new == old => report.deviates(&rule::ROTATED, "the same again")?,
        (Some(_), Some(_)) => report.meets(&rule::ROTATED, "a new one"),
        (None, Some(_)) if asked.is_public => report.deviates(&rule::ROTATED, "none: the old one stays")?,
        (None, Some(_)) => {}
        (Some(_), None) => report.meets(&rule::REFRESHABLE, "one came"),
        (None, None) => report.notes(&rule::REFRESHABLE, "none"),
    }
    let scope = scopes(report, answer, asked.scope);
    audience(report, access.expose(), asked.resource)?;
    Ok(Tokens {
        access,
        refresh: refresh.or_else(|| asked.spent.cloned()),
        scope,
        obtained_at: now,
        expires_at: answer.expires_in().map(|life| now.saturating_add(life.as_secs())),
    })
}

/// What an answer is compared with.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) resource: &'a str,
    pub(super) scope: Option<&'a str>,
    /// The refresh token that was given for it.
    pub(super) spent: Option<&'a Secret<String>>,
    pub(super) is_public: bool,
}

fn scopes(report: &mut Report, answer: &BasicTokenResponse, asked: Option<&str>) -> Option<String> {
    let given = answer.scopes().map(|scopes| scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" "));
    if let (Some(asked), Some(given)) = (asked, &given) {
        // `offline_access` is a wish for a refresh token, which came or did not; many do not list it again.
        let is_given = |one: &str| one == "offline_access" || given.split(' ').any(|g| g == one);
        let lacking: Vec<_> = asked.split(' ').filter(|one| !is_given(one)).collect();
        if lacking.is_empty() {
            report.meets(&rule::SCOPE, given.clone());
        } else {
            report.notes(&rule::SCOPE, format!("{given:?}, without {}", lacking.join(" ")));
        }
    }
    given.or_else(|| asked.map(ToOwned::to_owned))
}

/// A client has no business with what is in a token (RFC 6749 §1.4); a debugger has. Nothing is decided by it.
fn audience(report: &mut Report, token: &str, resource: &str) -> Result<(), Stopped> {
    let Some(claims) = claims(token) else { return Ok(()) };
    let audiences: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let same = |one: &&str| one.trim_end_matches('/') == resource.trim_end_matches('/');
    let came = format!("aud {audiences:?}, resource {resource:?}");
    match audiences.as_slice() {
        [only] if same(only) => report.meets(&rule::AUDIENCE, format!("aud {only:?}")),
        several if several.iter().any(same) => report.notes(&rule::AUDIENCE, came),
        _ => report.deviates(&rule::AUDIENCE, came)?,
    }
    Ok(())
}

/// The claims of a token that is a JWT, unverified.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// RFC 7009 §2.1. `oauth2` could ask this, but on https alone; servers are tried out on loopback.
pub(super) async fn revoke(wire: &Wire, login: &Login, endpoint: &Url) -> Result<http::StatusCode, NoGo> {
    let Some(tokens) = &login.tokens else { return Ok(http::StatusCode::OK) };
    let (token, hint) = match &tokens.refresh {
        Some(refresh) => (refresh, "refresh_token"),
        None => (&tokens.access, "access_token"),
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token.expose()).append_pair("token_type_hint", hint);
    let mut request = http::Request::post(endpoint.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let client = &login.client;
    match &client.secret {
        Some(secret) if !client.secret_in_body => {
            // RFC 6749 §2.3.1: both halves are form-encoded first.
            let half = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", half(&client.id), half(secret.expose()));
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        secret => {
            form.append_pair("client_id", &client.id);
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret.expose());
            }
        }
    }
    let answer = wire.send(super::wire::built(request, form.finish().into_bytes())?).await?;
    Ok(answer.status())
}
