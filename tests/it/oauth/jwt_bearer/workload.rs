//! Workloads, which bring their platform's own token and register nowhere (WIF-1).

use std::time::Duration;

use serde_json::json;
use vestibule::domain::{ApprovedClient, ClientId, ClientOrigin, Clock as _, WorkloadRule};

use super::{CLUSTER, CORP, ID_JAG, MAIL, Scene, asking, name, notes};
use crate::oauth::house::{ISSUER, but, failed};

#[tokio::test]
async fn wif_1_a_workload_shows_its_own_token_and_registers_nowhere() {
    let scene = Scene::open().await;
    let badge = scene.badge(json!({}));
    let response = scene.work(&badge).await.unwrap();
    assert!(response.refresh_token.is_none());
    let caller = scene.caller(&response).await;
    assert_eq!(caller.identity.subject.as_str(), "cluster:system:serviceaccount:ci:runner");
    assert_eq!(caller.client.as_str(), "workload:cluster:system:serviceaccount:ci:runner");
    // A cluster renews it now and then only, so it may be shown again; nothing outlives it.
    scene.house.wait(1000);
    let later = scene.work(&badge).await.unwrap();
    assert!(later.expires_in <= 260, "{}", later.expires_in);
    scene.house.wait(261);
    assert_eq!(failed(scene.work(&badge).await), "invalid_grant");
    assert!(scene.house.mint.verify(later.access_token.expose(), &notes()).await.is_err());
    // Both readings of the draft.
    for audience in [json!(ISSUER), json!(format!("{ISSUER}/token")), json!([format!("{ISSUER}/token")])] {
        assert!(scene.work(&scene.badge(json!({ "aud": audience }))).await.is_ok());
    }
}

#[tokio::test]
async fn wif_1_what_is_no_token_of_an_admitted_workload_is_refused() {
    let scene = Scene::open().await;
    let now = scene.now();
    for bad in [
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": CORP }),
        json!({ "sub": "system:serviceaccount:prod:runner" }),
        json!({ "sub": "system:serviceaccount:ci" }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [ISSUER, "https://other.example"] }),
        json!({ "aud": null }),
        json!({ "exp": now - 61 }),
        json!({ "exp": now + 2 * 86_400 }),
        json!({ "exp": null }),
        json!({ "iat": null }),
        json!({ "iat": now + 600 }),
        json!({ "jti": null }),
        json!({ "scope": "admin" }),
    ] {
        assert_eq!(failed(scene.work(&scene.badge(bad.clone())).await), "invalid_grant", "{bad}");
    }
    // The enterprise speaks for people: under the same claims, and under another `typ`.
    let claims = scene.jag_claims(json!({ "sub": "system:serviceaccount:ci:runner" })).to_string();
    for typ in ["JWT", "at+jwt"] {
        let assertion = scene.corp.sign(typ, claims.as_bytes()).unwrap();
        assert_eq!(failed(scene.work(&assertion).await), "invalid_grant", "{typ}");
    }
    let access = scene.cluster.sign("at+jwt", scene.jag_claims(json!({ "iss": CLUSTER })).to_string().as_bytes());
    assert_eq!(failed(scene.work(&access.unwrap()).await), "invalid_grant");
    // A workload's token is for nobody else, and a cluster cannot introduce people.
    let badge = scene.badge(json!({ "client_id": "agent" }));
    assert_eq!(failed(scene.come(&badge).await), "invalid_grant");
    let posing = scene.cluster.sign(ID_JAG, scene.jag_claims(json!({ "iss": CLUSTER })).to_string().as_bytes());
    assert_eq!(failed(scene.come(&posing.unwrap()).await), "invalid_grant");
    let to = |resource: Option<&str>| but(asking(&scene.badge(json!({}))), "resource", resource);
    assert_eq!(failed(scene.house.server.token(&to(Some(MAIL)), None).await), "invalid_grant");
    let outcome = scene.house.server.token(&to(Some("https://evil.example")), None).await;
    assert_eq!(failed(outcome), "invalid_target");
    let asked = but(to(None), "scope", Some("admin"));
    assert_eq!(failed(scene.house.server.token(&asked, None).await), "invalid_scope");
    assert_eq!(scene.house.records_of("grant").await, 0, "whoever is refused leaves nothing behind");
    assert!(scene.house.server.token(&to(None), None).await.is_ok(), "ri_1: the default one");
}

#[tokio::test]
async fn wif_1_anyone_means_people_and_a_blocked_workload_stays_out() {
    let scene = Scene::with(|_, all| all[0].trusts.workloads.clear()).await;
    assert_eq!(failed(scene.work(&scene.badge(json!({}))).await), "invalid_grant");
    let scene = Scene::open().await;
    let now = scene.house.clock.now();
    let shut = ApprovedClient {
        id: ClientId::new("workload:cluster:system:serviceaccount:ci:runner"),
        name: None,
        origin: ClientOrigin::Static,
        first_seen: now,
        last_seen: now,
        blocked: true,
        expires: now + Duration::from_secs(3600),
    };
    scene.house.store.put(&shut).await.unwrap();
    assert_eq!(failed(scene.work(&scene.badge(json!({}))).await), "invalid_grant");
}

#[test]
fn wif_1_a_rule_means_one_workload_or_those_that_begin_so() {
    use vestibule::domain::Subject;
    let admits = |rule: &str, sub: &str| WorkloadRule::parse(rule).unwrap().admits(&Subject::new(&name("ci"), sub));
    assert!(admits("ci:repo:a/b:ref:refs/heads/main", "repo:a/b:ref:refs/heads/main"));
    assert!(!admits("ci:repo:a/b", "repo:a/b:ref:refs/heads/main"));
    assert!(admits("ci:repo:a/b:*", "repo:a/b:pull_request") && !admits("ci:repo:a/b:*", "repo:a/bc"));
    assert!(admits("ci:*", "anything"));
    for bad in ["", "*", "ci", "ci*", "c*i:x", "ci:", ":x", ":*", "ci:a*b", "ci:**"] {
        assert!(WorkloadRule::parse(bad).is_err(), "{bad}");
    }
}
