//! The human's yes or no (CON-*, behaviours 17 and 18; S1, S2).

use vestibule::{
    domain::{ApprovedClient, Clock as _},
    oauth::{Browser, RefusalPage, Step},
};

use super::house::{CLAUDE, House, Human, answered, asked, asking, failed, parameters, refused};

#[tokio::test]
async fn con_2_a_yes_writes_consent_client_and_request_and_nothing_before() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&client, CLAUDE)).await);
    assert_eq!(house.records().await, 0);
    let Step::GoUpstream { state_cookie, .. } = human.decide(&house, &page, "approve").await else {
        panic!("upstream")
    };
    assert_eq!(state_cookie.suffix.len(), 8);
    assert_eq!(state_cookie.life.as_secs(), 600);
    for kind in ["consent", "client", "request"] {
        assert_eq!(house.records_of(kind).await, 1, "{kind}");
    }
}

#[tokio::test]
async fn a_no_is_told_to_the_client_and_writes_nothing() {
    let house = House::open().await;
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&house.client(CLAUDE), CLAUDE)).await);
    let answer = answered(human.decide(&house, &page, "deny").await);
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("access_denied", "st/ate=%20"));
    assert_eq!(house.records().await, 0);
}

#[tokio::test]
async fn a_no_after_a_yes_ends_the_login() {
    let house = House::open().await;
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&house.client(CLAUDE), CLAUDE)).await);
    let callback = human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await;
    answered(human.decide(&house, &page, "deny").await);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::AlreadyDone);
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn con_4_s1_the_form_of_one_browser_is_worthless_in_another() {
    let house = House::open().await;
    let attacker = Human::new(&house);
    let page = asked(
        attacker.visit(&house, &asking(&house.client("https://evil.example/cb"), "https://evil.example/cb")).await,
    );
    let victim = Human::new(&house);
    assert_eq!(refused(victim.decide(&house, &page, "approve").await), (RefusalPage::OtherBrowser, "access_denied"));
    assert_eq!(house.records().await, 0);
    assert!(house.idp.received().is_empty());
}

#[tokio::test]
async fn con_4_tabs_that_came_at_once_are_asked_again_under_the_cookie_that_stayed() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    // Three tabs without a cookie: each is given one, and the browser keeps the last.
    let tabs = [Human::new(&house), Human::new(&house), Human::new(&house)];
    let mut pages = Vec::new();
    for tab in &tabs {
        pages.push(asked(tab.visit(&house, &asking(&client, CLAUDE)).await));
    }
    let mut human = Human::new(&house);
    human.browser = Browser { id: tabs[2].browser.id, new_cookie: None };
    for (at, page) in pages.iter().enumerate() {
        let step = human.decide(&house, page, "approve").await;
        let step = if at == 2 {
            step
        } else {
            assert_eq!(
                (house.records_of("request").await, house.idp.received().len()),
                (0, 0),
                "nothing was agreed to"
            );
            let again = asked(step);
            assert_ne!(again.sealed_request.expose(), page.sealed_request.expose());
            // What the other tab decided counts for nothing there, either.
            assert_eq!(refused(tabs[at].decide(&house, &again, "approve").await).0, RefusalPage::OtherBrowser);
            continue;
        };
        let callback = human.log_in_at(&house.idp, step).await;
        assert!(answered(human.come_back(&house, &callback).await)["code"].starts_with("vc_"));
    }
    let again = asked(human.decide(&house, &pages[0], "deny").await);
    let callback = human.log_in_at(&house.idp, human.decide(&house, &again, "approve").await).await;
    assert!(
        answered(human.come_back(&house, &callback).await)["code"].starts_with("vc_"),
        "the first tab gets there, too"
    );
}

#[tokio::test]
async fn behaviour_18_saying_yes_twice_leads_to_the_same_place() {
    let house = House::open().await;
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&house.client(CLAUDE), CLAUDE)).await);
    let (first, second) = tokio::join!(human.decide(&house, &page, "approve"), human.decide(&house, &page, "approve"));
    let of = |step| match step {
        Step::GoUpstream { url, state_cookie } => (url, state_cookie.suffix, state_cookie.value.expose().clone()),
        step => panic!("{step:?}"),
    };
    assert_eq!(of(first), of(second));
    assert_eq!(house.records_of("request").await, 1);
    let callback = human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await;
    assert!(answered(human.come_back(&house, &callback).await).contains_key("code"));
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::AlreadyDone);
    // Used: a third click offers a restart, which is a login of its own.
    let restarted = human.log_in_at(&house.idp, human.decide(&house, &page, "approve").await).await;
    assert_ne!(restarted, callback);
    assert!(answered(human.come_back(&house, &restarted).await).contains_key("code"));
}

#[tokio::test]
async fn own_11_two_pages_in_one_browser_both_finish() {
    let house = House::open().await;
    let human = Human::new(&house);
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    let (one, other) = (asked(human.visit(&house, &ask).await), asked(human.visit(&house, &ask).await));
    let one = human.log_in_at(&house.idp, human.decide(&house, &one, "approve").await).await;
    let other = human.log_in_at(&house.idp, human.decide(&house, &other, "approve").await).await;
    assert!(answered(human.come_back(&house, &other).await).contains_key("code"));
    assert!(answered(human.come_back(&house, &one).await).contains_key("code"));
}

#[tokio::test]
async fn forms_that_are_old_broken_or_odd_get_their_page() {
    let house = House::open().await;
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&house.client(CLAUDE), CLAUDE)).await);
    assert_eq!(refused(human.decide(&house, &page, "perhaps").await).0, RefusalPage::BadRequest);
    let sealed = page.sealed_request.expose();
    for (form, wanted) in [
        (parameters(&[("decision", "approve")]), RefusalPage::Expired),
        (parameters(&[("decision", "approve"), ("request", &sealed[..40])]), RefusalPage::Expired),
        (parameters(&[("decision", "approve"), ("decision", "deny"), ("request", sealed)]), RefusalPage::BadRequest),
    ] {
        assert_eq!(refused(house.server.decide(&form, &human.browser).await).0, wanted);
    }
    house.wait(600);
    assert_eq!(refused(human.decide(&house, &page, "approve").await).0, RefusalPage::Expired);
    assert_eq!(house.records().await, 0);
}

#[tokio::test]
async fn a_browser_is_known_by_its_cookie_and_by_nothing_less() {
    let house = House::open().await;
    let met = house.server.meet(None);
    let cookie = met.new_cookie.expect("new").expose().clone();
    let known = house.server.meet(Some(&cookie));
    assert_eq!(known.id, met.id);
    assert!(known.new_cookie.is_none());
    for forged in [met.id.to_string(), format!("{}.", met.id), cookie[..cookie.len() - 1].to_owned(), "x.y".to_owned()]
    {
        let stranger = house.server.meet(Some(&forged));
        assert!(stranger.id != met.id && stranger.new_cookie.is_some(), "{forged}");
    }
}

#[tokio::test]
async fn dcr_9_a_blocked_client_gets_nothing_anywhere() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    let remembered = human.log_in(&house, &asking(&client, CLAUDE)).await;
    let list = house.store.list::<ApprovedClient>(None, 10).await.unwrap().records;
    let [(_, record)] = <[_; 1]>::try_from(list).unwrap();
    assert_eq!((record.name.as_deref(), record.first_seen), (Some("Claude"), house.clock.now()));
    // Whoever is at the consent page, or at the provider, when the block comes:
    let newcomer = Human::new(&house);
    let page = asked(newcomer.visit(&house, &asking(&client, CLAUDE)).await);
    let callback = human.log_in_at(&house.idp, human.visit(&house, &asking(&client, CLAUDE)).await).await;
    house.store.put(&ApprovedClient { blocked: true, ..record }).await.unwrap();
    assert_eq!(failed(house.redeem(&client, &remembered["code"]).await), "invalid_client");
    assert_eq!(refused(newcomer.decide(&house, &page, "approve").await).0, RefusalPage::BlockedClient);
    assert_eq!(refused(human.come_back(&house, &callback).await).0, RefusalPage::BlockedClient);
    // And whoever comes after it, also with a remembered yes.
    assert_eq!(refused(human.visit(&house, &asking(&client, CLAUDE)).await).0, RefusalPage::BlockedClient);
}
