//! Tokens that are bound to their client's key, where they are granted (RFC 9449 §5, §8, §10; DP-1, DP-3).

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use vestibule::{
    domain::{ClientAuthMethod, ClientId, Clock as _, GrantType, ResourceUri},
    oauth::{BasicCredentials, DeviceSettings, Error, Parameters, TokenResponse},
    token::{Dpop, PresentedProof, Refused},
};

use super::house::{
    CHALLENGE, CLAUDE, House, Human, NOTES, answered, asking, but, failed, parameters, redeeming, static_client,
};
use crate::world::holder::{Holder, claims, with};

const TOKEN: &str = "https://mcp.example.com/token";

fn notes() -> ResourceUri {
    ResourceUri::under(&vestibule::domain::HttpsUrl::parse("https://mcp.example.com", false).unwrap(), "/notes")
}

fn now(house: &House) -> u64 {
    house.clock.now().secs()
}

fn fresh(house: &House, holder: &Holder) -> String {
    holder.proof("POST", TOKEN, now(house))
}

/// `/token` with a proof, or without one where it is empty.
async fn ask(house: &House, form: &Parameters, proof: &str) -> Result<TokenResponse, Error> {
    let proof = if proof.is_empty() { PresentedProof::None } else { PresentedProof::One(proof) };
    house.server.token_proven(form, None, proof).await
}

fn refreshing(client: &str, tokens: &TokenResponse) -> Parameters {
    let token = tokens.refresh_token.as_ref().expect("a refresh token").expose();
    parameters(&[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)])
}

/// What an access token says.
fn said(tokens: &TokenResponse) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = tokens.access_token.expose().split('.').nth(1).expect("a JWT").to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// A public client of that name, logged in with a proof of `holder`, or without.
async fn logged_in(house: &House, holder: Option<&Holder>) -> (String, TokenResponse) {
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let proof = holder.map(|holder| fresh(house, holder)).unwrap_or_default();
    let tokens = ask(house, &redeeming(&client, &code), &proof).await.expect("tokens");
    (client, tokens)
}

async fn house(dpop: Dpop) -> House {
    House::minting(|minting| minting.dpop = dpop, |_, _| {}).await
}

#[tokio::test]
async fn dp_1_a_proof_binds_the_access_token_to_its_key() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let (_, tokens) = logged_in(&house, Some(&holder)).await;
    assert_eq!(tokens.token_type, "DPoP");
    assert_eq!(said(&tokens)["cnf"], json!({ "jkt": holder.jkt() }));
    let refused = house.mint.verify(tokens.access_token.expose(), &notes()).await.err();
    assert!(matches!(refused, Some(Refused::Bound)), "{refused:?}");
    let (_, tokens) = logged_in(&house, None).await;
    assert_eq!(tokens.token_type, "Bearer");
    assert!(said(&tokens).get("cnf").is_none());
}

#[tokio::test]
async fn rfc9449_4_3_at_the_token_endpoint_a_proof_is_for_that_endpoint_and_for_now() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let form = redeeming(&client, &code);
    let now = now(&house);
    for (method, url, secs, why) in [
        ("GET", TOKEN, now, "htm"),
        ("post", TOKEN, now, "htm"),
        ("POST", "https://mcp.example.com/notes", now, "htu"),
        ("POST", "https://mcp.example.com/token/", now, "htu"),
        ("POST", "https://mcp.example.com/Token", now, "htu"),
        ("POST", "http://mcp.example.com/token", now, "htu"),
        ("POST", "https://mcp.example.com:8443/token", now, "htu"),
        ("POST", "https://evil.example/token", now, "htu"),
        ("POST", "https://mcp.example.com.evil.example/token", now, "htu"),
        ("POST", TOKEN, now - 301, "iat"),
        ("POST", TOKEN, now + 301, "iat"),
        ("POST", TOKEN, 0, "iat"),
        ("POST", TOKEN, u64::MAX, "iat"),
    ] {
        let error = ask(&house, &form, &holder.proof(method, url, secs)).await.unwrap_err();
        assert_eq!(error.code.as_str(), "invalid_dpop_proof", "{method} {url}");
        assert!(error.description.contains(why), "{error}");
    }
    for text in ["x", "a.b.c", &Holder::es256(2).sign(&holder.header(), &claims("POST", TOKEN, now))] {
        assert_eq!(failed(ask(&house, &form, text).await), "invalid_dpop_proof");
    }
    let twice = house.server.token_proven(&form, None, PresentedProof::Several).await;
    assert_eq!(failed(twice), "invalid_dpop_proof");
    // Nothing of that has touched the code, and nothing was written.
    assert_eq!(house.records_of("proof").await, 0);
    let odd = holder.proof("POST", "HTTPS://MCP.example.com:443/token?x=1#y", now - 300);
    assert!(ask(&house, &form, &odd).await.is_ok());
    let (_, tokens) = logged_in(&house, None).await;
    let ahead = holder.proof("POST", TOKEN, now + 300);
    assert!(ask(&house, &refreshing(&client, &tokens), &ahead).await.is_ok());
}

#[tokio::test]
async fn rfc9449_11_1_of_many_who_present_one_proof_one_gets_in() {
    let (house, holder) = (Arc::new(House::open().await), Holder::es256(1));
    let (client, tokens) = logged_in(&house, Some(&holder)).await;
    // Within its grace a refresh token is good for all of them, so the proof alone decides.
    let (form, proof) = (refreshing(&client, &tokens), fresh(&house, &holder));
    let all = (0..30).map(|_| {
        let (house, form, proof) = (Arc::clone(&house), form.clone(), proof.clone());
        tokio::spawn(async move { ask(&house, &form, &proof).await })
    });
    let mut won = 0;
    for outcome in join_all(all).await {
        match outcome.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.to_string(), "invalid_dpop_proof: the DPoP proof was used before"),
        }
    }
    assert_eq!(won, 1);
    // To its end and beyond.
    for seconds in [299, 1, 1, 3600] {
        house.wait(seconds);
        assert_eq!(failed(ask(&house, &form, &proof).await), "invalid_dpop_proof");
    }
}

#[tokio::test]
async fn s11_a_strangers_proof_is_not_written_down() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let visits = house.visits();
    let forged = but(redeeming(&client, "x"), "code", Some("vc_forged"));
    assert_eq!(failed(ask(&house, &forged, &fresh(&house, &holder)).await), "invalid_grant");
    let forged = parameters(&[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", "vr_x")]);
    assert_eq!(failed(ask(&house, &forged, &fresh(&house, &holder)).await), "invalid_grant");
    assert_eq!((house.visits() - visits, house.records_of("proof").await), (2, 0), "whether the client is blocked");
}

#[tokio::test]
async fn dp_3_a_client_that_always_proves_gets_no_bearer_token() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let body = json!({
        "client_name": "Careful", "redirect_uris": [CLAUDE], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "dpop_bound_access_tokens": true,
    });
    let reply = house.register(&body).unwrap();
    assert_eq!(reply["dpop_bound_access_tokens"], true);
    let client = reply["client_id"].as_str().unwrap();
    let code = house.code(client).await;
    assert_eq!(failed(house.redeem(client, &code).await), "invalid_dpop_proof");
    let tokens = ask(&house, &redeeming(client, &code), &fresh(&house, &holder)).await.unwrap();
    assert_eq!(tokens.token_type, "DPoP", "the code was not lost");
    assert_eq!(failed(ask(&house, &refreshing(client, &tokens), "").await), "invalid_dpop_proof");
    // Who says nothing of it is another client, and says nothing of it in the answer.
    let other = house.register(&with(body.clone(), json!({ "dpop_bound_access_tokens": false }))).unwrap();
    assert!(other.get("dpop_bound_access_tokens").is_none() && other["client_id"] != reply["client_id"]);
}

#[tokio::test]
async fn dp_3_dpop_jkt_binds_the_code_to_a_key() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let asked = but(asking(&client, CLAUDE), "dpop_jkt", Some(&holder.jkt()));
    for proof in [String::new(), fresh(&house, &Holder::es256(2))] {
        let code = Human::new(&house).log_in(&house, &asked).await["code"].clone();
        let form = redeeming(&client, &code);
        assert_eq!(failed(ask(&house, &form, &proof).await), "invalid_grant");
        // Whoever came had the verifier, too: the code is dead even for its owner.
        assert_eq!(failed(ask(&house, &form, &fresh(&house, &holder)).await), "invalid_grant");
    }
    let code = Human::new(&house).log_in(&house, &asked).await["code"].clone();
    let tokens = ask(&house, &redeeming(&client, &code), &fresh(&house, &holder)).await.unwrap();
    assert_eq!(said(&tokens)["cnf"]["jkt"], holder.jkt());
    for bad in ["x", &holder.jkt()[..42], &format!("{}=", holder.jkt()), CHALLENGE.split_at(42).0] {
        let asked = but(asking(&client, CLAUDE), "dpop_jkt", Some(bad));
        let answer = answered(Human::new(&house).visit(&house, &asked).await);
        assert_eq!(answer["error"], "invalid_request", "{bad}");
    }
}

#[tokio::test]
async fn dp_3_a_public_clients_refresh_tokens_are_bound_to_its_key() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let (client, first) = logged_in(&house, Some(&holder)).await;
    let form = refreshing(&client, &first);
    // The thief has all but the key; neither he nor his tries end the login.
    assert_eq!(failed(ask(&house, &form, "").await), "invalid_dpop_proof");
    assert_eq!(failed(ask(&house, &form, &fresh(&house, &Holder::es256(2))).await), "invalid_grant");
    let second = ask(&house, &form, &fresh(&house, &holder)).await.unwrap();
    assert_eq!((second.token_type, &said(&second)["cnf"]["jkt"]), ("DPoP", &json!(holder.jkt())));
    // The predecessor within its grace is bound as well, and so is the next one.
    for tokens in [&first, &second] {
        let form = refreshing(&client, tokens);
        assert_eq!(failed(ask(&house, &form, "").await), "invalid_dpop_proof");
        assert_eq!(failed(ask(&house, &form, &fresh(&house, &Holder::es256(2))).await), "invalid_grant");
        assert!(ask(&house, &form, &fresh(&house, &holder)).await.is_ok());
    }
}

#[tokio::test]
async fn rfc9449_5_whoever_begins_to_prove_at_a_refresh_is_bound_from_then_on() {
    let (house, holder) = (House::open().await, Holder::es256(1));
    let (client, first) = logged_in(&house, None).await;
    let second = ask(&house, &refreshing(&client, &first), &fresh(&house, &holder)).await.unwrap();
    assert_eq!(second.token_type, "DPoP");
    for tokens in [&first, &second] {
        assert_eq!(failed(ask(&house, &refreshing(&client, tokens), "").await), "invalid_dpop_proof");
    }
}

#[tokio::test]
async fn rfc9449_5_a_confidential_clients_refresh_tokens_are_bound_to_its_secret_alone() {
    let house = House::with(|settings, _| {
        settings.clients = vec![static_client("desk", ClientAuthMethod::ClientSecretPost, Some("the-secret"))];
    })
    .await;
    let code = house.code("desk").await;
    let form = but(redeeming("desk", &code), "client_secret", Some("the-secret"));
    let mut tokens = ask(&house, &form, &fresh(&house, &Holder::es256(1))).await.unwrap();
    for (proof, kind) in [(fresh(&house, &Holder::es256(2)), "DPoP"), (String::new(), "Bearer")] {
        let form = but(refreshing("desk", &tokens), "client_secret", Some("the-secret"));
        tokens = ask(&house, &form, &proof).await.unwrap();
        assert_eq!(tokens.token_type, kind);
    }
}

#[tokio::test]
async fn rfc9449_8_a_nonce_is_asked_for_before_anything_is_spent() {
    let (house, holder) = (house(Dpop::Nonce).await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let form = redeeming(&client, &code);
    let with_nonce = |nonce: &str, secs: u64| {
        holder.sign(&holder.header(), &with(claims("POST", TOKEN, secs), json!({ "nonce": nonce })))
    };
    let nonce = house.server.dpop_nonce().unwrap();
    assert_eq!(nonce, house.server.dpop_nonce().unwrap(), "it is kept nowhere");
    let mut foreign = nonce.clone().into_bytes();
    foreign[20] ^= 1;
    for bad in ["x", "", &String::from_utf8(foreign).unwrap(), &nonce[..31], &format!("{nonce}AAAA")] {
        let proof = if bad.is_empty() { fresh(&house, &holder) } else { with_nonce(bad, now(&house)) };
        assert_eq!(failed(ask(&house, &form, &proof).await), "use_dpop_nonce", "{bad}");
    }
    assert!(ask(&house, &form, &with_nonce(&nonce, now(&house))).await.is_ok(), "the code is as good as before");
    // Old: five minutes are allowed. Then the next one is good.
    let code = house.code(&client).await;
    let tokens = ask(&house, &redeeming(&client, &code), &with_nonce(&nonce, now(&house))).await.unwrap();
    let form = refreshing(&client, &tokens);
    house.wait(300);
    assert!(ask(&house, &form, &with_nonce(&nonce, now(&house))).await.is_ok());
    house.wait(1);
    assert_eq!(failed(ask(&house, &form, &with_nonce(&nonce, now(&house))).await), "use_dpop_nonce");
    let next = house.server.dpop_nonce().unwrap();
    assert_ne!(next, nonce);
    assert!(ask(&house, &form, &with_nonce(&next, now(&house))).await.is_ok());
}

#[tokio::test]
async fn dp_1_the_metadata_says_what_is_understood() {
    let algs = json!(["ES256", "Ed25519", "EdDSA", "RS256", "PS256"]);
    for (dpop, expected) in [(Dpop::Allowed, &algs), (Dpop::Nonce, &algs), (Dpop::Off, &Value::Null)] {
        let house =
            House::minting(|minting| minting.dpop = dpop, |_, resources| resources[1].demands_proof = true).await;
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let server = read(&house.server.metadata());
        assert_eq!(&server["dpop_signing_alg_values_supported"], expected);
        let notes = read(&house.server.protected_resource("/notes").unwrap());
        assert_eq!(&notes["dpop_signing_alg_values_supported"], expected);
        assert!(notes.get("dpop_bound_access_tokens_required").is_none());
        let mail = read(&house.server.protected_resource("/mail").unwrap());
        assert_eq!(mail["dpop_bound_access_tokens_required"], true);
    }
}

#[tokio::test]
async fn dp_1_switched_off_a_proof_means_nothing() {
    let (house, holder) = (house(Dpop::Off).await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let tokens = ask(&house, &redeeming(&client, &code), "not even a proof").await.unwrap();
    assert_eq!((tokens.token_type, house.server.dpop_nonce()), ("Bearer", None));
    assert!(ask(&house, &refreshing(&client, &tokens), &fresh(&house, &holder)).await.is_ok());
    let body =
        json!({ "redirect_uris": [CLAUDE], "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true });
    assert!(house.register(&body).unwrap().get("dpop_bound_access_tokens").is_none());
}

#[tokio::test]
async fn dp_2_no_token_is_made_that_its_resource_would_refuse() {
    let (house, holder) = (House::with(|_, resources| resources[0].demands_proof = true).await, Holder::es256(1));
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    assert_eq!(failed(house.redeem(&client, &code).await), "invalid_dpop_proof");
    let tokens = ask(&house, &redeeming(&client, &code), &fresh(&house, &holder)).await.unwrap();
    assert_eq!(tokens.token_type, "DPoP", "the code was not lost");
}

#[tokio::test]
async fn dp_1_a_device_proves_as_everybody_does() {
    let house = House::with(|settings, resources| {
        settings.device = Some(DeviceSettings { life: Duration::from_secs(600) });
        resources[0].demands_proof = true;
    })
    .await;
    let holder = Holder::es256(1);
    let body = json!({ "token_endpoint_auth_method": "none", "grant_types": [GrantType::DeviceCode.as_str(), "refresh_token"] });
    let client = house.register(&body).unwrap()["client_id"].as_str().unwrap().to_owned();
    let asked = parameters(&[("client_id", &client), ("scope", "read"), ("resource", NOTES)]);
    let place = vestibule::domain::Place::new([203, 0, 113, 9].into(), None);
    let answer = house.server.device_authorization(&asked, None, place.clone()).await.unwrap();
    let answer = serde_json::to_value(&answer).unwrap();
    let form = parameters(&[
        ("grant_type", GrantType::DeviceCode.as_str()),
        ("device_code", answer["device_code"].as_str().unwrap()),
        ("client_id", &client),
    ]);
    assert_eq!(failed(ask(&house, &form, "").await), "invalid_dpop_proof");
    assert_eq!(failed(ask(&house, &form, &fresh(&house, &holder)).await), "authorization_pending");
    agree(&house, answer["user_code"].as_str().unwrap(), &place).await;
    house.wait(5);
    assert_eq!(failed(ask(&house, &form, "").await), "invalid_dpop_proof");
    let tokens = ask(&house, &form, &fresh(&house, &holder)).await.unwrap();
    assert_eq!((tokens.token_type, &said(&tokens)["cnf"]["jkt"]), ("DPoP", &json!(holder.jkt())));
    let form = refreshing(&client, &tokens);
    assert_eq!(failed(ask(&house, &form, &fresh(&house, &Holder::es256(2))).await), "invalid_grant");
    assert!(ask(&house, &form, &fresh(&house, &holder)).await.is_ok());
}

/// A human types the code, says yes and logs in.
async fn agree(house: &House, code: &str, place: &vestibule::domain::Place) {
    use vestibule::oauth::Step;
    let human = Human::new(house);
    let Step::AskUserCode(page) = house.server.ask_user_code(&Vec::new(), &human.browser) else { panic!("no page") };
    let form = parameters(&[("user_code", code), ("form", page.token.expose())]);
    let page = super::house::asked(house.server.enter_user_code(&form, &human.browser, place).await);
    let step = human.decide(house, &page, "approve").await;
    let callback = human.log_in_at(&house.idp, step).await;
    human.come_back(house, &callback).await;
}

#[tokio::test]
async fn cc_1_dp_1_a_client_that_acts_for_itself_proves_as_everybody_does() {
    let house = House::with(|settings, resources| {
        let mut robot = static_client("robot", ClientAuthMethod::ClientSecretPost, Some("shh"));
        robot.client.grants = [GrantType::ClientCredentials].into();
        settings.clients = vec![robot];
        resources[0].clients = vec![ClientId::new("robot")];
        resources[0].demands_proof = true;
    })
    .await;
    let holder = Holder::es256(1);
    let form = parameters(&[
        ("grant_type", "client_credentials"),
        ("client_id", "robot"),
        ("client_secret", "shh"),
        ("resource", NOTES),
    ]);
    assert_eq!(failed(ask(&house, &form, "").await), "invalid_dpop_proof");
    let proof = fresh(&house, &holder);
    let tokens = ask(&house, &form, &proof).await.unwrap();
    assert_eq!((tokens.token_type, &said(&tokens)["cnf"]["jkt"]), ("DPoP", &json!(holder.jkt())));
    assert_eq!(failed(ask(&house, &form, &proof).await), "invalid_dpop_proof", "good for once");
}

#[tokio::test]
async fn rfc9449_6_2_introspection_shows_the_key() {
    let house = House::with(|settings, _| {
        settings.clients = vec![static_client("server", ClientAuthMethod::ClientSecretBasic, Some("the-secret"))];
    })
    .await;
    let holder = Holder::es256(1);
    let (_, bound) = logged_in(&house, Some(&holder)).await;
    let (_, unbound) = logged_in(&house, None).await;
    let told = async |token: &str| {
        let basic = BasicCredentials { id: "server".to_owned(), secret: "the-secret".into() };
        let answer = house.server.introspect(&parameters(&[("token", token)]), Some(basic)).await.unwrap();
        serde_json::to_value(&answer).unwrap()
    };
    let access = told(bound.access_token.expose()).await;
    assert_eq!((&access["token_type"], &access["cnf"]), (&json!("DPoP"), &json!({ "jkt": holder.jkt() })));
    let refresh = told(bound.refresh_token.as_ref().unwrap().expose()).await;
    assert_eq!((&refresh["active"], &refresh["cnf"]), (&json!(true), &json!({ "jkt": holder.jkt() })));
    let bearer = told(unbound.access_token.expose()).await;
    assert_eq!((&bearer["token_type"], bearer.get("cnf")), (&json!("Bearer"), None));
    // RFC 7009: whose tokens they are is proven by the client's authentication; no proof is asked for.
    let client = bound_client(&house);
    let form = parameters(&[("token", bound.access_token.expose()), ("client_id", client.as_str())]);
    house.server.revoke(&form, None).await.unwrap();
    assert_eq!(told(bound.access_token.expose()).await, json!({ "active": false }));
}

fn bound_client(house: &House) -> ClientId {
    ClientId::new(house.client(CLAUDE))
}
