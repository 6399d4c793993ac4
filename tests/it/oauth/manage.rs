//! A registration in the hands of whoever made it (RFC 7592, DCR-11).

use serde_json::{Value, json};
use vestibule::{
    domain::Secret,
    oauth::{BasicCredentials, Manage},
};

use super::house::{CLAUDE, House, Human, asked, asking, but, failed, redeeming, refused};

/// A registration as its maker holds it.
struct Held {
    id: String,
    secret: Option<String>,
    token: Option<String>,
    reply: Value,
}

impl Held {
    fn of(house: &House, method: &str) -> Self {
        let reply = house
            .register(&json!({"client_name": "Desk", "redirect_uris": [CLAUDE], "token_endpoint_auth_method": method,
                "grant_types": ["authorization_code", "refresh_token"]}))
            .unwrap();
        let text = |name: &str| reply[name].as_str().map(str::to_owned);
        Self {
            id: text("client_id").unwrap(),
            secret: text("client_secret"),
            token: text("registration_access_token"),
            reply,
        }
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    async fn read(&self, house: &House) -> Result<Value, vestibule::oauth::Error> {
        let document = house.server.read_registration(&self.id, self.token()).await?;
        Ok(serde_json::from_slice(&document).unwrap())
    }

    async fn put(&self, house: &House, body: &Value) -> Result<Value, vestibule::oauth::Error> {
        let body = body.to_string();
        let document = house.server.replace_registration(&self.id, self.token(), body.as_bytes()).await?;
        Ok(serde_json::from_slice(&document).unwrap())
    }
}

#[tokio::test]
async fn rfc7592_3_a_client_with_a_secret_gets_a_token_and_an_address_and_nothing_is_written() {
    let house = House::open().await;
    let before = house.visits();
    let held = Held::of(&house, "client_secret_post");
    assert_eq!(held.reply["registration_client_uri"], format!("https://mcp.example.com/register/{}", held.id));
    assert_eq!(held.token().unwrap().len(), 43);
    assert_ne!(held.token, held.secret, "one is not the other");
    assert_ne!(held.token, Held::of(&house, "client_secret_post").token, "each its own");
    assert_eq!((house.visits(), house.records().await), (before, 0));
}

#[tokio::test]
async fn rfc7592_shared_ids_are_nobodys_to_delete() {
    let house = House::open().await;
    // Whoever registers as Claude does has Claude's id: no token for it may exist.
    let (one, other) = (Held::of(&house, "none"), Held::of(&house, "none"));
    assert_eq!(one.id, other.id);
    assert!(one.token.is_none() && one.reply.get("registration_client_uri").is_none());
    assert_eq!(failed(house.server.remove_registration(&one.id, None).await), "invalid_token");

    let all = House::with(|settings, _| settings.registration.manage = Manage::All).await;
    let (one, other) = (Held::of(&all, "none"), Held::of(&all, "none"));
    assert_ne!(one.id, other.id, "so where all are managed, no two share an id");
    all.server.remove_registration(&one.id, one.token()).await.unwrap();
    assert_eq!(other.read(&all).await.unwrap()["client_id"], other.id);
    assert_eq!(failed(all.server.read_registration(&other.id, one.token()).await), "invalid_token");

    let off = House::with(|settings, _| settings.registration.manage = Manage::Off).await;
    let held = Held::of(&off, "client_secret_post");
    assert!(held.token.is_none());
    assert_eq!(failed(held.read(&off).await), "access_denied");
}

#[tokio::test]
async fn rfc7592_2_1_reading_tells_what_the_id_holds() {
    let house = House::open().await;
    let held = Held::of(&house, "client_secret_basic");
    let mut told = held.read(&house).await.unwrap();
    let mut expected = held.reply.clone();
    // When it was issued is not in the id, and RFC 7591 makes it optional.
    assert!(expected.as_object_mut().unwrap().remove("client_id_issued_at").is_some());
    assert_eq!(told["scope"].take(), expected["scope"].take());
    assert_eq!(told, expected);
    assert_eq!(house.records().await, 0);
    // With the same key, in another process, on an empty store (behaviour 11).
    held.read(&House::open().await).await.unwrap();
}

#[tokio::test]
async fn rfc7592_2_1_without_the_right_token_nothing_is_told() {
    let house = House::open().await;
    let (held, other) = (Held::of(&house, "client_secret_post"), Held::of(&house, "client_secret_post"));
    let short = &held.token().unwrap()[..21];
    for token in [None, Some(""), Some("x"), Some(short), other.token(), held.secret.as_deref()] {
        assert_eq!(failed(house.server.read_registration(&held.id, token).await), "invalid_token", "{token:?}");
        assert_eq!(failed(house.server.replace_registration(&held.id, token, b"{}").await), "invalid_token");
        assert_eq!(failed(house.server.remove_registration(&held.id, token).await), "invalid_token");
    }
    for id in ["", "vst1.", "desk", "https://claude.ai/oauth/mcp-oauth-client-metadata"] {
        assert_eq!(failed(house.server.read_registration(id, held.token()).await), "invalid_token", "{id}");
    }
    house.bar(true);
    assert_eq!(failed(held.read(&house).await), "temporarily_unavailable");
}

#[tokio::test]
async fn rfc7592_2_2_an_update_that_changes_nothing_is_answered_and_a_change_is_refused() {
    let house = House::open().await;
    let held = Held::of(&house, "client_secret_post");
    let with = |name: &str, value: Value| {
        let mut body = held.reply.clone();
        body[name] = value;
        body
    };
    assert_eq!(held.put(&house, &held.reply).await.unwrap(), held.read(&house).await.unwrap());
    for (body, code) in [
        (with("client_id", json!("vst1.other")), "invalid_client_metadata"),
        (with("client_id", Value::Null), "invalid_client_metadata"),
        (with("client_secret", json!("of-my-own-choice")), "invalid_client_metadata"),
        (with("redirect_uris", json!(["javascript:alert(1)"])), "invalid_redirect_uri"),
        (with("redirect_uris", json!([CLAUDE, "https://claude.com/cb"])), "access_denied"),
        (with("client_name", json!("Other")), "access_denied"),
        (with("grant_types", json!(["authorization_code"])), "access_denied"),
        (with("token_endpoint_auth_method", json!("client_secret_basic")), "access_denied"),
    ] {
        assert_eq!(failed(held.put(&house, &body).await), code, "{body}");
    }
    assert_eq!(
        failed(house.server.replace_registration(&held.id, held.token(), b"[").await),
        "invalid_client_metadata"
    );
    assert_eq!(house.records().await, 0);
}

#[tokio::test]
async fn rfc7592_2_3_deleting_ends_the_client_its_logins_and_its_token() {
    let house = House::open().await;
    let held = Held::of(&house, "client_secret_post");
    let redeem = |code: &str| but(redeeming(&held.id, code), "client_secret", held.secret.as_deref());
    let code = house.code(&held.id).await;
    house.server.token(&redeem(&code), None).await.unwrap();
    let bystander = house.client(CLAUDE);
    let kept = house.code(&bystander).await;
    assert_eq!(house.records_of("grant").await, 2);

    house.server.remove_registration(&held.id, held.token()).await.unwrap();
    assert_eq!(house.records_of("grant").await, 1, "its logins are over, and nobody else's");
    house.redeem(&bystander, &kept).await.unwrap();
    assert_eq!(failed(held.read(&house).await), "invalid_token", "§2.1: and so is the token");
    assert_eq!(failed(house.server.remove_registration(&held.id, held.token()).await), "invalid_token");
    assert_eq!(failed(house.server.token(&redeem("vc_x"), None).await), "invalid_client");
    let (_, code) = refused(Human::new(&house).visit(&house, &asking(&held.id, CLAUDE)).await);
    assert_eq!(code, "invalid_client");
    house.wait(400 * 86_400);
    assert_eq!(failed(house.server.token(&redeem("vc_x"), None).await), "invalid_client", "for good");
    let basic = BasicCredentials { id: held.id.clone(), secret: Secret::from("x") };
    assert_eq!(failed(house.server.token(&redeeming(&held.id, "x"), Some(basic)).await), "invalid_client");
}

#[tokio::test]
async fn rfc7592_2_3_strangers_who_register_and_delete_fill_no_store() {
    let house = House::open().await;
    let mut cut = 0;
    for _ in 0..100 {
        let held = Held::of(&house, "client_secret_post");
        match house.server.remove_registration(&held.id, held.token()).await {
            Ok(()) => assert_eq!(failed(held.read(&house).await), "invalid_token"),
            Err(error) => {
                assert_eq!(error.code.as_str(), "too_many_requests");
                assert!(error.wait.is_some());
                cut += 1;
            }
        }
    }
    assert!(cut >= 60, "{cut}");
    assert!(house.records().await <= 40);
    house.wait(86_401);
    let still: Vec<_> = house.store.list::<vestibule::domain::ApprovedClient>(None, 100).await.unwrap().records;
    assert!(still.is_empty(), "after a day nothing is left of clients that nobody ever used: {}", still.len());
    // One that a person let in is not held up by the crowd.
    let held = Held::of(&house, "client_secret_post");
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&held.id, CLAUDE)).await);
    human.decide(&house, &page, "approve").await;
    house.server.remove_registration(&held.id, held.token()).await.unwrap();
}
