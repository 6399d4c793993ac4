//! `/token` with a code (TOK-*, AZ-4 to AZ-6, RI-3, behaviour 21; S5, S6, S11).

use vestibule::domain::{ResourceUri, Scope};

use super::house::{CLAUDE, House, Human, NOTES, VERIFIER, asking, but, failed, parameters, redeeming, s256};

fn at(path: &str) -> ResourceUri {
    ResourceUri::under(&vestibule::domain::HttpsUrl::parse("https://mcp.example.com", false).unwrap(), path)
}

#[tokio::test]
async fn rfc6749_5_1_a_code_becomes_a_token_for_the_one_resource() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let response = house.redeem(&client, &code).await.unwrap();
    assert_eq!((response.token_type, response.scope.clone()), ("Bearer", Scope::parse("read")));
    assert!((60..=3600).contains(&response.expires_in));
    let caller = house.mint.verify(response.access_token.expose(), &at("/notes")).await.unwrap();
    assert_eq!(caller.client.as_str(), client);
    assert_eq!(caller.identity.subject.as_str(), "idp:person-1");
    assert_eq!(caller.scope, Scope::parse("read"));
    assert!(house.idp.knows_access(caller.upstream_token.as_ref().unwrap().expose()));
    assert!(house.mint.verify(response.access_token.expose(), &at("/mail")).await.is_err(), "S4");
}

#[tokio::test]
async fn own_1_az_6_fifty_at_once_and_one_wins() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let outcomes = futures_util::future::join_all((0..50).map(|_| house.redeem(&client, &code))).await;
    let mut tokens = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(response) => tokens.push(response.access_token),
            Err(error) => assert_eq!(error.code.as_str(), "invalid_grant"),
        }
    }
    let [token] = <[_; 1]>::try_from(tokens).unwrap_or_else(|all| panic!("{} winners", all.len()));
    assert!(house.mint.verify(token.expose(), &at("/notes")).await.is_ok(), "the losers have not revoked it");
}

#[tokio::test]
async fn rfc6749_4_1_2_s11_a_replay_revokes_what_the_code_bought_but_not_within_ten_seconds() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let token = house.redeem(&client, &code).await.unwrap().access_token;
    house.wait(10);
    assert_eq!(failed(house.redeem(&client, &code).await), "invalid_grant");
    assert!(house.mint.verify(token.expose(), &at("/notes")).await.is_ok(), "a double submit");
    house.wait(1);
    assert_eq!(failed(house.redeem(&client, &code).await), "invalid_grant");
    assert!(house.mint.verify(token.expose(), &at("/notes")).await.is_err(), "a theft");
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn rfc7636_4_6_wrong_verifier_burns_the_code() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let long = "x".repeat(4096);
    for verifier in [None, Some(""), Some("short"), Some(&VERIFIER[1..]), Some(long.as_str())] {
        let code = house.code(&client).await;
        let wrong = but(redeeming(&client, &code), "code_verifier", verifier);
        assert_eq!(failed(house.server.token(&wrong, None).await), "invalid_grant", "{verifier:?}");
        assert_eq!(failed(house.redeem(&client, &code).await), "invalid_grant", "burnt");
    }
    assert_eq!(house.records_of("grant").await, 0);
}

#[tokio::test]
async fn s6_the_challenge_itself_is_no_verifier() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let plain = but(redeeming(&client, &code), "code_verifier", Some(&s256(VERIFIER)));
    assert_eq!(failed(house.server.token(&plain, None).await), "invalid_grant");
}

#[tokio::test]
async fn rfc6749_4_1_3_a_code_is_for_the_client_it_was_given_to() {
    let house = House::open().await;
    let (client, other) = (house.client(CLAUDE), house.client("https://claude.com/api/mcp/auth_callback"));
    let code = house.code(&client).await;
    assert_eq!(failed(house.redeem(&other, &code).await), "invalid_grant");
    assert_eq!(failed(house.redeem(&client, &code).await), "invalid_grant", "burnt: it was in strange hands");
}

#[tokio::test]
async fn az_4_the_redirect_uri_is_compared_byte_for_byte_where_it_is_repeated() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    for other in [
        "https://CLAUDE.ai/api/mcp/auth_callback",
        "https://claude.ai:443/api/mcp/auth_callback",
        "x",
        "urn:vestibule:not-repeated",
    ] {
        let code = house.code(&client).await;
        let wrong = but(redeeming(&client, &code), "redirect_uri", Some(other));
        assert_ne!(failed(house.server.token(&wrong, None).await), "server_error");
    }
    // OAuth 2.1 clients do not repeat it: PKCE has taken its place.
    let code = house.code(&client).await;
    assert!(house.server.token(&but(redeeming(&client, &code), "redirect_uri", None), None).await.is_ok());
    // Left out at /authorize: may be left out here, may name the only one, may name nothing else.
    for (repeated, is_ok) in [(None, true), (Some(CLAUDE), true), (Some("https://claude.com/cb"), false)] {
        let short = but(asking(&client, CLAUDE), "redirect_uri", None);
        let code = Human::new(&house).log_in(&house, &short).await["code"].clone();
        let outcome = house.server.token(&but(redeeming(&client, &code), "redirect_uri", repeated), None).await;
        assert_eq!(outcome.is_ok(), is_ok, "{repeated:?}");
    }
}

#[tokio::test]
async fn rfc8707_2_2_s5_the_resource_is_the_one_that_was_authorized() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    for wrong in [
        but(redeeming(&client, &code), "resource", Some("https://mcp.example.com/mail")),
        but(redeeming(&client, &code), "resource", Some("https://evil.example")),
        [redeeming(&client, &code), parameters(&[("resource", "https://mcp.example.com/mail")])].concat(),
    ] {
        assert_eq!(failed(house.server.token(&wrong, None).await), "invalid_target");
    }
    let spelt = but(redeeming(&client, &code), "resource", Some("https://MCP.example.com/notes/"));
    assert!(house.server.token(&spelt, None).await.is_ok(), "the right client may try again");
    let code = house.code(&client).await;
    assert!(house.server.token(&but(redeeming(&client, &code), "resource", None), None).await.is_ok());
}

#[tokio::test]
async fn behaviour_21_a_code_lives_a_minute() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let (early, late) = (house.code(&client).await, house.code(&client).await);
    house.wait(59);
    assert!(house.redeem(&client, &early).await.is_ok());
    house.wait(1);
    assert_eq!(failed(house.redeem(&client, &late).await), "invalid_grant");
}

#[tokio::test]
async fn s11_a_forged_code_touches_nothing() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let mut forged = code.clone().into_bytes();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let visits = house.visits();
    for forged in [forged.as_str(), "vc_", "vc_AAAA", "", &code[3..], &format!("vr_{}", &code[3..])] {
        let outcome = house.redeem(&client, forged).await;
        assert!(matches!(failed(outcome), "invalid_grant" | "invalid_request"), "{forged}");
    }
    // Only who the client is was looked up.
    assert!(house.visits() - visits <= 6);
    assert!(house.redeem(&client, &code).await.is_ok());
}

#[tokio::test]
async fn rfc6749_5_2_what_is_wrong_with_a_token_request_is_said() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let sound = redeeming(&client, "vc_x");
    for (form, code) in [
        (but(sound.clone(), "grant_type", None), "invalid_request"),
        (but(sound.clone(), "grant_type", Some("password")), "unsupported_grant_type"),
        (but(sound.clone(), "grant_type", Some("implicit")), "unsupported_grant_type"),
        (but(sound.clone(), "code", None), "invalid_request"),
        ([sound.clone(), parameters(&[("code", "vc_y")])].concat(), "invalid_request"),
        ([sound.clone(), parameters(&[("client_id", &client)])].concat(), "invalid_request"),
        (vec![("x".to_owned(), String::new()); 100], "invalid_request"),
        (Vec::new(), "invalid_request"),
    ] {
        assert_eq!(failed(house.server.token(&form, None).await), code, "{form:?}");
    }
}

#[tokio::test]
async fn rt_6_an_outage_of_the_store_is_503_and_loses_nothing() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    house.bar(true);
    assert_eq!(failed(house.redeem(&client, &code).await), "temporarily_unavailable");
    house.bar(false);
    assert!(house.redeem(&client, &code).await.is_ok());
}

#[tokio::test]
async fn goose_1_three_registrations_and_three_logins_at_once() {
    let house = House::open().await;
    let login = || async {
        let client = house.client("http://127.0.0.1:8765/oauth_callback");
        let redirect = "http://127.0.0.1:8765/oauth_callback";
        let human = Human::new(&house);
        let code = human.log_in(&house, &asking(&client, redirect)).await["code"].clone();
        let form = but(redeeming(&client, &code), "redirect_uri", Some(redirect));
        house.server.token(&form, None).await.map(|response| response.access_token)
    };
    let (one, two, three) = tokio::join!(login(), login(), login());
    for token in [one, two, three] {
        assert!(house.mint.verify(token.unwrap().expose(), &at("/notes")).await.is_ok());
    }
    assert_eq!(house.records_of("client").await, 1, "one client, three logins");
    assert_eq!(NOTES, at("/notes").as_str());
}

#[tokio::test]
async fn behaviour_30_a_login_is_expected_at_a_gate_and_a_refresh_is_not() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let response = house.redeem(&client, &code).await.unwrap();
    house.wait(60);
    let missed = house.mint.missed_calls().await;
    let [login] = missed.as_slice() else { panic!("{missed:?}") };
    assert_eq!((login.client.as_str(), &login.resource), ("Claude", &at("/notes")));
    let refresh = response.refresh_token.unwrap();
    let asked = [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", refresh.expose())];
    house.server.token(&parameters(&asked), None).await.unwrap();
    house.wait(60);
    assert_eq!(house.mint.missed_calls().await, []);
}
