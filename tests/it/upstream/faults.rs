//! What goes wrong at providers: each a refusal in our own words, none a panic, a hang or an echo.

use super::kit::Bench;
use crate::world::provider::{At, Fault, Profile};
use vestibule::upstream::Failed;

async fn refused(profile: Profile, fault: Fault) -> (&'static str, String) {
    match Bench::log_in_with(profile, fault).await {
        Failed::Refused { what, cause } => {
            let cause = cause.unwrap_or_default();
            for secret in ["provider-code", "provider-at", "provider-rt", "pass:word", "dBjftJeZ4CVP"] {
                assert!(!cause.contains(secret), "{fault:?}: {cause}");
            }
            (what, cause)
        }
        other => panic!("{fault:?}: {other:?}"),
    }
}

#[tokio::test]
async fn up_4_id_tokens_are_refused_for_every_wrong_claim_and_signature() {
    for (fault, because) in [
        (Fault::TokenIssuer, "issuer"),
        (Fault::Audience, "audience"),
        (Fault::Azp, "azp"),
        (Fault::Nonce, "nonce"),
        (Fault::Expired, "expired"),
        (Fault::Future, "future"),
        (Fault::AtHash, "at_hash"),
        (Fault::Hs256, "algorithm"),
        (Fault::AlgNone, "signature"),
        (Fault::Signature, "Signature verification failed"),
    ] {
        for profile in [Profile::OidcBare, Profile::Cognito] {
            let (what, cause) = refused(profile, fault).await;
            assert_eq!(what, "its ID token is not valid", "{fault:?}");
            assert!(cause.contains(because), "{fault:?}: {cause}");
        }
    }
    assert_eq!(refused(Profile::Oidc, Fault::NoIdToken).await.0, "it gave no ID token");
}

#[tokio::test]
async fn oidc_core_5_3_2_userinfo_of_another_person_is_refused() {
    assert_eq!(refused(Profile::OidcBare, Fault::OtherPerson).await.0, "its userinfo speaks of another person");
}

#[tokio::test]
async fn up_2_callbacks_of_another_issuer_are_refused_before_the_code_is_spent() {
    for fault in [Fault::CallbackIss, Fault::NoCallbackIss] {
        let bench = Bench::new(Profile::Oidc).await;
        bench.fake.set_fault(fault);
        assert!(matches!(bench.log_in().await, Err(Failed::Refused { .. })), "{fault:?}");
        assert!(bench.fake.received_at("/token").is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn rule_13_metadata_of_another_issuer_or_scheme_is_refused() {
    for (fault, words) in [
        (Fault::DiscoveryIssuer, "its metadata names another issuer"),
        (Fault::DiscoveryScheme, "its metadata names an unsafe endpoint"),
        (Fault::Html(At::Discovery), "its metadata cannot be read"),
    ] {
        let bench = Bench::new(Profile::Oidc).await;
        bench.fake.set_fault(fault);
        match bench.begin().await {
            Err(Failed::Refused { what, .. }) => assert_eq!(what, words),
            other => panic!("{fault:?}: {other:?}"),
        }
        // Not remembered: the operator mends it and goes on.
        bench.fake.heal();
        bench.begin().await.unwrap();
    }
}

#[tokio::test]
async fn rule_8_pages_and_outages_are_told_apart() {
    assert_eq!(
        refused(Profile::Oidc, Fault::Html(At::Token)).await.0,
        "the answer of its token endpoint cannot be read"
    );
    assert_eq!(refused(Profile::Github, Fault::Html(At::Userinfo)).await.0, "it does not tell who the person is");
    for (profile, at) in [
        (Profile::Oidc, At::Token),
        (Profile::Oidc, At::Jwks),
        (Profile::OidcBare, At::Userinfo),
        (Profile::Github, At::Userinfo),
        (Profile::Github, At::Emails),
    ] {
        for fault in [Fault::Error500(at), Fault::Endless(at)] {
            let failed = Bench::log_in_with(profile, fault).await;
            assert!(matches!(failed, Failed::Unreachable { .. }), "{fault:?}: {failed:?}");
            assert_eq!(failed.to_string(), "the provider could not be reached");
            assert!(!format!("{failed:?}").contains("stack trace"), "{failed:?}");
        }
    }
}

#[tokio::test]
async fn github_errors_inside_200_are_refusals() {
    let bench = Bench::new(Profile::Github).await;
    let returned = bench.go().await;
    bench.finish(&returned).await.unwrap();
    let Failed::Refused { what, cause } = bench.finish(&returned).await.unwrap_err() else { panic!("refused") };
    assert_eq!(what, "it does not accept the code; the login has to be begun again");
    assert_eq!(cause.unwrap(), "bad_verification_code: of the provider");
    let wrong = Bench::with(Profile::Github, |settings| {
        settings.client_secret = Some(vestibule::domain::Secret::from("another"));
    })
    .await;
    let Failed::Refused { what, .. } = wrong.log_in().await.unwrap_err() else { panic!("refused") };
    assert_eq!(what, "it does not accept our client id and secret");
}

#[tokio::test]
async fn github_without_the_email_permission_still_logs_in_unverified() {
    let bench = Bench::new(Profile::Github).await;
    bench.fake.set_fault(Fault::Html(At::Emails));
    let (_, identity) = bench.log_in().await.unwrap();
    assert_eq!((identity.email, identity.email_verified), (None, false));
}

#[tokio::test]
async fn a_closed_userinfo_leaves_the_gap_and_the_login_stands() {
    let bench = Bench::new(Profile::OidcBare).await;
    bench.fake.set_fault(Fault::Html(At::Userinfo));
    let (_, identity) = bench.log_in().await.unwrap();
    assert_eq!(identity.subject.as_str(), "idp:person-1");
    assert_eq!(identity.email, None);
}

#[tokio::test]
async fn behaviour_21_a_hanging_provider_is_given_up() {
    for (profile, at) in [
        (Profile::Oidc, At::Discovery),
        (Profile::Oidc, At::Token),
        (Profile::Oidc, At::Jwks),
        (Profile::Github, At::Userinfo),
        (Profile::Github, At::Emails),
    ] {
        let bench = Bench::new(profile).await;
        let returned = bench.go().await;
        let hasty = bench.hasty();
        hasty.fake.set_fault(Fault::Hang(at));
        let failed = hasty.finish(&returned).await.unwrap_err();
        assert!(matches!(failed, Failed::Unreachable { .. }), "{at:?}: {failed:?}");
    }
    let bench = Bench::new(Profile::Oidc).await;
    let (tokens, _) = bench.log_in().await.unwrap();
    let hasty = bench.hasty();
    hasty.fake.set_fault(Fault::Hang(At::Token));
    assert!(matches!(hasty.upstream.renew(&tokens).await, Err(Failed::Unreachable { .. })));
}

#[tokio::test]
async fn s29_a_denied_login_comes_back_as_an_error_and_no_code() {
    let bench = Bench::new(Profile::Oidc).await;
    bench.fake.set_fault(Fault::Denied);
    let callback = bench.fake.log_in(&bench.begin().await.unwrap()).await;
    let get = |name: &str| callback.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned());
    assert_eq!(get("error").as_deref(), Some("access_denied"));
    assert_eq!(get("code"), None);
    bench.upstream.check_iss(get("iss").as_deref()).await.unwrap();
}
