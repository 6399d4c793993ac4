//! `/token` with jwt-bearer: an issuer's word for a person (ID-JAG; EMA-1 to EMA-4). `people` asks who they are then
//! (EMA-5), `workload` comes without a person (WIF-1).

mod people;
mod proofs;
mod workload;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use vestibule::{
    crypto::jwt::{Alg, SigningKey, published::PublishedKeys},
    domain::{
        ClientAuthMethod, Clock as _, HttpsUrl, Resource, ResourceUri, Scope, Trusts, UpstreamName, WorkloadRule,
    },
    oauth::{
        BasicCredentials, Error, Introduction, KeySource, Parameters, Settings, SpeaksFor, TokenResponse, TrustedIssuer,
    },
    token::Caller,
    upstream::provider::IdentityRules,
};

use super::house::{House, ISSUER, NOTES, but, failed, parameters, static_client};

const MAIL: &str = "https://mcp.example.com/mail";
const CORP: &str = "https://login.corp.example";
const CLUSTER: &str = "https://kubernetes.default.svc";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ID_JAG: &str = "oauth-id-jag+jwt";

fn set(keys: &[&SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public_jwk().unwrap()).collect::<Vec<_>>() })
}

fn inline(key: &SigningKey) -> KeySource {
    KeySource::Inline(Arc::new(PublishedKeys::of(&set(&[key])).unwrap()))
}

fn name(text: &str) -> UpstreamName {
    UpstreamName::parse(text).unwrap()
}

fn people(of: &str) -> SpeaksFor {
    let rules = IdentityRules { groups: Some("/groups".into()), ..IdentityRules::default() };
    SpeaksFor::People(Box::new(Introduction {
        people_of: name(of),
        rules,
        audiences: Vec::new(),
        vouches_for_emails: false,
    }))
}

fn issuer(as_name: &str, iss: &str, keys: KeySource, speaks_for: SpeaksFor) -> TrustedIssuer {
    TrustedIssuer { name: name(as_name), issuer: iss.to_owned(), keys, speaks_for }
}

/// The enterprise's key and the cluster's, and a house that listens to both at `/notes`.
struct Scene {
    house: House,
    corp: SigningKey,
    cluster: SigningKey,
    made: AtomicUsize,
}

impl Scene {
    async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings, &mut Vec<Resource>)) -> Self {
        let corp = SigningKey::generate(Alg::Rs256, "corp-1").unwrap();
        let cluster = SigningKey::generate(Alg::Es256, "cluster-1").unwrap();
        let house = House::with(|settings, resources| {
            settings.clients.push(static_client("agent", ClientAuthMethod::ClientSecretBasic, Some("shh")));
            settings.clients.push(static_client("other", ClientAuthMethod::ClientSecretBasic, Some("shh")));
            settings.clients.push(static_client("public", ClientAuthMethod::None, None));
            settings.issuers = vec![
                issuer("corp", CORP, inline(&corp), people("corp")),
                issuer("cluster", CLUSTER, inline(&cluster), SpeaksFor::Workloads),
            ];
            resources[0].trusts = Trusts {
                issuers: vec![name("corp")],
                workloads: vec![WorkloadRule::parse("cluster:system:serviceaccount:ci:*").unwrap()],
            };
            change(settings, resources);
        })
        .await;
        Self { house, corp, cluster, made: AtomicUsize::new(0) }
    }

    fn now(&self) -> u64 {
        self.house.clock.now().secs()
    }

    fn jti(&self) -> String {
        self.made.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Sound claims of an ID-JAG, with changes; `null` takes out.
    fn jag_claims(&self, changes: Value) -> Value {
        let now = self.now();
        let sound = json!({ "iss": CORP, "sub": "ann", "aud": ISSUER, "client_id": "agent", "resource": NOTES,
            "scope": "read write", "iat": now, "exp": now + 300, "jti": self.jti() });
        changed(sound, &changes)
    }

    fn jag(&self, changes: Value) -> String {
        self.corp.sign(ID_JAG, self.jag_claims(changes).to_string().as_bytes()).unwrap()
    }

    fn badge(&self, changes: Value) -> String {
        let now = self.now();
        let sound = json!({ "iss": CLUSTER, "sub": "system:serviceaccount:ci:runner", "aud": [ISSUER],
            "iat": now, "exp": now + 1200, "jti": self.jti(), "kubernetes.io": { "namespace": "ci" } });
        self.cluster.sign("JWT", changed(sound, &changes).to_string().as_bytes()).unwrap()
    }

    /// What the agent gets for an assertion.
    async fn come(&self, assertion: &str) -> Result<TokenResponse, Error> {
        self.house.server.token(&asking(assertion), basic("agent")).await
    }

    /// What a workload gets.
    async fn work(&self, assertion: &str) -> Result<TokenResponse, Error> {
        self.house.server.token(&but(asking(assertion), "resource", Some(NOTES)), None).await
    }

    async fn caller(&self, response: &TokenResponse) -> Arc<Caller> {
        self.house.mint.verify(response.access_token.expose(), &notes()).await.unwrap()
    }
}

fn changed(mut claims: Value, changes: &Value) -> Value {
    let map = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => map.remove(name),
            value => map.insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn asking(assertion: &str) -> Parameters {
    parameters(&[("grant_type", GRANT), ("assertion", assertion)])
}

fn basic(id: &str) -> Option<BasicCredentials> {
    Some(BasicCredentials { id: id.to_owned(), secret: "shh".into() })
}

fn notes() -> ResourceUri {
    ResourceUri::under(&HttpsUrl::parse(ISSUER, false).unwrap(), "/notes")
}

#[tokio::test]
async fn ema_1_an_enterprises_word_for_a_person_opens_the_server_without_a_login() {
    let scene = Scene::open().await;
    let told = json!({ "email": "ann@corp.example", "email_verified": true, "groups": ["staff"] });
    let response = scene.come(&scene.jag(told)).await.unwrap();
    assert!(response.refresh_token.is_none(), "ema_5");
    assert_eq!((response.scope.to_string().as_str(), response.token_type), ("read write", "Bearer"));
    let caller = scene.caller(&response).await;
    assert_eq!((caller.identity.subject.as_str(), caller.client.as_str()), ("corp:ann", "agent"));
    assert_eq!(caller.identity.verified_email(), Some("ann@corp.example"));
    assert_eq!(caller.identity.groups, ["staff"]);
    assert!(caller.upstream_token.is_none() && scene.house.idp.received().is_empty());
    // Its aud may have a slash more, as clients write issuers.
    assert!(scene.come(&scene.jag(json!({ "aud": format!("{ISSUER}/") }))).await.is_ok());
    assert!(scene.come(&scene.jag(json!({ "aud": [ISSUER] }))).await.is_ok());
}

#[tokio::test]
async fn ema_1_what_is_not_an_id_jag_for_this_client_and_this_server_is_refused() {
    let scene = Scene::open().await;
    let now = scene.now();
    for bad in [
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": format!("{CORP}/") }),
        json!({ "iss": CLUSTER }),
        json!({ "iss": null }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": format!("{ISSUER}/token") }),
        json!({ "aud": [ISSUER, "https://other.example"] }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "client_id": "other" }),
        json!({ "client_id": null }),
        json!({ "client_id": ["agent"] }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "iat": null }),
        json!({ "iat": now + 600 }),
        json!({ "nbf": now + 600 }),
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "exp": now - 61 }),
        json!({ "exp": now + 3600 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": -1 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": "x".repeat(257) }),
        json!({ "jti": 7 }),
    ] {
        assert_eq!(failed(scene.come(&scene.jag(bad.clone())).await), "invalid_grant", "{bad}");
    }
    let claims = scene.jag_claims(json!({})).to_string();
    for typ in ["JWT", "at+jwt", "id-jag+jwt", ""] {
        let other = scene.corp.sign(typ, claims.as_bytes()).unwrap();
        assert_eq!(failed(scene.come(&other).await), "invalid_grant", "typ {typ:?}");
    }
    // S35: nobody's signature, another's, and one whose text was changed.
    let sound = scene.jag(json!({}));
    let (head, rest) = sound.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let encode = |text: String| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    let none = encode(json!({ "alg": "none", "typ": ID_JAG }).to_string());
    let other = encode(scene.jag_claims(json!({ "sub": "eve" })).to_string());
    let impostor = SigningKey::generate(Alg::Rs256, "corp-1").unwrap().sign(ID_JAG, claims.as_bytes()).unwrap();
    let stranger = SigningKey::generate(Alg::Es256, "else").unwrap().sign(ID_JAG, claims.as_bytes()).unwrap();
    for forged in [
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{other}.{signature}"),
        format!("{head}.{body}"),
        impostor,
        stranger,
        "x".repeat(9000),
        "...".to_owned(),
        "é".to_owned(),
    ] {
        assert_eq!(failed(scene.come(&forged).await), "invalid_grant", "{forged}");
    }
    assert_eq!(scene.house.records_of("grant").await + scene.house.records_of("assertion").await, 0);
    assert!(scene.come(&sound).await.is_ok(), "the sound one still is");
}

#[tokio::test]
async fn ema_1_the_client_authenticates_and_a_public_one_may_not_come() {
    let scene = Scene::open().await;
    let sound = scene.jag(json!({}));
    assert_eq!(failed(scene.house.server.token(&asking(&sound), None).await), "invalid_client");
    let wrong = Some(BasicCredentials { id: "agent".to_owned(), secret: "wrong".into() });
    assert_eq!(failed(scene.house.server.token(&asking(&sound), wrong).await), "invalid_client");
    assert_eq!(failed(scene.house.server.token(&asking(&sound), basic("other")).await), "invalid_grant");
    let public = scene.jag(json!({ "client_id": "public" }));
    let asked = but(asking(&public), "client_id", Some("public"));
    assert_eq!(failed(scene.house.server.token(&asked, None).await), "unauthorized_client");
    let nothing = parameters(&[("grant_type", GRANT)]);
    assert_eq!(failed(scene.house.server.token(&nothing, basic("agent")).await), "invalid_request");
    assert!(scene.come(&sound).await.is_ok());
}

#[tokio::test]
async fn ema_2_an_id_jag_is_good_for_once_however_many_present_it() {
    let scene = Arc::new(Scene::open().await);
    let assertion = scene.jag(json!({}));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (scene, assertion) = (Arc::clone(&scene), assertion.clone());
            tokio::spawn(async move { scene.come(&assertion).await })
        })
        .collect();
    let mut won = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.to_string(), "invalid_grant: the assertion was used before"),
        }
    }
    assert_eq!((won, scene.house.records_of("grant").await), (1, 1));
    // To its end and beyond it.
    for seconds in [299, 60, 2, 3600] {
        scene.house.wait(seconds);
        assert_eq!(failed(scene.come(&assertion).await), "invalid_grant");
    }
    // A refused one is not spent: what was wrong may be mended.
    let mended = scene.jag(json!({}));
    let elsewhere = but(asking(&mended), "resource", Some(MAIL));
    assert_eq!(failed(scene.house.server.token(&elsewhere, basic("agent")).await), "invalid_grant");
    assert!(scene.come(&mended).await.is_ok());
}

#[tokio::test]
async fn ema_3_the_token_is_for_the_resource_of_the_assertion_and_no_other() {
    let scene = Scene::open().await;
    for bad in [json!("https://evil.example"), json!([NOTES, MAIL]), json!([]), json!(null), json!("")] {
        let outcome = scene.come(&scene.jag(json!({ "resource": bad }))).await;
        assert_eq!(failed(outcome), "invalid_grant", "{bad}");
    }
    // Nobody speaks for people at `/mail`.
    assert_eq!(failed(scene.come(&scene.jag(json!({ "resource": MAIL }))).await), "invalid_grant");
    let asked = |resource: &str| but(asking(&scene.jag(json!({}))), "resource", Some(resource));
    assert_eq!(failed(scene.house.server.token(&asked(MAIL), basic("agent")).await), "invalid_grant");
    let outcome = scene.house.server.token(&asked("https://evil.example"), basic("agent")).await;
    assert_eq!(failed(outcome), "invalid_target");
    let response = scene.house.server.token(&asked(NOTES), basic("agent")).await.unwrap();
    let mail = ResourceUri::under(&HttpsUrl::parse(ISSUER, false).unwrap(), "/mail");
    assert!(scene.house.mint.verify(response.access_token.expose(), &mail).await.is_err());
    assert!(scene.come(&scene.jag(json!({ "resource": [NOTES] }))).await.is_ok());
    // With a single server there is no doubt which is meant.
    let alone = Scene::with(|_, resources| resources.truncate(1)).await;
    let response = alone.come(&alone.jag(json!({ "resource": null }))).await.unwrap();
    alone.caller(&response).await;
}

#[tokio::test]
async fn ema_4_the_scope_is_what_request_assertion_and_server_have_in_common() {
    let scene = Scene::with(|settings, _| {
        let mut narrow = static_client("narrow", ClientAuthMethod::ClientSecretBasic, Some("shh"));
        narrow.client.scope = Some(Scope::parse("write"));
        settings.clients.push(narrow);
    })
    .await;
    for (asked, permitted, got) in [
        (None, json!("read"), Ok("read")),
        (Some("read write"), json!("read"), Ok("read")),
        (Some("read"), json!("read write admin"), Ok("read")),
        (None, json!(null), Ok("read write")),
        (Some("write"), json!(null), Ok("write")),
        (Some("write"), json!("read"), Err("invalid_grant")),
        (None, json!("admin"), Err("invalid_grant")),
        (None, json!(""), Err("invalid_grant")),
        (Some("admin"), json!(null), Err("invalid_scope")),
    ] {
        let form = but(asking(&scene.jag(json!({ "scope": permitted }))), "scope", asked);
        let outcome = scene.house.server.token(&form, basic("agent")).await;
        let outcome = outcome.map(|response| response.scope.to_string()).map_err(|error| error.code.as_str());
        assert_eq!(outcome.as_deref().map_err(|code| *code), got, "{asked:?} {permitted}");
    }
    let narrow = |scope: &str| asking(&scene.jag(json!({ "client_id": "narrow", "scope": scope })));
    let response = scene.house.server.token(&narrow("read write"), basic("narrow")).await.unwrap();
    assert_eq!(response.scope.to_string(), "write");
    assert_eq!(failed(scene.house.server.token(&narrow("read"), basic("narrow")).await), "invalid_grant");
}
