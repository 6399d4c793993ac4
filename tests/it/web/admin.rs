//! The operator's desk in a whole town: who may ask, what is told, what ends and when.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule::{admin, domain::Clock as _};

use crate::world::{
    browser::Browser,
    keyring, keyring_of,
    provider::Person,
    town::{CALLBACK, JsonBody as _, Login, McpClient, Town, http, parameter, post_form},
};

const TOKEN: &str = "an-admin-token-of-more-than-32-bytes";

/// An operator who holds the town's key ring.
pub(crate) async fn ask(town: &Town, method: &str, target: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let header = admin::sign(&keyring(), town.clock.now(), method, target, body.as_bytes());
    send(town, method, target, &body, Some(&header)).await
}

async fn send(town: &Town, method: &str, target: &str, body: &str, header: Option<&str>) -> (u16, Value) {
    let mut request = http().request(method.parse().unwrap(), format!("{}{target}", town.admin)).body(body.to_owned());
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert!(answer.headers().contains_key("x-request-id"), "operators look it up in the log");
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn done(town: &Town, method: &str, target: &str, body: Value) -> Value {
    let (status, answer) = ask(town, method, target, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn works(town: &Town, login: &Login) -> bool {
    town.call("/notes", Some(&login.access_token)).await.status() == 200
}

async fn refreshed(town: &Town, login: &Login) -> (u16, Value) {
    let token = login.tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &login.client.id)];
    post_form(&format!("{}/token", town.base), &form).await
}

async fn client_named(town: &Town, name: &str) -> McpClient {
    let document = json!({ "client_name": name, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"] });
    McpClient::register(town, document).await
}

async fn login_of(town: &Town, client: McpClient) -> Login {
    let human = Browser::new();
    let answer = client.approve(town, &human, &client.authorize_url(town, "/notes", &[])).await;
    let code = parameter(&answer, "code").unwrap();
    let (_, tokens) = client.redeem(town, &code, &[]).await;
    let access_token = tokens["access_token"].as_str().unwrap().to_owned();
    Login { client, human, answer, code, tokens, access_token }
}

fn person(name: &str) -> Person {
    Person { sub: name.to_owned(), email: format!("{name}@example.com"), verified: true, name: name.to_owned() }
}

#[tokio::test]
async fn s27_d7_only_an_operator_is_let_in() {
    let town = Town::with(&format!("[admin]\ntoken = \"{TOKEN}\"")).await;
    let (now, list) = (town.clock.now(), "/api/v1/grants");
    let sign = |ring, at, method, target, body: &[u8]| Some(admin::sign(ring, at, method, target, body));
    let (ours, theirs) = (keyring(), keyring_of(9));
    let late = now - Duration::from_secs(121);
    let early = now + Duration::from_secs(121);
    for (header, why) in [
        (None, "nothing"),
        (sign(&theirs, now, "GET", list, b""), "another house's keys"),
        (sign(&ours, now, "POST", list, b""), "another method"),
        (sign(&ours, now, "GET", "/api/v1/clients", b""), "another target"),
        (sign(&ours, now, "GET", list, b"{}"), "another body"),
        (sign(&ours, late, "GET", list, b""), "replayed later"),
        (sign(&ours, early, "GET", list, b""), "made for later"),
        (Some("Bearer another-token-of-more-than-32-bytes".to_owned()), "a wrong token"),
        (Some("Bearer ".to_owned()), "no token"),
        (Some(format!("Basic {TOKEN}")), "another scheme"),
        (Some("Vestibule 1.AAAA".to_owned()), "a short MAC"),
    ] {
        let (status, answer) = send(&town, "GET", list, "", header.as_deref()).await;
        assert_eq!((status, &answer["error"]), (401, &"unauthorized".into()), "{why}");
    }
    for header in [sign(&ours, now, "GET", list, b"").unwrap(), format!("Bearer {TOKEN}"), format!("bearer {TOKEN}")] {
        assert_eq!(send(&town, "GET", list, "", Some(&header)).await.0, 200, "{header}");
    }
    // A token of a client opens nothing here (S27), and ours opens no MCP server.
    let login = town.login().await;
    let header = format!("Bearer {}", login.access_token);
    assert_eq!(send(&town, "GET", list, "", Some(&header)).await.0, 401, "an access token");
    assert_eq!(town.call("/notes", Some(TOKEN)).await.status(), 401, "the operator's token at an MCP server");
    // The public door knows nothing of it.
    let header = sign(&ours, now, "GET", list, b"").unwrap();
    let outside = http().get(format!("{}{list}", town.base)).header("authorization", header).send().await.unwrap();
    assert_eq!(outside.status(), 404);
    // Without a token in the configuration there is none that fits.
    let closed = Town::new().await;
    for header in ["Bearer ", "Bearer null", &format!("Bearer {TOKEN}")] {
        assert_eq!(send(&closed, "GET", list, "", Some(header)).await.0, 401);
    }
}

#[tokio::test]
async fn a_login_is_listed_shown_and_ended_at_the_next_call() {
    let town = Town::new().await;
    let (one, other) = (town.login().await, town.login().await);
    assert!(works(&town, &one).await && works(&town, &other).await);
    let listed = done(&town, "GET", "/api/v1/grants", Value::Null).await;
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["next"]), (2, &Value::Null));
    let gid = crate::token::kit::part(&one.access_token, 1)["gid"].as_str().unwrap().to_owned();
    let shown = done(&town, "GET", &format!("/api/v1/grants/{gid}"), Value::Null).await;
    assert_eq!(shown["client_id"], one.client.id);
    assert_eq!(shown["resource"], format!("{}/notes", town.base));
    assert_eq!((&shown["stage"], &shown["refreshes"]), (&"active".into(), &0.into()));
    assert_eq!(shown["created"], "2026-11-02T09:00:00Z");
    for secret in [&one.access_token, one.tokens["refresh_token"].as_str().unwrap(), "provider-"] {
        assert!(!listed.to_string().contains(secret), "no token in a list");
    }
    done(&town, "DELETE", &format!("/api/v1/grants/{gid}"), Value::Null).await;
    assert!(!works(&town, &one).await, "at the next call");
    assert_eq!(refreshed(&town, &one).await.1["error"], "invalid_grant");
    assert!(works(&town, &other).await);
    assert_eq!(ask(&town, "DELETE", &format!("/api/v1/grants/{gid}"), Value::Null).await.0, 404);
}

#[tokio::test]
async fn bulk_cut_off_ends_what_was_said_and_nothing_else() {
    let town = Town::new().await;
    town.provider.set_person(person("ann"));
    let old = login_of(&town, client_named(&town, "One").await).await;
    town.clock.advance(Duration::from_secs(60));
    let cut = town.clock.now().to_rfc3339();
    let anns = login_of(&town, client_named(&town, "Two").await).await;
    town.provider.set_person(person("bob"));
    let bobs = login_of(&town, client_named(&town, "Two").await).await;
    let all = async || [works(&town, &old).await, works(&town, &anns).await, works(&town, &bobs).await];
    assert_eq!(all().await, [true; 3]);
    let revoke = async |body: Value| {
        let answer = done(&town, "POST", "/api/v1/grants/revoke", body).await;
        assert!(answer["next"].is_null());
        answer["revoked"].as_u64().unwrap()
    };
    assert_eq!(revoke(json!({ "all": true, "dry_run": true })).await, 3);
    assert_eq!(all().await, [true; 3], "a dry run ends nothing");
    for slip in [
        json!({}),
        json!({ "all": true, "subject": "idp:ann" }),
        json!({ "subjetc": "x", "client": "y" }),
        json!({ "before": "yesterday" }),
        json!({ "all": false }),
        json!([]),
    ] {
        assert_eq!(ask(&town, "POST", "/api/v1/grants/revoke", slip.clone()).await.0, 400, "{slip}");
    }
    assert_eq!(revoke(json!({ "before": cut })).await, 1);
    assert_eq!(all().await, [false, true, true]);
    assert_eq!(revoke(json!({ "client": bobs.client.id, "subject": "idp:bob" })).await, 1, "both have to hold");
    assert_eq!(all().await, [false, true, false]);
    assert_eq!(revoke(json!({ "subject": "idp:ann" })).await, 1);
    assert_eq!(all().await, [false; 3]);
    assert_eq!(revoke(json!({ "all": true })).await, 0);
    assert_eq!(done(&town, "GET", "/api/v1/grants", Value::Null).await["items"], json!([]));
}

#[tokio::test]
async fn rev_1_what_the_operator_ends_is_given_back_at_the_provider() {
    let town = Town::new().await;
    let (_one, _other) = (town.login().await, town.login().await);
    assert_eq!(done(&town, "POST", "/api/v1/grants/revoke", json!({ "all": true })).await["revoked"], 2);
    for _ in 0..500 {
        if town.provider.received_at("/revoke").len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("given back: {:?}", town.provider.received_at("/revoke"));
}

#[tokio::test]
async fn dcr_9_a_blocked_client_has_no_way_in_until_it_is_unblocked() {
    let town = Town::new().await;
    let login = login_of(&town, client_named(&town, "Bad app").await).await;
    let other = login_of(&town, client_named(&town, "Good app").await).await;
    let listed = done(&town, "GET", "/api/v1/clients", Value::Null).await;
    let bad = listed["items"].as_array().unwrap().iter().find(|client| client["name"] == "Bad app").unwrap().clone();
    assert_eq!((&bad["origin"], &bad["blocked"]), (&"sealed".into(), &false.into()));
    assert_eq!(bad["client_id"], login.client.id);
    let hash = bad["client"].as_str().unwrap();

    let blocked = done(&town, "POST", "/api/v1/clients/block", json!({ "client": hash })).await;
    assert_eq!(
        (&blocked["blocked"], &blocked["revoked"], &blocked["expires"]),
        (&true.into(), &1.into(), &Value::Null)
    );
    assert!(!works(&town, &login).await, "its live tokens");
    assert_eq!(
        refreshed(&town, &login).await,
        (
            401,
            json!({ "error": "invalid_client",
        "error_description": "this client was blocked by the operator" })
        ),
        "DCR-9"
    );
    let page = Browser::new().get(&login.client.authorize_url(&town, "/notes", &[])).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("This app is not let in") && page.location().is_none(), "{}", page.body);
    assert!(works(&town, &other).await);
    // Whoever registers the same again is the same client.
    let again = client_named(&town, "Bad app").await;
    assert_eq!(again.id, login.client.id);

    // Longer than any record of a client lives.
    town.clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(Browser::new().get(&again.authorize_url(&town, "/notes", &[])).await.status, 400);
    let target = format!("/api/v1/client?client={hash}");
    assert_eq!(done(&town, "GET", &target, Value::Null).await["blocked"], true);
    done(&town, "POST", "/api/v1/clients/unblock", json!({ "client": login.client.id })).await;
    assert!(works(&town, &login_of(&town, again).await).await);
    assert_eq!(ask(&town, "POST", "/api/v1/clients/unblock", json!({ "client": hash })).await.0, 404);
}

#[tokio::test]
async fn a_client_that_nobody_has_let_in_can_be_blocked_and_a_slip_cannot() {
    let town = Town::new().await;
    let client = client_named(&town, "Never seen").await;
    for slip in [&client.id[..client.id.len() - 1], "vst1.AAAA", "some-client", "https://", ""] {
        assert_eq!(ask(&town, "POST", "/api/v1/clients/block", json!({ "client": slip })).await.0, 404, "{slip}");
    }
    let blocked = done(&town, "POST", "/api/v1/clients/block", json!({ "client": client.id })).await;
    assert_eq!((&blocked["name"], &blocked["revoked"]), (&Value::Null, &0.into()));
    assert_eq!(Browser::new().get(&client.authorize_url(&town, "/notes", &[])).await.status, 400);
    let url = "https://client.example/metadata.json";
    assert_eq!(done(&town, "POST", "/api/v1/clients/block", json!({ "client": url })).await["origin"], "metadata");
}

#[tokio::test]
async fn asm_13_keys_are_listed_and_rotated_and_a_compromised_one_dies_at_once() {
    let town = Town::new().await;
    let login = town.login().await;
    let early = ask(&town, "POST", "/api/v1/keys/rotate", json!({})).await;
    assert_eq!((early.0, &early.1["error"]), (409, &"conflict".into()));
    let listed = done(&town, "GET", "/api/v1/keys", Value::Null).await;
    assert_eq!((&listed["keys"][0]["stage"], &listed["keys"][1]["stage"]), (&"current".into(), &"next".into()));
    assert!(!listed.to_string().contains("\"d\""), "no private half");
    let replaced = done(&town, "POST", "/api/v1/keys/rotate", json!({ "now": true })).await;
    assert_ne!(replaced["keys"][0]["kid"], listed["keys"][0]["kid"]);
    assert!(!works(&town, &login).await, "at the next call");
    let (status, tokens) = refreshed(&town, &login).await;
    assert_eq!(status, 200, "nobody has to log in again");
    let fresh = tokens["access_token"].as_str().unwrap();
    assert_eq!(town.call("/notes", Some(fresh)).await.status(), 200);
    town.clock.advance(Duration::from_secs(86_400));
    let rotated = done(&town, "POST", "/api/v1/keys/rotate", json!({})).await;
    assert_eq!(rotated["keys"][0]["kid"], replaced["keys"][1]["kid"]);
    let jwks: Value =
        serde_json::from_slice(&http().get(format!("{}/jwks", town.base)).send().await.unwrap().bytes().await.unwrap())
            .unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_the_desk_does_not_know_is_told_in_json() {
    let town = Town::new().await;
    assert_eq!(ask(&town, "GET", "/api/v1/wishes", Value::Null).await.0, 404);
    assert_eq!(ask(&town, "PUT", "/api/v1/clients/block", json!({ "client": "x" })).await.0, 404);
    assert_eq!(ask(&town, "GET", "/api/v1/grants?limit=many", Value::Null).await.0, 400);
    assert_eq!(ask(&town, "POST", "/api/v1/clients/block", json!("x")).await.0, 400);
    let big = json!({ "client": "x".repeat(20_000) });
    let request = http().post(format!("{}/api/v1/clients/block", town.admin)).json_body(&big);
    assert_eq!(request.send().await.unwrap().status(), 413);
}
