//! The way back from the provider (CON-6, UP-2, UP-3, behaviours 18 and 19; S2, S12, S29).

use std::sync::Arc;

use vestibule::{
    domain::{Allow, ApprovedClient, resource::EmailRule},
    oauth::{RefusalPage, Step},
};

use super::house::{CLAUDE, House, Human, answered, asked, asking, but, parameters, refused};
use crate::world::provider::{At, Fault, Person};

fn returned(callback: &url::Url) -> vestibule::oauth::Parameters {
    callback.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn rfc9207_2_a_login_ends_with_code_state_and_iss() {
    let house = House::open().await;
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    let Step::Answer(answer) = human.come_back(&house, &callback).await else { panic!("an answer") };
    assert!(answer.url.starts_with(&format!("{CLAUDE}?code=vc_")));
    assert!(answer.url.ends_with("&state=st%2Fate%3D%2520&iss=https%3A%2F%2Fmcp.example.com"), "{}", answer.url);
    assert_eq!((answer.is_private_scheme, answer.client.as_str()), (false, "Claude"));
    assert_eq!(answer.done.expect("its cookie can go").len(), 8);
    assert_eq!((house.records_of("request").await, house.records_of("grant").await), (0, 1));
}

#[tokio::test]
async fn s2_s12_a_foreign_browser_fails_before_anything_is_touched_and_burns_nothing() {
    let house = House::open().await;
    let victim = Human::new(&house);
    let callback = victim.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    let records = house.records().await;
    let attacker = Human::new(&house);
    let page = (RefusalPage::OtherBrowser, "access_denied");
    assert_eq!(refused(attacker.come_back(&house, &callback).await), page);
    // No cookie of ours at all.
    let none = |_: &str| None;
    let step = house.server.callback("idp", &returned(&callback), None, &none).await;
    assert_eq!(refused(step), page);
    // The victim's browser, but not the cookie of this login.
    let step = house.server.callback("idp", &returned(&callback), Some(&victim.browser), &none).await;
    assert_eq!(refused(step), page);
    let forged = |_: &str| Some("AAAA".to_owned());
    let step = house.server.callback("idp", &returned(&callback), Some(&victim.browser), &forged).await;
    assert_eq!(refused(step), page);
    assert_eq!(house.records().await, records, "nothing was taken");
    assert!(house.idp.received_at("/token").is_empty(), "the provider was not asked");
    assert!(answered(victim.come_back(&house, &callback).await).contains_key("code"), "the victim's login lives");
    // Reloaded after the end, when the cookie is gone (behaviour 18).
    let step = house.server.callback("idp", &returned(&callback), Some(&victim.browser), &none).await;
    assert_eq!(refused(step).0, RefusalPage::AlreadyDone);
}

#[tokio::test]
async fn s12_a_made_up_state_is_not_looked_for() {
    let house = House::open().await;
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    let visits = house.visits();
    for state in [None, Some(""), Some("x"), Some("vs_AAAA"), Some("vc_AAAA")] {
        let step = human.come_back_as(&house, "idp", &but(returned(&callback), "state", state)).await;
        assert_eq!(refused(step), (RefusalPage::BadRequest, "invalid_request"), "{state:?}");
    }
    for bad in [
        but(returned(&callback), "code", None),
        but(returned(&callback), "error", Some("access_denied")),
        [returned(&callback), parameters(&[("code", "other")])].concat(),
    ] {
        assert_eq!(refused(human.come_back_as(&house, "idp", &bad).await).0, RefusalPage::BadRequest);
    }
    assert_eq!(refused(human.come_back_as(&house, "nobody", &returned(&callback)).await).0, RefusalPage::BadRequest);
    assert_eq!(house.visits(), visits);
    assert!(house.idp.received_at("/token").is_empty());
}

#[tokio::test]
async fn rfc9700_4_4_up_3_the_callback_of_another_provider_changes_nothing() {
    let house = House::open().await;
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    // `hub` sends no iss, so only the path tells the two apart.
    let mixed = but(returned(&callback), "iss", None);
    assert_eq!(refused(human.come_back_as(&house, "hub", &mixed).await).0, RefusalPage::BadRequest);
    assert!(house.hub.received_at("/token").is_empty(), "the code does not go to the other provider");
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
}

#[tokio::test]
async fn up_2_of_a_foreign_issuer_nothing_is_believed() {
    let house = House::open().await;
    for fault in [Fault::CallbackIss, Fault::NoCallbackIss] {
        house.idp.heal();
        house.idp.forget();
        house.idp.set_fault(fault);
        let human = Human::new(&house);
        let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
        assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::ProviderFailed, "{fault:?}");
        let error = but(but(returned(&callback), "code", None), "error", Some("access_denied"));
        assert_eq!(refused(human.come_back_as(&house, "idp", &error).await).0, RefusalPage::ProviderFailed);
        assert!(house.idp.received_at("/token").is_empty());
    }
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn own_2_behaviour_18_of_many_callbacks_one_exchanges() {
    let house = House::open().await;
    let human = Arc::new(Human::new(&house));
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    let steps = futures_util::future::join_all((0..32).map(|_| human.come_back(&house, &callback))).await;
    let (mut codes, mut done) = (0, 0);
    for step in steps {
        match step {
            Step::Answer(_) => codes += 1,
            Step::Refuse(refusal) if refusal.page == RefusalPage::AlreadyDone => done += 1,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!((codes, done), (1, 31));
    assert_eq!(house.idp.received_at("/token").len(), 1);
    assert_eq!(house.records_of("grant").await, 1);
}

/// A provider may end a login whose code is presented twice (RFC 6749 §4.1.2).
#[tokio::test]
async fn own_2_a_form_that_is_sent_again_does_not_let_the_old_callback_in() {
    let house = House::open().await;
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&house.client(CLAUDE), CLAUDE)).await);
    let step = human.decide(&house, &page, "approve").await;
    let callback = human.log_in_at(&house.idp, step).await;
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
    let again = human.decide(&house, &page, "approve").await;
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::AlreadyDone);
    assert_eq!(house.idp.received_at("/token").len(), 1, "the provider's code was spent once");
    // What the form has begun anew can be finished.
    let callback = human.log_in_at(&house.idp, again).await;
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
}

#[tokio::test]
async fn a_login_that_took_too_long_is_called_that() {
    let house = House::open().await;
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    house.wait(600);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::Expired);
    assert!(house.idp.received_at("/token").is_empty());
}

#[tokio::test]
async fn az_10_s29_the_providers_no_becomes_ours_in_our_words() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    for (error, ours) in [
        ("access_denied", "access_denied"),
        ("login_required", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "server_error"),
        ("<script>", "server_error"),
    ] {
        let human = Human::new(&house);
        let callback = human.reach_callback(&house, &asking(&client, CLAUDE)).await;
        let said = but(but(returned(&callback), "code", None), "error", Some(error));
        let said = but(said, "error_description", Some("<script>alert('of the provider')</script>"));
        let answer = answered(human.come_back_as(&house, "idp", &said).await);
        assert_eq!(answer["error"], ours, "{error}");
        assert!(!answer["error_description"].contains("script"));
        assert_eq!(answer["state"], "st/ate=%20");
    }
}

#[tokio::test]
async fn own_5_what_goes_wrong_at_the_provider_reaches_the_client_as_an_error() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    for (fault, code) in [
        (Fault::Denied, "access_denied"),
        (Fault::Error500(At::Token), "temporarily_unavailable"),
        (Fault::Html(At::Token), "server_error"),
        (Fault::Nonce, "server_error"),
        (Fault::Signature, "server_error"),
        (Fault::Audience, "server_error"),
    ] {
        house.idp.heal();
        house.idp.set_fault(fault);
        let answer = Human::new(&house).log_in(&house, &asking(&client, CLAUDE)).await;
        assert_eq!(answer["error"], code, "{fault:?}");
        let said = &answer["error_description"];
        assert!(!said.contains("stack trace") && !said.contains('<'), "{said}");
    }
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn d15_own_13_whom_the_operator_does_not_name_gets_access_denied() {
    let only_corp = |_: &mut vestibule::oauth::Settings, resources: &mut Vec<vestibule::domain::Resource>| {
        let emails = vec![EmailRule::parse("*@corp.example").unwrap()];
        resources[0].allow = Allow::Only { emails, subjects: Vec::new(), groups: Vec::new() };
    };
    let house = House::with(only_corp).await;
    let client = house.client(CLAUDE);
    let person = |email: &str, verified| Person { sub: "1".into(), email: email.into(), verified, name: "P".into() };
    for (email, verified, outcome) in [
        ("ann@corp.example", true, "code"),
        ("ann@corp.example", false, "error"),
        ("ann@evil.example", true, "error"),
        ("ann@evil.example@corp.example", true, "error"),
    ] {
        house.idp.set_person(person(email, verified));
        let answer = Human::new(&house).log_in(&house, &asking(&client, CLAUDE)).await;
        assert!(answer.contains_key(outcome), "{email}");
        assert!(answer.get("error").is_none_or(|error| error == "access_denied"));
    }
    assert_eq!(house.records_of("grant").await, 1);
}

#[tokio::test]
async fn az_4_a_redirect_uri_that_was_taken_away_meanwhile_is_not_answered() {
    let with = |redirect: &'static str| {
        move |settings: &mut vestibule::oauth::Settings, _: &mut Vec<vestibule::domain::Resource>| {
            let mut client = super::house::static_client("desk", vestibule::domain::ClientAuthMethod::None, None);
            client.client.redirect_uris = vec![vestibule::domain::RegisteredRedirect::parse(redirect).unwrap()];
            settings.clients.push(client);
        }
    };
    let before = House::with(with(CLAUDE)).await;
    let human = Human::new(&before);
    let page = super::house::asked(human.visit(&before, &asking("desk", CLAUDE)).await);
    let after = House::with(with("https://claude.com/cb")).await;
    let refusal = refused(human.decide(&after, &page, "approve").await);
    assert!(matches!(refusal.0, RefusalPage::BadRedirect { requested, .. } if requested == CLAUDE));
}

#[tokio::test]
async fn an_outage_of_the_store_burns_nothing() {
    let house = House::open().await;
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&house.client(CLAUDE), CLAUDE)).await;
    house.bar(true);
    let refusal = refused(human.come_back(&house, &callback).await);
    assert_eq!(refusal, (RefusalPage::Unavailable, "temporarily_unavailable"));
    house.bar(false);
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
}

/// The client that a page in trouble speaks of.
fn asker(step: Step) -> Option<String> {
    let Step::Refuse(refusal) = step else { panic!("{step:?}") };
    refusal.asker.map(|asker| format!("{} at {}", asker.name, asker.redirect.unwrap_or_default()))
}

#[tokio::test]
async fn own_11_whoever_is_refused_at_the_callback_is_told_what_to_do_in_their_app() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let (human, stranger) = (Human::new(&house), Human::new(&house));
    let callback = human.reach_callback(&house, &asking(&client, CLAUDE)).await;
    let known = Some(format!("Claude at {CLAUDE}"));
    assert_eq!(asker(stranger.come_back(&house, &callback).await), known, "begun in another browser");
    let elsewhere = human.come_back_as(&house, "hub", &but(returned(&callback), "iss", None)).await;
    assert_eq!(asker(elsewhere), known, "at another provider");
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
    assert_eq!(asker(human.come_back(&house, &callback).await), None, "used: nothing is left of it");

    // The operator shuts the client out while its human is at the provider.
    let blocked = human.reach_callback(&house, &asking(&client, CLAUDE)).await;
    let (_, record): (String, ApprovedClient) = house.store.list(None, 1).await.unwrap().records.remove(0);
    house.store.put(&ApprovedClient { blocked: true, ..record }).await.unwrap();
    assert_eq!(asker(human.come_back(&house, &blocked).await), known);
}
