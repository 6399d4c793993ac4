//! The device grant (RFC 8628; DEV-1): codes, entry, consent, polls.

mod account;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use vestibule::{
    domain::{ClientAuthMethod, Device, GrantType, Place},
    oauth::{
        Browser, ConsentMode, ConsentPage, Destination, DeviceEnd, DeviceSettings, Error, RefusalPage, Step,
        TokenResponse, UserCodePage, UserCodeTrouble,
    },
    store::Backend,
};

use super::{
    house::{CLAUDE, House, Human, NOTES, asked, asking, but, failed, parameters, refused, static_client},
    refresh::stores,
};

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A house that offers the grant, over a store.
async fn house_over(backend: Arc<dyn Backend>) -> House {
    House::over(backend, |settings, _| {
        settings.device = Some(DeviceSettings { life: Duration::from_secs(600) });
        settings.consent = ConsentMode::Off;
    })
    .await
}

async fn house() -> House {
    house_over(Arc::new(vestibule::store::memory::Memory::new())).await
}

/// Where the devices of these tests are, and where their humans are.
fn place(last: u8) -> Place {
    Place::new([203, 0, 113, last].into(), Some("build-box/1.0"))
}

fn registration(grants: &[&str]) -> Value {
    json!({ "client_name": "Build box", "token_endpoint_auth_method": "none", "grant_types": grants })
}

fn register(house: &House, grants: &[&str]) -> String {
    let reply = house.register(&registration(grants)).expect("registers");
    reply["client_id"].as_str().expect("a string").to_owned()
}

/// A device of which its client has asked for a login.
struct Gadget {
    client: String,
    said: Value,
}

impl Gadget {
    async fn start(house: &House) -> Self {
        let client = register(house, &[DEVICE_CODE, "refresh_token"]);
        Self::start_as(house, client).await
    }

    async fn start_as(house: &House, client: String) -> Self {
        let asked = parameters(&[("client_id", &client), ("scope", "read offline_access"), ("resource", NOTES)]);
        let answer = house.server.device_authorization(&asked, None, place(9)).await.expect("a device code");
        Self { client, said: serde_json::to_value(&answer).expect("JSON") }
    }

    fn text(&self, name: &str) -> &str {
        self.said[name].as_str().expect("a string")
    }

    async fn poll_as(&self, house: &House, client: &str) -> Result<TokenResponse, Error> {
        let code = self.text("device_code");
        let asked = parameters(&[("grant_type", DEVICE_CODE), ("device_code", code), ("client_id", client)]);
        house.server.token(&asked, None).await
    }

    async fn poll(&self, house: &House) -> Result<TokenResponse, Error> {
        self.poll_as(house, &self.client).await
    }
}

fn page(step: Step) -> UserCodePage {
    let Step::AskUserCode(page) = step else { panic!("{step:?}") };
    page
}

fn end(step: Step) -> DeviceEnd {
    let Step::EndDevice(end) = step else { panic!("{step:?}") };
    end
}

/// Opens the page and sends the code from there.
async fn enter(house: &House, browser: &Browser, code: &str) -> Step {
    let form = page(house.server.ask_user_code(&Vec::new(), browser));
    let sent = parameters(&[("form", form.token.expose()), ("user_code", code)]);
    house.server.enter_user_code(&sent, browser, &place(1)).await
}

/// The consent page of a device.
async fn consent(house: &House, human: &Human, device: &Gadget) -> Box<ConsentPage> {
    asked(enter(house, &human.browser, device.text("user_code")).await)
}

async fn approve(house: &House, human: &Human, device: &Gadget) -> Step {
    let page = consent(house, human, device).await;
    let callback = human.log_in_at(&house.idp, human.decide(house, &page, "approve").await).await;
    human.come_back(house, &callback).await
}

#[tokio::test]
async fn dev_1_a_device_logs_in_through_somebody_elses_browser() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let code = device.text("user_code");
    assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
    assert!(code.bytes().all(|b| b"-BCDFGHJKLMNPQRSTVWXZ".contains(&b)), "rfc8628_6_1: {code}");
    assert_eq!(device.text("verification_uri"), "https://mcp.example.com/device");
    assert_eq!(device.text("verification_uri_complete"), format!("https://mcp.example.com/device?user_code={code}"));
    assert_eq!((&device.said["interval"], &device.said["expires_in"]), (&json!(5), &json!(600)));
    assert_eq!(failed(device.poll(&house).await), "authorization_pending");

    let human = Human::new(&house);
    let page = consent(&house, &human, &device).await;
    assert_eq!((page.client.as_str(), page.is_static, page.resource.as_str()), ("Build box", false, NOTES));
    let Destination::Device { code: shown, place: from, is_near, ago } = &page.destination else { panic!("{page:?}") };
    assert_eq!((shown.to_string(), *is_near, *ago), (code.to_owned(), false, Duration::ZERO));
    assert_eq!(*from, place(9));
    let callback = human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await;
    house.wait(5);
    assert_eq!(failed(device.poll(&house).await), "authorization_pending", "agreed, but not yet logged in");
    let end = end(human.come_back(&house, &callback).await);
    assert!(end.is_granted && end.done.is_some());
    assert_eq!((end.client.as_str(), end.resource_title.as_str()), ("Build box", "Resource /notes"));

    let tokens = device.poll(&house).await.unwrap();
    assert_eq!(tokens.scope.to_string(), "read");
    let seen = house.mint.inspect(tokens.access_token.expose()).await.unwrap().expect("active");
    assert_eq!((seen.subject.as_str(), seen.client.as_str()), ("idp:person-1", device.client.as_str()));
    assert_eq!((seen.audience.as_str(), seen.scope.to_string()), (NOTES, "read".to_owned()));
    assert_eq!(house.records_of("device").await, 0);
    assert_eq!(failed(device.poll(&house).await), "invalid_grant", "once");
    assert_eq!(house.records_of("consent").await, 0, "a yes to a device is remembered by nobody");

    // Refreshed and revoked as every other login.
    let refresh = tokens.refresh_token.expect("it may refresh").expose().clone();
    let refreshing =
        parameters(&[("grant_type", "refresh_token"), ("client_id", &device.client), ("refresh_token", &refresh)]);
    let next = house.server.token(&refreshing, None).await.unwrap();
    let revoking = parameters(&[("client_id", &device.client), ("token", next.access_token.expose())]);
    house.server.revoke(&revoking, None).await.unwrap();
    assert!(house.mint.inspect(next.access_token.expose()).await.unwrap().is_none());
}

#[tokio::test]
async fn rfc8628_3_5_who_polls_too_fast_is_slowed_down() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    assert_eq!(failed(device.poll(&house).await), "authorization_pending");
    house.wait(5);
    assert_eq!(failed(device.poll(&house).await), "authorization_pending");
    house.wait(4);
    assert_eq!(failed(device.poll(&house).await), "slow_down");
    house.wait(5);
    assert_eq!(failed(device.poll(&house).await), "slow_down", "ten seconds from now on");
    house.wait(15);
    assert_eq!(failed(device.poll(&house).await), "authorization_pending");
    house.clock.advance(Duration::from_millis(14_600));
    assert_eq!(failed(device.poll(&house).await), "authorization_pending", "a little early is in time");
    // However badly it behaves: the person has agreed.
    approve(&house, &Human::new(&house), &device).await;
    assert!(device.poll(&house).await.is_ok());
}

#[tokio::test]
async fn rfc8628_3_5_of_fifty_polls_one_gets_the_token() {
    for (store, _folder) in stores().await {
        let house = Arc::new(house_over(store).await);
        let device = Arc::new(Gadget::start(&house).await);
        assert!(end(approve(&house, &Human::new(&house), &device).await).is_granted);
        let polls = (0..50).map(|_| {
            let (house, device) = (Arc::clone(&house), Arc::clone(&device));
            tokio::spawn(async move { device.poll(&house).await })
        });
        let outcomes: Vec<_> = join_all(polls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.into_iter().filter_map(Result::err).all(|error| error.code.as_str() == "invalid_grant"));
        assert_eq!((house.records_of("grant").await, house.records_of("device").await), (1, 0));
    }
}

#[tokio::test]
async fn rfc8628_3_5_a_no_is_told_to_the_device_as_often_as_it_asks() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let human = Human::new(&house);
    let page = consent(&house, &human, &device).await;
    assert!(!end(human.decide(&house, &page, "deny").await).is_granted);
    for _ in 0..2 {
        assert_eq!(failed(device.poll(&house).await), "access_denied");
    }
    // Neither the page from before nor the code helps any more.
    assert_eq!(refused(human.decide(&house, &page, "approve").await).0, RefusalPage::AlreadyDone);
    let again = enter(&house, &human.browser, device.text("user_code")).await;
    assert_eq!(page_trouble(again), Some(UserCodeTrouble::Unknown));
    assert_eq!((house.records_of("grant").await, house.records_of("request").await), (0, 0));
}

fn page_trouble(step: Step) -> Option<UserCodeTrouble> {
    page(step).trouble
}

#[tokio::test]
async fn rfc8628_3_3_a_user_code_belongs_to_the_first_browser_that_enters_it() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let (first, second) = (Human::new(&house), Human::new(&house));
    let typed = device.text("user_code").to_lowercase().replace('-', " ");
    asked(enter(&house, &first.browser, &typed).await);
    assert_eq!(page_trouble(enter(&house, &second.browser, &typed).await), Some(UserCodeTrouble::Unknown));
    // A double click, or a way back.
    let page = asked(enter(&house, &first.browser, &typed).await);
    // The page itself is bound to the browser too (CON-4).
    assert_eq!(refused(second.decide(&house, &page, "approve").await).0, RefusalPage::OtherBrowser);
    for wrong in ["", "BCDF", "BCDF-GHJK", "AEIO-UAEI", "☃"] {
        let step = enter(&house, &first.browser, wrong).await;
        assert_eq!(page_trouble(step), Some(UserCodeTrouble::Unknown), "{wrong}");
    }
    let twice = std::iter::repeat_with(|| enter(&house, &first.browser, &typed)).take(20);
    assert!(join_all(twice).await.into_iter().all(|step| matches!(step, Step::AskConsent(_))));
}

#[tokio::test]
async fn rfc8628_5_4_a_link_with_a_code_in_it_takes_nobody_further_than_to_the_page() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let (visits, browser) = (house.visits(), Human::new(&house).browser);
    let given = page(house.server.ask_user_code(&parameters(&[("user_code", device.text("user_code"))]), &browser));
    assert_eq!(given.given.map(|code| code.to_string()).as_deref(), Some(device.text("user_code")));
    assert_eq!(given.address, device.text("verification_uri_complete"));
    assert_eq!(house.visits(), visits, "nobody learns by a link which codes there are");
    // A form of another site (CSRF) is a link with more clicks; so is one made for another browser.
    let foreign = page(house.server.ask_user_code(&Vec::new(), &Human::new(&house).browser));
    for form in [None, Some("AAAA"), Some(foreign.token.expose().as_str())] {
        let sent = but(parameters(&[("user_code", device.text("user_code"))]), "form", form);
        let step = house.server.enter_user_code(&sent, &browser, &place(1)).await;
        assert_eq!(page_trouble(step), Some(UserCodeTrouble::NotFromHere));
    }
    assert_eq!(house.visits(), visits);
    let hostile = parameters(&[("user_code", "\"><script>")]);
    assert!(page(house.server.ask_user_code(&hostile, &browser)).given.is_none());
    // Consent is off in this house, and remembered in another: a device is asked for all the same.
    asked(enter(&house, &browser, device.text("user_code")).await);
}

#[tokio::test]
async fn rfc8628_5_4_the_human_is_told_whether_the_device_is_on_their_network() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let browser = Human::new(&house).browser;
    let form = page(house.server.ask_user_code(&Vec::new(), &browser));
    let sent = parameters(&[("form", form.token.expose()), ("user_code", device.text("user_code"))]);
    house.wait(90);
    let page = asked(house.server.enter_user_code(&sent, &browser, &place(9)).await);
    let Destination::Device { is_near, ago, .. } = page.destination else { panic!("{page:?}") };
    assert_eq!((is_near, ago), (true, Duration::from_secs(90)));
}

#[tokio::test]
async fn rfc8628_3_5_time_ends_it_everywhere() {
    let house = house().await;
    let (device, human) = (Gadget::start(&house).await, Human::new(&house));
    let page = consent(&house, &human, &device).await;
    let late = Gadget::start_as(&house, device.client.clone()).await;
    let callback = {
        let page = consent(&house, &human, &late).await;
        human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await
    };
    house.wait(599);
    assert_eq!(failed(device.poll(&house).await), "authorization_pending");
    house.wait(1);
    for device in [&device, &late] {
        assert_eq!(failed(device.poll(&house).await), "expired_token");
        let step = enter(&house, &human.browser, device.text("user_code")).await;
        assert_eq!(page_trouble(step), Some(UserCodeTrouble::Unknown));
    }
    assert_eq!(refused(human.decide(&house, &page, "approve").await).0, RefusalPage::Expired);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::Expired);
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn rfc8628_3_4_a_device_code_is_its_clients_alone_and_nobody_guesses_one() {
    let house = house().await;
    let device = Gadget::start(&house).await;
    let other = house.register(&but_named(registration(&[DEVICE_CODE]), "Other")).unwrap();
    let other = other["client_id"].as_str().unwrap();
    assert_ne!(other, device.client);
    approve(&house, &Human::new(&house), &device).await;
    assert_eq!(failed(device.poll_as(&house, other).await), "invalid_grant");
    // S11: forged ones die before the store.
    let visits = house.visits();
    let forged = device.text("device_code").replace("vd_", "vc_");
    for code in ["", "vd_AAAA", &forged, &format!("{}A", device.text("device_code"))] {
        let asked = parameters(&[("grant_type", DEVICE_CODE), ("device_code", code), ("client_id", other)]);
        let expected = if code.is_empty() { "invalid_request" } else { "invalid_grant" };
        assert_eq!(failed(house.server.token(&asked, None).await), expected);
    }
    // Each asked once whether the client is blocked, and for nothing else.
    assert!(house.visits() <= visits + 4);
    let wrong = parameters(&[
        ("grant_type", DEVICE_CODE),
        ("device_code", device.text("device_code")),
        ("client_id", &device.client),
        ("resource", "https://mcp.example.com/mail"),
    ]);
    assert_eq!(failed(house.server.token(&wrong, None).await), "invalid_target");
    assert!(device.poll(&house).await.is_ok(), "none of it did any harm");
}

fn but_named(mut registration: Value, name: &str) -> Value {
    registration["client_name"] = json!(name);
    registration
}

#[tokio::test]
async fn rfc8628_3_1_only_clients_that_say_so_and_only_where_it_is_offered() {
    let on = house().await;
    let plain = on.client(CLAUDE);
    let start = |client: &str| parameters(&[("client_id", client), ("resource", NOTES)]);
    let outcome = on.server.device_authorization(&start(&plain), None, place(9)).await;
    assert_eq!(failed(outcome), "unauthorized_client");
    let outcome = on.server.device_authorization(&start("vst1.nonsense"), None, place(9)).await;
    assert_eq!(failed(outcome), "invalid_client");
    let client = register(&on, &[DEVICE_CODE]);
    let elsewhere = but(start(&client), "resource", Some("https://evil.example"));
    assert_eq!(failed(on.server.device_authorization(&elsewhere, None, place(9)).await), "invalid_target");
    assert_eq!(on.records().await, 0, "whoever is refused leaves nothing behind");
    // It has no redirect URI, so `/authorize` has nowhere to answer.
    let step = Human::new(&on).visit(&on, &asking(&client, CLAUDE)).await;
    assert!(matches!(refused(step).0, RefusalPage::BadRedirect { .. }));

    let off = House::open().await;
    let outcome = off.server.device_authorization(&start(&off.client(CLAUDE)), None, place(9)).await;
    assert_eq!(failed(outcome), "invalid_request");
    assert_eq!(failed(off.register(&registration(&[DEVICE_CODE]))), "invalid_client_metadata");
    let mixed = json!({ "redirect_uris": [CLAUDE], "grant_types": ["authorization_code", DEVICE_CODE] });
    assert_eq!(off.register(&mixed).unwrap()["grant_types"], json!(["authorization_code"]));
    let browser = Human::new(&off).browser;
    assert_eq!(refused(off.server.ask_user_code(&Vec::new(), &browser)).0, RefusalPage::BadRequest);
    let metadata: Value = serde_json::from_slice(&off.server.metadata()).unwrap();
    assert!(metadata.get("device_authorization_endpoint").is_none());
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token"]));
}

#[tokio::test]
async fn rfc8628_4_metadata_and_registration_say_what_is_on() {
    let house = house().await;
    let metadata: Value = serde_json::from_slice(&house.server.metadata()).unwrap();
    assert_eq!(metadata["device_authorization_endpoint"], "https://mcp.example.com/device_authorization");
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token", DEVICE_CODE]));
    let only = house.register(&registration(&[DEVICE_CODE, "password"])).unwrap();
    assert_eq!((&only["grant_types"], &only["response_types"]), (&json!([DEVICE_CODE]), &json!([])));
    assert!(only.get("redirect_uris").is_none(), "no list where there is none");
    let both = json!({ "redirect_uris": [CLAUDE], "grant_types": ["authorization_code", "refresh_token", DEVICE_CODE],
        "token_endpoint_auth_method": "none" });
    let both = house.register(&both).unwrap();
    assert_eq!(both["grant_types"], json!(["authorization_code", "refresh_token", DEVICE_CODE]));
    // Without redirect URIs only for those that need none.
    assert_eq!(failed(house.register(&registration(&["authorization_code"]))), "invalid_redirect_uri");
    // No refresh token for who did not ask for one.
    let device = Gadget::start_as(&house, register(&house, &[DEVICE_CODE])).await;
    approve(&house, &Human::new(&house), &device).await;
    assert!(device.poll(&house).await.unwrap().refresh_token.is_none());
}

#[tokio::test]
async fn dcr_13_a_static_client_with_a_secret_authenticates_at_both_endpoints() {
    let house = House::with(|settings, _| {
        settings.device = Some(DeviceSettings { life: Duration::from_secs(600) });
        let mut known = static_client("tv", ClientAuthMethod::ClientSecretPost, Some("the-secret"));
        known.client.grants = BTreeSet::from([GrantType::DeviceCode]);
        settings.clients.push(known);
    })
    .await;
    let start = parameters(&[("client_id", "tv"), ("resource", NOTES)]);
    assert_eq!(failed(house.server.device_authorization(&start, None, place(9)).await), "invalid_client");
    let start = but(start, "client_secret", Some("the-secret"));
    let said = house.server.device_authorization(&start, None, place(9)).await.unwrap();
    let device = Gadget { client: "tv".to_owned(), said: serde_json::to_value(&said).unwrap() };
    assert!(consent(&house, &Human::new(&house), &device).await.is_static);
    assert_eq!(failed(device.poll(&house).await), "invalid_client");
}

#[tokio::test]
async fn behaviour_24_a_store_that_does_not_answer_is_no_answer() {
    let house = house().await;
    let (device, human) = (Gadget::start(&house).await, Human::new(&house));
    house.bar(true);
    assert_eq!(failed(device.poll(&house).await), "temporarily_unavailable");
    let step = enter(&house, &human.browser, device.text("user_code")).await;
    assert_eq!(refused(step), (RefusalPage::Unavailable, "temporarily_unavailable"));
    house.bar(false);
    assert!(end(approve(&house, &human, &device).await).is_granted);
    let kept = house.store.list::<Device>(None, 10).await.unwrap().records;
    assert_eq!(kept.len(), 1);
    assert!(device.poll(&house).await.is_ok());
}
