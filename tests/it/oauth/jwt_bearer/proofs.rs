//! With a proof of possession (RFC 9449) beside the assertion.

use vestibule::token::{PresentedProof, Refused};

use super::*;
use crate::world::holder::{Holder, claims};

const TOKEN: &str = "https://mcp.example.com/token";

fn said(response: &TokenResponse) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = response.access_token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Who asks has to prove a key soundly, and gets tokens that only this key can use. `ask` makes a fresh assertion each time.
async fn binds(scene: &Scene, ask: impl AsyncFn(PresentedProof<'_>) -> Result<TokenResponse, Error>) {
    let (holder, now) = (Holder::ed25519(1), scene.now());
    for (proof, why) in [
        (holder.proof("GET", TOKEN, now), "htm"),
        (holder.proof("POST", NOTES, now), "htu"),
        (holder.proof("POST", TOKEN, now - 301), "iat"),
        (Holder::ed25519(2).sign(&holder.header(), &claims("POST", TOKEN, now)), "signed"),
        ("x".to_owned(), "DPoP"),
    ] {
        let error = ask(PresentedProof::One(&proof)).await.unwrap_err();
        assert_eq!(error.code.as_str(), "invalid_dpop_proof");
        assert!(error.description.contains(why), "{error}");
    }
    assert_eq!(failed(ask(PresentedProof::Several).await), "invalid_dpop_proof");
    let sound = holder.proof("POST", TOKEN, now);
    let response = ask(PresentedProof::One(&sound)).await.unwrap();
    assert_eq!(response.token_type, "DPoP");
    assert_eq!(said(&response)["cnf"], json!({ "jkt": holder.jkt() }));
    let refused = scene.house.mint.verify(response.access_token.expose(), &notes()).await.err();
    assert!(matches!(refused, Some(Refused::Bound)), "{refused:?}");
    assert_eq!(failed(ask(PresentedProof::One(&sound)).await), "invalid_dpop_proof", "a proof is good for once");
    let plain = ask(PresentedProof::None).await.unwrap();
    assert_eq!((plain.token_type, said(&plain).get("cnf")), ("Bearer", None));
}

#[tokio::test]
async fn dp_1_a_token_for_an_id_jag_is_bound_to_the_key_that_was_proved() {
    let scene = Scene::open().await;
    let ask = async |proof: PresentedProof<'_>| {
        scene.house.server.token_proven(&asking(&scene.jag(json!({}))), basic("agent"), proof).await
    };
    binds(&scene, ask).await;
    // RFC 9449 §5: a refused proof has not spent the assertion.
    let jag = asking(&scene.jag(json!({})));
    let proof = |method| Holder::es256(1).proof(method, TOKEN, scene.now());
    let wrong = scene.house.server.token_proven(&jag, basic("agent"), PresentedProof::One(&proof("GET"))).await;
    assert_eq!(failed(wrong), "invalid_dpop_proof");
    assert!(scene.house.server.token_proven(&jag, basic("agent"), PresentedProof::One(&proof("POST"))).await.is_ok());
}

#[tokio::test]
async fn dp_1_a_workloads_token_is_bound_to_the_key_that_was_proved() {
    let scene = Scene::open().await;
    let ask = async |proof: PresentedProof<'_>| {
        let form = but(asking(&scene.badge(json!({}))), "resource", Some(NOTES));
        scene.house.server.token_proven(&form, None, proof).await
    };
    binds(&scene, ask).await;
}

#[tokio::test]
async fn dp_2_a_server_that_lets_bound_tokens_in_alone_gives_an_assertion_no_other() {
    let scene = Scene::with(|_, resources| resources[0].demands_proof = true).await;
    assert_eq!(failed(scene.come(&scene.jag(json!({}))).await), "invalid_dpop_proof");
    assert_eq!(failed(scene.work(&scene.badge(json!({}))).await), "invalid_dpop_proof");
    assert_eq!(scene.house.records_of("grant").await, 0);
}
