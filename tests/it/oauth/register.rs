//! Registration (DCR-*, behaviours 7 to 12, S9, S10).

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use vestibule::{
    domain::{ClientAuthMethod, Secret},
    oauth::BasicCredentials,
};

use super::house::{CLAUDE, House, asked, asking, but, failed, parameters, redeeming, static_client};

/// The bodies of clients.md §4, as the clients send them.
fn fixtures() -> Vec<(&'static str, Value)> {
    let uris = |uris: &[&str]| json!(uris);
    vec![
        (
            "claude-1",
            json!({"client_name": "Claude", "redirect_uris": [CLAUDE], "grant_types": ["authorization_code",
            "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none"}),
        ),
        (
            "claude-2",
            json!({"client_name": "Claude", "redirect_uris": [CLAUDE], "grant_types": ["authorization_code",
            "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "client_secret_post"}),
        ),
        (
            "vscode-1",
            json!({"client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com",
            "redirect_uris": uris(&["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect",
                "http://127.0.0.1/", "http://127.0.0.1:33418/"]),
            "grant_types": ["authorization_code", "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"], "token_endpoint_auth_method": "none", "application_type": "native",
            "scope": "read"}),
        ),
        (
            "cursor-1",
            json!({"client_name": "Cursor", "application_type": "web", "token_endpoint_auth_method": "none",
            "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"]}),
        ),
        (
            "cursor-2",
            json!({"client_name": "Cursor", "application_type": "web", "token_endpoint_auth_method": "none",
            "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", "http://localhost:8787/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback"]}),
        ),
        (
            "cursor-3",
            json!({"client_name": "Cursor", "token_endpoint_auth_method": "none",
            "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"]}),
        ),
        (
            "codex-1",
            json!({"client_name": "Codex", "application_type": "native", "token_endpoint_auth_method": "none",
            "redirect_uris": ["http://127.0.0.1:37819/callback/abc"]}),
        ),
        (
            "gemini-1",
            json!({"client_name": "Gemini CLI MCP Client", "scope": "", "token_endpoint_auth_method": "none",
            "redirect_uris": ["http://localhost:7777/oauth/callback"]}),
        ),
        (
            "zed-1",
            json!({"client_name": "Zed", "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none",
            "redirect_uris": ["http://127.0.0.1:51234/callback"]}),
        ),
        (
            "mcp-remote-1",
            json!({"client_name": "MCP CLI Proxy", "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
            "software_version": "1.2.3", "client_uri": "https://github.com/modelcontextprotocol",
            "token_endpoint_auth_method": "none", "scope": "openid email profile",
            "redirect_uris": ["http://localhost:3334/oauth/callback"]}),
        ),
        (
            "copilot-studio-1",
            json!({"client_name": "Copilot Studio",
            "redirect_uris": ["https://global.consent.azure-apim.net/redirect/tool-1"]}),
        ),
        (
            "open-webui-1",
            json!({"client_name": "Open WebUI", "token_endpoint_auth_method": "client_secret_post",
            "redirect_uris": ["https://chat.example.org/oauth/clients/mcp:id/callback"]}),
        ),
        (
            "n8n-1",
            json!({"client_name": "n8n", "token_endpoint_auth_method": "client_secret_post",
            "redirect_uris": ["https://n8n.example.org/rest/oauth2-credential/callback"]}),
        ),
    ]
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.iter().any(has_null),
        Value::Object(all) => all.values().any(has_null),
        _ => false,
    }
}

#[tokio::test]
async fn behaviour_7_each_client_gets_its_registration_back_and_nothing_is_written() {
    let house = House::open().await;
    let before = house.visits();
    for (name, body) in fixtures() {
        let reply = house.register(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(reply["redirect_uris"], body["redirect_uris"], "{name}");
        assert!(!has_null(&reply), "{name}");
        let id = reply["client_id"].as_str().unwrap();
        assert!(id.starts_with("vst1."), "{name}: CIMD-15");
        let method = body["token_endpoint_auth_method"].as_str().unwrap_or("client_secret_basic");
        assert_eq!(reply["token_endpoint_auth_method"], method, "{name}: behaviour 8");
        assert_eq!(reply.get("client_secret").is_some(), method != "none", "{name}: behaviour 8");
        assert_eq!(reply.get("client_secret_expires_at"), (method != "none").then_some(&json!(0)), "{name}");
        let is_web = body["redirect_uris"].as_array().unwrap().iter().all(|u| u.as_str().unwrap().starts_with("https"));
        assert_eq!(reply["application_type"], if is_web { "web" } else { "native" }, "{name}: DCR-6");
    }
    assert_eq!(house.visits(), before, "registering does not even ask the store");
}

#[tokio::test]
async fn rfc7591_3_2_1_the_reply_on_the_wire() {
    let house = House::open().await;
    let mut reply = house.register(&fixtures()[1].1).unwrap();
    reply["client_id"] = "…".into();
    reply["client_secret"] = "…".into();
    reply["registration_access_token"] = "…".into();
    reply["registration_client_uri"] = "…".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&reply).unwrap(), @r#"
    {
      "client_id": "…",
      "client_id_issued_at": 1793610000,
      "client_secret": "…",
      "client_secret_expires_at": 0,
      "registration_access_token": "…",
      "registration_client_uri": "…",
      "client_name": "Claude",
      "redirect_uris": [
        "https://claude.ai/api/mcp/auth_callback"
      ],
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "response_types": [
        "code"
      ],
      "token_endpoint_auth_method": "client_secret_post",
      "application_type": "web",
      "scope": "read write"
    }
    "#);
}

#[tokio::test]
async fn behaviour_12_equal_public_registrations_get_equal_ids_and_confidential_ones_do_not() {
    let house = House::open().await;
    let id = |redirect: &str| house.client(redirect);
    assert_eq!(id(CLAUDE), id(CLAUDE));
    assert_eq!(id("http://localhost:1/cb"), id("http://localhost:2/cb"), "the port means nothing (D2)");
    assert_ne!(id("http://localhost:1/cb"), id("http://127.0.0.1:1/cb"));
    assert_ne!(id(CLAUDE), id("https://claude.com/api/mcp/auth_callback"));
    let confidential = json!({"redirect_uris": [CLAUDE]});
    let (one, other) = (house.register(&confidential).unwrap(), house.register(&confidential).unwrap());
    assert_ne!(one["client_id"], other["client_id"]);
    assert_ne!(one["client_secret"], other["client_secret"]);
}

#[tokio::test]
async fn behaviour_11_an_id_works_in_another_process_on_an_empty_store() {
    let id = House::open().await.client(CLAUDE);
    let restarted = House::open().await;
    let human = super::house::Human::new(&restarted);
    assert_eq!(asked(human.visit(&restarted, &asking(&id, CLAUDE)).await).client, "Claude");
}

#[tokio::test]
async fn dcr_4_5_one_bad_redirect_uri_refuses_the_whole_registration() {
    let house = House::open().await;
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://example.com/cb",
        "https://a@b.example/cb",
        "https://b.example/cb#f",
        "https://*.example/cb",
        "https://b.example/../cb",
        "not a URI",
        // S10: our own callback, in every spelling.
        "https://mcp.example.com/callback/idp",
        "https://MCP.example.com:443/callback/hub?x=1",
        // AZ-8: what we append ourselves.
        "https://b.example/cb?code=1",
        "https://b.example/cb?iss=x",
    ] {
        let body = json!({"redirect_uris": [CLAUDE, bad], "token_endpoint_auth_method": "none"});
        assert_eq!(failed(house.register(&body)), "invalid_redirect_uri", "{bad}");
    }
}

#[tokio::test]
async fn rfc7591_3_2_2_what_is_wrong_is_said() {
    let house = House::open().await;
    let many: Vec<_> = (0..11).map(|i| format!("https://a.example/{i}")).collect();
    let long: Vec<_> = (0..10).map(|i| format!("https://a.example/{i}{}", "x".repeat(500))).collect();
    for (body, code) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": []}), "invalid_redirect_uri"),
        (json!({"redirect_uris": many}), "invalid_redirect_uri"),
        (json!({"redirect_uris": long}), "invalid_redirect_uri"),
        (json!({"redirect_uris": CLAUDE}), "invalid_client_metadata"),
        (json!({"redirect_uris": [1]}), "invalid_client_metadata"),
        (json!([]), "invalid_client_metadata"),
        (
            json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": "private_key_jwt"}),
            "invalid_client_metadata",
        ),
        (json!({"redirect_uris": [CLAUDE], "grant_types": ["client_credentials"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [CLAUDE], "grant_types": ["implicit"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [CLAUDE], "response_types": ["token"]}), "invalid_client_metadata"),
    ] {
        assert_eq!(failed(house.register(&body)), code, "{body}");
    }
    assert_eq!(failed(house.server.register(b"redirect_uris=x", None)), "invalid_client_metadata");
    assert_eq!(failed(house.server.register(&vec![b' '; 16 * 1024 + 1], None)), "invalid_client_metadata");
}

#[tokio::test]
async fn own_9_names_are_tamed_unknown_scopes_dropped_and_offline_access_accepted() {
    let house = House::open().await;
    let body = json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": "none",
        "client_name": format!("\u{202e}evil\n{}", "x".repeat(99)), "scope": "read offline_access openid admin",
        "logo_uri": null, "contacts": null, "anything": {"at": "all"}});
    let reply = house.register(&body).unwrap();
    let name = reply["client_name"].as_str().unwrap();
    assert!(name.starts_with("evilxxx") && name.chars().count() == 64, "{name:?}");
    assert_eq!(reply["scope"], "offline_access read");
    let none = json!({"redirect_uris": [CLAUDE], "scope": "openid"});
    assert_eq!(house.register(&none).unwrap()["scope"], "read write");
}

#[tokio::test]
async fn s9_a_registration_reveals_nothing_of_the_provider() {
    let house = House::open().await;
    let reply = house.register(&json!({"redirect_uris": [CLAUDE]})).unwrap().to_string();
    assert!(!reply.contains(crate::world::provider::CLIENT_ID));
    assert!(!reply.contains(crate::world::provider::CLIENT_SECRET));
}

/// Whether the client gets past authentication: then the made-up code is what is wrong.
async fn authenticates(house: &House, id: &str, posted: Option<&str>, basic: Option<(&str, &str)>) -> &'static str {
    let form = but(redeeming(id, "vc_made-up"), "client_secret", posted);
    let form = if basic.is_some() { but(form, "client_id", None) } else { form };
    let basic = basic.map(|(id, secret)| BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) });
    failed(house.server.token(&form, basic).await)
}

#[tokio::test]
async fn behaviour_8_the_method_that_was_echoed_is_the_one_that_is_enforced() {
    let house = House::open().await;
    let with = |method: Option<&str>| {
        let reply = house.register(&json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": method})).unwrap();
        let text = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
        (text("client_id"), text("client_secret"))
    };
    let (id, _) = with(Some("none"));
    assert_eq!(authenticates(&house, &id, None, None).await, "invalid_grant");
    assert_eq!(authenticates(&house, &id, None, Some((&id, ""))).await, "invalid_grant", "an empty password is none");
    assert_eq!(authenticates(&house, &id, Some("x"), None).await, "invalid_client");
    let (id, secret) = with(None);
    assert_eq!(authenticates(&house, &id, None, Some((&id, &secret))).await, "invalid_grant");
    assert_eq!(authenticates(&house, &id, Some(&secret), None).await, "invalid_client");
    assert_eq!(authenticates(&house, &id, None, Some((&id, "wrong"))).await, "invalid_client");
    assert_eq!(authenticates(&house, &id, None, None).await, "invalid_client");
    let (id, secret) = with(Some("client_secret_post"));
    assert_eq!(authenticates(&house, &id, Some(&secret), None).await, "invalid_grant");
    assert_eq!(authenticates(&house, &id, None, Some((&id, &secret))).await, "invalid_client");
    let (_, other) = with(Some("client_secret_post"));
    assert_eq!(authenticates(&house, &id, Some(&other), None).await, "invalid_client", "another client's secret");
}

#[tokio::test]
async fn tok_3_one_way_of_authentication_per_request() {
    let house = House::open().await;
    let reply = house.register(&json!({"redirect_uris": [CLAUDE]})).unwrap();
    let (id, secret) = (reply["client_id"].as_str().unwrap(), reply["client_secret"].as_str().unwrap());
    let basic = || Some(BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) });
    // Basic and the same client_id in the form is what many libraries send.
    assert_eq!(failed(house.server.token(&redeeming(id, "vc_x"), basic()).await), "invalid_grant");
    assert_eq!(failed(house.server.token(&redeeming("other", "vc_x"), basic()).await), "invalid_request");
    let both = but(redeeming(id, "vc_x"), "client_secret", Some(secret));
    assert_eq!(failed(house.server.token(&both, basic()).await), "invalid_request");
}

#[tokio::test]
async fn behaviour_15_an_unknown_client_is_told_so() {
    let house = House::open().await;
    for id in ["Q DEV CLI", "vst1.", "vst1.AAAA", "https://claude.ai", "vst1.%%%"] {
        assert_eq!(authenticates(&house, id, None, None).await, "invalid_client", "{id}");
    }
    let anonymous = but(redeeming("x", "vc_x"), "client_id", None);
    assert_eq!(failed(house.server.token(&anonymous, None).await), "invalid_client");
    let real = house.client(CLAUDE);
    let mut bent = real.clone().into_bytes();
    let last = bent.len() - 3;
    bent[last] ^= 1;
    assert_eq!(authenticates(&house, std::str::from_utf8(&bent).unwrap(), None, None).await, "invalid_client");
}

#[tokio::test]
async fn dcr_13_static_clients_come_first_and_are_held_to_their_secret() {
    let house = House::with(|settings, _| {
        settings.clients.push(static_client("desk", ClientAuthMethod::ClientSecretPost, Some("s:e c+ret")));
        settings.clients.push(static_client("open", ClientAuthMethod::None, None));
    })
    .await;
    assert_eq!(authenticates(&house, "desk", Some("s:e c+ret"), None).await, "invalid_grant");
    assert_eq!(authenticates(&house, "desk", Some("s:e c+re"), None).await, "invalid_client");
    assert_eq!(authenticates(&house, "open", None, None).await, "invalid_grant");
    let human = super::house::Human::new(&house);
    assert!(asked(human.visit(&house, &asking("desk", CLAUDE)).await).is_static);
}

#[test]
fn s33_no_body_and_no_parameters_make_the_house_fall() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::open());
    let name = proptest::sample::select(&["state", "code", "scope", "request", "redirect_uri", "resource", "x"][..]);
    let anything = ("\\PC{0,200}", name, "\\PC{0,40}");
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&anything, |(body, name, value)| {
        runtime.block_on(async {
            drop(house.server.register(body.as_bytes(), None));
            let odd = parameters(&[
                (name, &value),
                ("client_id", &value),
                ("grant_type", "authorization_code"),
                ("code", &value),
                ("state", &value),
                ("request", &value),
                ("decision", "approve"),
            ]);
            let human = super::house::Human::new(&house);
            drop(human.visit(&house, &odd).await);
            drop(house.server.decide(&odd, &human.browser).await);
            drop(human.come_back_as(&house, "idp", &odd).await);
            drop(house.server.token(&odd, None).await);
            prop_assert_eq!(house.records().await, 0);
            Ok(())
        })
    });
    outcome.unwrap();
}
