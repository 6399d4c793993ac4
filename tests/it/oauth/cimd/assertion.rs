//! `private_key_jwt` (RFC 7523): of clients with documents, and of those that the operator wrote down.

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey, published::PublishedKeys},
    domain::{ClientAuthMethod, HttpsUrl},
    oauth::{BasicCredentials, ClientKeys, Error, KeySource, StaticClient, TokenResponse},
};

use super::{APP, but, document, host, house, house_with};
use crate::{
    oauth::house::{House, ISSUER, parameters, redeeming, static_client},
    world::documents::{DocumentHost, Page},
};

const KEYS: &str = "https://keys.example/jwks.json";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn key(alg: Alg, kid: &str) -> SigningKey {
    SigningKey::generate(alg, kid).unwrap()
}

fn set(keys: &[&SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public_jwk().unwrap()).collect::<Vec<_>>() })
}

/// The app's document with keys at [`KEYS`].
fn signing_document() -> Value {
    but(document(APP), json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": KEYS }))
}

async fn signing_host(keys: &[&SigningKey]) -> DocumentHost {
    let host = host().await;
    host.show(APP, Page::json(&signing_document()));
    host.show(KEYS, Page::json(&set(keys)));
    host
}

/// Sound claims of `client`, with changes; `null` takes out.
fn claims(house: &House, client: &str, jti: &str, changes: Value) -> String {
    use vestibule::domain::Clock as _;
    let now = house.clock.now().secs();
    let sound = json!({ "iss": client, "sub": client, "aud": ISSUER, "exp": now + 60, "iat": now, "jti": jti });
    but(sound, changes).to_string()
}

fn signed(house: &House, key: &SigningKey, jti: &str) -> String {
    key.sign("JWT", claims(house, APP, jti, json!({})).as_bytes()).unwrap()
}

/// Redeems a code with an assertion.
async fn redeem_with(house: &House, code: &str, assertion: &str) -> Result<TokenResponse, Error> {
    let mut form = redeeming(APP, code);
    form.extend(parameters(&[("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]));
    house.server.token(&form, None).await
}

/// What an introspection with this assertion says to the client: introspection authenticates and changes nothing.
async fn outcome(house: &House, client: Option<&str>, assertion: &str) -> Result<(), String> {
    let mut form =
        parameters(&[("token", "x"), ("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]);
    form.extend(client.map(|client| ("client_id".to_owned(), client.to_owned())));
    let answer = house.server.introspect(&form, None).await;
    answer.map(drop).map_err(|error| format!("{} {}", error.code.as_str(), error.description))
}

#[tokio::test]
async fn cimd_10_tok_3_a_client_with_keys_signs_on_every_call() {
    for alg in [Alg::Es256, Alg::EdDsa, Alg::Rs256] {
        let key = key(alg, "k1");
        let host = signing_host(&[&key]).await;
        let house = house(&host).await;
        let code = house.code(APP).await;
        let error = house.redeem(APP, &code).await.unwrap_err();
        assert_eq!(error.code.as_str(), "invalid_client");
        assert!(error.description.contains("private_key_jwt"), "{error}");
        let tokens = redeem_with(&house, &code, &signed(&house, &key, "1")).await.unwrap();
        let refresh = tokens.refresh_token.unwrap();
        let mut form = parameters(&[("grant_type", "refresh_token"), ("refresh_token", refresh.expose())]);
        assert!(house.server.token(&form, None).await.is_err());
        // RFC 7521 §4.2: the assertion names the client, so the form need not.
        form.extend(parameters(&[
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &signed(&house, &key, "2")),
        ]));
        house.server.token(&form, None).await.unwrap();
        assert_eq!((host.fetches(APP).len(), host.fetches(KEYS).len()), (1, 1));
    }
}

#[tokio::test]
async fn tok_3_an_assertion_is_good_for_once_however_many_present_it() {
    let key = key(Alg::Es256, "k1");
    let host = signing_host(&[&key]).await;
    let house = Arc::new(house(&host).await);
    let assertion = signed(&house, &key, "only");
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (house, assertion) = (Arc::clone(&house), assertion.clone());
            tokio::spawn(async move { outcome(&house, Some(APP), &assertion).await })
        })
        .collect();
    let mut won = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(()) => won += 1,
            Err(why) => assert_eq!(why, "invalid_client the client assertion was used before"),
        }
    }
    assert_eq!(won, 1);
    // To its end and beyond it.
    for seconds in [59, 60, 1, 3600] {
        house.wait(seconds);
        assert!(outcome(&house, Some(APP), &assertion).await.is_err());
    }
    // Another client's assertions have names of their own.
    assert_eq!(outcome(&house, Some(APP), &signed(&house, &key, "other")).await, Ok(()));
}

#[tokio::test]
async fn rfc7523_3_what_an_assertion_claims_is_judged() {
    let key = key(Alg::Es256, "k1");
    let host = signing_host(&[&key]).await;
    let house = house(&host).await;
    use vestibule::domain::Clock as _;
    let now = house.clock.now().secs();
    for (nth, (changes, why)) in [
        (json!({ "iss": "https://evil.example/c" }), "client_id as iss and as sub"),
        (json!({ "sub": "https://evil.example/c" }), "client_id as iss and as sub"),
        (json!({ "iss": null }), "must hold iss"),
        (json!({ "aud": null }), "must hold iss"),
        (json!({ "exp": null }), "must hold iss"),
        (json!({ "jti": null }), "must hold iss"),
        (json!({ "exp": "tomorrow" }), "must hold iss"),
        (json!({ "aud": [ISSUER, "https://evil.example"] }), "must hold iss"),
        (json!({ "aud": [] }), "must hold iss"),
        (json!({ "aud": "https://evil.example" }), "our issuer"),
        (json!({ "aud": format!("{ISSUER}//") }), "our issuer"),
        (json!({ "aud": format!("{ISSUER}.evil.example") }), "our issuer"),
        (json!({ "aud": format!("{ISSUER}/notes") }), "our issuer"),
        (json!({ "aud": ISSUER.to_uppercase() }), "our issuer"),
        (json!({ "jti": "" }), "a jti"),
        (json!({ "jti": "x".repeat(257) }), "a jti"),
        (json!({ "exp": now - 60 }), "has expired"),
        (json!({ "exp": -1 }), "has expired"),
        (json!({ "exp": 0 }), "has expired"),
        (json!({ "exp": now + 361 }), "lives too long"),
        (json!({ "exp": 1e300 }), "lives too long"),
        (json!({ "nbf": now + 61 }), "from the future"),
        (json!({ "iat": now + 61 }), "from the future"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = claims(&house, APP, &nth.to_string(), changes.clone());
        let assertion = key.sign("JWT", said.as_bytes()).unwrap();
        let words = outcome(&house, Some(APP), &assertion).await.unwrap_err();
        assert!(words.starts_with("invalid_client") && words.contains(why), "{changes}: {words}");
    }
    assert_eq!(house.records_of("assertion").await, 0, "nothing that is refused is written down");
    for (nth, changes) in [
        json!({ "aud": format!("{ISSUER}/") }),
        json!({ "aud": [ISSUER] }),
        // CC-2: ChatGPT writes the token endpoint.
        json!({ "aud": format!("{ISSUER}/token") }),
        json!({ "exp": now - 59, "iat": now - 120 }),
        json!({ "exp": now + 359 }),
        json!({ "exp": now as f64 + 59.5, "iat": null }),
        json!({ "nbf": now + 59 }),
    ]
    .into_iter()
    .enumerate()
    {
        let said = claims(&house, APP, &format!("good{nth}"), changes.clone());
        let assertion = key.sign("JWT", said.as_bytes()).unwrap();
        assert_eq!(outcome(&house, Some(APP), &assertion).await, Ok(()), "{changes}");
    }
}

#[tokio::test]
async fn s35_only_the_clients_own_key_signs_under_an_algorithm_of_the_list() {
    let (own, foreign) = (key(Alg::Rs256, "k1"), key(Alg::Rs256, "k1"));
    let host = signing_host(&[&own]).await;
    let house = house(&host).await;
    let b64 = |text: &str| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(text)
    };
    let said = claims(&house, APP, "1", json!({}));
    let forged = |header: Value, signature: &str| format!("{}.{}.{signature}", b64(&header.to_string()), b64(&said));
    // The published key taken for an HMAC secret.
    let jwk = serde_json::to_string(&own.public_jwk().unwrap()).unwrap();
    let hmac = SigningKey::shared(&vestibule::domain::Secret::new(jwk.into_bytes())).unwrap();
    let confused = hmac.sign("JWT", said.as_bytes()).unwrap();
    let good = signed(&house, &own, "2");
    let (head, tail) = good.rsplit_once('.').unwrap();
    for (what, assertion) in [
        ("none", forged(json!({ "alg": "none", "typ": "JWT", "kid": "k1" }), "")),
        ("none, spelt oddly", forged(json!({ "alg": "nOnE" }), "")),
        ("HS256", confused),
        ("HS256 under the kid", forged(json!({ "alg": "HS256", "kid": "k1" }), "AAAA")),
        ("another key", signed(&house, &foreign, "3")),
        ("another typ", own.sign("at+jwt", said.as_bytes()).unwrap()),
        ("crit", forged(json!({ "alg": "RS256", "kid": "k1", "crit": ["x"], "x": 1 }), "AAAA")),
        ("a key in the header", forged(json!({ "alg": "RS256", "jwk": foreign.public_jwk().unwrap() }), "AAAA")),
        ("two parts", head.to_owned()),
        ("a cut signature", format!("{head}.{}", &tail[..20])),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("too long", "x".repeat(9000)),
    ] {
        let words = outcome(&house, Some(APP), &assertion).await.unwrap_err();
        assert!(words.starts_with("invalid_client") || what == "nothing", "{what}: {words}");
        assert!(outcome(&house, None, &assertion).await.is_err(), "{what}");
    }
    assert_eq!(outcome(&house, None, &good).await, Ok(()));
    assert_eq!(house.records_of("assertion").await, 1);
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_fetched_once_and_not_again_at_once() {
    let (old, new) = (key(Alg::Es256, "old"), key(Alg::Es256, "new"));
    let host = signing_host(&[&old]).await;
    let house = house(&host).await;
    assert_eq!(outcome(&house, Some(APP), &signed(&house, &old, "1")).await, Ok(()));
    host.show(KEYS, Page::json(&set(&[&old, &new])));
    assert_eq!(outcome(&house, Some(APP), &signed(&house, &new, "2")).await, Ok(()));
    assert_eq!(host.fetches(KEYS).len(), 2);
    // Made-up names do not make us ask again and again.
    let stranger = key(Alg::Es256, "made-up");
    for n in 0..20 {
        let words = outcome(&house, Some(APP), &signed(&house, &stranger, &format!("s{n}"))).await.unwrap_err();
        assert!(words.contains("names a key that is not published"), "{words}");
    }
    assert_eq!(host.fetches(KEYS).len(), 2);
    house.wait(31);
    assert!(outcome(&house, Some(APP), &signed(&house, &stranger, "later")).await.is_err());
    assert_eq!(host.fetches(KEYS).len(), 3);
    // A wrong signature under a known name is no reason to ask.
    house.wait(31);
    let impostor = key(Alg::Es256, "new");
    assert!(outcome(&house, Some(APP), &signed(&house, &impostor, "i")).await.unwrap_err().contains("not signed by"));
    assert_eq!(host.fetches(KEYS).len(), 3);
}

#[tokio::test]
async fn s22_keys_are_fetched_like_documents_and_their_outage_is_no_ones_fault() {
    let key = key(Alg::Es256, "k1");
    let host = signing_host(&[&key]).await;
    let house = house(&host).await;
    for (page, code) in [
        (Page::text("").status(500), "temporarily_unavailable"),
        (Page::text("").silent(), "temporarily_unavailable"),
        (Page::text("").status(302).header("location", "https://169.254.169.254/"), "temporarily_unavailable"),
        (Page::text("").status(404), "invalid_client"),
        (Page::text("{\"keys\":[]}"), "invalid_client"),
        (Page::text("{\"keys\":[{\"kty\":\"EC\",\"d\":\"x\"}]}"), "invalid_client"),
        (Page::text(&" ".repeat(6000)), "invalid_client"),
    ] {
        host.show(KEYS, page);
        house.wait(120);
        let words = outcome(&house, Some(APP), &signed(&house, &key, "1")).await.unwrap_err();
        assert!(words.starts_with(code), "{words}");
    }
    // Key sets come with all sorts of media types.
    host.show(KEYS, Page::text(&set(&[&key]).to_string()).header("content-type", "application/octet-stream"));
    house.wait(120);
    assert_eq!(outcome(&house, Some(APP), &signed(&house, &key, "1")).await, Ok(()));
    host.show(KEYS, Page::text("").status(500));
    house.wait(6 * 86_400);
    assert_eq!(outcome(&house, Some(APP), &signed(&house, &key, "2")).await, Ok(()), "the copy stands in");
    let blocking = house_with(&host, |settings, _| {
        settings.cimd.blocked_hosts = vec![vestibule::domain::HostPattern::parse("keys.example").unwrap()];
    })
    .await;
    let words = outcome(&blocking, Some(APP), &signed(&blocking, &key, "3")).await.unwrap_err();
    assert!(words.starts_with("invalid_client") && words.contains("not accepted"), "{words}");
}

#[tokio::test]
async fn behaviour_13_a_client_that_lists_none_too_may_come_without_and_then_counts_as_public() {
    let key = key(Alg::Es256, "k1");
    let host = signing_host(&[&key]).await;
    let both = json!({ "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"] });
    host.show(APP, Page::json(&but(signing_document(), both)));
    let house = house(&host).await;
    let code = house.code(APP).await;
    house.redeem(APP, &code).await.unwrap();
    let code = house.code(APP).await;
    redeem_with(&house, &code, &signed(&house, &key, "1")).await.unwrap();
    // Verified when used.
    let code = house.code(APP).await;
    assert!(redeem_with(&house, &code, &signed(&house, &key, "1")).await.is_err());
    let form = parameters(&[("client_id", APP), ("token", "x")]);
    assert!(house.server.introspect(&form, None).await.is_err(), "introspection is for those who prove themselves");
}

#[tokio::test]
async fn rfc6749_2_3_one_method_for_one_request() {
    let key = key(Alg::Es256, "k1");
    let host = signing_host(&[&key]).await;
    let house = house(&host).await;
    let assertion = signed(&house, &key, "1");
    let both = [("client_assertion_type", JWT_BEARER), ("client_assertion", assertion.as_str())];
    let base = parameters(&[("grant_type", "authorization_code"), ("code", "x")]);
    let with = |extra: &[(&str, &str)]| [base.clone(), parameters(extra)].concat();
    let basic = |id: &str| Some(BasicCredentials { id: id.to_owned(), secret: "s".into() });
    for (form, basic, code) in [
        (with(&[both[0], both[1], ("client_secret", "s")]), None, "invalid_request"),
        (with(&both), basic(APP), "invalid_request"),
        (with(&both[..1]), None, "invalid_request"),
        (with(&both[1..]), None, "invalid_request"),
        (with(&[("client_assertion_type", "urn:x"), both[1]]), None, "invalid_client"),
        (with(&[both[0], both[1], ("client_id", "https://keys.example/c")]), None, "invalid_client"),
        (with(&[both[0], ("client_assertion", "a.b.c")]), None, "invalid_client"),
    ] {
        let error = house.server.token(&form, basic).await.unwrap_err();
        assert_eq!(error.code.as_str(), code, "{form:?}: {error}");
    }
    // A client that registered otherwise is not let in by a signature.
    let client = house.client("https://claude.ai/api/mcp/auth_callback");
    let error = house.server.token(&with(&[both[0], both[1], ("client_id", &client)]), None).await.unwrap_err();
    assert_eq!(error.code.as_str(), "invalid_client");
}

fn keyed(source: KeySource, endpoint_audience: bool) -> StaticClient {
    let keys = Some(ClientKeys { source, endpoint_audience });
    StaticClient { keys, ..static_client("robot", ClientAuthMethod::PrivateKeyJwt, None) }
}

#[tokio::test]
async fn cc_2_a_static_client_signs_for_the_issuer_and_for_the_endpoint_only_where_the_operator_says_so() {
    let key = key(Alg::EdDsa, "r1");
    let host = DocumentHost::start().await;
    let inline = || KeySource::Inline(Arc::new(PublishedKeys::parse(set(&[&key]).to_string().as_bytes()).unwrap()));
    for (endpoint, lenient) in [(false, false), (true, true)] {
        let house = house_with(&host, |settings, _| settings.clients = vec![keyed(inline(), endpoint)]).await;
        let sign = |jti: &str, aud: &str| {
            key.sign("client-authentication+jwt", claims(&house, "robot", jti, json!({ "aud": aud })).as_bytes())
                .unwrap()
        };
        assert_eq!(outcome(&house, Some("robot"), &sign("1", ISSUER)).await, Ok(()));
        assert_eq!(outcome(&house, None, &sign("2", &format!("{ISSUER}/"))).await, Ok(()));
        assert_eq!(outcome(&house, None, &sign("3", &format!("{ISSUER}/token"))).await.is_ok(), lenient);
    }
    let house = house_with(&host, |settings, _| settings.clients = vec![keyed(inline(), false)]).await;
    let form = parameters(&[
        ("client_id", "robot"),
        ("client_secret", "s"),
        ("grant_type", "authorization_code"),
        ("code", "x"),
    ]);
    assert_eq!(house.server.token(&form, None).await.unwrap_err().code.as_str(), "invalid_client");
}

#[tokio::test]
async fn a_static_clients_keys_may_be_in_the_operators_own_network() {
    let key = key(Alg::Es256, "r1");
    let host = DocumentHost::start().await;
    host.show(&format!("https://localhost:{}/k", host.address.port()), Page::json(&set(&[&key])));
    let url = HttpsUrl::parse(&format!("https://localhost:{}/k", host.address.port()), false).unwrap();
    let house = house_with(&host, |settings, _| {
        settings.cimd.accept = vestibule::oauth::Accept::None;
        settings.clients = vec![keyed(KeySource::Configured(url), false)];
    })
    .await;
    let sound = claims(&house, "robot", "1", json!({}));
    let assertion = key.sign("JWT", sound.as_bytes()).unwrap();
    assert_eq!(outcome(&house, Some("robot"), &assertion).await, Ok(()));
}
