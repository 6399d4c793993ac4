//! A tiny OpenID Connect provider with one person in it, for `dev` alone.
//!
//! It does by the book what a real one does at the places where our inner door stands: discovery, a login page, S256
//! PKCE, single-use codes, a signed ID token, userinfo. It keeps everything in memory and lets everyone in who clicks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    crypto::{
        Random,
        hash::{same, sha256},
        jwt::{Alg, SigningKey},
    },
    domain::{Clock, Instant},
};

/// Our client id there.
pub(super) const CLIENT_ID: &str = "vestibule-dev";
/// Codes and logins under way live this long.
const BRIEF: Duration = Duration::from_secs(300);
/// Tokens live this long.
const LONG: Duration = Duration::from_secs(3600);
/// More than this many of anything are not kept.
const MOST: usize = 1000;

/// The provider, shared with the MCP server, which asks it whether a token is real.
pub(super) struct Provider {
    issuer: String,
    callback: String,
    secret: String,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    logins: HashMap<String, (Instant, Login)>,
    codes: HashMap<String, (Instant, Login)>,
    access: HashMap<String, (Instant, ())>,
    refresh: HashMap<String, (Instant, ())>,
}

/// `GET /authorize`, OpenID Connect Core §3.1.2.1 with RFC 7636 §4.3.
#[derive(Debug, Clone, Deserialize)]
struct Login {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    state: String,
    #[serde(default)]
    nonce: Option<String>,
    code_challenge: String,
    code_challenge_method: String,
}

impl Provider {
    /// A provider at `issuer` that knows one app, with `callback` as its redirect URI.
    pub(super) fn new(
        issuer: String,
        callback: String,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> anyhow::Result<Arc<Self>> {
        let key = SigningKey::generate(Alg::Es256, "dev")?;
        let secret = text(&*random);
        Ok(Arc::new(Self { issuer, callback, secret, key, clock, random, state: Mutex::default() }))
    }

    /// Its address, as it signs it.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The app's secret there.
    pub(super) fn client_secret(&self) -> &str {
        &self.secret
    }

    /// Whether `token` is an access token that this provider gave out.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.state().access.get(token).is_some_and(|(expires, ())| *expires > self.clock.now())
    }

    /// Its endpoints.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/authorize", get(authorize))
            .route("/login", post(login))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, Issued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers `value` under a fresh name.
    fn keep<T>(&self, shelf: &mut HashMap<String, (Instant, T)>, value: T, life: Duration) -> String {
        let now = self.clock.now();
        if shelf.len() >= MOST {
            shelf.retain(|_, (expires, _)| *expires > now);
        }
        if shelf.len() >= MOST {
            shelf.clear();
        }
        let name = text(&*self.random);
        shelf.insert(name.clone(), (now + life, value));
        name
    }

    fn take<T>(&self, shelf: &mut HashMap<String, (Instant, T)>, name: &str) -> Option<T> {
        shelf.remove(name).filter(|(expires, _)| *expires > self.clock.now()).map(|(_, value)| value)
    }

    fn person(&self) -> Value {
        json!({
            "sub": "ann", "email": "ann@example.com", "email_verified": true,
            "name": "Ann Example", "preferred_username": "ann",
        })
    }

    fn id_token(&self, nonce: Option<&str>) -> anyhow::Result<String> {
        let mut claims = self.person();
        let now = self.clock.now();
        claims["iss"] = json!(self.issuer);
        claims["aud"] = json!(CLIENT_ID);
        claims["iat"] = json!(now.secs());
        claims["exp"] = json!((now + BRIEF).secs());
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        Ok(self.key.sign("JWT", claims.to_string().as_bytes())?)
    }
}

/// 256 bits as text.
pub(super) fn text(random: &dyn Random) -> String {
    URL_SAFE_NO_PAD.encode(random.bytes::<32>())
}

async fn metadata(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [provider.key.alg().as_str()],
        "scopes_supported": ["openid", "email", "profile", "offline_access"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(json!({ "keys": provider.key.public_jwk().into_iter().collect::<Vec<_>>() }))
}

async fn authorize(State(provider): State<Arc<Provider>>, Query(login): Query<Login>) -> Response {
    let sound = login.response_type == "code"
        && login.client_id == CLIENT_ID
        && login.redirect_uri == provider.callback
        && login.code_challenge_method == "S256";
    if !sound {
        return (StatusCode::BAD_REQUEST, "this provider knows one app, one callback and S256").into_response();
    }
    let name = provider.keep(&mut provider.state().logins, login, BRIEF);
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Log in</title><style>body{{font:1.1rem/1.5 system-ui;max-width:26rem;margin:15vh auto;padding:0 1rem;\
         color-scheme:light dark}}button{{font:inherit;padding:.6rem 1.2rem;width:100%}}</style>\
         <h1>The dev provider</h1><p>This stands where Google or GitHub would. One person lives here.</p>\
         <form method=post action=\"/login\"><input type=\"hidden\" name=\"login\" value=\"{name}\">\
         <button type=\"submit\" name=\"decision\" value=\"approve\">Log in as Ann (ann@example.com)</button></form>"
    ))
    .into_response()
}

#[derive(Deserialize)]
struct Click {
    login: String,
}

async fn login(State(provider): State<Arc<Provider>>, Form(click): Form<Click>) -> Response {
    let Some(login) = provider.take(&mut provider.state().logins, &click.login) else {
        return (StatusCode::BAD_REQUEST, "this login was used or is too old; begin again").into_response();
    };
    let state = login.state.clone();
    let code = provider.keep(&mut provider.state().codes, login, BRIEF);
    let query = [("code", &code), ("state", &state), ("iss", &provider.issuer)];
    match serde_urlencoded::to_string(query) {
        Ok(query) => Redirect::to(&format!("{}?{query}", provider.callback)).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// RFC 6749 §4.1.3 and §6.
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    client_secret: String,
}

async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(provider.basic_pair()));
    let by_basic = headers.get(header::AUTHORIZATION).is_some_and(|sent| same(sent.as_bytes(), basic.as_bytes()));
    if !by_basic && !same(request.client_secret.as_bytes(), provider.secret.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response();
    }
    let nonce = match &*request.grant_type {
        "authorization_code" => {
            let Some(login) = provider.take(&mut provider.state().codes, &request.code) else {
                return refuse("invalid_grant");
            };
            let challenge = URL_SAFE_NO_PAD.encode(sha256(request.code_verifier.as_bytes()));
            if challenge != login.code_challenge || request.redirect_uri != login.redirect_uri {
                return refuse("invalid_grant");
            }
            login.nonce
        }
        "refresh_token" => match provider.take(&mut provider.state().refresh, &request.refresh_token) {
            Some(()) => None,
            None => return refuse("invalid_grant"),
        },
        _ => return refuse("unsupported_grant_type"),
    };
    let Ok(id_token) = provider.id_token(nonce.as_deref()) else { return refuse("server_error") };
    let access = provider.keep(&mut provider.state().access, (), LONG);
    let refresh = provider.keep(&mut provider.state().refresh, (), 24 * LONG);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let body = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": LONG.as_secs(),
        "refresh_token": refresh, "id_token": id_token, "scope": "openid email profile",
    });
    (no_store, Json(body)).into_response()
}

impl Provider {
    /// Both halves consist of characters that form encoding leaves alone (RFC 6749 §2.3.1).
    fn basic_pair(&self) -> String {
        format!("{CLIENT_ID}:{}", self.secret)
    }
}

async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.is_some_and(|token| provider.knows(token)) {
        true => Json(provider.person()).into_response(),
        false => {
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")]).into_response()
        }
    }
}
