//! Signing keys through their lives: by schedule, by hand, by many at once, over restarts and replicas (ASM-13).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;
use vestibule::{
    domain::{Grant, Secret},
    store::Store,
    token::{Algorithm, Mint, RotateFailed, Rotation, Settings, Stage},
};

use super::kit::{Bench, NINETY_DAYS, grant, hs256, part, settings};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// An MCP server that verifies tokens itself, with a copy of our key set.
struct Verifier(JwkSet);

impl Verifier {
    fn of(mint: &Mint) -> Self {
        Self(serde_json::from_slice(&mint.jwks()).unwrap())
    }

    fn believes(&self, token: &str) -> bool {
        let header = jsonwebtoken::decode_header(token).unwrap();
        let Some(jwk) = self.0.find(header.kid.as_deref().unwrap()) else { return false };
        let mut validation = Validation::new(header.alg);
        // The house's clock is not the machine's.
        validation.validate_exp = false;
        validation.set_audience(&[grant(1).resource.as_str()]);
        jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).is_ok()
    }
}

async fn token(mint: &Mint, grant: &Grant) -> Secret<String> {
    mint.mint(grant, &grant.scope).await.unwrap().token
}

fn kid_of(token: &Secret<String>) -> String {
    part(token.expose(), 0)["kid"].as_str().unwrap().to_owned()
}

fn stages(mint: &Mint) -> Vec<Stage> {
    mint.signing_keys().iter().map(|key| key.stage).collect()
}

fn kid(mint: &Mint, stage: Stage) -> String {
    mint.signing_keys().into_iter().find(|key| key.stage == stage).unwrap().kid
}

async fn lives(mint: &Mint, token: &Secret<String>, grant: &Grant) -> bool {
    mint.verify(token.expose(), &grant.resource).await.is_ok()
}

/// A Grant that outlives the test.
async fn lasting(store: &Store) -> Grant {
    let mut grant = grant(1);
    grant.expires = grant.expires + DAY * 3650;
    store.put(&grant).await.unwrap();
    grant
}

#[tokio::test]
async fn asm_13_through_three_rotations_no_copy_of_the_key_set_within_a_day_ever_misses_a_key() {
    let bench = Bench::new();
    let grant = lasting(&bench.store).await;
    // Tokens of the longest life that the configuration permits.
    let long = Settings { life: DAY, rotate: Some(30 * DAY), ..settings(Algorithm::Es256) };
    let mint = bench.open(long).await;
    let (other_store, other) = bench.replica(Algorithm::Es256).await;
    let (mut copies, mut tokens) = (VecDeque::new(), VecDeque::new());
    let mut signers = Vec::new();
    for step in 0..(100 * 4) {
        bench.clock.advance(6 * HOUR);
        mint.tend_keys().await;
        let fresh = token(&mint, &grant).await;
        signers.push(kid_of(&fresh));
        copies.push_back(Verifier::of(&mint));
        if copies.len() > 5 {
            copies.pop_front();
        }
        assert!(copies[0].believes(fresh.expose()), "a copy of a day ago, step {step}");
        // The replica has not looked yet; it believes, and is believed.
        assert!(lives(&other, &fresh, &grant).await, "step {step}");
        assert!(lives(&mint, &token(&other, &grant).await, &grant).await, "step {step}");
        other_store.look_again().await;
        other.tend_keys().await;
        assert_eq!(other.jwks(), mint.jwks());
        tokens.push_back(fresh);
        if tokens.len() > 4 {
            tokens.pop_front();
        }
        assert!(copies.back().unwrap().believes(tokens[0].expose()), "a token of 18 hours ago, step {step}");
        assert!(mint.signing_keys().len() <= 3, "retired keys go");
    }
    signers.dedup();
    assert_eq!(signers.len(), 4, "{signers:?}");
}

#[tokio::test]
async fn a_key_is_next_then_current_then_retired_then_gone() {
    let (bench, mint, _) = Bench::ready().await;
    let grant = lasting(&bench.store).await;
    assert_eq!(stages(&mint), [Stage::Current, Stage::Next]);
    let (first, next) = (kid(&mint, Stage::Current), kid(&mint, Stage::Next));
    let old = token(&mint, &grant).await;
    bench.clock.advance(NINETY_DAYS - Duration::from_millis(1));
    mint.tend_keys().await;
    assert_eq!(kid(&mint, Stage::Current), first, "not a moment early");
    let last = token(&mint, &grant).await;
    assert_eq!(kid_of(&last), kid_of(&old));
    bench.clock.advance(Duration::from_millis(1));
    mint.tend_keys().await;
    assert_eq!(kid(&mint, Stage::Current), next);
    assert_eq!(kid(&mint, Stage::Retired), first);
    assert_eq!(kid_of(&token(&mint, &grant).await), next);
    assert!(lives(&mint, &last, &grant).await, "what the retired key signed a moment ago");
    bench.clock.advance(25 * HOUR);
    mint.tend_keys().await;
    assert_eq!(stages(&mint), [Stage::Current, Stage::Next]);
    assert!(!String::from_utf8(mint.jwks().to_vec()).unwrap().contains(&first));
}

#[tokio::test]
async fn what_an_older_version_left_behind_gets_a_next_key_and_a_day_before_it_signs() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Old {
        alg: String,
        keys: Value,
    }
    impl vestibule::store::Record for Old {
        const KIND: &'static str = "signing-key";
        const PURPOSE: &'static str = "store/signing-key";
        fn id(&self) -> String {
            self.alg.clone()
        }
        fn expires(&self) -> vestibule::domain::Instant {
            vestibule::domain::Instant::from_secs(4_102_444_800)
        }
    }
    let bench = Bench::new();
    let jwk = vestibule::crypto::jwt::SigningKey::generate(vestibule::crypto::jwt::Alg::Es256, "old").unwrap();
    let keys = serde_json::json!([{ "stage": "current", "since": 0, "jwk": jwk.to_private_jwk().expose() }]);
    bench.store.put(&Old { alg: "ES256".to_owned(), keys }).await.unwrap();
    let grant = lasting(&bench.store).await;
    let mint = bench.mint(Algorithm::Es256).await;
    assert_eq!(kid_of(&token(&mint, &grant).await), "old");
    mint.tend_keys().await;
    assert_eq!(stages(&mint), [Stage::Current, Stage::Next]);
    let copy = Verifier::of(&mint);
    bench.clock.advance(23 * HOUR);
    mint.tend_keys().await;
    assert_eq!(kid_of(&token(&mint, &grant).await), "old", "overdue for decades, and still not before its lead");
    bench.clock.advance(HOUR);
    mint.tend_keys().await;
    let fresh = token(&mint, &grant).await;
    assert_ne!(kid_of(&fresh), "old");
    assert!(copy.believes(fresh.expose()));
}

#[tokio::test]
async fn a_process_that_slept_through_rotations_does_not_sign_by_a_key_that_is_gone() {
    let bench = Bench::new();
    let grant = lasting(&bench.store).await;
    let sleeper = bench.mint(Algorithm::Es256).await;
    let old = kid(&sleeper, Stage::Current);
    let awake = bench.mint(Algorithm::Es256).await;
    for _ in 0..3 {
        bench.clock.advance(NINETY_DAYS);
        awake.tend_keys().await;
    }
    let fresh = token(&sleeper, &grant).await;
    assert_ne!(kid_of(&fresh), old);
    assert!(lives(&awake, &fresh, &grant).await && lives(&sleeper, &fresh, &grant).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_replicas_that_find_the_rotation_due_rotate_once() {
    let bench = Bench::new();
    let first = bench.mint(Algorithm::Es256).await;
    let next = kid(&first, Stage::Next);
    let mut replicas = Vec::new();
    for _ in 0..50 {
        replicas.push(bench.replica(Algorithm::Es256).await);
    }
    bench.clock.advance(NINETY_DAYS);
    let tasks: Vec<_> = replicas
        .iter()
        .map(|(_, mint)| {
            let mint = mint.clone();
            tokio::spawn(async move { mint.tend_keys().await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for (store, mint) in &replicas {
        store.look_again().await;
        mint.tend_keys().await;
        assert_eq!(stages(mint), [Stage::Current, Stage::Next, Stage::Retired]);
        assert_eq!(kid(mint, Stage::Current), next);
        assert_eq!(mint.jwks(), replicas[0].1.jwks());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_operators_at_once_rotate_once() {
    for how in [Rotation::Regular, Rotation::Compromised] {
        let bench = Arc::new(Bench::new());
        let mint = bench.mint(Algorithm::EdDsa).await;
        let before = mint.signing_keys();
        bench.clock.advance(DAY);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let mint = mint.clone();
                tokio::spawn(async move { mint.rotate_keys(how).await })
            })
            .collect();
        for task in tasks {
            // Who comes later finds a next key that is seconds old, and is told so.
            let outcome = task.await.unwrap();
            assert!(matches!(outcome, Ok(_) | Err(RotateFailed::TooEarly(_))), "{outcome:?}");
        }
        let after = mint.signing_keys();
        match how {
            Rotation::Regular => {
                assert_eq!(after.len(), 3);
                assert_eq!(kid(&mint, Stage::Current), before[1].kid);
            }
            Rotation::Compromised => {
                assert_eq!(stages(&mint), [Stage::Current, Stage::Next]);
                assert!(after.iter().all(|key| before.iter().all(|old| old.kid != key.kid)));
            }
        }
    }
}

#[tokio::test]
async fn by_hand_the_next_key_signs_when_every_verifier_can_know_it_and_not_before() {
    let (bench, mint, grant) = Bench::ready().await;
    let early = mint.rotate_keys(Rotation::Regular).await;
    let Err(RotateFailed::TooEarly(at)) = early else { panic!("{early:?}") };
    assert_eq!(at, bench.now() + DAY);
    let (old, next) = (token(&mint, &grant).await, kid(&mint, Stage::Next));
    bench.clock.advance(DAY);
    let keys = mint.rotate_keys(Rotation::Regular).await.unwrap();
    assert_eq!(keys.iter().find(|key| key.stage == Stage::Current).unwrap().kid, next);
    assert_eq!(kid_of(&token(&mint, &grant).await), next);
    // Its life of an hour is over, not its key's.
    assert!(Verifier::of(&mint).believes(old.expose()));
}

#[tokio::test]
async fn compromised_keys_are_believed_no_more_here_at_once_and_elsewhere_after_one_look() {
    let (bench, mint, grant) = Bench::ready().await;
    let (store, other) = bench.replica(Algorithm::Es256).await;
    let stolen = token(&mint, &grant).await;
    assert!(lives(&mint, &stolen, &grant).await && lives(&other, &stolen, &grant).await);
    mint.rotate_keys(Rotation::Compromised).await.unwrap();
    assert!(!lives(&mint, &stolen, &grant).await, "also from the memory of verified tokens");
    assert!(mint.inspect(stolen.expose()).await.unwrap().is_none());
    assert!(!Verifier::of(&mint).believes(stolen.expose()));
    store.look_again().await;
    other.tend_keys().await;
    assert!(!lives(&other, &stolen, &grant).await);
    // The Grant is untouched: a refresh gives a token that everyone believes.
    let fresh = token(&mint, &grant).await;
    assert!(lives(&mint, &fresh, &grant).await && lives(&other, &fresh, &grant).await);
}

#[tokio::test]
async fn a_token_of_a_replica_with_a_newer_key_is_believed_and_made_up_keys_cost_no_reads() {
    let (bench, mint, grant) = Bench::ready().await;
    let (_, other) = bench.replica(Algorithm::Es256).await;
    mint.rotate_keys(Rotation::Compromised).await.unwrap();
    let fresh = token(&mint, &grant).await;
    let calls = (0..20).map(|_| lives(&other, &fresh, &grant));
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|lives| lives), "none of them too early");

    bench.clock.advance(Duration::from_secs(5));
    let forged = |n: usize| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
        let head = B64.encode(format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"made-up-{n}"}}"#));
        format!("{head}.{}.{}", fresh.expose().split('.').nth(1).unwrap(), fresh.expose().split('.').nth(2).unwrap())
    };
    let before = bench.reads();
    for n in 0..500 {
        assert!(other.verify(&forged(n), &grant.resource).await.is_err());
    }
    assert!(bench.reads() - before <= 3, "one look at three records: {}", bench.reads() - before);
}

#[tokio::test]
async fn nothing_is_lost_when_the_process_dies_between_any_two_steps() {
    let bench = Bench::new();
    let grant = lasting(&bench.store).await;
    let mut last: Option<Secret<String>> = None;
    let mut copy: Option<Verifier> = None;
    // Every step is one swap; a process that dies after it leaves exactly this behind for the next one.
    for _ in 0..400 {
        let mint = bench.mint(Algorithm::Es256).await;
        let fresh = token(&mint, &grant).await;
        assert!(copy.as_ref().is_none_or(|copy| copy.believes(fresh.expose())));
        assert!(last.as_ref().is_none_or(|last| Verifier::of(&mint).believes(last.expose())));
        (copy, last) = (Some(Verifier::of(&mint)), Some(token(&mint, &grant).await));
        bench.clock.advance(12 * HOUR);
        bench.mint(Algorithm::Es256).await.tend_keys().await;
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_leaves_the_keys_at_hand_in_force() {
    let (bench, mint, grant) = Bench::ready().await;
    let before = mint.jwks();
    bench.clock.advance(NINETY_DAYS);
    bench.bar(true);
    mint.tend_keys().await;
    assert_eq!(mint.jwks(), before);
    let grant = Grant { expires: bench.now() + DAY, ..grant };
    assert!(mint.mint(&grant, &grant.scope).await.is_ok());
    assert!(matches!(mint.rotate_keys(Rotation::Regular).await, Err(RotateFailed::Store(_))));
    bench.bar(false);
    mint.tend_keys().await;
    assert_eq!(mint.jwks(), before, "not before a few seconds have passed");
    bench.clock.advance(Duration::from_secs(5));
    mint.tend_keys().await;
    assert_ne!(mint.jwks(), before);
}

#[tokio::test]
async fn the_keys_of_an_algorithm_that_nobody_signs_by_are_removed_when_its_last_token_has_died() {
    let bench = Bench::new();
    let grant = lasting(&bench.store).await;
    let before = bench.mint(Algorithm::Es256).await;
    let old = token(&before, &grant).await;
    let after = bench.mint(Algorithm::EdDsa).await;
    // A rolling change: the old process goes on for two days, and its keys with it.
    for _ in 0..48 {
        bench.clock.advance(HOUR);
        before.tend_keys().await;
        after.tend_keys().await;
        assert!(lives(&after, &token(&before, &grant).await, &grant).await);
        assert!(lives(&before, &token(&after, &grant).await, &grant).await);
    }
    for _ in 0..26 {
        assert!(after.signing_keys().iter().any(|key| key.alg == "ES256"));
        bench.clock.advance(HOUR);
        after.tend_keys().await;
    }
    assert!(after.signing_keys().iter().all(|key| key.alg == "EdDSA"), "{:?}", after.signing_keys());
    assert!(!Verifier::of(&after).believes(old.expose()));
}

#[tokio::test]
async fn a_shared_secret_does_not_rotate_and_says_so() {
    let bench = Bench::new();
    let mint = bench.mint(hs256()).await;
    mint.tend_keys().await;
    assert!(mint.signing_keys().is_empty());
    for how in [Rotation::Regular, Rotation::Compromised] {
        let failed = mint.rotate_keys(how).await.unwrap_err();
        assert!(failed.to_string().contains("shared secret"), "{failed}");
    }
    let reads = bench.reads();
    assert!(
        mint.verify("eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AA", &grant(1).resource).await.is_err()
    );
    assert_eq!(bench.reads(), reads, "no key of the store would be believed anyway");
}

#[tokio::test]
async fn without_a_schedule_only_the_operator_rotates() {
    let bench = Bench::new();
    let mint = bench.open(Settings { rotate: None, ..settings(Algorithm::Es256) }).await;
    let next = kid(&mint, Stage::Next);
    for _ in 0..40 {
        bench.clock.advance(NINETY_DAYS);
        mint.tend_keys().await;
    }
    assert_eq!(kid(&mint, Stage::Next), next);
    assert!(mint.signing_keys().iter().all(|key| key.until.is_none()));
    mint.rotate_keys(Rotation::Regular).await.unwrap();
    assert_eq!(kid(&mint, Stage::Current), next);
}
