//! A client that proves, at the whole house over HTTP (RFC 9449; DP-1, DP-2).

use serde_json::{Value, json};
use vestibule::domain::Clock as _;

use crate::world::{
    browser::Browser,
    holder::{Holder, ath, claims, with},
    town::{McpClient, Town, VERIFIER, http, parameter},
};

/// A client with a key, and the latest nonce that it was given.
struct Prover {
    holder: Holder,
    client: McpClient,
    nonce: Option<String>,
}

impl Prover {
    fn proof(&self, town: &Town, url: &str, token: Option<&str>) -> String {
        let changes = json!({ "nonce": self.nonce, "ath": token.map(ath) });
        let claims = with(claims("POST", url, town.clock.now().secs()), changes);
        self.holder.sign(&self.holder.header(), &claims)
    }

    /// A form to `/token`; once more where a nonce is asked for.
    async fn ask(&mut self, town: &Town, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/token", town.base);
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        loop {
            let request = http().post(&url).header("content-type", "application/x-www-form-urlencoded");
            let request = request.header("DPoP", self.proof(town, &url, None)).body(body.clone());
            let answer = request.send().await.expect("an answer");
            let nonce = answer.headers().get("dpop-nonce").map(|nonce| nonce.to_str().expect("text").to_owned());
            let exposed = answer.headers()["access-control-expose-headers"].to_str().expect("text").to_owned();
            assert!(exposed.contains("DPoP-Nonce"), "{exposed}");
            let status = answer.status().as_u16();
            let told: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
            if told["error"] != "use_dpop_nonce" {
                return (status, told);
            }
            assert!(status == 400 && nonce.is_some() && nonce != self.nonce, "{told}");
            self.nonce = nonce;
        }
    }

    async fn call(&self, town: &Town, path: &str, token: &str) -> reqwest::Response {
        let url = format!("{}{path}", town.base);
        let request = http().post(&url).header("content-type", "application/json").body("{}");
        let request = request.header("DPoP", self.proof(town, &url, Some(token)));
        request.header("authorization", format!("DPoP {token}")).send().await.expect("an answer")
    }
}

#[tokio::test]
async fn dp_1_dp_2_a_login_with_proofs_and_nonces_from_code_to_refresh() {
    let town = Town::with("[tokens]\ndpop = \"nonce\"\n").await;
    let client = town.client().await;
    let mut prover = Prover { holder: Holder::es256(5), client, nonce: None };
    let human = Browser::new();
    let asked = prover.client.authorize_url(&town, "/notes", &[("dpop_jkt", &prover.holder.jkt())]);
    let answer = prover.client.approve(&town, &human, &asked).await;
    let code = parameter(&answer, "code").expect("a code");
    let (id, redirect) = (prover.client.id.clone(), prover.client.redirect.clone());
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &redirect),
        ("client_id", &id),
        ("code_verifier", VERIFIER),
    ];
    let (status, tokens) = prover.ask(&town, &form).await;
    assert_eq!((status, &tokens["token_type"]), (200, &json!("DPoP")), "{tokens}");
    let token = tokens["access_token"].as_str().expect("a token");

    assert_eq!(prover.call(&town, "/notes", token).await.status(), 200);
    assert_eq!(prover.call(&town, "/other", token).await.status(), 401, "the audience still counts");
    let stolen = town.call("/notes", Some(token)).await;
    assert_eq!(stolen.status(), 401);
    assert!(stolen.headers()["www-authenticate"].to_str().expect("text").starts_with("DPoP error=\"invalid_token\""));
    let thief = Prover { holder: Holder::es256(6), client: town.client().await, nonce: prover.nonce.clone() };
    assert_eq!(thief.call(&town, "/notes", token).await.status(), 401);
    assert_eq!(town.mcp.seen().len(), 1);

    let refresh = tokens["refresh_token"].as_str().expect("a refresh token").to_owned();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("client_id", &id)];
    let mut thief = thief;
    assert_eq!(thief.ask(&town, &form).await.1["error"], "invalid_grant");
    let (status, tokens) = prover.ask(&town, &form).await;
    assert_eq!((status, &tokens["token_type"]), (200, &json!("DPoP")), "{tokens}");
    assert_eq!(prover.call(&town, "/notes", tokens["access_token"].as_str().expect("a token")).await.status(), 200);
}

#[tokio::test]
async fn rfc9449_4_3_two_headers_are_no_proof_at_the_token_endpoint() {
    let town = Town::new().await;
    let (holder, url) = (Holder::es256(5), format!("{}/token", town.base));
    let now = town.clock.now().secs();
    let request = http().post(&url).header("content-type", "application/x-www-form-urlencoded");
    let request =
        request.header("DPoP", holder.proof("POST", &url, now)).header("DPoP", holder.proof("POST", &url, now));
    let client = town.client().await;
    let body = format!("grant_type=refresh_token&refresh_token=x&client_id={}", client.id);
    let answer = request.body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert!(answer.headers().get("dpop-nonce").is_none(), "nonces are not asked for here");
    let told: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    assert_eq!(told["error"], "invalid_dpop_proof");
    assert_eq!(told["error_description"], "more than one DPoP header");
}
