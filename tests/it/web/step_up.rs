//! A client that is asked for more goes once through the door again, and the human is asked for what is new.

use serde_json::Value;

use crate::world::{
    browser::Browser,
    town::{McpClient, Town, decide, http, parameter},
};

const STEPS: &str = r#"
[[resource]]
path = "/steps"
target = "{target}"
upstream = "idp"
mcp_scopes = ["notes.read"]
allow = "anyone"
read_body = "64KiB"
[resource.implies]
"notes.admin" = ["notes.write"]
[[resource.require]]
methods = ["tools/call"]
names = ["write_*"]
scopes = ["notes.write"]
"#;

async fn call(town: &Town, token: &str, tool: &str) -> reqwest::Response {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
    let request = http().post(format!("{}/steps", town.base)).bearer_auth(token).body(body);
    request.header("content-type", "application/json").send().await.expect("an answer")
}

async fn tokens(town: &Town, client: &McpClient, answer: &str) -> Value {
    let (status, tokens) = client.redeem(town, &parameter(answer, "code").expect("a code"), &[]).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

#[tokio::test]
async fn sc_2_a_step_up_asks_only_for_what_is_new_and_loses_nothing() {
    let town = Town::with(STEPS).await;
    let client = town.client().await;
    let mut human = Browser::new();
    human.fetch_site = Some("none");
    let first = client.approve(&town, &human, &client.authorize_url(&town, "/steps", &[])).await;
    let before = tokens(&town, &client, &first).await;
    assert_eq!(before["scope"], "notes.read", "no more than every call needs, unless it is asked for");
    let token = before["access_token"].as_str().expect("a token");
    assert_eq!(call(&town, token, "read_note").await.status(), 200);

    let refused = call(&town, token, "write_note").await;
    assert_eq!(refused.status(), 403);
    let challenge = refused.headers()["www-authenticate"].to_str().expect("text").to_owned();
    let (_, scope) = challenge.split_once("scope=\"").expect("scopes");
    let scope = scope.trim_end_matches('"');
    assert_eq!(scope, "notes.read notes.write");

    let url = client.authorize_url(&town, "/steps", &[("scope", scope)]);
    let page = human.get(&url).await;
    assert_eq!(page.status, 200, "what is new is asked for");
    assert!(page.body.contains("It asks for more"), "{}", page.body);
    let (asked, held) = page.body.split_once("You allowed this before").expect("both parts");
    assert!(asked.contains("<code>notes.write</code>") && !asked.contains("<code>notes.read</code>"), "{asked}");
    assert!(held.contains("<code>notes.read</code>"), "{held}");

    let to_provider = decide(&town, &human, &page, "approve").await.location().expect("to the provider");
    let callback = human.get(&to_provider).await.location().expect("the callback");
    let answer = human.get(&callback).await.location().expect("back to the client");
    let after = tokens(&town, &client, &answer).await;
    assert_eq!(after["scope"], "notes.read notes.write");
    let more = after["access_token"].as_str().expect("a token");
    assert_eq!(call(&town, more, "write_note").await.status(), 200);
    assert_eq!(call(&town, more, "read_note").await.status(), 200);
    assert_eq!(call(&town, token, "read_note").await.status(), 200, "the first login still lives");
}

#[tokio::test]
async fn sc_3_what_opens_nothing_by_itself_comes_with_what_every_call_needs() {
    let town = Town::with(STEPS).await;
    let client = town.client().await;
    for (asked, given) in [
        ("notes.write", "notes.read notes.write"),
        ("notes.admin unknown", "notes.admin notes.read"),
        ("notes.read", "notes.read"),
        ("unknown", "notes.read"),
        ("", "notes.read"),
    ] {
        let url = client.authorize_url(&town, "/steps", &[("scope", asked)]);
        let answer = client.approve(&town, &Browser::new(), &url).await;
        assert_eq!(tokens(&town, &client, &answer).await["scope"], given, "{asked}");
    }
    let metadata = http().get(format!("{}/.well-known/oauth-authorization-server", town.base));
    let metadata: Value =
        serde_json::from_str(&metadata.send().await.expect("answer").text().await.expect("text")).expect("JSON");
    let all: Vec<&str> =
        metadata["scopes_supported"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(["notes.admin", "notes.read", "notes.write"].iter().all(|scope| all.contains(scope)), "{all:?}");
    let resource = http().get(format!("{}/.well-known/oauth-protected-resource/steps", town.base));
    let resource: Value =
        serde_json::from_str(&resource.send().await.expect("answer").text().await.expect("text")).expect("JSON");
    assert_eq!(resource["scopes_supported"], serde_json::json!(["notes.read"]), "clients ask for the least first");
}
