//! Signing keys persist, are agreed on, and overlap (ASM-13).

use serde_json::Value;
use vestibule::{
    domain::Secret,
    token::{Algorithm, Mint, OpenFailed},
};

use super::kit::{Bench, hs256, resource, settings};
use crate::world::{keyring, random};

fn kids(mint: &Mint) -> Vec<String> {
    let set: Value = serde_json::from_slice(&mint.jwks()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_restart_keeps_the_keys() {
    let (bench, before, grant) = Bench::ready().await;
    let token = before.mint(&grant, &grant.scope).await.unwrap().token;
    let after = bench.mint(Algorithm::Es256).await;
    assert_eq!(before.jwks(), after.jwks());
    assert!(after.verify(token.expose(), &grant.resource).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_together_agree() {
    let bench = std::sync::Arc::new(Bench::new());
    let starting = (0..8).map(|_| {
        let bench = bench.clone();
        tokio::spawn(async move { bench.mint(Algorithm::Es256).await.jwks() })
    });
    let mut sets = Vec::new();
    for start in starting.collect::<Vec<_>>() {
        sets.push(start.await.unwrap());
    }
    sets.dedup();
    assert_eq!(sets.len(), 1);
}

#[tokio::test]
async fn asm_13_after_a_change_of_algorithm_old_tokens_verify_and_old_keys_are_published() {
    let (bench, before, grant) = Bench::ready().await;
    let token = before.mint(&grant, &grant.scope).await.unwrap().token;
    let after = bench.mint(Algorithm::EdDsa).await;
    assert_eq!(after.algorithm(), "EdDSA");
    assert_eq!(kids(&after).len(), 4, "of each algorithm the current key and the next one");
    assert!(kids(&before).iter().all(|kid| kids(&after).contains(kid)));
    assert!(after.verify(token.expose(), &grant.resource).await.is_ok());
    let fresh = after.mint(&grant, &grant.scope).await.unwrap().token;
    assert!(after.verify(fresh.expose(), &grant.resource).await.is_ok());
    assert!(before.verify(fresh.expose(), &grant.resource).await.is_ok(), "of a replica that was restarted first");
}

#[tokio::test]
async fn rfc7518_3_2_a_short_shared_secret_does_not_open_a_mint() {
    let bench = Bench::new();
    let short = settings(Algorithm::Hs256(Secret::new(vec![1; 31])));
    let opened = Mint::open(short, bench.store.clone(), keyring(), bench.clock.clone(), random()).await;
    let Err(error @ OpenFailed::Key(_)) = opened else { panic!("opened") };
    assert!(error.to_string().contains("32 bytes"), "{error}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_does_not_make_keys_up() {
    let bench = Bench::new();
    bench.bar(true);
    let set = settings(Algorithm::Es256);
    let opened = Mint::open(set, bench.store.clone(), keyring(), bench.clock.clone(), random()).await;
    assert!(matches!(opened, Err(OpenFailed::Store(_))));
}

#[tokio::test]
async fn under_hs256_no_other_key_is_believed() {
    let (bench, before, grant) = Bench::ready().await;
    let token = before.mint(&grant, &grant.scope).await.unwrap().token;
    let after = bench.mint(hs256()).await;
    assert!(after.verify(token.expose(), &resource("/notes")).await.is_err());
}
