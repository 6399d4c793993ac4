//! The device grant through the door (RFC 8628, DEV-1): machine endpoint, pages, limits.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{
    browser::{Browser, Page},
    town::{JsonBody as _, Town, decide, http, post_form},
};

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Registers a device and begins.
async fn begin(town: &Town) -> (String, Value) {
    let document = json!({ "client_name": "Build <b>box</b>", "token_endpoint_auth_method": "none",
        "grant_types": [DEVICE_CODE, "refresh_token"] });
    let response = http().post(format!("{}/register", town.base)).json_body(&document).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let registration: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let client = registration["client_id"].as_str().unwrap().to_owned();
    let resource = format!("{}/notes", town.base);
    let form = [("client_id", client.as_str()), ("resource", &resource)];
    let (status, said) = post_form(&format!("{}/device_authorization", town.base), &form).await;
    assert_eq!(status, 200, "{said}");
    (client, said)
}

async fn poll(town: &Town, client: &str, said: &Value) -> (u16, Value) {
    let code = said["device_code"].as_str().unwrap();
    let form = [("grant_type", DEVICE_CODE), ("client_id", client), ("device_code", code)];
    post_form(&format!("{}/token", town.base), &form).await
}

async fn send_code(town: &Town, human: &Browser, page: &Page, code: &str) -> Page {
    let form = page.field("form").expect("the form's token");
    human.post(&format!("{}/device", town.base), &[("form", &form), ("user_code", code)]).await
}

#[tokio::test]
async fn dev_1_a_whole_login_for_a_device_from_metadata_to_the_mcp_server() {
    let town = Town::with("[device]\nenabled = true").await;
    let metadata = http().get(format!("{}/.well-known/oauth-authorization-server", town.base)).send().await.unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.bytes().await.unwrap()).unwrap();
    assert_eq!(metadata["device_authorization_endpoint"], format!("{}/device_authorization", town.base));
    let (client, said) = begin(&town).await;
    let (status, pending) = poll(&town, &client, &said).await;
    assert_eq!((status, &pending["error"]), (400, &json!("authorization_pending")));
    let (status, early) = poll(&town, &client, &said).await;
    assert_eq!((status, &early["error"]), (400, &json!("slow_down")));

    let human = Browser::new();
    let code = said["user_code"].as_str().unwrap();
    let page = human.get(said["verification_uri_complete"].as_str().unwrap()).await;
    assert_eq!(page.status, 200);
    // rfc8628_3_3_1: shown to be compared, and sent by the human.
    assert_eq!(page.field("user_code").as_deref(), Some(code));
    assert!(page.body.contains("Does your device show exactly this code?"));
    assert!(page.body.contains("<svg class=\"qr\"") && page.body.contains("role=\"img\""));
    let page = send_code(&town, &human, &page, code).await;
    for part in [
        "Let a device use notes as you?",
        "Build &#60;b&#62;box&#60;/b&#62;",
        code,
        "from the address <b>127.0.0.1</b>",
        "Only go on if you started this yourself, on a device in front of you.",
        "Allow this device",
    ] {
        assert!(page.body.contains(part), "{part}\n{}", page.body);
    }
    assert!(!page.body.contains("not the network you are on now"));
    let page = decide(&town, &human, &page, "approve").await;
    let page = human.follow(page, "stop:").await.expect_err("a page, and no client to answer");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Done. Go back to your device"), "{}", page.body);
    assert!(page.header("set-cookie").unwrap().contains("Max-Age=0"), "the login's cookie is dropped");

    let (status, tokens) = poll(&town, &client, &said).await;
    assert_eq!((status, &tokens["token_type"]), (200, &json!("Bearer")), "{tokens}");
    let response = town.call("/notes", tokens["access_token"].as_str()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(town.mcp.last().header("x-forwarded-email"), Some("ada@example.com"));
    let response = town.call("/other", tokens["access_token"].as_str()).await;
    assert_eq!(response.status(), 401, "s4: for one resource");
}

#[tokio::test]
async fn rfc8628_3_5_a_no_is_a_page_for_the_human_and_a_400_for_the_device() {
    let town = Town::with("[device]\nenabled = true\nlife = \"2m\"").await;
    let (client, said) = begin(&town).await;
    assert_eq!(said["expires_in"], 120);
    let human = Browser::new();
    let page = human.get(said["verification_uri"].as_str().unwrap()).await;
    assert!(page.body.contains("Type the code that your device shows."));
    let page = send_code(&town, &human, &page, said["user_code"].as_str().unwrap()).await;
    let page = decide(&town, &human, &page, "deny").await;
    assert!(page.body.contains("The device was not connected"), "{}", page.body);
    let (status, denied) = poll(&town, &client, &said).await;
    assert_eq!((status, &denied["error"]), (400, &json!("access_denied")));
    town.clock.advance(Duration::from_secs(120));
    let (status, late) = poll(&town, &client, &said).await;
    assert_eq!((status, &late["error"]), (400, &json!("expired_token")));
}

#[tokio::test]
async fn rfc8628_5_1_codes_cannot_be_guessed_by_the_dozen() {
    let town = Town::with("[device]\nenabled = true\ncodes_per_minute = 3").await;
    let (_, said) = begin(&town).await;
    let human = Browser::new();
    let page = human.get(&format!("{}/device", town.base)).await;
    for _ in 0..3 {
        let page = send_code(&town, &human, &page, "BBBB-BBBB").await;
        assert_eq!(page.status, 400);
        assert!(page.body.contains("No device shows this code now."), "{}", page.body);
    }
    // The right one would not help now; a slow machine may have earned one try more.
    let mut cut = send_code(&town, &human, &page, "BBBB-BBBB").await;
    if cut.status == 400 {
        cut = send_code(&town, &human, &page, said["user_code"].as_str().unwrap()).await;
    }
    assert_eq!(cut.status, 429);
    assert!(cut.body.contains("Too many codes") && cut.header("retry-after").is_some(), "{}", cut.body);
    // Looking at the page costs nothing.
    assert_eq!(human.get(&format!("{}/device", town.base)).await.status, 200);
}

#[tokio::test]
async fn where_it_is_not_offered_there_is_nothing() {
    let town = Town::new().await;
    let client = town.client().await;
    let (status, said) = post_form(&format!("{}/device_authorization", town.base), &[("client_id", &client.id)]).await;
    assert_eq!((status, &said["error"]), (400, &json!("invalid_request")));
    let human = Browser::new();
    assert_eq!(human.get(&format!("{}/device?user_code=BCDF-GHJK", town.base)).await.status, 400);
    assert_eq!(human.post(&format!("{}/device", town.base), &[("user_code", "BCDF-GHJK")]).await.status, 400);
    let response = http().get(format!("{}/device_authorization", town.base)).send().await.unwrap();
    assert_eq!(response.status(), 405);
}
