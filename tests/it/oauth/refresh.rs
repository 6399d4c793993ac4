//! `/token` with a refresh token (RT-*, UP-9, behaviours 22 to 24; S13, S34).

use std::{any::Any, sync::Arc, time::Duration};

use futures_util::future::join_all;
use vestibule::{
    domain::{Grant, ResourceUri, Scope},
    oauth::{Error, Parameters, TokenResponse},
    store::{Backend, SledSettings, memory::Memory, sled::Sled},
};

use super::house::{CLAUDE, House, Human, NOTES, asking, but, failed, parameters};
use crate::world::provider::{At, Fault};

fn notes() -> ResourceUri {
    ResourceUri::under(&vestibule::domain::HttpsUrl::parse("https://mcp.example.com", false).unwrap(), "/notes")
}

/// A person logged in at `/notes`, and what their client holds.
pub(super) struct Family {
    pub(super) house: Arc<House>,
    pub(super) client: String,
    pub(super) first: TokenResponse,
}

impl Family {
    pub(super) async fn new(house: House) -> Self {
        let client = house.client(CLAUDE);
        let code = house.code(&client).await;
        let first = house.redeem(&client, &code).await.unwrap();
        Self { house: Arc::new(house), client, first }
    }

    pub(super) fn token(&self) -> String {
        text(&self.first)
    }

    pub(super) fn asked(&self, token: &str) -> Parameters {
        parameters(&[("grant_type", "refresh_token"), ("client_id", &self.client), ("refresh_token", token)])
    }

    pub(super) async fn refresh(&self, token: &str) -> Result<TokenResponse, Error> {
        self.house.server.token(&self.asked(token), None).await
    }

    pub(super) async fn works(&self, response: &TokenResponse) -> bool {
        self.house.mint.verify(response.access_token.expose(), &notes()).await.is_ok()
    }

    pub(super) async fn grant(&self) -> Option<Grant> {
        self.house.store.list::<Grant>(None, 10).await.unwrap().records.into_iter().next().map(|(_, grant)| grant)
    }

    pub(super) fn renewals(&self) -> usize {
        let asked = self.house.idp.received_at("/token");
        asked.iter().filter(|request| request.body.contains("grant_type=refresh_token")).count()
    }
}

/// The refresh token of an answer.
pub(super) fn text(response: &TokenResponse) -> String {
    response.refresh_token.as_ref().expect("a refresh token").expose().clone()
}

/// Every store that can be had here, each with what it lies in.
pub(super) async fn stores() -> Vec<(Arc<dyn Backend>, Box<dyn Any>)> {
    let folder = tempfile::tempdir().unwrap();
    let sled = Sled::open(SledSettings::at(folder.path().join("db"))).await.unwrap();
    let mut stores: Vec<(Arc<dyn Backend>, Box<dyn Any>)> =
        vec![(Arc::new(Memory::new()), Box::new(())), (Arc::new(sled), Box::new(folder))];
    #[cfg(feature = "redis")]
    stores.extend(served::<crate::store::redis_server::RedisServer>().await);
    #[cfg(feature = "postgres")]
    stores.extend(served::<crate::store::postgres_server::PostgresServer>().await);
    stores
}

#[cfg(any(feature = "redis", feature = "postgres"))]
async fn served<S: crate::store::server::Server>() -> Option<(Arc<dyn Backend>, Box<dyn Any>)> {
    let server = S::start()?;
    Some((server.backend().await, Box::new(server)))
}

#[tokio::test]
async fn behaviour_22_a_refresh_token_also_where_the_provider_gave_none() {
    let house = House::open().await;
    house.idp.set_fault(Fault::NoRefresh);
    let family = Family::new(house).await;
    assert!(family.grant().await.unwrap().login.unwrap().tokens.refresh.is_none());
    assert!(family.first.expires_in > 0);
    let second = family.refresh(&family.token()).await.unwrap();
    assert!(family.works(&second).await);
    assert_ne!(text(&second), family.token());
}

#[tokio::test]
async fn rt_5_no_refresh_token_for_a_client_that_registered_without() {
    let house = House::open().await;
    let body = serde_json::json!({"redirect_uris": [CLAUDE], "token_endpoint_auth_method": "none"});
    let client = house.register(&body).unwrap()["client_id"].as_str().unwrap().to_owned();
    let code = house.code(&client).await;
    assert!(house.redeem(&client, &code).await.unwrap().refresh_token.is_none());
    let asked = parameters(&[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", "vr_x")]);
    assert_eq!(failed(house.server.token(&asked, None).await), "unauthorized_client");
}

#[tokio::test]
async fn s13_behaviour_23_the_successor_works_and_the_predecessor_yields_it_for_a_minute() {
    for (store, _folder) in stores().await {
        let family = Family::new(House::over(store, |_, _| {}).await).await;
        let second = family.refresh(&family.token()).await.unwrap();
        assert!(family.works(&second).await && family.works(&family.first).await);
        family.house.wait(59);
        let again = family.refresh(&family.token()).await.unwrap();
        assert_eq!(text(&again), text(&second), "the same successor");
        assert!(family.works(&again).await);
        family.house.wait(2);
        assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant", "61 s");
        assert!(!family.works(&again).await && !family.works(&second).await, "the family is revoked");
        assert_eq!(failed(family.refresh(&text(&second)).await), "invalid_grant");
        assert_eq!(family.house.records_of("grant").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behaviour_23_five_at_once_get_one_successor() {
    for (store, _folder) in stores().await {
        let family = Arc::new(Family::new(House::over(store, |_, _| {}).await).await);
        let tasks = (0..5).map(|_| {
            let family = Arc::clone(&family);
            tokio::spawn(async move { family.refresh(&family.token()).await.map(|response| text(&response)) })
        });
        let mut successors: Vec<String> = Vec::new();
        for outcome in join_all(tasks).await {
            successors.push(outcome.unwrap().unwrap());
        }
        successors.dedup();
        assert_eq!(successors.len(), 1, "never a new branch");
        let third = family.refresh(&successors[0]).await.unwrap();
        assert!(family.works(&third).await);
    }
}

#[tokio::test]
async fn behaviour_23_the_same_successor_also_when_that_one_was_used() {
    let family = Family::new(House::open().await).await;
    let second = text(&family.refresh(&family.token()).await.unwrap());
    family.house.wait(20);
    let third = text(&family.refresh(&second).await.unwrap());
    family.house.wait(20);
    assert_eq!(text(&family.refresh(&family.token()).await.unwrap()), second);
    assert_eq!(text(&family.refresh(&second).await.unwrap()), third);
    family.house.wait(21);
    assert_eq!(text(&family.refresh(&second).await.unwrap()), third, "within its own minute");
    assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant", "the first one's is over");
    assert_eq!(failed(family.refresh(&third).await), "invalid_grant", "and that was a replay");
}

#[tokio::test]
async fn rt_3_without_a_grace_the_second_use_is_a_replay() {
    let family = Family::new(House::with(|settings, _| settings.refresh_grace = Duration::ZERO).await).await;
    let second = family.refresh(&family.token()).await.unwrap();
    assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant");
    assert!(!family.works(&second).await);
}

#[tokio::test]
async fn rt_2_a_replay_revokes_its_own_family_only() {
    let family = Family::new(House::open().await).await;
    let code = family.house.code(&family.client).await;
    let other = family.house.redeem(&family.client, &code).await.unwrap();
    family.refresh(&family.token()).await.unwrap();
    family.house.wait(61);
    assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant");
    assert!(family.works(&other).await);
    assert!(family.refresh(&text(&other)).await.is_ok());
}

#[tokio::test]
async fn s11_a_forged_refresh_token_touches_nothing() {
    let family = Family::new(House::open().await).await;
    let real = family.token();
    let mut forged = real.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let visits = family.house.visits();
    for token in [forged.as_str(), "vr_", "x", &real.replace("vr_", "vc_"), &"x".repeat(10_000)] {
        assert_eq!(failed(family.refresh(token).await), "invalid_grant");
    }
    // One look each: whether the client is blocked.
    assert_eq!(family.house.visits() - visits, 5);
    assert!(family.works(&family.refresh(&real).await.unwrap()).await);
}

#[tokio::test]
async fn rt_4_s13_bound_to_its_client_and_resource() {
    let family = Family::new(House::open().await).await;
    let stranger = family.house.client("https://chatgpt.com/connector/oauth/abc");
    let theirs = but(family.asked(&family.token()), "client_id", Some(&stranger));
    assert_eq!(failed(family.house.server.token(&theirs, None).await), "invalid_grant");
    let elsewhere = but(family.asked(&family.token()), "resource", Some("https://mcp.example.com/mail"));
    assert_eq!(failed(family.house.server.token(&elsewhere, None).await), "invalid_target");
    let here = but(family.asked(&family.token()), "resource", Some(NOTES));
    let second = family.house.server.token(&here, None).await.unwrap();
    assert!(family.works(&second).await, "nothing was touched, nothing was rotated");
    assert!(family.works(&family.first).await);
}

#[tokio::test]
async fn rfc6749_6_scope_narrows_the_access_token_and_never_the_grant() {
    let house = House::open().await;
    let client = house.client(CLAUDE);
    let answer = Human::new(&house).log_in(&house, &but(asking(&client, CLAUDE), "scope", Some("read write"))).await;
    let first = house.redeem(&client, &answer["code"]).await.unwrap();
    let family = Family { house: Arc::new(house), client, first };
    let with = |token: &str, scope| but(family.asked(token), "scope", Some(scope));
    let narrow = family.house.server.token(&with(&family.token(), "read offline_access admin"), None).await.unwrap();
    assert_eq!(narrow.scope, Scope::parse("read"));
    let caller = family.house.mint.verify(narrow.access_token.expose(), &notes()).await.unwrap();
    assert_eq!(caller.scope, Scope::parse("read"));
    let exceeding = with(&text(&narrow), "admin");
    assert_eq!(failed(family.house.server.token(&exceeding, None).await), "invalid_scope");
    let whole = family.refresh(&text(&narrow)).await.unwrap();
    assert_eq!(whole.scope, Scope::parse("read write"));
}

#[tokio::test]
async fn rt_5_it_slides_with_use_and_has_an_absolute_end() {
    const DAY: u64 = 86_400;
    let house = House::open().await;
    house.idp.set_fault(Fault::NoRefresh);
    let client = house.client(CLAUDE);
    let code = house.code(&client).await;
    let first = house.redeem(&client, &code).await.unwrap();
    let family = Family { house: Arc::new(house), client, first };
    // As at GitHub: what has no end needs no renewal.
    let mut grant = family.grant().await.unwrap();
    grant.login.as_mut().unwrap().tokens.expires = None;
    family.house.store.put(&grant).await.unwrap();
    let mut token = family.token();
    for _ in 0..3 {
        family.house.wait(29 * DAY);
        token = text(&family.refresh(&token).await.unwrap());
    }
    let end = family.grant().await.unwrap().expires;
    assert_eq!(end, grant.created + Duration::from_secs(90 * DAY));
    family.house.wait(3 * DAY);
    assert_eq!(failed(family.refresh(&token).await), "invalid_grant", "absolute");

    let family = Family::new(House::open().await).await;
    family.house.wait(30 * DAY);
    assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant", "idle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s34_up_9_fifty_at_upstream_expiry_are_one_renewal() {
    for (store, _folder) in stores().await {
        let family = Arc::new(Family::new(House::over(store, |_, _| {}).await).await);
        family.house.wait(3590);
        let tasks = (0..50).map(|_| {
            let family = Arc::clone(&family);
            tokio::spawn(async move { family.refresh(&family.token()).await })
        });
        let mut successors = Vec::new();
        for outcome in join_all(tasks).await {
            let response = outcome.unwrap().unwrap();
            assert!(response.expires_in > 3000, "{}", response.expires_in);
            successors.push(text(&response));
        }
        successors.dedup();
        assert_eq!((successors.len(), family.renewals()), (1, 1));
    }
}

#[tokio::test]
async fn d5_an_upstream_token_that_lives_long_enough_is_left_alone() {
    let family = Family::new(House::open().await).await;
    family.house.wait(1800);
    let second = family.refresh(&family.token()).await.unwrap();
    assert_eq!((second.expires_in, family.renewals()), (1730, 0));
    family.house.wait(1500);
    let third = family.refresh(&text(&second)).await.unwrap();
    assert_eq!((third.expires_in, family.renewals()), (3530, 1));
}

#[tokio::test]
async fn rule_9_the_renewed_tokens_are_kept_and_spent_next_time() {
    let family = Family::new(House::open().await).await;
    let before = family.grant().await.unwrap().login.unwrap().tokens;
    family.house.wait(3590);
    let second = family.refresh(&family.token()).await.unwrap();
    let after = family.grant().await.unwrap().login.unwrap().tokens;
    assert!(after.access != before.access && after.refresh != before.refresh);
    let caller = family.house.mint.verify(second.access_token.expose(), &notes()).await.unwrap();
    assert_eq!(caller.upstream_token, Some(after.access.clone()));
    // The provider gives no new refresh token: the old one is kept.
    family.house.idp.set_fault(Fault::NoRefresh);
    family.house.wait(3590);
    family.refresh(&text(&second)).await.unwrap();
    assert_eq!(family.grant().await.unwrap().login.unwrap().tokens.refresh, after.refresh);
    assert_eq!(family.renewals(), 2);
}

#[tokio::test]
async fn behaviour_24_an_outage_is_503_and_costs_nobody_the_login() {
    let faults = [Fault::Error500(At::Token), Fault::Html(At::Token), Fault::Endless(At::Token)];
    for fault in faults {
        let family = Family::new(House::open().await).await;
        family.house.wait(3600);
        family.house.idp.set_fault(fault);
        let before = family.grant().await.unwrap();
        for _ in 0..3 {
            let error = family.refresh(&family.token()).await.unwrap_err();
            assert_eq!((error.code.as_str(), error.code.status()), ("temporarily_unavailable", 503), "{fault:?}");
            assert!(!error.description.contains("stack"), "S29");
            family.house.wait(3);
        }
        assert_eq!(family.grant().await.unwrap(), before, "nothing was touched");
        family.house.idp.heal();
        let second = family.refresh(&family.token()).await.unwrap();
        assert!(family.works(&second).await);
    }
}

#[tokio::test]
async fn behaviour_24_while_the_upstream_token_lives_an_outage_gives_a_shorter_token() {
    let family = Family::new(House::open().await).await;
    family.house.wait(3400);
    family.house.idp.set_fault(Fault::Error500(At::Token));
    let second = family.refresh(&family.token()).await.unwrap();
    assert_eq!(second.expires_in, 130);
    assert!(family.works(&second).await);
    // A provider that fails is not asked by everybody.
    family.refresh(&text(&second)).await.unwrap();
    assert_eq!(family.renewals(), 1);
}

#[tokio::test]
async fn behaviour_24_a_provider_that_hangs_is_given_up_in_time() {
    let family = Arc::new(Family::new(House::open().await).await);
    family.house.wait(3600);
    family.house.idp.set_fault(Fault::Hang(At::Token));
    let tasks = (0..5).map(|_| {
        let family = Arc::clone(&family);
        tokio::spawn(async move { family.refresh(&family.token()).await.unwrap_err().code.as_str() })
    });
    for outcome in join_all(tasks).await {
        assert_eq!(outcome.unwrap(), "temporarily_unavailable");
    }
    assert_eq!(family.renewals(), 1);
    family.house.idp.heal();
    family.house.wait(3);
    assert!(family.refresh(&family.token()).await.is_ok());
}

#[tokio::test]
async fn behaviour_24_a_login_that_ended_at_the_provider_ends_here() {
    let family = Family::new(House::open().await).await;
    family.house.wait(3400);
    family.house.idp.set_fault(Fault::InvalidGrant);
    let error = family.refresh(&family.token()).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.code.status()), ("invalid_grant", 400));
    assert_eq!(family.house.records_of("grant").await, 0);
    assert!(!family.works(&family.first).await);
}

#[tokio::test]
async fn d5_without_an_upstream_refresh_token_the_login_ends_with_the_upstream_token() {
    let house = House::open().await;
    house.idp.set_fault(Fault::NoRefresh);
    let family = Family::new(house).await;
    family.house.wait(3400);
    let second = family.refresh(&family.token()).await.unwrap();
    assert_eq!(second.expires_in, 130);
    family.house.wait(200);
    let error = family.refresh(&text(&second)).await.unwrap_err();
    assert_eq!(error.code.as_str(), "invalid_grant");
    assert!(error.description.contains("log in again"));
}

#[tokio::test]
async fn up_9_a_client_that_hangs_up_does_not_cost_the_renewed_tokens() {
    let family = Arc::new(Family::new(House::open().await).await);
    family.house.wait(3600);
    let caller = Arc::clone(&family);
    let call = tokio::spawn(async move { caller.refresh(&caller.token()).await });
    while family.renewals() == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    let _ = call.await;
    let second = family.refresh(&family.token()).await.unwrap();
    assert!(family.works(&second).await);
    assert_eq!(family.renewals(), 1, "the tokens that came back were kept");
}

#[tokio::test]
async fn a_refused_upstream_token_is_renewed_by_the_next_refresh() {
    let family = Family::new(House::open().await).await;
    let caller = family.house.mint.verify(family.first.access_token.expose(), &notes()).await.unwrap();
    family.house.mint.mark_stale(&caller).await.unwrap();
    assert!(family.works(&family.first).await, "the token itself lives");
    family.refresh(&family.token()).await.unwrap();
    assert_eq!(family.renewals(), 1);
    let renewed = family.grant().await.unwrap().login.unwrap().tokens;
    family.house.mint.mark_stale(&caller).await.unwrap();
    assert_eq!(family.grant().await.unwrap().login.unwrap().tokens, renewed, "another token was refused, not this one");
    // And again at once, although a renewal has just been made.
    let caller = family.house.mint.verify(family.first.access_token.expose(), &notes()).await.unwrap();
    family.house.mint.mark_stale(&caller).await.unwrap();
    family.refresh(&family.token()).await.unwrap();
    assert_eq!(family.renewals(), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_during_a_refresh_is_renewed_and_no_end_of_the_login() {
    let family = Family::new(House::open().await).await;
    let caller = family.house.mint.verify(family.first.access_token.expose(), &notes()).await.unwrap();
    // Both look, the MCP server's refusal is written first, and the refresh turns what it has not looked at.
    let token = family.token();
    let (second, marked) = tokio::join!(family.refresh(&token), family.house.mint.mark_stale(&caller));
    marked.unwrap();
    let second = second.unwrap();
    assert_eq!(family.renewals(), 1, "the two met");
    assert!(family.works(&second).await && second.expires_in > 3000);
}

#[tokio::test]
async fn d15_who_is_no_longer_admitted_is_not_refreshed() {
    use vestibule::domain::{Allow, resource::EmailRule};
    let rule = EmailRule::parse("ada@example.com").unwrap();
    let allow = Allow::Only { emails: vec![rule], subjects: Vec::new(), groups: Vec::new() };
    let family = Family::new(House::with(|_, resources| resources[0].allow = allow).await).await;
    assert!(family.refresh(&family.token()).await.is_ok());
    let mut grant = family.grant().await.unwrap();
    grant.identity.email = Some("left@example.com".to_owned());
    family.house.store.put(&grant).await.unwrap();
    assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant");
}

#[tokio::test]
async fn rt_6_a_store_that_does_not_answer_is_503_and_nothing_is_lost() {
    let family = Family::new(House::open().await).await;
    family.house.bar(true);
    assert_eq!(failed(family.refresh(&family.token()).await), "temporarily_unavailable");
    family.house.bar(false);
    assert!(family.refresh(&family.token()).await.is_ok());
}
