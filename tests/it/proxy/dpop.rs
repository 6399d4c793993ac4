//! Tokens that are bound to a key, at the gate (RFC 9449 §7, §9; DP-2).

use http::{StatusCode, header};
use http_body_util::Full;
use vestibule::{
    domain::{
        Clock as _, Injection, Scope,
        step_up::{Pattern, Rule, StepUp},
    },
    token::Dpop,
};

use super::gatehouse::{Gatehouse, Told, resource, settings, told};
use crate::world::holder::{Holder, ath, claims, with};

const URL: &str = "https://mcp.example.com/mcp";

fn now(gate: &Gatehouse) -> u64 {
    gate.clock.now().secs()
}

/// A sound proof for `POST` to `/mcp`.
fn fresh(gate: &Gatehouse, holder: &Holder, token: &str) -> String {
    holder.proof_with("POST", URL, now(gate), token)
}

/// `POST` to `path` with a token under a scheme and any number of proofs.
async fn show(gate: &Gatehouse, path: &str, scheme: &str, token: &str, proofs: &[&str]) -> Told {
    let mut request = Gatehouse::request(path).header(header::AUTHORIZATION, format!("{scheme} {token}"));
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    told(gate.send(request.body(Full::from("{}")).expect("a request")).await).await
}

async fn prove(gate: &Gatehouse, token: &str, proof: &str) -> Told {
    show(gate, "/mcp", "DPoP", token, &[proof]).await
}

/// Refused with that error, by a challenge of that scheme, without a word to the target.
fn assert_refused(gate: &Gatehouse, told: &Told, scheme: &str, error: &str, why: &str) {
    assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{}", told.text());
    let challenge = told.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with(&format!(r#"{scheme} error="{error}", error_description=""#)), "{challenge}");
    assert!(challenge.contains(why), "{challenge}");
    assert_eq!(challenge.contains(r#"algs="ES256 Ed25519 EdDSA RS256 PS256""#), scheme == "DPoP", "{challenge}");
    assert!(challenge.contains("resource_metadata=\"https://mcp.example.com/.well-known/"), "{challenge}");
    assert!(told.text().contains(&format!(r#""error":"{error}""#)), "{}", told.text());
    assert_eq!(gate.mcp.seen().len(), 0, "the target hears nothing of it");
}

#[tokio::test]
async fn dp_2_a_bound_token_passes_with_its_proof_and_the_target_sees_neither() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    for scheme in ["DPoP", "dpop", "DPOP"] {
        let answer = show(&gate, "/mcp", scheme, &token, &[&fresh(&gate, &holder, &token)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.header("dpop-nonce"), None);
    }
    let seen = gate.mcp.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert!(request.headers.get("dpop").is_none());
        assert!(request.headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer gho_"));
    }
}

#[tokio::test]
async fn dp_2_a_stolen_bound_token_opens_nothing_under_bearer() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    let stolen = show(&gate, "/mcp", "Bearer", &token, &[]).await;
    assert_refused(&gate, &stolen, "DPoP", "invalid_token", "use the DPoP scheme");
    // Nor with the owner's proof beside it.
    let stolen = show(&gate, "/mcp", "Bearer", &token, &[&fresh(&gate, &holder, &token)]).await;
    assert_refused(&gate, &stolen, "DPoP", "invalid_token", "use the DPoP scheme");
    let bare = show(&gate, "/mcp", "DPoP", &token, &[]).await;
    assert_refused(&gate, &bare, "DPoP", "invalid_dpop_proof", "a DPoP proof is needed");
}

#[tokio::test]
async fn dp_2_what_is_remembered_of_a_token_never_replaces_its_proof() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    for _ in 0..3 {
        assert_eq!(prove(&gate, &token, &fresh(&gate, &holder, &token)).await.status, StatusCode::OK);
        assert_eq!(show(&gate, "/mcp", "Bearer", &token, &[]).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(show(&gate, "/mcp", "DPoP", &token, &[]).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            prove(&gate, &token, &fresh(&gate, &Holder::es256(2), &token)).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn rfc9449_4_3_at_the_gate_a_proof_is_for_this_request_and_this_token() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    let other = gate.bound_token("bob", "/mcp", &holder.jkt()).await;
    let now = now(&gate);
    let made = |changes| holder.sign(&holder.header(), &with(claims("POST", URL, now), changes));
    let hash = ath(&token);
    for (changes, why) in [
        (serde_json::json!({ "ath": hash, "htm": "GET" }), "the htm"),
        (serde_json::json!({ "ath": hash, "htm": "POST " }), "the htm"),
        (serde_json::json!({ "ath": hash, "htu": "https://mcp.example.com/who" }), "the htu"),
        (serde_json::json!({ "ath": hash, "htu": "https://mcp.example.com/mcp/inner" }), "the htu"),
        (serde_json::json!({ "ath": hash, "htu": "https://mcp.internal/mcp" }), "the htu"),
        (serde_json::json!({ "ath": hash, "htu": format!("http://{}/mcp", gate.address) }), "the htu"),
        (serde_json::json!({ "ath": hash, "htu": "http://mcp.example.com/mcp" }), "the htu"),
        (serde_json::json!({ "ath": hash, "iat": now - 301 }), "the iat"),
        (serde_json::json!({ "ath": hash, "iat": now + 301 }), "the iat"),
        (serde_json::json!({}), "the ath"),
        (serde_json::json!({ "ath": "" }), "the ath"),
        (serde_json::json!({ "ath": ath(&other) }), "the ath"),
        (serde_json::json!({ "ath": hash.to_lowercase() }), "the ath"),
        (serde_json::json!({ "ath": hash, "jti": null }), "must hold jti"),
    ] {
        assert_refused(&gate, &prove(&gate, &token, &made(changes)).await, "DPoP", "invalid_dpop_proof", why);
    }
    let header = |changes| {
        holder
            .sign(&with(holder.header(), changes), &with(claims("POST", URL, now), serde_json::json!({ "ath": hash })))
    };
    for changes in [
        serde_json::json!({ "typ": "JWT" }),
        serde_json::json!({ "alg": "none" }),
        serde_json::json!({ "alg": "HS256" }),
        serde_json::json!({ "jwk": with(holder.public(), serde_json::json!({ "d": "AQEB" })) }),
        serde_json::json!({ "jwk": { "kty": "oct", "k": "AQEB" } }),
        serde_json::json!({ "jwk": Holder::es256(2).public() }),
    ] {
        assert_refused(&gate, &prove(&gate, &token, &header(changes)).await, "DPoP", "invalid_dpop_proof", "the ");
    }
    // The key of somebody else, who has a sound proof of his own.
    let stranger = prove(&gate, &token, &fresh(&gate, &Holder::es256(2), &token)).await;
    assert_refused(&gate, &stranger, "DPoP", "invalid_token", "another key");
    // Two headers: which of them would count?
    let (first, second) = (fresh(&gate, &holder, &token), fresh(&gate, &holder, &token));
    let two = show(&gate, "/mcp", "DPoP", &token, &[&first, &second]).await;
    assert_refused(&gate, &two, "DPoP", "invalid_dpop_proof", "more than one DPoP header");
    // At the edges of the window, written in another way, and with a query that is not looked at.
    for (secs, url) in [(now - 300, "https://MCP.example.com:443/mcp?x"), (now + 300, "https://mcp.example.com/mcp#x")]
    {
        let proof = holder.proof_with("POST", url, secs, &token);
        let answer = show(&gate, "/mcp?a=1", "DPoP", &token, &[&proof]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
}

#[tokio::test]
async fn rfc9449_11_1_a_proof_opens_the_gate_once() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    let proof = fresh(&gate, &holder, &token);
    let all = futures_util::future::join_all((0..20).map(|_| prove(&gate, &token, &proof))).await;
    assert_eq!(all.iter().filter(|told| told.status == StatusCode::OK).count(), 1);
    let replayed = all.iter().find(|told| told.status != StatusCode::OK).unwrap();
    assert!(replayed.header("www-authenticate").unwrap().contains("used before"));
    // A proof that was refused for something else has not been used up by that.
    let proof = holder.proof_with("POST", "https://mcp.example.com/who", now(&gate), &token);
    assert_eq!(prove(&gate, &token, &proof).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gate.mcp.seen().len(), 1);
}

#[tokio::test]
async fn dp_2_the_audience_still_counts() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.bound_token("ann", "/who", &holder.jkt()).await;
    let answer = prove(&gate, &token, &fresh(&gate, &holder, &token)).await;
    assert_refused(&gate, &answer, "DPoP", "invalid_token", "for another resource");
}

#[tokio::test]
async fn rfc9449_7_1_schemes_are_not_mixed() {
    let (gate, holder) = (Gatehouse::open().await, Holder::es256(1));
    let token = gate.token("ann", "/mcp").await;
    let answer = prove(&gate, &token, &fresh(&gate, &holder, &token)).await;
    assert_refused(&gate, &answer, "DPoP", "invalid_token", "use the Bearer scheme");
    // An unbound token passes as ever, whatever lies beside it.
    assert_eq!(show(&gate, "/mcp", "Bearer", &token, &["not a proof"]).await.status, StatusCode::OK);
    let garbage = prove(&gate, "garbage", "garbage").await;
    assert_eq!(garbage.status, StatusCode::UNAUTHORIZED);
    assert!(garbage.header("www-authenticate").unwrap().starts_with(r#"DPoP error="invalid_token""#));
    // Who brings nothing hears of Bearer, as everybody's client expects it.
    let nobody = told(gate.send(Gatehouse::request("/mcp").body(Full::from("{}")).unwrap()).await).await;
    assert!(nobody.header("www-authenticate").unwrap().starts_with("Bearer resource_metadata="));
}

#[tokio::test]
async fn dp_2_a_resource_may_let_bound_tokens_in_alone() {
    let gate = Gatehouse::with(settings(), |resources| resources[0].demands_proof = true).await;
    let holder = Holder::es256(1);
    let token = gate.token("ann", "/mcp").await;
    let answer = show(&gate, "/mcp", "Bearer", &token, &[]).await;
    assert_refused(&gate, &answer, "DPoP", "invalid_token", "bound to a key alone");
    let nobody = told(gate.send(Gatehouse::request("/mcp").body(Full::from("{}")).unwrap()).await).await;
    let challenge = nobody.header("www-authenticate").unwrap();
    assert!(challenge.starts_with(r#"DPoP algs="ES256"#) && !challenge.contains("error"), "{challenge}");
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    assert_eq!(prove(&gate, &token, &fresh(&gate, &holder, &token)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc9449_9_the_gate_asks_for_a_nonce_and_hands_out_the_next() {
    let (gate, holder) = (Gatehouse::proving(Dpop::Nonce, |_| {}).await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    let with_nonce = |nonce: &str| {
        let claims = with(claims("POST", URL, now(&gate)), serde_json::json!({ "ath": ath(&token), "nonce": nonce }));
        holder.sign(&holder.header(), &claims)
    };
    let asked = prove(&gate, &token, &fresh(&gate, &holder, &token)).await;
    assert_refused(&gate, &asked, "DPoP", "use_dpop_nonce", "a fresh nonce");
    let exposed = asked.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("DPoP-Nonce") && exposed.contains("WWW-Authenticate"), "{exposed}");
    let nonce = asked.header("dpop-nonce").unwrap();
    let let_in = prove(&gate, &token, &with_nonce(nonce)).await;
    assert_eq!(let_in.status, StatusCode::OK, "{}", let_in.text());
    assert!(let_in.header("dpop-nonce").is_some(), "also where all is well");
    gate.clock.advance(std::time::Duration::from_secs(301));
    let stale = prove(&gate, &token, &with_nonce(nonce)).await;
    assert!(stale.text().contains("use_dpop_nonce"), "{}", stale.text());
    assert_ne!(stale.header("dpop-nonce"), Some(nonce));
    // Who makes no proofs is not bothered.
    let token = gate.token("ann", "/mcp").await;
    let answer = show(&gate, "/mcp", "Bearer", &token, &[]).await;
    assert_eq!((answer.status, answer.header("dpop-nonce")), (StatusCode::OK, None));
}

#[tokio::test]
async fn dp_2_switched_off_the_scheme_is_unknown_and_bound_tokens_stay_closed() {
    let (gate, holder) = (Gatehouse::proving(Dpop::Off, |_| {}).await, Holder::es256(1));
    let token = gate.bound_token("ann", "/mcp", &holder.jkt()).await;
    let answer = prove(&gate, &token, &fresh(&gate, &holder, &token)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer resource_metadata="));
    assert_eq!(show(&gate, "/mcp", "Bearer", &token, &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sc_3_a_step_up_is_asked_for_in_the_scheme_of_the_request() {
    let gate = Gatehouse::proving(Dpop::Allowed, |resources| {
        let target = resources[0].target.to_string();
        let mut strict = resource("/strict", &target, vec![Injection::UpstreamToken]);
        let methods = vec![Pattern::parse("tools/call").unwrap()];
        let rule = Rule { methods, names: Vec::new(), scopes: Scope::parse("more") };
        strict.step_up = StepUp { rules: vec![rule], read_body: None };
        resources.push(strict);
    })
    .await;
    let holder = Holder::es256(1);
    let token = gate.bound_token("ann", "/strict", &holder.jkt()).await;
    let proof = holder.proof_with("POST", "https://mcp.example.com/strict", now(&gate), &token);
    let answer = show(&gate, "/strict", "DPoP", &token, &[&proof]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with(r#"DPoP error="insufficient_scope""#), "{challenge}");
}
