//! The transcript of each preset: authorize URL, token request, identity (behaviour 20: pinned).

use proptest::prelude::*;
use serde_json::Value;
use vestibule::{
    domain::{HttpsUrl, Secret, UpstreamName},
    upstream::{
        self, Provider, presets,
        provider::{EndpointTexts, Overrides},
    },
};

use super::kit::{Bench, begin, lines, of, transcript};
use crate::world::{
    ManualClock,
    provider::{Person, Profile},
};

/// The preset as published, endpoints fixed to what its discovery says, so that nothing is fetched.
fn published(preset: &str) -> upstream::Settings {
    let mut overrides = Overrides::default();
    let mut at = |authorize: &str, token: &str, jwks: &str| {
        overrides.endpoints = EndpointTexts {
            authorize: Some(authorize.into()),
            token: Some(token.into()),
            jwks: Some(jwks.into()),
            ..EndpointTexts::default()
        };
    };
    match preset {
        "google" => at(
            "https://accounts.google.com/o/oauth2/v2/auth",
            "https://oauth2.googleapis.com/token",
            "https://www.googleapis.com/oauth2/v3/certs",
        ),
        "auth0" => at(
            "https://acme.eu.auth0.com/authorize",
            "https://acme.eu.auth0.com/oauth/token",
            "https://acme.eu.auth0.com/.well-known/jwks.json",
        ),
        "cognito" => at(
            "https://acme.auth.eu-central-1.amazoncognito.com/oauth2/authorize",
            "https://acme.auth.eu-central-1.amazoncognito.com/oauth2/token",
            "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/jwks.json",
        ),
        "oidc" => {
            at("https://id.example.org/auth", "https://id.example.org/token", "https://id.example.org/jwks");
            overrides.issuer = Some("https://id.example.org".into());
        }
        _ => {}
    }
    let variables: &[(&str, &str)] = match preset {
        "auth0" => &[("domain", "acme.eu.auth0.com")],
        "cognito" => &[("region", "eu-central-1"), ("pool", "eu-central-1_AbCdEfGhI")],
        _ => &[],
    };
    overrides.variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    upstream::Settings {
        name: UpstreamName::parse(preset).unwrap(),
        provider: Provider::preset(preset).unwrap().fill(&overrides).unwrap(),
        client_id: "our-client".into(),
        client_secret: Some(Secret::from("our-secret")),
        callback: HttpsUrl::parse(&format!("https://mcp.example.com/callback/{preset}"), false).unwrap(),
    }
}

async fn authorize_url(preset: &str, scopes: &[&str]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let upstream = of(published(preset), ManualClock::new());
    lines(&begin(&upstream, &scopes).await.unwrap())
}

#[tokio::test]
async fn google_authorize_url() {
    insta::assert_snapshot!(authorize_url("google", &["https://www.googleapis.com/auth/drive.readonly"]).await, @"
    https://accounts.google.com/o/oauth2/v2/auth
    response_type=code
    client_id=our-client
    state=vs_state
    code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM
    code_challenge_method=S256
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fgoogle
    scope=openid%20email%20profile%20https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdrive.readonly
    nonce=our-nonce
    access_type=offline
    prompt=consent
    ");
}

#[tokio::test]
async fn github_authorize_url() {
    insta::assert_snapshot!(authorize_url("github", &["repo"]).await, @"
    https://github.com/login/oauth/authorize
    response_type=code
    client_id=our-client
    state=vs_state
    code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM
    code_challenge_method=S256
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fgithub
    scope=read%3Auser%20user%3Aemail%20repo
    ");
}

#[tokio::test]
async fn auth0_authorize_url() {
    insta::assert_snapshot!(authorize_url("auth0", &[]).await, @"
    https://acme.eu.auth0.com/authorize
    response_type=code
    client_id=our-client
    state=vs_state
    code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM
    code_challenge_method=S256
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fauth0
    scope=openid%20email%20profile%20offline_access
    nonce=our-nonce
    ");
}

#[tokio::test]
async fn cognito_authorize_url() {
    insta::assert_snapshot!(authorize_url("cognito", &["https://api.example.com/read"]).await, @"
    https://acme.auth.eu-central-1.amazoncognito.com/oauth2/authorize
    response_type=code
    client_id=our-client
    state=vs_state
    code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM
    code_challenge_method=S256
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fcognito
    scope=openid%20email%20profile%20https%3A%2F%2Fapi.example.com%2Fread
    nonce=our-nonce
    ");
}

#[tokio::test]
async fn oidc_authorize_url() {
    insta::assert_snapshot!(authorize_url("oidc", &["profile", "calendar"]).await, @"
    https://id.example.org/auth
    response_type=code
    client_id=our-client
    state=vs_state
    code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM
    code_challenge_method=S256
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Foidc
    scope=openid%20email%20profile%20calendar
    nonce=our-nonce
    ");
}

#[test]
fn rule_13_the_issuers_of_the_presets_are_what_their_providers_write() {
    let issuers: Vec<_> = presets::names()
        .map(|name| format!("{name}: {}", published(name).provider.issuer.unwrap_or("none".into())))
        .collect();
    insta::assert_snapshot!(issuers.join("\n"), @"
    auth0: https://acme.eu.auth0.com/
    cognito: https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI
    github: none
    google: https://accounts.google.com
    oidc: https://id.example.org
    ");
}

/// The preset against a fake: its token request and the person it makes.
async fn transcript_of(preset: &str, profile: Profile) -> String {
    let bench = Bench::with(profile, |settings| {
        let published = published(preset).provider;
        // All of the preset but its addresses.
        settings.provider = Provider {
            issuer: settings.provider.issuer.clone(),
            endpoints: settings.provider.endpoints.clone(),
            ..published
        };
    })
    .await;
    let (tokens, identity) = bench.log_in().await.unwrap();
    let mut text = bench.token_request();
    for request in bench.fake.received().iter().filter(|request| request.path.starts_with("/user")) {
        text.push_str("\n\n");
        text.push_str(&transcript(request));
    }
    let identity = serde_json::to_string_pretty(&identity).unwrap();
    let life = tokens.expires.map(|end| end.since(crate::world::clock::DAWN).as_secs());
    text + &format!("\n{identity}\nrefresh: {}, life: {life:?}, scope: {:?}", tokens.refresh.is_some(), tokens.scope)
}

#[tokio::test]
async fn google_transcript() {
    insta::assert_snapshot!(transcript_of("google", Profile::Oidc).await, @r#"
    POST /token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    user-agent: vestibule/0.1.0
    grant_type=authorization_code
    code=provider-code-1
    code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
    client_id=vestibule%40provider
    client_secret=pass%3Aword%2B%2F%25+%21
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fidp
    {
      "subject": "idp:person-1",
      "email": "ada@example.com",
      "email_verified": true,
      "name": "Ada Lovelace"
    }
    refresh: true, life: Some(3600), scope: Some("openid email profile")
    "#);
}

#[tokio::test]
async fn github_transcript() {
    insta::assert_snapshot!(transcript_of("github", Profile::Github).await, @r#"
    POST /token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    user-agent: vestibule/0.1.0
    grant_type=authorization_code
    code=provider-code-1
    code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
    client_id=vestibule%40provider
    client_secret=pass%3Aword%2B%2F%25+%21
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fidp

    GET /user
    accept: application/json
    authorization: Bearer provider-at-2
    user-agent: vestibule/0.1.0


    GET /user/emails
    accept: application/json
    authorization: Bearer provider-at-2
    user-agent: vestibule/0.1.0

    {
      "subject": "idp:583231",
      "email": "ada@example.com",
      "email_verified": true,
      "name": "Ada Lovelace",
      "username": "ada"
    }
    refresh: false, life: None, scope: Some("read:user user:email")
    "#);
}

#[tokio::test]
async fn auth0_transcript() {
    insta::assert_snapshot!(transcript_of("auth0", Profile::Oidc).await, @r#"
    POST /token
    accept: application/json
    content-type: application/x-www-form-urlencoded
    user-agent: vestibule/0.1.0
    grant_type=authorization_code
    code=provider-code-1
    code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
    client_id=vestibule%40provider
    client_secret=pass%3Aword%2B%2F%25+%21
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fidp
    {
      "subject": "idp:person-1",
      "email": "ada@example.com",
      "email_verified": true,
      "name": "Ada Lovelace"
    }
    refresh: true, life: Some(3600), scope: Some("openid email profile offline_access")
    "#);
}

#[tokio::test]
async fn cognito_transcript() {
    insta::assert_snapshot!(transcript_of("cognito", Profile::Cognito).await, @r#"
    POST /token
    accept: application/json
    authorization: Basic dmVzdGlidWxlJTQwcHJvdmlkZXI6cGFzcyUzQXdvcmQlMkIlMkYlMjUrJTIx
    content-type: application/x-www-form-urlencoded
    user-agent: vestibule/0.1.0
    grant_type=authorization_code
    code=provider-code-1
    code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fidp
    {
      "subject": "idp:person-1",
      "email": "ada@example.com",
      "email_verified": true,
      "name": "Ada Lovelace",
      "username": "ada"
    }
    refresh: true, life: Some(3600), scope: None
    "#);
}

#[tokio::test]
async fn oidc_transcript() {
    insta::assert_snapshot!(transcript_of("oidc", Profile::OidcBare).await, @r#"
    POST /token
    accept: application/json
    authorization: Basic dmVzdGlidWxlJTQwcHJvdmlkZXI6cGFzcyUzQXdvcmQlMkIlMkYlMjUrJTIx
    content-type: application/x-www-form-urlencoded
    user-agent: vestibule/0.1.0
    grant_type=authorization_code
    code=provider-code-1
    code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
    redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fidp

    GET /userinfo
    accept: application/json
    authorization: Bearer provider-at-2
    user-agent: vestibule/0.1.0

    {
      "subject": "idp:person-1",
      "email": "ada@example.com",
      "email_verified": true,
      "name": "Ada Lovelace"
    }
    refresh: true, life: Some(3600), scope: Some("openid email profile")
    "#);
}

#[tokio::test]
async fn d15_an_unverified_address_stays_unverified_everywhere() {
    for profile in [Profile::Oidc, Profile::OidcBare, Profile::Github, Profile::Cognito] {
        let bench = Bench::new(profile).await;
        bench.fake.set_person(Person {
            sub: "77".into(),
            email: "eve@example.com".into(),
            verified: false,
            name: "Eve".into(),
        });
        let (_, identity) = bench.log_in().await.unwrap();
        assert_eq!(identity.verified_email(), None, "{profile:?}");
        assert_eq!(identity.subject.as_str(), "idp:77", "{profile:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Behaviour 20: whatever the Resource's scopes are, the URL has our parameters and the preset's, each once, and
    /// none that an MCP client could have chosen.
    #[test]
    fn behaviour_20_nothing_of_the_clients_goes_up(scopes in prop::collection::vec("[!#-\\[\\]-~]{1,20}", 0..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for preset in presets::names() {
            let upstream = of(published(preset), ManualClock::new());
            let url = runtime.block_on(begin(&upstream, &scopes)).unwrap();
            let mut names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
            names.sort();
            let mut expected = vec![
                "client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state",
            ];
            expected.extend(if preset == "github" { &[][..] } else { &["nonce"] });
            expected.extend(if preset == "google" { &["access_type", "prompt"][..] } else { &[] });
            expected.sort_unstable();
            prop_assert_eq!(names, expected, "{}", preset);
            prop_assert!(!url.as_str().contains('+'));
            let asked = url.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
            for scope in &scopes {
                prop_assert!(asked.split(' ').any(|one| one == scope));
            }
        }
    }
}

#[test]
fn no_preset_sends_what_belongs_to_the_client() {
    for name in presets::names() {
        let text: toml::Table = presets::text(name).unwrap().parse().unwrap();
        let value = serde_json::to_value(&text).unwrap();
        let params = value.pointer("/authorize/params").and_then(Value::as_object).cloned().unwrap_or_default();
        assert!(params.keys().all(|key| !["resource", "audience", "scope", "state"].contains(&key.as_str())), "{name}");
    }
}
