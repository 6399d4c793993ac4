//! `/introspect` (RFC 7662, INT-1).

use serde_json::{Value, json};
use vestibule::{
    domain::{ClientAuthMethod, Secret},
    oauth::BasicCredentials,
};

use super::{
    house::{CLAUDE, House, NOTES, failed, parameters, static_client},
    refresh::{Family, text},
};

const SECRET: &str = "the-backends-secret";

async fn asked(family: &Family, id: &str, secret: &str, token: &str) -> Value {
    let basic = BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) };
    let answer = family.house.server.introspect(&parameters(&[("token", token)]), Some(basic)).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

/// A house with a backend in its file.
async fn with_backend() -> Family {
    let backend = static_client("backend", ClientAuthMethod::ClientSecretBasic, Some(SECRET));
    Family::new(House::with(|settings, _| settings.clients.push(backend)).await).await
}

#[tokio::test]
async fn rfc7662_2_2_what_a_live_token_says() {
    let family = with_backend().await;
    let mut access = asked(&family, "backend", SECRET, family.first.access_token.expose()).await;
    assert!(access["jti"].as_str().is_some_and(|jti| jti.len() == 22));
    access["jti"] = json!("…");
    assert_eq!(access["client_id"], json!(family.client));
    access["client_id"] = json!("…");
    insta::assert_snapshot!(format!("{access:#}"), @r#"
    {
      "active": true,
      "scope": "read",
      "client_id": "…",
      "token_type": "Bearer",
      "exp": 1793613540,
      "iat": 1793610000,
      "sub": "idp:person-1",
      "aud": "https://mcp.example.com/notes",
      "iss": "https://mcp.example.com",
      "jti": "…"
    }
    "#);
    let refresh = asked(&family, "backend", SECRET, &family.token()).await;
    assert_eq!((&refresh["active"], &refresh["aud"], refresh.get("token_type")), (&json!(true), &json!(NOTES), None));
    assert!(!access.to_string().contains("provider-") && !refresh.to_string().contains("provider-"), "UP-10");
}

#[tokio::test]
async fn rfc7662_2_2_everything_else_is_only_inactive() {
    let family = with_backend().await;
    let inactive = json!({"active": false});
    for token in ["x", "vr_AAAA", "a.b.c"] {
        assert_eq!(asked(&family, "backend", SECRET, token).await, inactive);
    }
    let second = family.refresh(&family.token()).await.unwrap();
    family.house.wait(61);
    assert_eq!(asked(&family, "backend", SECRET, &family.token()).await, inactive, "rotated away");
    assert_eq!(asked(&family, "backend", SECRET, &text(&second)).await["active"], true, "asking is not using");
    let access = second.access_token.expose();
    family.house.wait(3600);
    assert_eq!(asked(&family, "backend", SECRET, access).await, inactive, "expired");
    let third = family.refresh(&text(&second)).await.unwrap();
    let form = parameters(&[("client_id", &family.client), ("token", &text(&third))]);
    family.house.server.revoke(&form, None).await.unwrap();
    assert_eq!(asked(&family, "backend", SECRET, third.access_token.expose()).await, inactive, "revoked");
}

#[tokio::test]
async fn int_1_who_registered_itself_hears_of_its_own_tokens_and_public_clients_of_none() {
    let family = with_backend().await;
    let body = json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": "client_secret_basic"});
    let registered = family.house.register(&body).unwrap();
    let (id, secret) = (registered["client_id"].as_str().unwrap(), registered["client_secret"].as_str().unwrap());
    let foreign = asked(&family, id, secret, family.first.access_token.expose()).await;
    assert_eq!(foreign, json!({"active": false}));
    let code = family.house.code(id).await;
    let redeem = super::house::but(super::house::redeeming(id, &code), "client_id", None);
    let basic = || Some(BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) });
    let own = family.house.server.token(&redeem, basic()).await.unwrap();
    assert_eq!(asked(&family, id, secret, own.access_token.expose()).await["active"], true);
    let public = parameters(&[("client_id", &family.client), ("token", family.first.access_token.expose())]);
    assert_eq!(failed(family.house.server.introspect(&public, None).await), "invalid_client");
    assert_eq!(failed(family.house.server.introspect(&parameters(&[]), basic()).await), "invalid_request");
}
