//! `/token` with token-exchange: somebody else's token for a person becomes ours (RFC 8693; TX-1).

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey, published::PublishedKeys},
    domain::{
        Allow, ClientAuthMethod, Clock as _, GrantType, HttpsUrl, Injection, Resource, ResourceUri, UpstreamName,
        resource::EmailRule,
    },
    oauth::{
        BasicCredentials, Error, Exchange, Introduction, KeySource, Parameters, Settings, SpeaksFor, StaticClient,
        TokenResponse, TrustedIssuer,
    },
    token::{PresentedProof, Refused},
    upstream::provider::IdentityRules,
};

use super::house::{CLAUDE, House, ISSUER, NOTES, but, failed, parameters, static_client};
use crate::world::{
    FakeProvider, ManualClock,
    holder::{self as proof, Holder},
    provider::{At, Fault, Person, Profile},
};

const MAIL: &str = "https://mcp.example.com/mail";
const TOKEN: &str = "https://mcp.example.com/token";
const OLD: &str = "https://old.corp.example";
const OLD_API: &str = "https://api.corp.example";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn name(text: &str) -> UpstreamName {
    UpstreamName::parse(text).unwrap()
}

fn exchanger(id: &str, from: &[&str], access_tokens: bool) -> StaticClient {
    let mut client = static_client(id, ClientAuthMethod::ClientSecretBasic, Some("shh"));
    client.client.grants = BTreeSet::from([GrantType::TokenExchange]);
    client.exchange = Exchange { from: from.iter().map(|from| name(from)).collect(), access_tokens };
    client
}

fn issuer(as_name: &str, iss: &str, key: &SigningKey, speaks_for: SpeaksFor) -> TrustedIssuer {
    let keys = PublishedKeys::of(&json!({ "keys": [key.public_jwk().unwrap()] })).unwrap();
    TrustedIssuer { name: name(as_name), issuer: iss.to_owned(), keys: KeySource::Inline(Arc::new(keys)), speaks_for }
}

/// A house in which `agent` may bring everything, `modest` nothing but ID tokens, and others nothing.
struct Scene {
    house: House,
    old: SigningKey,
}

impl Scene {
    async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings, &mut Vec<Resource>)) -> Self {
        let old = SigningKey::generate(Alg::Es256, "old-1").unwrap();
        let house = House::with(|settings, resources| {
            let introduction = Introduction {
                people_of: name("old"),
                rules: IdentityRules::default(),
                audiences: vec![OLD_API.to_owned()],
                vouches_for_emails: false,
            };
            settings.issuers = vec![issuer("old", OLD, &old, SpeaksFor::People(Box::new(introduction)))];
            settings.clients = vec![
                exchanger("agent", &["idp", "hub", "old"], true),
                exchanger("modest", &["idp"], false),
                static_client("person", ClientAuthMethod::ClientSecretBasic, Some("shh")),
            ];
            let mut public = exchanger("public", &["idp"], true);
            (public.client.auth_method, public.secret) = (ClientAuthMethod::None, None);
            settings.clients.push(public);
            resources[0].trusts.issuers = vec![name("old")];
            change(settings, resources);
        })
        .await;
        Self { house, old }
    }

    /// A JWT of the old issuer's, with changes; `null` takes out.
    fn legacy(&self, typ: &str, changes: Value) -> String {
        let now = self.house.clock.now().secs();
        let mut claims = json!({ "iss": OLD, "sub": "ann", "aud": OLD_API, "exp": now + 600 });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        self.old.sign(typ, claims.to_string().as_bytes()).unwrap()
    }

    fn id_token(&self) -> String {
        self.house.idp.tokens_of_ours()["id_token"].as_str().unwrap().to_owned()
    }

    async fn bring(&self, client: &str, form: &Parameters) -> Result<TokenResponse, Error> {
        let basic = BasicCredentials { id: client.to_owned(), secret: "shh".into() };
        self.house.server.token(form, Some(basic)).await
    }
}

fn bringing(token: &str, kind: &str) -> Parameters {
    parameters(&[("grant_type", GRANT), ("subject_token", token), ("subject_token_type", kind), ("resource", NOTES)])
}

fn at(path: &str) -> ResourceUri {
    ResourceUri::under(&HttpsUrl::parse(ISSUER, false).unwrap(), path)
}

fn claims_of(response: &TokenResponse) -> Value {
    use base64::Engine as _;
    let payload = response.access_token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn tx_1_an_id_token_of_our_own_app_becomes_a_token_of_ours() {
    let scene = Scene::open().await;
    let response = scene.bring("agent", &bringing(&scene.id_token(), ID_TOKEN)).await.unwrap();
    // RFC 8693 §2.2.1.
    assert_eq!(response.issued_token_type, Some(ACCESS_TOKEN));
    let json = serde_json::to_value(&response).unwrap();
    assert_eq!((json["token_type"].as_str(), json["issued_token_type"].as_str()), (Some("Bearer"), Some(ACCESS_TOKEN)));
    assert!(json.get("refresh_token").is_none() && json["scope"] == "read write");
    let caller = scene.house.mint.verify(response.access_token.expose(), &at("/notes")).await.unwrap();
    assert_eq!((caller.identity.subject.as_str(), caller.client.as_str()), ("idp:person-1", "agent"));
    assert_eq!(caller.identity.verified_email(), Some("ada@example.com"));
    assert!(caller.upstream_token.is_none(), "up_10: what was brought is not handed on");
    // §4.1: who acts is on record, for backends and for those who ask.
    assert_eq!(claims_of(&response)["act"], json!({ "sub": "client:agent" }));
    let asking = parameters(&[("token", response.access_token.expose())]);
    let basic = BasicCredentials { id: "agent".to_owned(), secret: "shh".into() };
    let said = serde_json::to_value(scene.house.server.introspect(&asking, Some(basic)).await.unwrap()).unwrap();
    assert_eq!((&said["active"], &said["act"]), (&json!(true), &json!({ "sub": "client:agent" })), "{said}");
    // A login has nobody who acts for the person.
    let client = scene.house.client(CLAUDE);
    let code = scene.house.code(&client).await;
    assert_eq!(claims_of(&scene.house.redeem(&client, &code).await.unwrap()).get("act"), None);
    // Other answers of `/token` say nothing of exchanges.
    assert!(scene.house.records_of("grant").await == 2);
}

#[tokio::test]
async fn tx_1_whatever_is_wrong_with_an_id_token_is_invalid_request() {
    let scene = Scene::open().await;
    for fault in [
        Fault::TokenIssuer,
        Fault::Audience,
        Fault::Azp,
        Fault::Expired,
        Fault::Future,
        Fault::AlgNone,
        Fault::Hs256,
        Fault::Signature,
    ] {
        scene.house.idp.set_fault(fault);
        let outcome = scene.bring("agent", &bringing(&scene.id_token(), ID_TOKEN)).await;
        assert_eq!(failed(outcome), "invalid_request", "{fault:?}");
        scene.house.idp.heal();
    }
    for nonsense in ["x", "a.b.c", "..", &"x".repeat(20_000)] {
        assert_eq!(failed(scene.bring("agent", &bringing(nonsense, ID_TOKEN)).await), "invalid_request");
        assert_eq!(failed(scene.bring("agent", &bringing(nonsense, JWT)).await), "invalid_request");
    }
    // A provider that does not answer is no verdict.
    let fresh = Scene::open().await;
    let token = fresh.id_token();
    fresh.house.idp.set_fault(Fault::Error500(At::Jwks));
    assert_eq!(failed(fresh.bring("agent", &bringing(&token, ID_TOKEN)).await), "temporarily_unavailable");
    fresh.house.idp.heal();
    fresh.house.wait(10);
    assert!(fresh.bring("agent", &bringing(&token, ID_TOKEN)).await.is_ok());
    assert_eq!(scene.house.records_of("grant").await, 0);
}

#[tokio::test]
async fn tx_1_only_clients_that_the_file_lets_and_only_what_it_lets_them_bring() {
    let scene = Scene::open().await;
    let form = bringing(&scene.id_token(), ID_TOKEN);
    assert_eq!(failed(scene.bring("person", &form).await), "unauthorized_client");
    let public = but(form.clone(), "client_id", Some("public"));
    assert_eq!(failed(scene.house.server.token(&public, None).await), "unauthorized_client");
    assert_eq!(failed(scene.house.server.token(&form, None).await), "invalid_client");
    let registered = scene.house.register(&json!({ "redirect_uris": [CLAUDE],
        "grant_types": ["authorization_code", GRANT] }));
    let registered = registered.unwrap();
    assert_eq!(registered["grant_types"], json!(["authorization_code"]));
    let basic = BasicCredentials {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        secret: registered["client_secret"].as_str().unwrap().into(),
    };
    assert_eq!(failed(scene.house.server.token(&form, Some(basic)).await), "unauthorized_client");
    // `modest` is trusted with ID tokens of `idp` alone.
    assert!(scene.bring("modest", &form).await.is_ok());
    let access = scene.house.idp.tokens_of_ours()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(failed(scene.bring("modest", &bringing(&access, ACCESS_TOKEN)).await), "invalid_request");
    let legacy = scene.legacy("JWT", json!({}));
    assert_eq!(failed(scene.bring("modest", &bringing(&legacy, JWT)).await), "invalid_request");
    let elsewhere = but(form, "resource", Some(MAIL));
    assert_eq!(failed(scene.bring("agent", &elsewhere).await), "invalid_request", "idp's people are not hub's");
    let metadata = |house: &House| {
        let metadata: Value = serde_json::from_slice(&house.server.metadata()).unwrap();
        metadata["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT))
    };
    assert!(metadata(&scene.house) && !metadata(&House::open().await));
}

#[tokio::test]
async fn tx_1_an_access_token_is_what_its_providers_userinfo_says() {
    let scene = Scene::open().await;
    let access = |provider: &FakeProvider| provider.tokens_of_ours()["access_token"].as_str().unwrap().to_owned();
    let response = scene.bring("agent", &bringing(&access(&scene.house.idp), ACCESS_TOKEN)).await.unwrap();
    let caller = scene.house.mint.verify(response.access_token.expose(), &at("/notes")).await.unwrap();
    assert_eq!(caller.identity.subject.as_str(), "idp:person-1");
    let form = but(bringing(&access(&scene.house.hub), ACCESS_TOKEN), "resource", Some(MAIL));
    let response = scene.bring("agent", &form).await.unwrap();
    let caller = scene.house.mint.verify(response.access_token.expose(), &at("/mail")).await.unwrap();
    assert_eq!(caller.identity.subject.as_str(), "hub:583231");
    assert_eq!(caller.identity.verified_email(), Some("ada@example.com"));
    assert_eq!(failed(scene.bring("agent", &bringing("made-up", ACCESS_TOKEN)).await), "invalid_request");
    let stranger = FakeProvider::start(Profile::Oidc, ManualClock::new()).await;
    // Fakes count their tokens: one that the other has not come to yet.
    (0..9).for_each(|_| drop(access(&stranger)));
    let foreign = access(&stranger);
    assert_eq!(failed(scene.bring("agent", &bringing(&foreign, ACCESS_TOKEN)).await), "invalid_request");
    assert_eq!(failed(scene.bring("agent", &bringing("a\r\nb: c", ACCESS_TOKEN)).await), "invalid_request");
    scene.house.idp.set_fault(Fault::Error500(At::Userinfo));
    let outcome = scene.bring("agent", &bringing(&access(&scene.house.idp), ACCESS_TOKEN)).await;
    assert_eq!(failed(outcome), "temporarily_unavailable");
}

#[tokio::test]
async fn tx_1_a_legacy_jwt_of_a_listed_issuer_counts_for_a_listed_audience() {
    let scene = Scene::open().await;
    for (typ, kind) in [("JWT", JWT), ("at+jwt", JWT), ("at+jwt", ACCESS_TOKEN), ("JWT", ID_TOKEN)] {
        let response = scene.bring("agent", &bringing(&scene.legacy(typ, json!({})), kind)).await.unwrap();
        let caller = scene.house.mint.verify(response.access_token.expose(), &at("/notes")).await.unwrap();
        assert_eq!(caller.identity.subject.as_str(), "old:ann");
        // Nothing outlives what was brought: ten minutes, and the minute that clocks may stand apart.
        assert!(response.expires_in <= 660, "{}", response.expires_in);
    }
    let now = scene.house.clock.now().secs();
    assert!(scene.bring("agent", &bringing(&scene.legacy("JWT", json!({ "aud": ["x", OLD_API] })), JWT)).await.is_ok());
    for bad in [
        json!({ "aud": "https://other.example" }),
        json!({ "aud": ISSUER }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "exp": now - 61 }),
        json!({ "exp": null }),
        json!({ "nbf": now + 600 }),
        json!({ "iat": now + 600 }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "may_act": { "sub": "somebody" } }),
        json!({ "may_act": "agent" }),
    ] {
        let outcome = scene.bring("agent", &bringing(&scene.legacy("JWT", bad.clone()), JWT)).await;
        assert_eq!(failed(outcome), "invalid_request", "{bad}");
    }
    let named = scene.legacy("JWT", json!({ "may_act": { "sub": "agent" } }));
    assert!(scene.bring("agent", &bringing(&named, JWT)).await.is_ok());
    // An assertion is no token, nor is a signature of somebody else's.
    let assertion = scene.legacy("oauth-id-jag+jwt", json!({}));
    assert_eq!(failed(scene.bring("agent", &bringing(&assertion, JWT)).await), "invalid_request");
    let claims = json!({ "iss": OLD, "sub": "ann", "aud": OLD_API, "exp": now + 600 });
    let forged = SigningKey::generate(Alg::Es256, "old-1").unwrap().sign("JWT", claims.to_string().as_bytes());
    assert_eq!(failed(scene.bring("agent", &bringing(&forged.unwrap(), JWT)).await), "invalid_request");
    // Where the issuer's word does not count, its tokens do not either.
    let closed = Scene::with(|_, all| all[0].trusts.issuers.clear()).await;
    let outcome = closed.bring("agent", &bringing(&closed.legacy("JWT", json!({})), JWT)).await;
    assert_eq!(failed(outcome), "invalid_target");
}

#[tokio::test]
async fn tx_1_rfc8693_4_1_who_acted_before_stands_below_who_acts_now() {
    let scene = Scene::open().await;
    let act = async |act: Value| {
        let token = scene.legacy("JWT", json!({ "act": act }));
        let response = scene.bring("agent", &bringing(&token, JWT)).await?;
        let asking = parameters(&[("token", response.access_token.expose())]);
        let basic = BasicCredentials { id: "agent".to_owned(), secret: "shh".into() };
        let said = serde_json::to_value(scene.house.server.introspect(&asking, Some(basic)).await.unwrap()).unwrap();
        let act = claims_of(&response)["act"].clone();
        assert_eq!(said["act"], act, "the same at /introspect");
        scene.house.mint.verify(response.access_token.expose(), &at("/notes")).await.unwrap();
        Ok::<_, Error>(act)
    };
    // A name without an issuer is the token's own issuer's; what is no name of anybody is left out.
    assert_eq!(
        act(json!({ "sub": "desk", "exp": 1, "role": "admin" })).await.unwrap(),
        json!({ "sub": "client:agent", "act": { "sub": "desk", "iss": OLD } })
    );
    assert_eq!(
        act(json!({ "sub": "desk", "act": { "client_id": "app", "iss": "https://far.example" } })).await.unwrap(),
        json!({ "sub": "client:agent", "act": { "sub": "desk", "iss": OLD, "act": { "sub": "app", "iss": "https://far.example" } } })
    );
    let chain = |length: usize| {
        (0..length).fold(Value::Null, |act, n| match act {
            Value::Null => json!({ "sub": format!("a{n}") }),
            act => json!({ "sub": format!("a{n}"), "act": act }),
        })
    };
    let mut told = act(chain(4)).await.unwrap();
    for expected in ["client:agent", "a3", "a2", "a1", "a0"] {
        assert_eq!(told["sub"], expected);
        told = told["act"].take();
    }
    assert!(told.is_null());
    // What cannot be kept whole is refused, and so is what names nobody.
    for bad in [
        chain(5),
        json!("desk"),
        json!({}),
        json!({ "sub": "" }),
        json!({ "sub": 1 }),
        json!([]),
        json!({ "sub": "x".repeat(2_000) }),
        json!({ "sub": "desk", "act": "app" }),
    ] {
        let error = act(bad.clone()).await.unwrap_err();
        assert_eq!(error.code.as_str(), "invalid_request", "{bad}");
        assert!(error.description.contains("act"), "{error}");
    }
}

#[tokio::test]
async fn dp_1_an_exchanged_token_is_bound_to_the_key_that_was_proved() {
    let scene = Scene::open().await;
    let holder = Holder::es256(1);
    let now = scene.house.clock.now().secs();
    let ask = async |proof: &str| {
        let basic = BasicCredentials { id: "agent".to_owned(), secret: "shh".into() };
        let form = bringing(&scene.legacy("JWT", json!({})), JWT);
        scene.house.server.token_proven(&form, Some(basic), PresentedProof::One(proof)).await
    };
    for (proof, why) in [
        (holder.proof("GET", TOKEN, now), "htm"),
        (holder.proof("POST", NOTES, now), "htu"),
        (Holder::es256(2).sign(&holder.header(), &proof::claims("POST", TOKEN, now)), "signed"),
    ] {
        let error = ask(&proof).await.unwrap_err();
        assert_eq!(error.code.as_str(), "invalid_dpop_proof");
        assert!(error.description.contains(why), "{error}");
    }
    let sound = holder.proof("POST", TOKEN, now);
    let response = ask(&sound).await.unwrap();
    assert_eq!((response.token_type, response.issued_token_type), ("DPoP", Some(ACCESS_TOKEN)));
    assert_eq!(claims_of(&response)["cnf"], json!({ "jkt": holder.jkt() }));
    assert_eq!(claims_of(&response)["act"], json!({ "sub": "client:agent" }));
    let refused = scene.house.mint.verify(response.access_token.expose(), &at("/notes")).await.err();
    assert!(matches!(refused, Some(Refused::Bound)), "{refused:?}");
    assert_eq!(failed(ask(&sound).await), "invalid_dpop_proof", "a proof is good for once");
}

#[tokio::test]
async fn tx_1_every_parameter_of_rfc8693_2_1_is_read_or_refused() {
    let scene = Scene::open().await;
    let sound = || bringing(&scene.legacy("JWT", json!({})), JWT);
    for (parameter, value, code) in [
        ("subject_token", None, "invalid_request"),
        ("subject_token_type", None, "invalid_request"),
        ("subject_token_type", Some("urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
        ("subject_token_type", Some("urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"),
        ("actor_token", Some("x"), "invalid_request"),
        ("actor_token_type", Some(JWT), "invalid_request"),
        ("requested_token_type", Some("urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"),
        ("requested_token_type", Some(ID_TOKEN), "invalid_request"),
        ("resource", Some("https://evil.example"), "invalid_target"),
        ("audience", Some("https://evil.example"), "invalid_target"),
        ("audience", Some(MAIL), "invalid_target"),
        ("scope", Some("admin"), "invalid_scope"),
    ] {
        let outcome = scene.bring("agent", &but(sound(), parameter, value)).await;
        assert_eq!(failed(outcome), code, "{parameter}={value:?}");
    }
    let both = but(but(sound(), "actor_token", Some("x")), "actor_token_type", Some(JWT));
    assert_eq!(failed(scene.bring("agent", &both).await), "invalid_request");
    // `audience` names our servers as `resource` does, and either may be repeated.
    let mut by_audience = but(sound(), "resource", None);
    by_audience.extend(parameters(&[("audience", NOTES), ("audience", NOTES)]));
    assert!(scene.bring("agent", &by_audience).await.is_ok());
    assert!(scene.bring("agent", &but(sound(), "resource", None)).await.is_ok(), "ri_1: the default one");
    let as_jwt = scene.bring("agent", &but(sound(), "requested_token_type", Some(JWT))).await.unwrap();
    assert_eq!(as_jwt.issued_token_type, Some(JWT));
    let narrow = scene.bring("agent", &but(sound(), "scope", Some("read"))).await.unwrap();
    assert_eq!(narrow.scope.to_string(), "read");
}

#[tokio::test]
async fn tx_1_the_person_has_to_be_one_who_may_enter() {
    let staff = Allow::Only {
        emails: vec![EmailRule::parse("*@example.com").unwrap()],
        subjects: vec!["ann".to_owned()],
        groups: Vec::new(),
    };
    let scene = Scene::with(|_, all| all[0].allow = staff).await;
    assert!(scene.bring("agent", &bringing(&scene.id_token(), ID_TOKEN)).await.is_ok());
    let person =
        |email: &str, verified| Person { sub: "person-2".into(), email: email.into(), verified, name: "Eve".into() };
    for other in [person("eve@example.com", false), person("eve@evil.example", true)] {
        scene.house.idp.set_person(other);
        assert_eq!(failed(scene.bring("agent", &bringing(&scene.id_token(), ID_TOKEN)).await), "invalid_request");
        let access = scene.house.idp.tokens_of_ours()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(failed(scene.bring("agent", &bringing(&access, ACCESS_TOKEN)).await), "invalid_request");
    }
    // `ann` without an issuer's name is a person of `idp`; the old issuer's Ann is somebody else.
    let legacy = scene.legacy("JWT", json!({}));
    assert_eq!(failed(scene.bring("agent", &bringing(&legacy, JWT)).await), "invalid_request");
    let handed_on = Scene::with(|_, all| all[0].inject = vec![Injection::UpstreamToken]).await;
    let outcome = handed_on.bring("agent", &bringing(&handed_on.id_token(), ID_TOKEN)).await;
    assert_eq!(failed(outcome), "invalid_target");
    assert_eq!(handed_on.house.records_of("grant").await, 0);
}
