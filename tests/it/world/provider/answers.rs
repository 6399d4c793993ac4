//! What the fake provider answers.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{At, CLIENT_ID, CLIENT_SECRET, FakeProvider, Fault, Key, Profile, Received};

type Form = BTreeMap<String, String>;

pub(super) async fn answer(
    State(fake): State<FakeProvider>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Received {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers.iter().map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into())).collect(),
        body: String::from_utf8_lossy(&body).into(),
    };
    fake.state().received.push(request.clone());
    let github = fake.profile == Profile::Github;
    match request.path.as_str() {
        path if !github && path.ends_with("/.well-known/openid-configuration") => {
            with_faults(&fake, At::Discovery, |fake| fake.discovery()).await
        }
        "/jwks" if !github => with_faults(&fake, At::Jwks, |fake| json_of(200, &fake.jwks())).await,
        "/authorize" => fake.authorize(&form(&request.query)),
        "/token" => with_faults(&fake, At::Token, |fake| fake.token(&request)).await,
        "/userinfo" | "/user" => with_faults(&fake, At::Userinfo, |fake| fake.userinfo(&request)).await,
        "/user/emails" if github => with_faults(&fake, At::Emails, |fake| fake.emails(&request)).await,
        "/revoke" => fake.revoke(&request),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn with_faults(fake: &FakeProvider, at: At, answer: impl FnOnce(&FakeProvider) -> Response) -> Response {
    if fake.has(Fault::Hang(at)) {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    if fake.has(Fault::Error500(at)) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "stack trace of the provider").into_response();
    }
    if fake.has(Fault::Html(at)) {
        return axum_page("<!doctype html><title>Down for maintenance</title>");
    }
    if fake.has(Fault::Endless(at)) {
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536])));
        return ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(endless)).into_response();
    }
    answer(fake)
}

fn axum_page(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

fn json_of(status: u16, value: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], value.to_string()).into_response()
}

fn form(text: &str) -> Form {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn redirect(to: &str, parameters: &[(&str, &str)]) -> Response {
    let mut url = url::Url::parse(to).expect("an absolute redirect URI");
    url.query_pairs_mut().extend_pairs(parameters);
    (StatusCode::FOUND, [(header::LOCATION, url.to_string())]).into_response()
}

impl FakeProvider {
    fn discovery(&self) -> Response {
        let base = &self.base;
        let cognito = self.profile == Profile::Cognito;
        let issuer = if self.has(Fault::DiscoveryIssuer) { format!("{}/", self.issuer()) } else { self.issuer() };
        let token =
            if self.has(Fault::DiscoveryScheme) { "ftp://127.0.0.1/token".into() } else { format!("{base}/token") };
        let mut metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": token,
            "userinfo_endpoint": format!("{base}/userinfo"),
            "revocation_endpoint": format!("{base}/revoke"),
            "jwks_uri": format!("{base}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.state().key.algorithm()],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        });
        if !cognito {
            metadata["code_challenge_methods_supported"] = json!(["S256"]);
            metadata["authorization_response_iss_parameter_supported"] = json!(true);
        }
        json_of(200, &metadata)
    }

    fn jwks(&self) -> Value {
        // A key of a kind nobody knows must not spoil the rest.
        json!({ "keys": [{ "kty": "XYZ", "kid": "odd" }, self.state().key.public()] })
    }

    fn authorize(&self, query: &Form) -> Response {
        let page = |text: &'static str| (StatusCode::BAD_REQUEST, text).into_response();
        let get = |name: &str| query.get(name).map_or("", String::as_str);
        if get("client_id") != CLIENT_ID {
            return page("unknown client");
        }
        if !get("redirect_uri").contains("/callback/") {
            return page("unknown redirect URI");
        }
        let (to, state) = (get("redirect_uri"), get("state"));
        let iss = if self.has(Fault::CallbackIss) { "https://attacker.example".to_owned() } else { self.issuer() };
        let with_iss = matches!(self.profile, Profile::Oidc | Profile::OidcBare) && !self.has(Fault::NoCallbackIss);
        let mut reply = vec![("state", state)];
        if with_iss {
            reply.push(("iss", &iss));
        }
        let refuse = |error: &'static str| {
            let script = ("error_description", "<script>alert('of the provider')</script>");
            redirect(to, &[&[("error", error), script], reply.as_slice()].concat())
        };
        if self.has(Fault::Denied) {
            return refuse("access_denied");
        }
        if get("response_type") != "code" || get("code_challenge_method") != "S256" || get("code_challenge").len() != 43
        {
            return refuse("invalid_request");
        }
        if self.profile == Profile::Cognito {
            let known = [
                "client_id",
                "redirect_uri",
                "response_type",
                "scope",
                "state",
                "nonce",
                "code_challenge",
                "code_challenge_method",
                "lang",
                "identity_provider",
            ];
            if query.keys().any(|name| !known.contains(&name.as_str())) {
                return refuse("invalid_request");
            }
            if get("scope").split(' ').any(|scope| scope == "offline_access") {
                return refuse("invalid_scope");
            }
        }
        let mut held = self.state();
        held.issued += 1;
        let code = format!("provider-code-{}", held.issued);
        held.codes.insert(code.clone(), query.clone());
        drop(held);
        redirect(to, &[&[("code", code.as_str())], reply.as_slice()].concat())
    }

    fn token(&self, request: &Received) -> Response {
        let form = form(&request.body);
        let answer = self.token_answer(request, &form);
        let (status, value) = match answer {
            Ok(value) => (200, value),
            // GitHub tells its errors with a smile.
            Err(error) if self.profile == Profile::Github => {
                (200, json!({ "error": error, "error_description": "of the provider" }))
            }
            Err("invalid_client") => (401, json!({ "error": "invalid_client" })),
            Err(error) => (400, json!({ "error": error, "error_description": "of the provider" })),
        };
        let wants_json = request.headers.get("accept").is_some_and(|accept| accept.contains("application/json"));
        if self.profile == Profile::Github && !wants_json {
            let pairs = value.as_object().expect("an object").iter();
            let pairs = pairs.map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned)));
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            return ([(header::CONTENT_TYPE, "application/x-www-form-urlencoded")], body).into_response();
        }
        json_of(status, &value)
    }

    fn token_answer(&self, request: &Received, form: &Form) -> Result<Value, &'static str> {
        let github = self.profile == Profile::Github;
        if !authenticated(request, form) {
            return Err(if github { "incorrect_client_credentials" } else { "invalid_client" });
        }
        let get = |name: &str| form.get(name).map_or("", String::as_str);
        let known =
            ["grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "client_id", "client_secret"];
        if self.profile == Profile::Cognito && form.keys().any(|name| !known.contains(&name.as_str())) {
            return Err("invalid_grant"); // that is what Cognito says of a `resource` it does not know
        }
        match get("grant_type") {
            "authorization_code" => {
                let bad = if github { "bad_verification_code" } else { "invalid_grant" };
                let asked = self.state().codes.remove(get("code")).ok_or(bad)?;
                let s256 = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
                if asked.get("redirect_uri").map(String::as_str) != Some(get("redirect_uri"))
                    || asked.get("code_challenge") != Some(&s256)
                {
                    return Err(bad);
                }
                Ok(self.tokens(Some(&asked)))
            }
            "refresh_token" => {
                let known = self.state().refresh.remove(get("refresh_token"));
                if !known || self.has(Fault::InvalidGrant) {
                    return Err(if github { "bad_refresh_token" } else { "invalid_grant" });
                }
                if self.profile == Profile::Cognito {
                    self.state().refresh.insert(get("refresh_token").to_owned());
                }
                Ok(self.tokens(None))
            }
            _ => Err("unsupported_grant_type"),
        }
    }

    /// A token answer; with an ID token where an authorize request asked for one.
    pub(super) fn tokens(&self, asked: Option<&Form>) -> Value {
        let mut state = self.state();
        state.issued += 1;
        let (access, refresh) = (format!("provider-at-{}", state.issued), format!("provider-rt-{}", state.issued));
        state.access.insert(access.clone());
        let mut answer = json!({ "access_token": access, "token_type": "Bearer" });
        let scope = asked.and_then(|asked| asked.get("scope")).cloned();
        // Cognito repeats no refresh token at a refresh; GitHub's OAuth Apps have none.
        let refreshes = match self.profile {
            Profile::Github => false,
            Profile::Cognito => asked.is_some(),
            Profile::Oidc | Profile::OidcBare => true,
        };
        if refreshes && !state.faults.contains(&Fault::NoRefresh) {
            state.refresh.insert(refresh.clone());
            answer["refresh_token"] = refresh.into();
        }
        let odd = state.faults.contains(&Fault::OddTokens);
        drop(state);
        match (self.profile, scope) {
            (Profile::Github, scope) => {
                answer["token_type"] = "bearer".into();
                answer["scope"] = scope.unwrap_or_default().replace(' ', ",").into();
                return answer;
            }
            (Profile::Oidc | Profile::OidcBare, Some(scope)) => answer["scope"] = scope.into(),
            _ => {}
        }
        answer["expires_in"] = if self.has(Fault::ShortLived) { 120 } else { 3600 }.into();
        if let Some(asked) = asked.filter(|_| !self.has(Fault::NoIdToken)) {
            answer["id_token"] = self.id_token(asked, &access).into();
        }
        if odd {
            answer["expires_in"] = "3600".into();
            answer["scope"] = json!(["openid", "email"]);
            answer.as_object_mut().expect("an object").remove("token_type");
        }
        answer
    }

    fn id_token(&self, asked: &Form, access: &str) -> String {
        let now = self.clock.now().secs();
        let or = |fault: Fault, bad: Value, good: Value| if self.has(fault) { bad } else { good };
        let hash = Sha256::digest(access);
        let mut claims = json!({
            "iss": or(Fault::TokenIssuer, "https://attacker.example".into(), self.issuer().into()),
            "aud": or(Fault::Audience, "another-app".into(), CLIENT_ID.into()),
            "iat": or(Fault::Future, (now + 86_400).into(), now.into()),
            "exp": or(Fault::Expired, (now - 3600).into(), (now + 3600).into()),
            "nonce": or(Fault::Nonce, "another".into(), asked.get("nonce").cloned().into()),
            "at_hash": or(Fault::AtHash, "AAAAAAAAAAAAAAAAAAAAAA".into(), URL_SAFE_NO_PAD.encode(&hash[..16]).into()),
        });
        if self.has(Fault::Azp) {
            claims["azp"] = "another-app".into();
        }
        let person = self.claims();
        for (name, value) in person.as_object().expect("an object") {
            if name == "sub" || self.profile != Profile::OidcBare {
                claims[name] = value.clone();
            }
        }
        if self.has(Fault::AlgNone) {
            let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
            return format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()));
        }
        if self.has(Fault::Hs256) {
            let key = jsonwebtoken::EncodingKey::from_secret(CLIENT_SECRET.as_bytes());
            return jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("signs");
        }
        if self.has(Fault::Signature) {
            // The right name on the wrong key.
            let honest = self.state().key.sign(&claims);
            let forged = Key::es256(99).sign(&claims);
            let (head, _) = honest.rsplit_once('.').expect("three parts");
            return format!("{head}.{}", forged.rsplit_once('.').expect("three parts").1);
        }
        self.state().key.sign(&claims)
    }

    /// The person, as this profile describes people.
    fn claims(&self) -> Value {
        let person = self.state().person.clone();
        let mut claims = json!({
            "sub": person.sub,
            "email": person.email,
            "email_verified": person.verified,
            "name": person.name,
        });
        if self.profile == Profile::Cognito {
            claims["email_verified"] = person.verified.to_string().into();
            claims["cognito:username"] = "ada".into();
        }
        claims
    }

    fn userinfo(&self, request: &Received) -> Response {
        if let Some(refusal) = self.without_bearer(request) {
            return refusal;
        }
        let mut claims = self.claims();
        if self.has(Fault::OtherPerson) {
            claims["sub"] = "person-2".into();
        }
        if self.profile == Profile::Github {
            let person = self.state().person.clone();
            // The profile hides the address, as most do.
            claims = json!({
                "login": "ada", "id": person.sub.parse::<u64>().expect("a number"), "email": null, "name": person.name,
            });
        }
        json_of(200, &claims)
    }

    fn emails(&self, request: &Received) -> Response {
        if let Some(refusal) = self.without_bearer(request) {
            return refusal;
        }
        let person = self.state().person.clone();
        json_of(
            200,
            &json!([
                { "email": "old@example.org", "primary": false, "verified": true, "visibility": null },
                { "email": person.email, "primary": true, "verified": person.verified, "visibility": "private" },
            ]),
        )
    }

    /// The refusal of a request without a token that lives here.
    fn without_bearer(&self, request: &Received) -> Option<Response> {
        if !request.headers.contains_key("user-agent") {
            return Some((StatusCode::FORBIDDEN, "Request forbidden by administrative rules.").into_response());
        }
        let token = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if self.knows_access(token) => None,
            _ => Some(json_of(401, &json!({ "error": "invalid_token" }))),
        }
    }

    fn revoke(&self, request: &Received) -> Response {
        let form = form(&request.body);
        if !authenticated(request, &form) {
            return json_of(401, &json!({ "error": "invalid_client" }));
        }
        let token = form.get("token").map_or("", String::as_str);
        let mut state = self.state();
        state.access.remove(token);
        state.refresh.remove(token);
        StatusCode::OK.into_response()
    }
}

/// `client_secret_basic` with both halves form-decoded (RFC 6749 §2.3.1), or `client_secret_post`; never both.
fn authenticated(request: &Received, form: &Form) -> bool {
    let posted =
        form.get("client_secret").map(|secret| (form.get("client_id").cloned().unwrap_or_default(), secret.clone()));
    let basic = request.headers.get("authorization").and_then(|value| value.strip_prefix("Basic ")).and_then(|value| {
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        let decode = |half: &str| {
            url::form_urlencoded::parse(format!("x={half}").as_bytes()).next().map(|(_, value)| value.into_owned())
        };
        Some((decode(id)?, decode(secret)?))
    });
    match (basic, posted) {
        (Some(pair), None) | (None, Some(pair)) => pair == (CLIENT_ID.into(), CLIENT_SECRET.into()),
        _ => false,
    }
}
