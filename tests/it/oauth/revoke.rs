//! `/revoke` (RFC 7009, REV-1; S13).

use std::time::Duration;

use vestibule::{domain::Secret, oauth::BasicCredentials};

use super::{
    house::{CLAUDE, House, failed, parameters},
    refresh::{Family, stores, text},
};

async fn revoke(family: &Family, client: &str, token: &str) {
    let form = parameters(&[("client_id", client), ("token", token), ("token_type_hint", "no_such_hint")]);
    family.house.server.revoke(&form, None).await.unwrap();
}

/// Waits until the provider has got a token back, and returns it.
async fn given_back(family: &Family) -> String {
    for _ in 0..200 {
        if let Some(request) = family.house.idp.received_at("/revoke").pop() {
            return request.body;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was given back")
}

#[tokio::test]
async fn rfc7009_2_1_any_token_of_the_family_ends_all_of_it_at_the_next_call() {
    for (store, _folder) in stores().await {
        let family = Family::new(House::over(store, |_, _| {}).await).await;
        let mut answers = vec![];
        for _ in 0..3 {
            let code = family.house.code(&family.client).await;
            answers.push(family.house.redeem(&family.client, &code).await.unwrap());
        }
        let turned = family.refresh(&text(&answers[1])).await.unwrap();
        let presented = [answers[0].access_token.expose().clone(), text(&answers[1]), text(&answers[2])];
        for (answer, token) in answers.iter().zip(&presented) {
            assert!(family.works(answer).await);
            revoke(&family, &family.client, token).await;
            assert!(!family.works(answer).await, "at once");
            assert_eq!(failed(family.refresh(&text(answer)).await), "invalid_grant");
            revoke(&family, &family.client, token).await;
        }
        assert!(!family.works(&turned).await, "the predecessor names the family as well");
        assert!(family.works(&family.first).await, "another login");
        assert_eq!(family.house.records_of("grant").await, 1);
    }
}

#[tokio::test]
async fn s13_rfc7009_2_2_strange_and_foreign_tokens_change_nothing() {
    let family = Family::new(House::open().await).await;
    let stranger = family.house.client("https://chatgpt.com/connector/oauth/abc");
    revoke(&family, &stranger, &family.token()).await;
    revoke(&family, &stranger, family.first.access_token.expose()).await;
    for token in ["x", "vr_AAAA", "a.b.c", &"x".repeat(10_000)] {
        revoke(&family, &family.client, token).await;
    }
    assert!(family.works(&family.first).await);
    assert!(family.refresh(&family.token()).await.is_ok());
    assert!(family.house.idp.received_at("/revoke").is_empty());
}

#[tokio::test]
async fn rfc7009_2_1_the_client_is_authenticated_and_a_token_is_needed() {
    let house = House::open().await;
    let body = serde_json::json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": "client_secret_basic"});
    let registered = house.register(&body).unwrap();
    let id = registered["client_id"].as_str().unwrap();
    let basic = |secret: &str| Some(BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) });
    let form = parameters(&[("token", "x")]);
    assert_eq!(failed(house.server.revoke(&form, basic("wrong")).await), "invalid_client");
    assert_eq!(failed(house.server.revoke(&form, None).await), "invalid_client");
    let secret = registered["client_secret"].as_str().unwrap();
    assert!(house.server.revoke(&form, basic(secret)).await.is_ok());
    assert_eq!(failed(house.server.revoke(&parameters(&[]), basic(secret)).await), "invalid_request");
}

#[tokio::test]
async fn rev_1_the_persons_last_login_is_given_back_at_the_provider() {
    let family = Family::new(House::open().await).await;
    let code = family.house.code(&family.client).await;
    let second = family.house.redeem(&family.client, &code).await.unwrap();
    revoke(&family, &family.client, &family.token()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(family.house.idp.received_at("/revoke").is_empty(), "the other login still rests on this app");
    let refresh = family.grant().await.unwrap().login.unwrap().tokens.refresh.unwrap();
    revoke(&family, &family.client, &text(&second)).await;
    let body = given_back(&family).await;
    assert!(body.contains(&format!("token={}", refresh.expose())), "{body}");
}
