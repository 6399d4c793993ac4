//! A device's human with the wrong account (D15): another one while the code lives, and no further (RFC 8628 §5.4).

use std::time::Duration;

use vestibule::{
    domain::{Allow, resource::EmailRule},
    oauth::{DeviceSetback, DeviceSettings, RefusalPage, Setback, Step},
};

use super::{Gadget, approve, consent, end};
use crate::{
    oauth::house::{House, Human, failed, parameters, refused},
    world::provider::{At, Fault, Person},
};

/// A house in which only the boss may log devices in.
async fn house_of_the_boss() -> House {
    House::with(|settings, resources| {
        settings.device = Some(DeviceSettings { life: Duration::from_secs(600) });
        let emails = vec![EmailRule::parse("boss@example.com").unwrap()];
        resources[0].allow = Allow::Only { emails, subjects: Vec::new(), groups: Vec::new() };
    })
    .await
}

fn set_back(step: Step) -> DeviceSetback {
    let Step::SetBackDevice(setback) = step else { panic!("{step:?}") };
    setback
}

#[tokio::test]
async fn d15_who_is_not_admitted_may_take_another_account_while_the_device_waits() {
    let house = house_of_the_boss().await;
    let (device, human) = (Gadget::start(&house).await, Human::new(&house));
    house.idp.set_fault(Fault::Error500(At::Token));
    assert_eq!(refused(approve(&house, &human, &device).await).0, RefusalPage::DeviceWaits);
    assert_eq!(failed(device.poll(&house).await), "authorization_pending", "it still waits");
    house.idp.heal();
    house.wait(5);
    // The same browser may enter the code again, and now it is the wrong account.
    let setback = set_back(approve(&house, &human, &device).await);
    assert_eq!(setback.client, "Build box");
    let Setback::WrongAccount { resource_title, another: Some(another), .. } = setback.setback else { panic!() };
    assert_eq!(resource_title, "Resource /notes");
    assert_eq!(failed(device.poll(&house).await), "authorization_pending", "nobody has said no");

    let boss = Person { sub: "boss".into(), email: "boss@example.com".into(), verified: true, name: "B".into() };
    house.idp.set_person(boss);
    let form = parameters(&[("request", another.expose()), ("decision", "another_account")]);
    let stranger = Human::new(&house);
    let (page, _) = refused(house.server.decide(&form, &stranger.browser).await);
    assert_eq!(page, RefusalPage::OtherBrowser, "the form is this browser's alone (S2)");
    let step = house.server.decide(&form, &human.browser).await;
    assert!(matches!(&step, Step::GoUpstream { url, .. } if url.contains("prompt=login")), "{step:?}");
    let callback = human.log_in_at(&house.idp, step).await;
    assert!(end(human.come_back(&house, &callback).await).is_granted);
    house.wait(5);
    let tokens = device.poll(&house).await.unwrap();
    let seen = house.mint.inspect(tokens.access_token.expose()).await.unwrap().expect("active");
    assert_eq!(seen.client.as_str(), device.client);
    house.wait(60);
    assert_eq!(house.mint.missed_calls().await.len(), 1, "behaviour_30: it is expected at a gate like every login");
}

#[tokio::test]
async fn rfc8628_5_4_another_account_is_for_this_device_only_and_ends_with_its_code() {
    let house = house_of_the_boss().await;
    let (device, human) = (Gadget::start(&house).await, Human::new(&house));
    let first = set_back(approve(&house, &human, &device).await);
    // As often as they like, each time to the same page.
    let again = parameters(&[("request", first.form.expose()), ("decision", "another_account")]);
    let callback = human.log_in_at(&house.idp, house.server.decide(&again, &human.browser).await).await;
    let second = set_back(human.come_back(&house, &callback).await);
    assert_eq!(house.records_of("request").await, 0, "no login is under way");
    // The no of the page is the device's.
    let no = parameters(&[("request", second.form.expose()), ("decision", "deny")]);
    assert!(!end(house.server.decide(&no, &human.browser).await).is_granted);
    assert_eq!(failed(device.poll(&house).await), "access_denied");
    assert_eq!(refused(house.server.decide(&again, &human.browser).await).0, RefusalPage::AlreadyDone);

    let late = Gadget::start_as(&house, device.client.clone()).await;
    house.wait(590);
    let setback = set_back(approve(&house, &human, &late).await);
    let again = parameters(&[("request", setback.form.expose()), ("decision", "another_account")]);
    house.wait(10);
    assert_eq!(refused(house.server.decide(&again, &human.browser).await).0, RefusalPage::Expired);
    assert_eq!(failed(late.poll(&house).await), "expired_token");
    assert_eq!((house.records_of("grant").await, house.records_of("consent").await), (0, 0));
}

#[tokio::test]
async fn d15_a_device_that_has_its_answer_asks_for_no_other_account() {
    let house = house_of_the_boss().await;
    let (device, human) = (Gadget::start(&house).await, Human::new(&house));
    let page = consent(&house, &human, &device).await;
    let callback = human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await;
    // In another tab, meanwhile.
    let other_tab = consent(&house, &human, &device).await;
    assert!(!end(human.decide(&house, &other_tab, "deny").await).is_granted);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::AlreadyDone);
}
