//! Logins that go well, and everything about discovery, keys, renewal and revocation that must hold.

use std::time::Duration;

use vestibule::{domain::Secret, upstream::Failed};

use super::kit::{Bench, Returned};
use crate::world::provider::{At, Fault, Profile};

#[tokio::test]
async fn up_1_challenge_and_verifier_belong_together() {
    let bench = Bench::new(Profile::Oidc).await;
    let url = bench.begin().await.unwrap();
    // RFC 7636 appendix B.
    assert!(url.as_str().contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), "{url}");
    bench.log_in().await.unwrap();
}

#[tokio::test]
async fn rule_13_discovery_waits_for_the_first_need_and_happens_once() {
    let bench = Bench::new(Profile::Oidc).await;
    assert!(bench.fake.received().is_empty());
    let many: Vec<_> = (0..20).map(|_| bench.begin()).collect();
    for outcome in futures_util::future::join_all(many).await {
        outcome.unwrap();
    }
    assert_eq!(bench.fake.received_at("/.well-known/openid-configuration").len(), 1);
    bench.clock.advance(Duration::from_secs(3601));
    bench.begin().await.unwrap();
    assert_eq!(bench.fake.received_at("/.well-known/openid-configuration").len(), 2);
}

#[tokio::test]
async fn a_failed_discovery_is_forgotten_within_seconds() {
    let bench = Bench::new(Profile::Oidc).await;
    bench.fake.set_fault(Fault::Error500(At::Discovery));
    for _ in 0..5 {
        assert!(matches!(bench.begin().await, Err(Failed::Unreachable { .. })));
    }
    assert_eq!(bench.fake.received().len(), 1, "a crowd asks once");
    bench.fake.heal();
    bench.clock.advance(Duration::from_secs(3));
    bench.begin().await.unwrap();
}

#[tokio::test]
async fn stale_metadata_serves_while_the_provider_is_down() {
    let bench = Bench::new(Profile::Oidc).await;
    bench.begin().await.unwrap();
    bench.fake.set_fault(Fault::Error500(At::Discovery));
    bench.clock.advance(Duration::from_secs(7200));
    bench.begin().await.unwrap();
}

#[tokio::test]
async fn rule_14_rotated_keys_are_fetched_and_unknown_names_do_not_hammer() {
    let bench = Bench::new(Profile::Oidc).await;
    bench.log_in().await.unwrap();
    bench.fake.rotate_keys();
    bench.log_in().await.unwrap();
    assert_eq!(bench.fake.received_at("/jwks").len(), 2);
    // Within the pause the next unknown name is refused without a fetch …
    bench.fake.rotate_keys();
    assert!(matches!(bench.log_in().await, Err(Failed::Refused { .. })));
    assert_eq!(bench.fake.received_at("/jwks").len(), 2);
    // … after it, it is looked up.
    bench.clock.advance(Duration::from_secs(30));
    bench.log_in().await.unwrap();
    assert_eq!(bench.fake.received_at("/jwks").len(), 3);
}

#[tokio::test]
async fn rule_7_odd_token_answers_are_understood() {
    let bench = Bench::new(Profile::Oidc).await;
    bench.fake.set_fault(Fault::OddTokens);
    let (tokens, _) = bench.log_in().await.unwrap();
    assert_eq!(tokens.expires.unwrap().since(crate::world::clock::DAWN), Duration::from_secs(3600));
    assert_eq!(tokens.scope.as_deref(), Some("openid email"));
}

#[tokio::test]
async fn rule_9_renewal_stores_a_new_refresh_token_and_keeps_the_old_one_otherwise() {
    let rotating = Bench::new(Profile::Oidc).await;
    let (first, _) = rotating.log_in().await.unwrap();
    let second = rotating.upstream.renew(&first).await.unwrap();
    assert_ne!(second.refresh, first.refresh);
    assert_ne!(second.access, first.access);
    let stable = Bench::new(Profile::Cognito).await;
    let (first, _) = stable.log_in().await.unwrap();
    let second = stable.upstream.renew(&first).await.unwrap();
    assert_eq!(second.refresh, first.refresh);
    let third = stable.upstream.renew(&second).await.unwrap();
    assert_ne!(third.access, second.access);
}

#[tokio::test]
async fn rule_3_scope_is_not_repeated_at_exchange_and_refresh() {
    let bench = Bench::new(Profile::Oidc).await;
    let (tokens, _) = bench.log_in().await.unwrap();
    bench.upstream.renew(&tokens).await.unwrap();
    for request in bench.fake.received_at("/token") {
        assert!(!request.body.contains("scope"), "{}", request.body);
    }
}

#[tokio::test]
async fn a_dead_refresh_token_is_refused_and_everything_else_may_pass() {
    let bench = Bench::new(Profile::Oidc).await;
    for (fault, dead) in
        [(Fault::Error500(At::Token), false), (Fault::Html(At::Token), false), (Fault::InvalidGrant, true)]
    {
        bench.fake.heal();
        let (tokens, _) = bench.log_in().await.unwrap();
        bench.fake.set_fault(fault);
        let failed = bench.upstream.renew(&tokens).await.unwrap_err();
        assert_eq!(matches!(failed, Failed::Refused { .. }), dead, "{fault:?}: {failed:?}");
    }
    // A secret that is no longer right is the operator's trouble: nobody's login ends by it.
    let locked = Bench::with(Profile::Oidc, |settings| settings.client_secret = Some(Secret::from("old"))).await;
    bench.fake.heal();
    let (tokens, _) = bench.log_in().await.unwrap();
    assert!(matches!(locked.upstream.renew(&tokens).await, Err(Failed::Unreachable { .. })));
}

#[tokio::test]
async fn tokens_are_given_back() {
    let bench = Bench::new(Profile::Oidc).await;
    let (tokens, _) = bench.log_in().await.unwrap();
    bench.upstream.revoke(&tokens).await.unwrap();
    assert!(matches!(bench.upstream.renew(&tokens).await, Err(Failed::Refused { .. })));
    // No endpoint, no error.
    let github = Bench::new(Profile::Github).await;
    let (tokens, _) = github.log_in().await.unwrap();
    github.upstream.revoke(&tokens).await.unwrap();
}

#[tokio::test]
async fn probe_tells_one_line() {
    let bench = Bench::new(Profile::Oidc).await;
    assert_eq!(
        bench.upstream.probe().await.unwrap(),
        "127.0.0.1: metadata fits its issuer, 1 signing keys, login at 127.0.0.1"
    );
    let github = Bench::new(Profile::Github).await;
    assert!(github.upstream.probe().await.unwrap().starts_with("GitHub: answers"));
    bench.fake.set_fault(Fault::Error500(At::Discovery));
    bench.clock.advance(Duration::from_secs(4000));
    bench.upstream.probe().await.unwrap();
}

#[tokio::test]
async fn up_2_the_four_rows_of_rfc_9207() {
    let promises = Bench::new(Profile::Oidc).await;
    let issuer = promises.fake.issuer();
    promises.upstream.check_iss(Some(&issuer)).await.unwrap();
    for bad in [None, Some("https://attacker.example"), Some(&*format!("{issuer}/")), Some("")] {
        assert!(matches!(promises.upstream.check_iss(bad).await, Err(Failed::Refused { .. })), "{bad:?}");
    }
    let silent = Bench::new(Profile::Cognito).await;
    silent.upstream.check_iss(None).await.unwrap();
    silent.upstream.check_iss(Some(&silent.fake.issuer())).await.unwrap();
    assert!(silent.upstream.check_iss(Some("https://attacker.example")).await.is_err());
}

#[tokio::test]
async fn a_code_works_once_and_its_error_holds_no_secret() {
    let bench = Bench::new(Profile::Oidc).await;
    let returned = bench.go().await;
    bench.finish(&returned).await.unwrap();
    let Failed::Refused { what, cause } = bench.finish(&returned).await.unwrap_err() else { panic!("refused") };
    assert_eq!(what, "it does not accept the code; the login has to be begun again");
    assert_eq!(cause.unwrap(), "invalid_grant: of the provider");
    let made_up = Returned { code: "x".into(), iss: Some(bench.fake.issuer()) };
    assert!(bench.finish(&made_up).await.is_err());
}
