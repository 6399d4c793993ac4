//! Who gets through, who does not, and what that costs.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule::{
    crypto::{hash, jwt::SigningKey},
    domain::{Grant, GrantStage, RefreshToken, ResourceUri, Scope, Secret},
    store::Change,
    token::{Algorithm, Caller, Mint, Refused},
};

use super::kit::{Bench, ISSUER, SHARED, grant, hs256, part, resource};
use crate::world::{clock::DAWN, keyring, random};

fn outcome(verified: &Result<Arc<Caller>, Refused>) -> &'static str {
    match verified {
        Ok(_) => "ok",
        Err(Refused::Invalid) => "invalid",
        Err(Refused::Expired) => "expired",
        Err(Refused::WrongAudience) => "wrong audience",
        Err(Refused::Revoked) => "revoked",
        Err(Refused::Bound) => "bound",
        Err(Refused::NotBound | Refused::OtherKey | Refused::Proof(_)) => "not proven",
        Err(Refused::Unavailable(_)) => "unavailable",
    }
}

/// Twice: at first sight and from memory.
async fn twice(mint: &Mint, token: &str, resource: &ResourceUri) -> &'static str {
    let first = outcome(&mint.verify(token, resource).await);
    assert_eq!(first, outcome(&mint.verify(token, resource).await), "memory must not change the answer");
    first
}

async fn minted(mint: &Mint, grant: &Grant) -> String {
    mint.mint(grant, &grant.scope).await.unwrap().token.expose().clone()
}

#[tokio::test]
async fn rs_1_a_token_makes_its_caller() {
    let (_bench, mint, grant) = Bench::ready().await;
    let token = mint.mint(&grant, &Scope::parse("read")).await.unwrap().token;
    let caller = mint.verify(token.expose(), &grant.resource).await.unwrap();
    assert_eq!((caller.grant, &caller.client, &caller.identity), (grant.id, &grant.client, &grant.identity));
    assert_eq!((&caller.resource, &caller.scope), (&grant.resource, &Scope::parse("read")));
    assert_eq!(caller.upstream_token.as_ref().unwrap().expose(), "gho_upstream");
    assert_eq!(caller.expires, DAWN + Duration::from_secs(3600));
    let again = mint.verify(token.expose(), &grant.resource).await.unwrap();
    assert!(Arc::ptr_eq(&caller, &again));
}

#[tokio::test]
async fn s4_a_token_for_one_resource_fails_on_another() {
    let (_bench, mint, grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    for path in ["/files", "", "/note", "/notesx", "/notes/deep", "/NOTES"] {
        assert_eq!(twice(&mint, &token, &resource(path)).await, "wrong audience", "{path}");
    }
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
}

#[tokio::test]
async fn a_removed_grant_revokes_at_once() {
    let (bench, mint, grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
    bench.store.remove::<Grant>(&grant.id.to_string()).await.unwrap();
    assert_eq!(twice(&mint, &token, &grant.resource).await, "revoked");
    let unseen = minted(&mint, &grant).await;
    assert_eq!(twice(&mint, &unseen, &grant.resource).await, "revoked");
}

#[tokio::test]
async fn a_renewed_grant_hands_through_the_new_upstream_token() {
    let (bench, mint, grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
    let renew = |found: Option<Grant>| {
        let mut found = found.unwrap();
        found.login.as_mut().unwrap().tokens.access = "gho_renewed".into();
        (Change::Put(found), ())
    };
    bench.store.update(&grant.id.to_string(), renew).await.unwrap();
    let caller = mint.verify(&token, &grant.resource).await.unwrap();
    assert_eq!(caller.upstream_token.as_ref().unwrap().expose(), "gho_renewed");
    let reads = bench.reads();
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
    assert_eq!(bench.reads(), reads, "the new flag answers again");
}

#[tokio::test]
async fn d14_a_token_seen_before_asks_the_store_nothing() {
    let (bench, mint, grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    mint.verify(&token, &grant.resource).await.unwrap();
    let reads = bench.reads();
    bench.bar(true);
    for _ in 0..100 {
        mint.verify(&token, &grant.resource).await.unwrap();
    }
    assert_eq!(bench.reads(), reads);
}

/// A machine that slept may have missed everything: until its next round of reading it believes no flag (found by a
/// simulated history, seed 212752).
#[tokio::test]
async fn d14_a_process_that_slept_reads_before_it_believes() {
    let (bench, mint, grant) = Bench::ready().await;
    let (elsewhere, _) = bench.replica(Algorithm::Es256).await;
    let other = super::kit::grant(2);
    bench.store.put(&other).await.unwrap();
    let (seen, stays) = (minted(&mint, &grant).await, minted(&mint, &other).await);
    mint.verify(&seen, &grant.resource).await.unwrap();
    mint.verify(&stays, &other.resource).await.unwrap();
    elsewhere.remove::<Grant>(&grant.id.to_string()).await.unwrap();
    bench.clock.advance(Duration::from_millis(4_999));
    let reads = bench.reads();
    mint.verify(&seen, &grant.resource).await.expect("for so long nobody looks");
    assert_eq!(bench.reads(), reads);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(twice(&mint, &seen, &grant.resource).await, "revoked");
    mint.verify(&stays, &other.resource).await.unwrap();
    assert!(bench.reads() > reads + 1, "it was asked for");
    bench.store.look_again().await;
    let reads = bench.reads();
    mint.verify(&stays, &other.resource).await.unwrap();
    assert_eq!(bench.reads(), reads, "after a round all is as before");
}

#[tokio::test]
async fn an_outage_is_not_a_no_and_is_not_remembered() {
    let (bench, mint, grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    bench.bar(true);
    assert_eq!(twice(&mint, &token, &grant.resource).await, "unavailable");
    bench.bar(false);
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
}

#[tokio::test]
async fn a_token_ends_at_exp_also_from_memory() {
    let (bench, mint, grant) = Bench::ready().await;
    let (seen, unseen) = (minted(&mint, &grant).await, minted(&mint, &grant).await);
    bench.clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(twice(&mint, &seen, &grant.resource).await, "ok");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(twice(&mint, &seen, &grant.resource).await, "expired");
    assert_eq!(twice(&mint, &unseen, &grant.resource).await, "expired");
}

#[tokio::test]
async fn a_grant_that_ran_out_takes_its_tokens_with_it() {
    let (bench, mint, mut grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    grant.expires = DAWN + Duration::from_secs(50);
    bench.store.put(&grant).await.unwrap();
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
    bench.clock.advance(Duration::from_secs(50));
    assert_eq!(twice(&mint, &token, &grant.resource).await, "revoked");
}

#[tokio::test]
async fn the_grant_has_to_be_the_one_that_the_token_speaks_of() {
    let changes: [fn(&mut Grant); 4] = [
        |grant| grant.client = vestibule::domain::ClientId::new("another"),
        |grant| grant.resource = resource("/files"),
        |grant| grant.identity.subject = vestibule::domain::Subject::new(&grant.login.as_ref().unwrap().upstream, "43"),
        |grant| {
            grant.stage = GrantStage::Issued {
                code: vestibule::domain::grant::SecretHash::from_bytes([1; 32]),
                redirect: None,
                challenge: vestibule::domain::CodeChallenge::parse(&"a".repeat(43)).unwrap(),
                may_refresh: false,
                holder: None,
            };
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (bench, mint, mut grant) = Bench::ready().await;
        let (seen, unseen) = (minted(&mint, &grant).await, minted(&mint, &grant).await);
        assert_eq!(twice(&mint, &seen, &resource("/notes")).await, "ok");
        change(&mut grant);
        bench.store.put(&grant).await.unwrap();
        assert_eq!(twice(&mint, &seen, &resource("/notes")).await, "revoked", "{number}");
        assert_eq!(twice(&mint, &unseen, &resource("/notes")).await, "revoked", "{number}");
    }
}

#[tokio::test]
async fn a_narrowed_grant_narrows_its_tokens() {
    let (bench, mint, mut grant) = Bench::ready().await;
    let token = minted(&mint, &grant).await;
    grant.scope = Scope::parse("read");
    bench.store.put(&grant).await.unwrap();
    assert_eq!(mint.verify(&token, &grant.resource).await.unwrap().scope, Scope::parse("read"));
}

#[tokio::test]
async fn rs_2_what_is_not_an_access_token_of_ours_is_refused() {
    let (_bench, mint, grant) = Bench::ready().await;
    let good = minted(&mint, &grant).await;
    let elsewhere = Bench::new().mint(Algorithm::Es256).await;
    let (_, refresh) = hash::issue::<RefreshToken>(&keyring(), *grant.id.as_bytes(), 0, &*random());
    let jwe = part(&good, 1)["upstream_token"].as_str().unwrap().to_owned();
    let bad = [
        minted(&elsewhere, &grant).await,
        refresh.expose().clone(),
        grant.tokens().unwrap().access.expose().clone(),
        jwe,
        String::new(),
        "..".to_owned(),
        format!("{good}x"),
        format!("{good} "),
        format!("Bearer {good}"),
        good[..good.len() - 1].to_owned(),
        "a".repeat(100_000),
        "\u{0}\u{ffff}é".to_owned(),
    ];
    for token in bad {
        assert_eq!(twice(&mint, &token, &grant.resource).await, "invalid", "{token:.80}");
    }
    assert_eq!(twice(&mint, &good, &grant.resource).await, "ok");
}

#[tokio::test]
async fn one_bad_token_sent_often_never_reaches_the_store() {
    let (bench, mint, grant) = Bench::ready().await;
    let good = minted(&mint, &grant).await;
    let (body, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let bad = format!("{body}.{flipped}{}", &signature[1..]);
    let reads = bench.reads();
    for _ in 0..50 {
        assert_eq!(outcome(&mint.verify(&bad, &grant.resource).await), "invalid");
    }
    assert_eq!(bench.reads(), reads);
    assert_eq!(twice(&mint, &good, &grant.resource).await, "ok");
}

/// With a shared secret a test can sign whatever it likes.
struct Forge {
    bench: Bench,
    mint: Mint,
    key: SigningKey,
    claims: Value,
}

impl Forge {
    async fn new() -> Self {
        let bench = Bench::new();
        let mint = bench.mint(hs256()).await;
        bench.store.put(&grant(1)).await.unwrap();
        let claims = part(&minted(&mint, &grant(1)).await, 1);
        Self { bench, mint, key: SigningKey::shared(&Secret::new(SHARED.to_vec())).unwrap(), claims }
    }

    async fn with(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> &'static str {
        self.signed_as("at+jwt", change).await
    }

    async fn signed_as(&self, typ: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> &'static str {
        let mut claims = self.claims.clone();
        change(claims.as_object_mut().unwrap());
        let token = self.key.sign(typ, claims.to_string().as_bytes()).unwrap();
        twice(&self.mint, &token, &resource("/notes")).await
    }
}

#[tokio::test]
async fn s5_aud_is_one_string_and_ours() {
    let forge = Forge::new().await;
    let ours = resource("/notes");
    assert_eq!(forge.with(|_| ()).await, "ok");
    for aud in
        [json!([ours.as_str(), "https://evil.example"]), json!([ours.as_str()]), json!([]), json!(null), json!({})]
    {
        assert_eq!(forge.with(|claims| drop(claims.insert("aud".into(), aud.clone()))).await, "invalid", "{aud}");
    }
    for aud in [
        "https://evil.example",
        "https://mcp.example.com",
        "https://mcp.example.com/notes/",
        "HTTPS://mcp.example.com/notes",
    ] {
        let refused = forge.with(|claims| drop(claims.insert("aud".into(), json!(aud)))).await;
        assert_eq!(refused, "revoked", "its Grant is for another Resource: {aud}");
    }
}

#[tokio::test]
async fn rfc9068_2_2_every_claim_is_required_and_of_its_type() {
    let forge = Forge::new().await;
    for name in ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "auth_time", "gid"] {
        assert_eq!(forge.with(|claims| drop(claims.remove(name))).await, "invalid", "{name} missing");
        for wrong in [json!(null), json!([]), json!({}), json!(true), json!(-1), json!(1.5)] {
            let refused = forge.with(|claims| drop(claims.insert(name.into(), wrong.clone()))).await;
            assert_eq!(refused, "invalid", "{name} = {wrong}");
        }
    }
    for name in ["email", "name", "preferred_username", "groups", "upstream_token", "nbf"] {
        assert_eq!(forge.with(|claims| drop(claims.remove(name))).await, "ok", "{name} is optional");
    }
}

#[tokio::test]
async fn rfc9068_4_the_issuer_is_compared_byte_for_byte() {
    let forge = Forge::new().await;
    for issuer in [
        "",
        "https://mcp.example.com/",
        "https://MCP.example.com",
        "http://mcp.example.com",
        "https://mcp.example.com.evil",
    ] {
        assert_ne!(issuer, ISSUER);
        assert_eq!(forge.with(|claims| drop(claims.insert("iss".into(), json!(issuer)))).await, "invalid", "{issuer}");
    }
}

#[tokio::test]
async fn s35_clock_skew_is_bounded() {
    let forge = Forge::new().await;
    let now = forge.bench.now().secs();
    for name in ["iat", "nbf"] {
        for (ahead, expected) in [(30, "ok"), (31, "invalid"), (3000, "invalid")] {
            assert_eq!(
                forge.with(|claims| drop(claims.insert(name.into(), json!(now + ahead)))).await,
                expected,
                "{name} {ahead}"
            );
        }
    }
    for (exp, expected) in [(now + 1, "ok"), (now, "invalid"), (0, "invalid"), (u64::MAX, "ok")] {
        let change = |claims: &mut serde_json::Map<String, Value>| drop(claims.insert("exp".into(), json!(exp)));
        assert_eq!(forge.with(change).await, expected, "{exp}: exp has to come after iat");
    }
    let past = |claims: &mut serde_json::Map<String, Value>| {
        claims.insert("iat".into(), json!(now - 20));
        claims.insert("exp".into(), json!(now));
    };
    assert_eq!(forge.with(past).await, "expired", "exp has no grace: upstream ends soon after");
}

#[tokio::test]
async fn a_token_from_a_clock_ahead_of_ours_is_good_once_we_caught_up() {
    let (bench, mint, grant) = Bench::ready().await;
    bench.clock.advance(Duration::from_secs(60));
    let token = minted(&mint, &grant).await;
    bench.clock.set(DAWN);
    assert_eq!(twice(&mint, &token, &grant.resource).await, "invalid");
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(twice(&mint, &token, &grant.resource).await, "ok");
}

#[tokio::test]
async fn s35_typ_swap_is_refused() {
    let forge = Forge::new().await;
    for typ in ["JWT", "id+jwt", "rt+jwt", "application/at+jwt", "AT+JWT", ""] {
        assert_eq!(forge.signed_as(typ, |_| ()).await, "invalid", "{typ:?}");
    }
}

#[tokio::test]
async fn claims_that_are_no_object_or_say_things_twice_are_refused() {
    let forge = Forge::new().await;
    let twice_said = forge.claims.to_string().replacen('{', r#"{"aud":"https://evil.example","#, 1);
    for claims in [twice_said.as_str(), "[]", "1", "\"x\"", "", "{", "null"] {
        let token = forge.key.sign("at+jwt", claims.as_bytes()).unwrap();
        assert_eq!(twice(&forge.mint, &token, &resource("/notes")).await, "invalid", "{claims:.60}");
    }
}
