//! Who may register and where answers may go (DCR-1, DCR-5, DCR-10, behaviour 10, the tensions of the texts).

use std::collections::BTreeSet;

use serde_json::json;
use vestibule::{
    domain::{
        ClientAuthMethod, HostPattern, Secret,
        uri::{Loopback, LoopbackHosts, LoopbackPorts},
    },
    oauth::{BasicCredentials, Gate, NamedResource, RedirectRules, RefusalPage, SecretBy},
};

use super::house::{CLAUDE, House, Human, answered, asked, asking, but, failed, redeeming, refused, static_client};

const CURSOR: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

fn body(redirect: &str) -> Vec<u8> {
    json!({"redirect_uris": [redirect], "token_endpoint_auth_method": "none"}).to_string().into_bytes()
}

async fn narrowed(rules: RedirectRules) -> House {
    House::with(|settings, _| settings.registration.redirects = rules).await
}

fn only(hosts: &[&str]) -> RedirectRules {
    let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
    RedirectRules { hosts: Some(hosts), ..RedirectRules::default() }
}

fn schemes(names: &[&str]) -> RedirectRules {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    RedirectRules { private_schemes: Some(names), ..RedirectRules::default() }
}

/// Whether a client with that redirect URI may register.
fn lets_in(house: &House, redirect: &str) -> bool {
    match house.server.register(&body(redirect), None) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code.as_str(), "invalid_redirect_uri", "{redirect}: {error}");
            false
        }
    }
}

#[tokio::test]
async fn rfc7591_3_dcr_10_an_initial_access_token_opens_the_gate_and_each_of_several_does() {
    let tokens = || vec![Secret::from("the-newer-of-two-tokens-0123456789"), Secret::from("the-older-0123456789")];
    let house = House::with(|settings, _| settings.registration.gate = Gate::Token(tokens())).await;
    for token in [None, Some(""), Some("the-newer"), Some("the-newer-of-two-tokens-0123456789x"), Some("\u{0}")] {
        assert_eq!(failed(house.server.register(&body(CLAUDE), token)), "invalid_token", "{token:?}");
    }
    for token in ["the-newer-of-two-tokens-0123456789", "the-older-0123456789"] {
        house.server.register(&body(CLAUDE), Some(token)).unwrap();
    }
    let shut = House::with(|settings, _| settings.registration.gate = Gate::Closed).await;
    assert_eq!(failed(shut.server.register(&body(CLAUDE), Some("x"))), "access_denied");
    // Who registered while it was open is still a client.
    let id = house_with_open_gate().await;
    assert_eq!(asked(Human::new(&shut).visit(&shut, &asking(&id, CLAUDE)).await).client, "Claude");
    assert_eq!((house.records().await, shut.records().await), (0, 0));
}

async fn house_with_open_gate() -> String {
    House::open().await.client(CLAUDE)
}

#[tokio::test]
async fn reg_4_hosts_are_listed_for_registration_and_looked_up_again_at_authorize() {
    let house = narrowed(only(&["claude.ai", "*.example.org"])).await;
    for (uri, fine) in [
        (CLAUDE, true),
        ("https://a.example.org/cb", true),
        ("https://example.org/cb", false),
        ("https://claude.ai.evil.example/cb", false),
        ("https://evil.example/cb?x=claude.ai", false),
        ("http://localhost:1234/cb", false),
        ("http://127.0.0.1/cb", false),
        (CURSOR, true),
    ] {
        assert_eq!(lets_in(&house, uri), fine, "{uri}");
    }
    // A list that was narrowed since binds the ids that were issued before (AZ-4).
    let id = House::open().await.client("https://evil.example/cb");
    let step = Human::new(&house).visit(&house, &asking(&id, "https://evil.example/cb")).await;
    let (page, code) = refused(step);
    assert!(matches!(page, RefusalPage::RedirectNotLet { .. }), "{page:?}");
    assert_eq!(code, "invalid_request");
    let nobody = narrowed(only(&[])).await;
    assert!(!lets_in(&nobody, CLAUDE), "an empty list lets nobody in");
    let local = narrowed(only(&["localhost"])).await;
    for uri in ["http://localhost:1/cb", "http://127.0.0.1:1/cb", "http://[::1]:1/cb"] {
        assert!(lets_in(&local, uri), "{uri}");
    }
    assert!(!lets_in(&local, CLAUDE) && !lets_in(&local, "https://localhost.evil.example/cb"));
}

#[tokio::test]
async fn reg_4_the_operators_own_clients_are_not_bound_by_the_lists() {
    let house = House::with(|settings, _| {
        settings.registration.redirects = only(&["example.org"]);
        settings.clients.push(static_client("desk", ClientAuthMethod::None, None));
    })
    .await;
    assert!(asked(Human::new(&house).visit(&house, &asking("desk", CLAUDE)).await).is_static);
}

/// "https or localhost" against the private-use schemes of RFC 8252 §7.1.
#[tokio::test]
async fn tension_2_private_schemes_are_accepted_some_or_none() {
    let every = House::open().await;
    let some = narrowed(schemes(&["cursor"])).await;
    let none = narrowed(schemes(&[])).await;
    for (uri, by) in [
        (CURSOR, [true, true, false]),
        ("vscode://vscode.github-authentication/did-authenticate", [true, false, false]),
        ("com.example.app:/oauth", [true, false, false]),
        ("http://localhost/cb", [true, true, true]),
        (CLAUDE, [true, true, true]),
        ("javascript:alert(1)", [false, false, false]),
    ] {
        assert_eq!([&every, &some, &none].map(|house| lets_in(house, uri)), by, "{uri}");
    }
    let id = every.client(CURSOR);
    let (page, _) = refused(Human::new(&none).visit(&none, &asking(&id, CURSOR)).await);
    assert!(matches!(page, RefusalPage::RedirectNotLet { .. }), "{page:?}");
    asked(Human::new(&some).visit(&some, &asking(&id, CURSOR)).await);
}

/// The port of a loopback redirect against "compare redirect URIs exactly".
#[tokio::test]
async fn tension_1_a_free_port_is_accepted_or_the_registered_one_alone() {
    let ask = |id: &str, port: u16| asking(id, &format!("http://127.0.0.1:{port}/cb"));
    let floating = House::open().await;
    let id = floating.client("http://127.0.0.1:4000/cb");
    asked(Human::new(&floating).visit(&floating, &ask(&id, 4001)).await);
    // With ports that mean nothing the id holds none, so there is no address to fall back to.
    let (page, _) = refused(Human::new(&floating).visit(&floating, &but(ask(&id, 1), "redirect_uri", None)).await);
    assert!(matches!(page, RefusalPage::BadRedirect { .. }), "{page:?}");

    let loopback = Loopback { hosts: LoopbackHosts::Alike, ports: LoopbackPorts::Exact };
    let exact = narrowed(RedirectRules { loopback, ..RedirectRules::default() }).await;
    let id = exact.client("http://127.0.0.1:4000/cb");
    assert_ne!(id, exact.client("http://127.0.0.1:4001/cb"), "the port is a part of the registration");
    assert_eq!(id, exact.client("http://127.0.0.1:4000/cb"), "and equal ones are still equal");
    asked(Human::new(&exact).visit(&exact, &ask(&id, 4000)).await);
    asked(Human::new(&exact).visit(&exact, &asking(&id, "http://localhost:4000/cb")).await);
    asked(Human::new(&exact).visit(&exact, &but(ask(&id, 1), "redirect_uri", None)).await);
    let (page, _) = refused(Human::new(&exact).visit(&exact, &ask(&id, 4001)).await);
    assert!(matches!(page, RefusalPage::BadRedirect { .. }), "{page:?}");
}

/// `client_secret_basic` in the metadata against a secret in the body of the example.
#[tokio::test]
async fn tension_4_a_secret_is_taken_where_the_client_registered_it_or_in_either_place() {
    for (secret_by, elsewhere) in [(SecretBy::Registered, "invalid_client"), (SecretBy::Either, "invalid_grant")] {
        let house = House::with(|settings, _| settings.secret_by = secret_by).await;
        for method in ["client_secret_basic", "client_secret_post"] {
            let asked = json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": method});
            let reply = house.register(&asked).unwrap();
            let (id, secret) = (reply["client_id"].as_str().unwrap(), reply["client_secret"].as_str().unwrap());
            let basic = |secret: &str| Some(BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) });
            let form = redeeming(id, "vc_x");
            let by_header = failed(house.server.token(&form, basic(secret)).await);
            let by_form = failed(house.server.token(&but(form.clone(), "client_secret", Some(secret)), None).await);
            let expected = match method {
                "client_secret_basic" => ("invalid_grant", elsewhere),
                _ => (elsewhere, "invalid_grant"),
            };
            assert_eq!((by_header, by_form), expected, "{secret_by:?} {method}");
            // Whatever the place, a wrong secret and none at all stay wrong, and both at once are two methods.
            assert_eq!(failed(house.server.token(&form, basic("wrong")).await), "invalid_client");
            assert_eq!(failed(house.server.token(&form, None).await), "invalid_client");
            let both = but(form.clone(), "client_secret", Some(secret));
            assert_eq!(failed(house.server.token(&both, basic(secret)).await), "invalid_request");
        }
    }
}

/// Optional `resource` against mandatory validation.
#[tokio::test]
async fn tension_5_a_resource_may_be_left_out_or_has_to_be_named() {
    let ask = |id: &str| but(asking(id, CLAUDE), "resource", None);
    let optional = House::open().await;
    let id = optional.client(CLAUDE);
    let page = asked(Human::new(&optional).visit(&optional, &ask(&id)).await);
    assert_eq!(page.resource, "https://mcp.example.com/notes", "the default one is meant");

    let required = House::with(|settings, _| settings.named_resource = NamedResource::Required).await;
    let answer = answered(Human::new(&required).visit(&required, &ask(&id)).await);
    assert_eq!(answer["error"], "invalid_target");
    asked(Human::new(&required).visit(&required, &asking(&id, CLAUDE)).await);
    // What the code is for was said at /authorize; it need not be said again.
    let code = required.code(&id).await;
    required.server.token(&but(redeeming(&id, &code), "resource", None), None).await.unwrap();
    // Validated in either house.
    for house in [&optional, &required] {
        let foreign = but(asking(&id, CLAUDE), "resource", Some("https://mcp.example.com/other"));
        assert_eq!(answered(Human::new(house).visit(house, &foreign).await)["error"], "invalid_target");
    }
}
