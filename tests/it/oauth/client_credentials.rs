//! `/token` with client_credentials: a client acts for itself (RFC 6749 §4.4; CC-1, TOK-7).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey, published::PublishedKeys},
    domain::{
        ApprovedClient, ClientAuthMethod, ClientId, ClientOrigin, Clock as _, GrantType, Injection, ResourceUri, Scope,
    },
    oauth::{BasicCredentials, ClientKeys, Error, KeySource, Parameters, TokenResponse},
};

use super::house::{CLAUDE, House, ISSUER, NOTES, but, failed, parameters, static_client};

const MAIL: &str = "https://mcp.example.com/mail";

/// A house in which the robot may enter `/notes` and nothing else.
async fn house() -> House {
    House::with(|settings, resources| {
        let mut robot = static_client("robot", ClientAuthMethod::ClientSecretBasic, Some("shh"));
        robot.client.grants = BTreeSet::from([GrantType::ClientCredentials]);
        settings.clients.push(robot);
        let mut person = static_client("person", ClientAuthMethod::ClientSecretBasic, Some("shh"));
        person.client.grants = BTreeSet::from([GrantType::AuthorizationCode]);
        settings.clients.push(person);
        resources[0].clients = vec![ClientId::new("robot")];
    })
    .await
}

fn basic(id: &str, secret: &str) -> Option<BasicCredentials> {
    Some(BasicCredentials { id: id.to_owned(), secret: secret.into() })
}

fn asking() -> Parameters {
    parameters(&[("grant_type", "client_credentials"), ("resource", NOTES), ("scope", "read")])
}

async fn ask(house: &House, parameters: &Parameters) -> Result<TokenResponse, Error> {
    house.server.token(parameters, basic("robot", "shh")).await
}

fn notes() -> ResourceUri {
    ResourceUri::under(&vestibule::domain::HttpsUrl::parse("https://mcp.example.com", false).unwrap(), "/notes")
}

#[tokio::test]
async fn cc_1_tok_7_a_client_of_the_operators_gets_a_token_in_its_own_name() {
    let house = house().await;
    let response = ask(&house, &asking()).await.unwrap();
    assert_eq!((response.scope.to_string().as_str(), response.token_type), ("read", "Bearer"));
    assert!(response.refresh_token.is_none(), "rfc6749_4_4_3");
    let caller = house.mint.verify(response.access_token.expose(), &notes()).await.unwrap();
    assert_eq!((caller.identity.subject.as_str(), caller.client.as_str()), ("client:robot", "robot"));
    assert!(caller.upstream_token.is_none() && caller.identity.email.is_none());
    assert!(house.idp.received().is_empty(), "no provider is asked");
    // Not one claim of the provider's, and no word of a person's.
    let json = serde_json::to_value(&response).unwrap();
    assert!(json.get("refresh_token").is_none());

    // Revocable like every other, by its client alone.
    let revoking = parameters(&[("token", response.access_token.expose())]);
    house.server.revoke(&revoking, basic("person", "shh")).await.unwrap();
    assert!(house.mint.verify(response.access_token.expose(), &notes()).await.is_ok());
    house.server.revoke(&revoking, basic("robot", "shh")).await.unwrap();
    assert!(house.mint.verify(response.access_token.expose(), &notes()).await.is_err());
}

#[tokio::test]
async fn cc_1_resource_and_scope_are_honoured() {
    let house = house().await;
    let all = ask(&house, &but(asking(), "scope", None)).await.unwrap();
    assert_eq!(all.scope, Scope::parse("read write"));
    let default = ask(&house, &but(asking(), "resource", None)).await.unwrap();
    assert!(house.mint.verify(default.access_token.expose(), &notes()).await.is_ok(), "ri_1: the default one");
    let elsewhere = but(asking(), "resource", Some("https://evil.example"));
    assert_eq!(failed(ask(&house, &elsewhere).await), "invalid_target");
    // D15: `/mail` admits every person, and no client.
    assert_eq!(failed(ask(&house, &but(asking(), "resource", Some(MAIL))).await), "unauthorized_client");
    assert_eq!(house.records_of("grant").await, 2, "whoever is refused leaves nothing behind");
}

#[tokio::test]
async fn cc_1_only_for_clients_that_the_operator_wrote_down_and_that_prove_themselves() {
    let house = house().await;
    let outcome = house.server.token(&asking(), basic("person", "shh")).await;
    assert_eq!(failed(outcome), "unauthorized_client", "it does not list the grant");
    for secret in ["", "wrong"] {
        assert_eq!(failed(house.server.token(&asking(), basic("robot", secret)).await), "invalid_client");
    }
    let posted = but(but(asking(), "client_id", Some("robot")), "client_secret", Some("shh"));
    assert_eq!(failed(house.server.token(&posted, None).await), "invalid_client", "tok_3: one method, its own");
    let two = but(asking(), "client_secret", Some("shh"));
    assert_eq!(failed(ask(&house, &two).await), "invalid_request", "tok_3: one method per request");
    // Whoever registers itself does not get it, asked for or not.
    let document = json!({ "redirect_uris": [CLAUDE], "grant_types": ["authorization_code", "client_credentials"] });
    let registered = house.register(&document).unwrap();
    assert_eq!(registered["grant_types"], json!(["authorization_code"]));
    let id = registered["client_id"].as_str().unwrap();
    let outcome = house.server.token(&asking(), basic(id, registered["client_secret"].as_str().unwrap())).await;
    assert_eq!(failed(outcome), "unauthorized_client");
    let alone = json!({ "redirect_uris": [CLAUDE], "grant_types": ["client_credentials"] });
    assert_eq!(failed(house.register(&alone)), "invalid_client_metadata");
}

#[tokio::test]
async fn cc_1_metadata_lists_the_grant_where_some_client_has_it() {
    let list = |house: &House| {
        let metadata: Value = serde_json::from_slice(&house.server.metadata()).unwrap();
        metadata["grant_types_supported"].clone()
    };
    assert_eq!(list(&house().await), json!(["authorization_code", "refresh_token", "client_credentials"]));
    assert_eq!(list(&House::open().await), json!(["authorization_code", "refresh_token"]));
}

#[tokio::test]
async fn cc_1_a_server_that_is_handed_a_persons_token_is_closed_to_clients() {
    let house = House::with(|settings, resources| {
        let mut robot = static_client("robot", ClientAuthMethod::ClientSecretBasic, Some("shh"));
        robot.client.grants = BTreeSet::from([GrantType::ClientCredentials]);
        settings.clients.push(robot);
        resources[0].clients = vec![ClientId::new("robot")];
        resources[0].inject = vec![Injection::UpstreamToken];
    })
    .await;
    assert_eq!(failed(ask(&house, &asking()).await), "invalid_target");
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn cc_1_its_grant_ends_with_its_token_and_a_blocked_client_gets_none() {
    let house = house().await;
    let response = ask(&house, &asking()).await.unwrap();
    house.wait(response.expires_in);
    assert!(house.mint.verify(response.access_token.expose(), &notes()).await.is_ok());
    house.wait(20);
    assert!(house.mint.verify(response.access_token.expose(), &notes()).await.is_err());
    let now = house.clock.now();
    let shut = ApprovedClient {
        id: ClientId::new("robot"),
        name: None,
        origin: ClientOrigin::Static,
        first_seen: now,
        last_seen: now,
        blocked: true,
        expires: now + Duration::from_secs(3600),
    };
    house.store.put(&shut).await.unwrap();
    assert_eq!(failed(ask(&house, &asking()).await), "invalid_client");
}

#[tokio::test]
async fn cc_1_cc_2_a_client_that_signs_needs_no_secret_and_names_itself_by_its_signature() {
    let key = SigningKey::generate(Alg::Es256, "robot-1").unwrap();
    let keys = PublishedKeys::of(&json!({ "keys": [key.public_jwk().unwrap()] })).unwrap();
    let house = House::with(|settings, resources| {
        let mut robot = static_client("robot", ClientAuthMethod::PrivateKeyJwt, None);
        robot.client.grants = BTreeSet::from([GrantType::ClientCredentials]);
        robot.keys = Some(ClientKeys { source: KeySource::Inline(Arc::new(keys)), endpoint_audience: false });
        settings.clients.push(robot);
        resources[0].clients = vec![ClientId::new("robot")];
    })
    .await;
    let come = async |audience: &str, jti: &str| {
        let exp = house.clock.now().secs() + 60;
        let claims = json!({ "iss": "robot", "sub": "robot", "aud": audience, "exp": exp, "jti": jti });
        let mut form = asking();
        form.extend(parameters(&[
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &key.sign("JWT", claims.to_string().as_bytes()).unwrap()),
        ]));
        house.server.token(&form, None).await
    };
    for (audience, jti) in [(ISSUER.to_owned(), "1"), (format!("{ISSUER}/"), "2")] {
        let response = come(&audience, jti).await.unwrap();
        let caller = house.mint.verify(response.access_token.expose(), &notes()).await.unwrap();
        assert_eq!(caller.identity.subject.as_str(), "client:robot");
        assert_eq!(failed(come(&audience, jti).await), "invalid_client", "good for once");
    }
    assert_eq!(failed(come(&format!("{ISSUER}/token"), "3").await), "invalid_client");
    assert_eq!(failed(house.server.token(&but(asking(), "client_id", Some("robot")), None).await), "invalid_client");
    let metadata: Value = serde_json::from_slice(&house.server.metadata()).unwrap();
    let listed = &metadata["token_endpoint_auth_methods_supported"];
    assert!(listed.as_array().unwrap().contains(&json!("private_key_jwt")), "{listed}");
    assert!(metadata["token_endpoint_auth_signing_alg_values_supported"].is_array());
}
