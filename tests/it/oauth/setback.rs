//! Logins that come to nothing, as their people hear of it: the wrong account, a provider that is down.

use vestibule::{
    domain::{Allow, resource::EmailRule},
    oauth::{RefusalPage, Setback, Step},
};

use super::house::{CLAUDE, House, Human, answered, asked, asking, parameters, refused};
use crate::world::provider::{At, Fault, Person};

async fn house_of_corp() -> House {
    House::with(|_, resources| {
        let emails = vec![EmailRule::parse("*@corp.example").unwrap()];
        resources[0].allow = Allow::Only { emails, subjects: Vec::new(), groups: Vec::new() };
    })
    .await
}

fn person(email: &str) -> Person {
    Person { sub: email.into(), email: email.into(), verified: true, name: "P".into() }
}

/// From `/authorize` to what comes of it.
async fn attempt(house: &House, human: &Human, client: &str) -> Step {
    let callback = human.reach_callback(house, &asking(client, CLAUDE)).await;
    human.come_back(house, &callback).await
}

fn setback(step: &Step) -> &Setback {
    let Step::Answer(answer) = step else { panic!("{step:?}") };
    answer.setback.as_ref().unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn a_wrong_account_can_be_changed_for_another_and_the_login_goes_on() {
    let house = house_of_corp().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    house.idp.set_person(person("ann@home.example"));
    let step = attempt(&house, &human, &client).await;
    let Setback::WrongAccount { account, resource_title, another: Some(form), .. } = setback(&step) else {
        panic!("{step:?}")
    };
    assert_eq!((account.as_deref(), resource_title.as_str()), (Some("ann@home.example"), "Resource /notes"));
    let form = parameters(&[("request", form.expose()), ("decision", "another_account")]);
    assert_eq!(answered(step)["error"], "access_denied", "own 13: and the client can be told at any time");

    let stranger = Human::new(&house);
    let (page, _) = refused(house.server.decide(&form, &stranger.browser).await);
    assert_eq!(page, RefusalPage::OtherBrowser, "the form is this browser's alone (S2)");

    house.idp.set_person(person("ann@corp.example"));
    let step = house.server.decide(&form, &human.browser).await;
    let Step::GoUpstream { url, .. } = &step else { panic!("{step:?}") };
    assert!(url.contains("prompt=login"), "the provider is asked to let her choose: {url}");
    let callback = human.log_in_at(&house.idp, step).await;
    let answer = answered(human.come_back(&house, &callback).await);
    assert_eq!(answer["state"], "st/ate=%20", "it is still the client's login");
    house.redeem(&client, &answer["code"]).await.unwrap();

    let page = asked(human.visit(&house, &asking(&house.client("http://localhost/cb"), "http://localhost/cb")).await);
    let Step::GoUpstream { url, .. } = human.decide(&house, &page, "approve").await else { panic!() };
    assert!(!url.contains("prompt="), "nobody is asked who did not ask for it (D8): {url}");
}

#[tokio::test]
async fn a_form_for_another_account_ends_like_any_other() {
    let house = house_of_corp().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    house.idp.set_person(person("ann@home.example"));
    let step = attempt(&house, &human, &client).await;
    let Setback::WrongAccount { another: Some(form), .. } = setback(&step) else { panic!("{step:?}") };
    house.wait(601);
    let form = parameters(&[("request", form.expose()), ("decision", "another_account")]);
    assert_eq!(refused(house.server.decide(&form, &human.browser).await).0, RefusalPage::Expired);
}

#[tokio::test]
async fn s29_only_what_is_plainly_an_address_is_shown_of_the_account() {
    let house = house_of_corp().await;
    let client = house.client(CLAUDE);
    for email in ["call 555 0123 now@evil.example", "<b>@evil.example", "\u{202e}x@evil.example", "nobody"] {
        house.idp.set_person(person(email));
        let step = attempt(&house, &Human::new(&house), &client).await;
        assert!(matches!(setback(&step), Setback::WrongAccount { account: None, .. }), "{email}: {step:?}");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_or_lies_is_named_and_a_no_needs_no_page() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    house.idp.set_fault(Fault::Error500(At::Token));
    let step = attempt(&house, &Human::new(&house), &client).await;
    assert!(matches!(setback(&step), Setback::ProviderDown { .. }), "{step:?}");
    assert_eq!(answered(step)["error"], "temporarily_unavailable");
    house.idp.heal();
    house.idp.set_fault(Fault::Nonce);
    let step = attempt(&house, &Human::new(&house), &client).await;
    assert!(matches!(setback(&step), Setback::ProviderFailed { .. }), "{step:?}");
    house.idp.heal();
    house.idp.set_fault(Fault::Denied);
    let Step::Answer(answer) = attempt(&house, &Human::new(&house), &client).await else { panic!() };
    assert!(answer.setback.is_none() && answer.url.contains("error=access_denied"), "{answer:?}");

    house.idp.heal();
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&client, CLAUDE)).await);
    let Step::Answer(answer) = human.decide(&house, &page, "deny").await else { panic!() };
    assert!(answer.setback.is_none(), "{answer:?}");
}
