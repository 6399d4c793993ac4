//! Two processes over one Redis or PostgreSQL, and a crowd of clients that refresh and call all the while: the store is
//! killed, started, and stands still; the processes are restarted one after the other; nobody is told a wrong thing, and
//! nobody is logged out (behaviours 11 and 24; the proofs of issue 4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    store::server::{Server, over_every_server},
    world::{
        provider::Fault,
        town::{Town, http},
    },
};

const CLIENTS: usize = 6;
const PLENTY: &str = "[limits]\nrequests_per_minute = 1000000\nperson_requests_per_minute = 0";
/// Only for what never comes; five seconds are promised, and a busy machine may need them all for something else.
const FOREVER: Duration = Duration::from_secs(60);

over_every_server!(
    behaviour_24_a_store_killed_under_load_is_503_and_costs_nobody_the_login,
    behaviour_24_a_store_that_stands_still_is_503_and_costs_nobody_the_login,
    behaviour_11_a_rolling_restart_under_load_loses_no_login,
    s34_fifty_at_two_processes_are_one_renewal_and_fifty_successes,
);

/// What the crowd shares.
#[derive(Default)]
struct Watch {
    is_over: AtomicBool,
    /// Each client's successes.
    well: [AtomicUsize; CLIENTS],
    /// Answers that said 503 as they should.
    refused: AtomicUsize,
    /// Connections that broke.
    broken: AtomicUsize,
}

impl Watch {
    /// Until every client has got its way once more.
    async fn all_are_well(&self) {
        let before: Vec<usize> = self.well.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        while self.well.iter().zip(&before).any(|(now, before)| now.load(Ordering::Relaxed) < before + 2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Crowd {
    watch: Arc<Watch>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    async fn gather(town: &Town) -> Self {
        let watch = Arc::new(Watch::default());
        let mut clients = Vec::new();
        for at in 0..CLIENTS {
            let login = town.login().await;
            let client = Client {
                base: town.base.clone(),
                http: http(),
                id: login.client.id.clone(),
                access: login.access_token.clone(),
                refresh: login.tokens["refresh_token"].as_str().unwrap().to_owned(),
            };
            clients.push(tokio::spawn(client.live(at, Arc::clone(&watch))));
        }
        Self { watch, clients }
    }

    /// Everybody has one more good answer, and nobody had a wrong one.
    async fn disperse(self) -> Arc<Watch> {
        timeout(FOREVER, self.watch.all_are_well()).await.expect("everybody is well at the end");
        self.watch.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no wrong answer");
        }
        self.watch
    }
}

/// One login, refreshed and spent without end.
struct Client {
    base: String,
    http: reqwest::Client,
    id: String,
    access: String,
    refresh: String,
}

impl Client {
    async fn live(mut self, at: usize, watch: Arc<Watch>) {
        while !watch.is_over.load(Ordering::Relaxed) {
            let is_well = self.refresh(&watch).await && self.call(&watch).await;
            if is_well {
                watch.well[at].fetch_add(1, Ordering::Relaxed);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether there are new tokens. Without an answer the old one is presented again, as clients do.
    async fn refresh(&mut self, watch: &Watch) -> bool {
        let form = format!("grant_type=refresh_token&client_id={}&refresh_token={}", self.id, self.refresh);
        let request = self.http.post(format!("{}/token", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let Some((status, body)) = self.answer(request, watch).await else { return false };
        if status == 503 {
            assert_eq!(body["error"], "temporarily_unavailable", "{body}");
            return false;
        }
        assert_eq!(status, 200, "a refresh: {body}");
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        (self.access, self.refresh) = (text("access_token"), text("refresh_token"));
        true
    }

    async fn call(&self, watch: &Watch) -> bool {
        let request = self.http.post(format!("{}/notes", self.base)).bearer_auth(&self.access);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let request = request.header("content-type", "application/json").body(body);
        let Some((status, body)) = self.answer(request, watch).await else { return false };
        assert!(matches!(status, 200 | 503), "a call: {status} {body}");
        status == 200
    }

    /// Status and body, unless the connection broke. Whoever says 503 says when to come again.
    async fn answer(&self, request: reqwest::RequestBuilder, watch: &Watch) -> Option<(u16, Value)> {
        let answered = async {
            let response = request.send().await.ok()?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Some((status, headers, response.bytes().await.ok()?))
        };
        let Some((status, headers, body)) = answered.await else {
            watch.broken.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if status == 503 {
            assert!(headers.contains_key("retry-after"), "{headers:?}");
            watch.refused.fetch_add(1, Ordering::Relaxed);
        }
        Some((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// A probe's answer is kept for a second, so that probes are no load.
async fn until_readiness_is(town: &Town, wanted: u16) {
    let ask = async || http().get(format!("{}/readyz", town.admin)).send().await.unwrap().status().as_u16();
    let told = async {
        while ask().await != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(FOREVER, told).await.expect("the probe notices");
}

async fn behaviour_24_a_store_killed_under_load_is_503_and_costs_nobody_the_login(mut server: impl Server) {
    let town = Town::around(2, PLENTY, &server.toml()).await;
    let crowd = Crowd::gather(&town).await;
    for _ in 0..3 {
        timeout(FOREVER, crowd.watch.all_are_well()).await.expect("everybody is well before");
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        until_readiness_is(&town, 503).await;
        assert!(server.run());
        timeout(FOREVER, crowd.watch.all_are_well()).await.expect("everybody is well again");
    }
    let watch = crowd.disperse().await;
    assert!(watch.refused.load(Ordering::Relaxed) >= CLIENTS, "the outage was felt");
    assert_eq!(watch.broken.load(Ordering::Relaxed), 0, "the house itself never went");
    until_readiness_is(&town, 200).await;
}

async fn behaviour_24_a_store_that_stands_still_is_503_and_costs_nobody_the_login(server: impl Server) {
    let town = Town::around(2, PLENTY, &server.toml()).await;
    let crowd = Crowd::gather(&town).await;
    timeout(FOREVER, crowd.watch.all_are_well()).await.expect("everybody is well before");
    server.freeze();
    let told = async {
        while crowd.watch.refused.load(Ordering::Relaxed) < CLIENTS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(FOREVER, told).await.expect("nobody waits for ever");
    server.thaw();
    timeout(FOREVER, crowd.watch.all_are_well()).await.expect("everybody is well again");
    crowd.disperse().await;
}

async fn behaviour_11_a_rolling_restart_under_load_loses_no_login(server: impl Server) {
    let mut town = Town::around(2, PLENTY, &server.toml()).await;
    let crowd = Crowd::gather(&town).await;
    for at in [0, 1, 0, 1] {
        timeout(FOREVER, crowd.watch.all_are_well()).await.expect("everybody is well before");
        town.restart(at).await;
    }
    let watch = crowd.disperse().await;
    assert_eq!(watch.refused.load(Ordering::Relaxed), 0, "one of the two was there all the while");
}

/// The lease holds across processes: both see the provider's token near its end, one asks for the next.
async fn s34_fifty_at_two_processes_are_one_renewal_and_fifty_successes(server: impl Server) {
    let town = Town::around(2, PLENTY, &server.toml()).await;
    town.provider.set_fault(Fault::ShortLived);
    let login = town.login().await;
    town.provider.forget();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", login.tokens["refresh_token"].as_str().unwrap()),
        ("client_id", login.client.id.as_str()),
    ];
    let url = format!("{}/token", town.base);
    let answers = join_all((0..50).map(|_| async {
        let (status, tokens) = crate::world::town::post_form(&url, &form).await;
        assert_eq!(status, 200, "{tokens}");
        town.call("/notes", tokens["access_token"].as_str()).await.status().as_u16()
    }))
    .await;
    assert_eq!(answers, [200; 50]);
    assert_eq!(town.provider.received_at("/token").len(), 1, "one renewal at the provider");
}
