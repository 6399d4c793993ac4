//! The documents of clients that people use, and what those clients do with them (clients.md §4, behaviour 13).

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey},
    domain::Clock as _,
};

use super::house;
use crate::{
    oauth::house::{House, Human, ISSUER, answered, asking, but, parameters, redeeming},
    world::documents::{DocumentHost, Page},
};

/// Each document with a redirect URI that its client sends.
const KNOWN: [(&str, &str); 10] = [
    (include_str!("documents/claude.json"), "https://claude.ai/api/mcp/auth_callback"),
    (include_str!("documents/claude-code.json"), "http://localhost:3118/callback"),
    (include_str!("documents/claude-code.json"), "http://127.0.0.1:52163/callback"),
    (include_str!("documents/vscode.json"), "http://127.0.0.1:59656/"),
    (include_str!("documents/vscode.json"), "https://vscode.dev/redirect"),
    (include_str!("documents/copilot-cli.json"), "http://127.0.0.1:49200/"),
    (include_str!("documents/zed.json"), "http://127.0.0.1:41999/callback"),
    (include_str!("documents/opencode.json"), "http://127.0.0.1:19876/callback"),
    (include_str!("documents/chatgpt-1.json"), "https://chatgpt.com/connector/oauth/kDmjx77UnKOM"),
    (include_str!("documents/chatgpt-2.json"), "https://chatgpt.com/connector_platform_oauth_redirect"),
];

/// From `/authorize` to a code.
async fn code(house: &House, client: &str, redirect: &str) -> String {
    let human = Human::new(house);
    let callback = human.reach_callback(house, &asking(client, redirect)).await;
    answered(human.come_back(house, &callback).await).remove("code").expect("a code")
}

#[tokio::test]
async fn behaviour_13_documents_of_known_clients_log_in_and_refresh() {
    let host = DocumentHost::start().await;
    let house = house(&host).await;
    let key = SigningKey::generate(Alg::Rs256, "openai-1").unwrap();
    let keys = json!({ "keys": [key.public_jwk().unwrap()] });
    host.show("https://chatgpt.com/oauth/jwks.json", Page::json(&keys));
    for (nth, (text, redirect)) in KNOWN.into_iter().enumerate() {
        let document: Value = serde_json::from_str(text).unwrap();
        let client = document["client_id"].as_str().unwrap();
        assert!(text.len() < 5 * 1024, "{client} fits the default size");
        host.show(client, Page::json(&document));
        let signs = document["token_endpoint_auth_method"] == "private_key_jwt";
        let proof = |part: &str| {
            let now = house.clock.now().secs();
            // As ChatGPT signs: for the token endpoint.
            let claims = json!({ "iss": client, "sub": client, "aud": format!("{ISSUER}/token"),
                "iat": now, "exp": now + 300, "jti": format!("{nth}-{part}") });
            let assertion = key.sign("JWT", claims.to_string().as_bytes()).unwrap();
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            let proof = [("client_assertion_type", kind), ("client_assertion", assertion.as_str())];
            parameters(if signs { &proof[..] } else { &[] })
        };
        let code = code(&house, client, redirect).await;
        let form = [but(redeeming(client, &code), "redirect_uri", Some(redirect)), proof("code")].concat();
        let tokens = house.server.token(&form, None).await.unwrap_or_else(|error| panic!("{client}: {error}"));
        let refresh = tokens.refresh_token.expect("a refresh token");
        let again = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", refresh.expose())];
        let form = [parameters(&again), proof("refresh")].concat();
        house.server.token(&form, None).await.unwrap_or_else(|error| panic!("{client}: {error}"));
    }
}

#[tokio::test]
async fn chatgpt_2_falls_back_to_none() {
    let host = DocumentHost::start().await;
    let house = house(&host).await;
    let (text, redirect) = KNOWN[9];
    let document: Value = serde_json::from_str(text).unwrap();
    let client = document["client_id"].as_str().unwrap();
    host.show(client, Page::json(&document));
    let code = code(&house, client, redirect).await;
    house.server.token(&but(redeeming(client, &code), "redirect_uri", Some(redirect)), None).await.unwrap();
    assert!(host.fetches("https://chatgpt.com/oauth/jwks.json").is_empty(), "keys are fetched when they are used");
}
