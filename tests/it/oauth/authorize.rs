//! `/authorize` (AZ-*, RI-*, SC-1, behaviours 10, 14, 16, 17, 19, 20; S3, S4, S6, S7, S8).

use vestibule::{
    domain::{ClientAuthMethod, Scope},
    oauth::{ConsentMode, Destination, Navigation, RefusalPage, Step},
};

use super::house::{
    CHALLENGE, CLAUDE, House, Human, NOTES, answer_url, answered, asked, asking, but, parameters, refused,
    static_client,
};
use crate::world::provider::{At, Fault};

async fn error_of(house: &House, asking: &vestibule::oauth::Parameters) -> String {
    let answer = answered(Human::new(house).visit(house, asking).await);
    assert_eq!(answer.get("state").map(String::as_str), Some("st/ate=%20"), "behaviour 19");
    assert!(answer.contains_key("error_description"));
    assert!(!answer.contains_key("code"));
    answer["error"].clone()
}

#[tokio::test]
async fn d2_a_page_is_shown_and_nothing_is_written() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let page = asked(Human::new(&house).visit(&house, &asking(&client, CLAUDE)).await);
    assert_eq!(house.records().await, 0);
    assert!(house.idp.received().is_empty(), "nothing goes upstream before the human agreed");
    assert_eq!((page.client.as_str(), page.is_static), ("Claude", false));
    let (host, uri) = ("https://claude.ai".to_owned(), CLAUDE.to_owned());
    let to_claude = Destination::Redirect { host, uri, is_loopback: false, is_private_scheme: false };
    assert_eq!(page.destination, to_claude);
    assert_eq!((page.resource.as_str(), page.scopes.clone()), (NOTES, Scope::parse("read")));
}

#[tokio::test]
async fn behaviour_14_an_unknown_client_gets_a_page_and_never_a_redirect() {
    let house = House::open().await;
    for id in ["gone", "vst1.AAAA", "https://claude.ai"] {
        let step = Human::new(&house).visit(&house, &asking(id, CLAUDE)).await;
        assert_eq!(refused(step), (RefusalPage::UnknownClient, "invalid_client"), "{id}");
    }
    let nobody = but(asking("x", CLAUDE), "client_id", None);
    let step = Human::new(&house).visit(&house, &nobody).await;
    assert_eq!(refused(step), (RefusalPage::BadRequest, "invalid_request"));
}

#[tokio::test]
async fn rfc6749_3_1_2_4_az_2_s7_s8_a_redirect_uri_that_is_not_the_clients_gets_a_page() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    for evil in [
        "https://evil.example/cb",
        "https://claude.ai/api/mcp/auth_callback/",
        "https://claude.ai/api/mcp/auth_callback?x=1",
        "https://claude.ai/api/mcp/auth_callback#",
        "https://claude.ai/api/mcp/../mcp/auth_callback",
        "https://claude.ai@evil.example/api/mcp/auth_callback",
        "https://CLAUDE.ai/api/mcp/auth_callback",
        "http://claude.ai/api/mcp/auth_callback",
        " https://claude.ai/api/mcp/auth_callback",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "https://mcp.example.com/callback/idp",
    ] {
        let step = Human::new(&house).visit(&house, &asking(&client, evil)).await;
        let (requested, registered) = (evil.to_owned(), vec![CLAUDE.to_owned()]);
        assert_eq!(refused(step).0, RefusalPage::BadRedirect { requested, registered });
    }
    // n8n-2: both are named, so that the person can mend it.
    let twice = [asking(&client, CLAUDE), parameters(&[("redirect_uri", CLAUDE)])].concat();
    let step = Human::new(&house).visit(&house, &twice).await;
    assert_eq!(refused(step), (RefusalPage::BadRequest, "invalid_request"));
}

#[tokio::test]
async fn rfc8252_7_3_vscode_1_any_loopback_port_is_answered() {
    let house = House::open().await;
    for (registered, asked_for) in [
        ("http://127.0.0.1:33418/", "http://127.0.0.1:59656/"),
        ("http://127.0.0.1/", "http://127.0.0.1:59656/"),
        // codex-1, behaviour 10.
        ("http://127.0.0.1:37819/callback/abc", "http://localhost:37819/callback/abc"),
        ("http://localhost/callback", "http://[::1]:3118/callback"),
    ] {
        let page = asked(Human::new(&house).visit(&house, &asking(&house.client(registered), asked_for)).await);
        let Destination::Redirect { uri, is_loopback, .. } = &page.destination else { panic!("{page:?}") };
        assert_eq!((uri.as_str(), *is_loopback), (asked_for, true));
    }
    let page = house.client("http://127.0.0.1:1/cb");
    let step = Human::new(&house).visit(&house, &asking(&page, "http://127.0.0.1:1/other")).await;
    assert!(matches!(refused(step).0, RefusalPage::BadRedirect { .. }));
}

#[tokio::test]
async fn d2_a_loopback_client_has_to_say_its_port() {
    let house = House::open().await;
    let client = house.client("http://127.0.0.1:33418/cb");
    let step = Human::new(&house).visit(&house, &but(asking(&client, ""), "redirect_uri", None)).await;
    assert!(matches!(refused(step).0, RefusalPage::BadRedirect { .. }));
}

#[tokio::test]
async fn rfc7636_4_4_1_s6_without_s256_nobody_gets_in() {
    let house = House::open().await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    for bad in [
        but(ask.clone(), "code_challenge", None),
        but(ask.clone(), "code_challenge", Some("")),
        but(ask.clone(), "code_challenge", Some("short")),
        but(ask.clone(), "code_challenge", Some(&"=".repeat(43))),
        but(ask.clone(), "code_challenge_method", None),
        but(ask.clone(), "code_challenge_method", Some("plain")),
        but(ask.clone(), "code_challenge_method", Some("s256")),
        but(ask.clone(), "response_type", None),
    ] {
        assert_eq!(error_of(&house, &bad).await, "invalid_request", "{bad:?}");
    }
}

#[tokio::test]
async fn az_1_only_the_code_flow() {
    let house = House::open().await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    for kind in ["token", "id_token", "code token", "none"] {
        let bad = but(ask.clone(), "response_type", Some(kind));
        assert_eq!(error_of(&house, &bad).await, "unsupported_response_type");
    }
}

#[tokio::test]
async fn rfc6749_3_1_az_9_repeated_parameters_are_refused_by_redirect() {
    let house = House::open().await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    for name in ["scope", "code_challenge", "prompt", "unheard_of"] {
        let bad = [ask.clone(), parameters(&[(name, "x"), (name, "x")])].concat();
        assert_eq!(error_of(&house, &bad).await, "invalid_request", "{name}");
    }
    let twice = [ask, parameters(&[("state", "other")])].concat();
    let answer = answered(Human::new(&house).visit(&house, &twice).await);
    assert!(!answer.contains_key("state"), "of two states neither is right");
}

#[tokio::test]
async fn behaviour_16_what_clients_leave_out_or_add_does_no_harm() {
    let house = House::open().await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    let all = Scope::parse("read write");
    for (asking, scope) in [
        (but(ask.clone(), "scope", None), all.clone()),
        (but(ask.clone(), "scope", Some("")), all.clone()),
        (but(ask.clone(), "scope", Some("openid email")), all.clone()),
        (but(ask.clone(), "scope", Some("offline_access")), all.clone()),
        (but(ask.clone(), "scope", Some("\"\\ é")), all.clone()),
        (but(ask.clone(), "scope", Some("write openid offline_access")), Scope::parse("write")),
        (but(ask.clone(), "resource", None), Scope::parse("read")),
        (but(ask.clone(), "resource", Some("https://MCP.example.com/notes/?kb_name=x")), Scope::parse("read")),
        ([ask.clone(), parameters(&[("resource", NOTES)])].concat(), Scope::parse("read")),
        (
            [ask.clone(), parameters(&[("prompt", "consent"), ("ui_locales", "de"), ("x", "y")])].concat(),
            Scope::parse("read"),
        ),
    ] {
        let page = asked(Human::new(&house).visit(&house, &asking).await);
        assert_eq!((page.resource.as_str(), page.scopes), (NOTES, scope), "{asking:?}");
    }
}

#[tokio::test]
async fn rfc8707_2_s4_a_foreign_resource_is_an_invalid_target() {
    let house = House::open().await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    for foreign in ["https://mcp.example.com", "https://evil.example/notes", "notes", "https://mcp.example.com/notes#f"]
    {
        assert_eq!(error_of(&house, &but(ask.clone(), "resource", Some(foreign))).await, "invalid_target");
    }
    let two = [ask, parameters(&[("resource", "https://mcp.example.com/mail")])].concat();
    assert_eq!(error_of(&house, &two).await, "invalid_target");
}

#[tokio::test]
async fn ri_1_where_no_resource_is_the_default_one_has_to_be_named() {
    let house = House::with(|_, resources| resources.iter_mut().for_each(|r| r.is_default = false)).await;
    let ask = asking(&house.client(CLAUDE), CLAUDE);
    assert_eq!(error_of(&house, &but(ask, "resource", None)).await, "invalid_target");
}

#[tokio::test]
async fn sc_1_a_static_client_is_held_to_its_scope() {
    let house = House::with(|settings, _| {
        let mut narrow = static_client("narrow", ClientAuthMethod::None, None);
        narrow.client.scope = Some(Scope::parse("write"));
        let mut nothing = static_client("nothing", ClientAuthMethod::None, None);
        nothing.client.scope = Some(Scope::parse("admin"));
        settings.clients.extend([narrow, nothing]);
    })
    .await;
    let page = asked(Human::new(&house).visit(&house, &asking("narrow", CLAUDE)).await);
    assert_eq!(page.scopes, Scope::parse("write"));
    assert_eq!(error_of(&house, &asking("nothing", CLAUDE)).await, "invalid_scope");
}

#[tokio::test]
async fn rfc6749_4_1_2_behaviour_19_state_comes_back_byte_for_byte_or_not_at_all() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let long = "%41+ &=?#ü/".repeat(140);
    for state in [Some(long.as_str()), Some("+"), None] {
        let human = Human::new(&house);
        let answer = human.log_in(&house, &but(asking(&client, CLAUDE), "state", state)).await;
        assert_eq!(answer.get("state").map(String::as_str), state);
        assert!(answer.contains_key("code"));
        let bad = but(but(asking(&client, CLAUDE), "state", state), "code_challenge", None);
        let answer = answered(Human::new(&house).visit(&house, &bad).await);
        assert_eq!(answer.get("state").map(String::as_str), state);
    }
}

#[tokio::test]
async fn az_8_a_query_in_the_redirect_uri_is_kept() {
    let house = House::open().await;
    let redirect = "https://chat.example.org/cb?tenant=%41&flag";
    let client = house.client(redirect);
    let human = Human::new(&house);
    let callback = human.reach_callback(&house, &asking(&client, redirect)).await;
    let url = answer_url(human.come_back(&house, &callback).await);
    assert!(url.starts_with(&format!("{redirect}&code=vc_")), "{url}");
}

#[tokio::test]
async fn behaviour_20_the_provider_learns_nothing_of_the_client() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let ask =
        [asking(&client, CLAUDE), parameters(&[("prompt", "consent"), ("login_hint", "ada"), ("ui_locales", "de")])];
    Human::new(&house).reach_callback(&house, &ask.concat()).await;
    let [query] = house.idp.received_at("/authorize").try_into().unwrap_or_else(|_| panic!("one request"));
    let query: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(query.query.as_bytes()).into_owned().collect();
    let names: Vec<_> = query.keys().map(String::as_str).collect();
    let wanted = [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    ];
    assert_eq!(names, wanted);
    assert_ne!(query["code_challenge"], CHALLENGE, "UP-1: our own pair");
    assert_eq!(query["redirect_uri"], "https://mcp.example.com/callback/idp");
    assert!(!query["scope"].contains("read"));
    assert!(!query["state"].contains("st/ate"));
}

#[tokio::test]
async fn behaviour_17_s3_a_remembered_yes_is_for_this_browser_client_host_resource_and_scope() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    human.log_in(&house, &asking(&client, CLAUDE)).await;
    let again = asking(&client, CLAUDE);
    assert!(matches!(human.visit(&house, &again).await, Step::GoUpstream { .. }), "remembered");
    let cross = house.server.authorize(&again, &human.browser, Navigation::CrossSite).await;
    asked(cross);
    asked(human.visit(&house, &[again.clone(), parameters(&[("prompt", "login consent")])].concat()).await);
    asked(human.visit(&house, &but(again.clone(), "scope", Some("read write"))).await);
    asked(human.visit(&house, &but(again.clone(), "resource", Some("https://mcp.example.com/mail"))).await);
    asked(human.visit(&house, &asking(&house.client("https://claude.com/cb"), "https://claude.com/cb")).await);
    asked(Human::new(&house).visit(&house, &again).await);
    house.wait(90 * 86_400 + 1);
    asked(human.visit(&house, &again).await);
}

#[tokio::test]
async fn con_8_programs_on_the_machine_are_never_remembered() {
    let house = House::open().await;
    for redirect in ["http://127.0.0.1:3118/callback", "cursor://anysphere.cursor-mcp/oauth/callback"] {
        let client = house.client(redirect);
        let human = Human::new(&house);
        human.log_in(&house, &asking(&client, redirect)).await;
        asked(human.visit(&house, &asking(&client, redirect)).await);
    }
}

#[tokio::test]
async fn d10_always_asks_always_and_off_never() {
    let always = House::with(|settings, _| settings.consent = ConsentMode::Always).await;
    let client = always.client(CLAUDE);
    let human = Human::new(&always);
    human.log_in(&always, &asking(&client, CLAUDE)).await;
    asked(human.visit(&always, &asking(&client, CLAUDE)).await);
    assert_eq!(always.records_of("consent").await, 0);
    let off = House::with(|settings, _| settings.consent = ConsentMode::Off).await;
    let (ask, human) = (asking(&off.client(CLAUDE), CLAUDE), Human::new(&off));
    let step = off.server.authorize(&ask, &human.browser, Navigation::CrossSite).await;
    assert!(matches!(step, Step::GoUpstream { .. }));
}

#[tokio::test]
async fn az_10_an_outage_is_told_to_the_client_and_leaves_nothing() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let human = Human::new(&house);
    let page = asked(human.visit(&house, &asking(&client, CLAUDE)).await);
    house.bar(true);
    let answer = answered(human.decide(&house, &page, "approve").await);
    assert_eq!(answer["error"], "temporarily_unavailable");
    house.bar(false);
    house.idp.set_fault(Fault::Error500(At::Discovery));
    let answer = answered(human.decide(&house, &page, "approve").await);
    assert_eq!(answer["error"], "temporarily_unavailable");
    assert!(!answer["error_description"].contains("stack trace"), "S29");
    assert_eq!(house.records_of("request").await, 0);
}
