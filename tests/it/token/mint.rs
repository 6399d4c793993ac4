//! What an access token looks like, how long it lives, and that others can read it.

use std::time::Duration;

use jsonwebtoken::{Algorithm as Judged, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::decrypt,
    domain::{Scope, Secret},
    token::{Algorithm, MintFailed},
};

use super::kit::{Bench, SHARED, grant, hs256, part, resource, settings};
use crate::world::{clock::DAWN, keyring};

#[tokio::test]
async fn tok_4_the_claims_and_header_of_rfc_9068() {
    let (_bench, mint, grant) = Bench::ready().await;
    let minted = mint.mint(&grant, &grant.scope).await.unwrap();
    assert_eq!(minted.life, Duration::from_secs(3600));
    let token = minted.token.expose();
    let (mut header, mut claims) = (part(token, 0), part(token, 1));
    for (name, value) in [("kid", &mut header["kid"]), ("jti", &mut claims["jti"])] {
        assert!(value.as_str().unwrap().len() >= 12, "{name}");
        *value = json!("…");
    }
    assert_eq!(claims["upstream_token"].as_str().unwrap().split('.').count(), 5);
    claims["upstream_token"] = json!("…");
    insta::assert_snapshot!(header, @r#"{"typ":"at+jwt","alg":"ES256","kid":"…"}"#);
    insta::assert_snapshot!(serde_json::to_string_pretty(&claims).unwrap(), @r#"
    {
      "iss": "https://mcp.example.com",
      "sub": "github:42",
      "aud": "https://mcp.example.com/notes",
      "client_id": "the-client",
      "scope": "read write",
      "iat": 1793610000,
      "exp": 1793613600,
      "jti": "…",
      "auth_time": 1793609980,
      "gid": "AQEBAQEBAQEBAQEBAQEBAQ",
      "email": "alice@example.com",
      "email_verified": true,
      "name": "Alice \"Al\" Ünal",
      "preferred_username": "alice",
      "groups": [
        "staff",
        "dev"
      ],
      "upstream_token": "…"
    }
    "#);
}

#[tokio::test]
async fn identity_claims_are_those_that_were_configured() {
    let bench = Bench::new();
    let mut settings = settings(Algorithm::Es256);
    settings.claims = vec![];
    let mint = bench.open(settings).await;
    let claims = part(mint.mint(&grant(1), &Scope::default()).await.unwrap().token.expose(), 1);
    for name in ["email", "email_verified", "name", "preferred_username", "groups"] {
        assert!(claims.get(name).is_none(), "{name}");
    }
    assert_eq!(claims["scope"], "");
}

#[tokio::test]
async fn d4_the_upstream_token_travels_sealed_for_its_resource() {
    let (_bench, mint, grant) = Bench::ready().await;
    let claims = part(mint.mint(&grant, &grant.scope).await.unwrap().token.expose(), 1);
    let (jti, jwe) = (claims["jti"].as_str().unwrap(), claims["upstream_token"].as_str().unwrap());
    let aud = grant.resource.as_str();
    let keys = keyring().resource_keys(&grant.resource);
    assert_eq!(decrypt(&keys, jti, aud, jwe).unwrap().expose(), b"gho_upstream");
    assert!(decrypt(&keys, "another", aud, jwe).is_err());
    assert!(decrypt(&keyring().resource_keys(&resource("/files")), jti, aud, jwe).is_err());
    assert!(!claims.to_string().contains("gho_upstream"));
}

#[tokio::test]
async fn tok_5_an_upstream_token_that_would_burst_a_header_line_stays_out() {
    let (bench, mint, mut grant) = Bench::ready().await;
    for (length, carried) in
        [(3700, Some(true)), (3850, None), (3900, None), (4097, Some(false)), (60_000, Some(false))]
    {
        grant.login.as_mut().unwrap().tokens.access = Secret::new("x".repeat(length));
        bench.store.put(&grant).await.unwrap();
        let token = mint.mint(&grant, &grant.scope).await.unwrap().token;
        let found = part(token.expose(), 1).get("upstream_token").is_some();
        assert_eq!(found, carried.unwrap_or(found), "{length}");
        let line = "Authorization: Bearer ".len() + token.expose().len();
        assert!(line < 8192, "{length}: {line}");
        let caller = mint.verify(token.expose(), &grant.resource).await.unwrap();
        assert_eq!(
            caller.upstream_token.as_ref(),
            grant.tokens().map(|tokens| &tokens.access),
            "the gate takes it from the Grant"
        );
    }
}

#[tokio::test]
async fn tok_5_a_long_client_id_counts_too() {
    let (_bench, mint, mut grant) = Bench::ready().await;
    grant.login.as_mut().unwrap().tokens.access = Secret::new("x".repeat(3000));
    assert!(part(mint.mint(&grant, &grant.scope).await.unwrap().token.expose(), 1).get("upstream_token").is_some());
    grant.client = vestibule::domain::ClientId::new("c".repeat(2000));
    let token = mint.mint(&grant, &grant.scope).await.unwrap().token;
    assert!(part(token.expose(), 1).get("upstream_token").is_none());
    assert!(token.expose().len() < 8000);
}

#[tokio::test]
async fn d5_a_token_ends_before_the_upstream_token_it_spends() {
    let (bench, mint, mut grant) = Bench::ready().await;
    let cases = [
        (None, Some(3600)),
        (Some(86_400), Some(3600)),
        (Some(1000), Some(940)),
        (Some(120), Some(60)),
        (Some(60), Some(30)),
        (Some(2), Some(1)),
        (Some(1), None),
        (Some(0), None),
    ];
    for (rest, life) in cases {
        grant.login.as_mut().unwrap().tokens.expires = rest.map(|rest| bench.now() + Duration::from_secs(rest));
        match (mint.mint(&grant, &grant.scope).await, life) {
            (Ok(minted), Some(life)) => {
                assert_eq!(minted.life.as_secs(), life);
                let claims = part(minted.token.expose(), 1);
                assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), life);
            }
            (Err(MintFailed::UpstreamExpired), None) => {}
            (other, _) => panic!("{rest:?}: {other:?}"),
        }
    }
    grant.login.as_mut().unwrap().tokens.expires = Some(DAWN - Duration::from_secs(1));
    assert!(matches!(mint.mint(&grant, &grant.scope).await, Err(MintFailed::UpstreamExpired)));
}

#[tokio::test]
async fn a_second_that_has_begun_is_not_taken_off_a_tokens_life() {
    let (bench, mint, grant) = Bench::ready().await;
    bench.clock.advance(Duration::from_millis(1));
    let claims = part(mint.mint(&grant, &grant.scope).await.unwrap().token.expose(), 1);
    assert_eq!(claims["exp"].as_u64().unwrap(), bench.now().secs() + 3601);
}

#[tokio::test]
async fn a_token_does_not_outlive_its_grant() {
    let (_bench, mint, mut grant) = Bench::ready().await;
    grant.expires = DAWN + Duration::from_secs(100);
    assert_eq!(mint.mint(&grant, &grant.scope).await.unwrap().life, Duration::from_secs(100));
    grant.expires = DAWN;
    assert!(mint.mint(&grant, &grant.scope).await.is_err());
}

#[tokio::test]
async fn a_token_permits_no_more_than_its_grant() {
    let (_bench, mint, grant) = Bench::ready().await;
    let token = mint.mint(&grant, &Scope::parse("read admin")).await.unwrap().token;
    assert_eq!(part(token.expose(), 1)["scope"], "read");
}

#[tokio::test]
async fn two_tokens_are_never_alike() {
    let (_bench, mint, grant) = Bench::ready().await;
    let one = part(mint.mint(&grant, &grant.scope).await.unwrap().token.expose(), 1);
    let two = part(mint.mint(&grant, &grant.scope).await.unwrap().token.expose(), 1);
    assert_ne!(one["jti"], two["jti"]);
    assert_ne!(one["upstream_token"], two["upstream_token"]);
}

#[tokio::test]
async fn tok_4_any_jwt_library_verifies_by_the_published_keys() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let bench = Bench::new();
        let mint = bench.mint(algorithm).await;
        let token = mint.mint(&grant(1), &grant(1).scope).await.unwrap().token;
        let header = jsonwebtoken::decode_header(token.expose()).unwrap();
        assert_eq!(header.alg, mint.algorithm().parse::<Judged>().unwrap());
        let set: JwkSet = serde_json::from_slice(&mint.jwks()).unwrap();
        let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
        let read = judge(token.expose(), header.alg, &DecodingKey::from_jwk(jwk).unwrap());
        assert_eq!(read["sub"], "github:42", "{}", mint.algorithm());
    }
}

#[tokio::test]
async fn hs256_is_verified_by_the_shared_secret_and_publishes_nothing() {
    let bench = Bench::new();
    let mint = bench.mint(hs256()).await;
    assert_eq!(&mint.jwks()[..], br#"{"keys":[]}"#);
    assert_eq!(mint.algorithm(), "HS256");
    let token = mint.mint(&grant(1), &grant(1).scope).await.unwrap().token;
    assert_eq!(judge(token.expose(), Judged::HS256, &DecodingKey::from_secret(SHARED))["sub"], "github:42");
}

fn judge(token: &str, algorithm: Judged, key: &DecodingKey) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[resource("/notes").as_str()]);
    validation.set_issuer(&[super::kit::ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The oracle reads the wall clock; ours stands at another day.
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, key, &validation).unwrap().claims
}
