//! `kill -9` of the real server over sled, again and again, while clients refresh, redeem, revoke and replay: what was
//! acknowledged stands, what was spent or revoked stays so, and the clients never learn that anything happened.
//!
//! `VESTIBULE_TEST_KILLS` says how often (`just crash` asks for more than the test does), `VESTIBULE_TEST_SEED` what the
//! clients do. The moments of the kills are seeded, but where a process stands at such a moment is up to the machine.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::RwLock;
use vestibule::crypto::{Random, Seeded};

use crate::world::{
    browser::Browser,
    town::{CALLBACK, Town, VERIFIER, http, parameter},
};

/// Clients at work at any moment.
const CLIENTS: usize = 12;
/// After so many turns of its chain a refresh token is spent, grace or not.
const LONG_AGO: usize = 40;
/// A generous bound for a machine that does much else; the figure itself is printed.
const RESTART: Duration = Duration::from_secs(10);

/// One login and what its client was told of it.
struct Family {
    client: String,
    code: String,
    /// From when to when the answer to the code may have been made.
    redeemed: (Instant, Instant),
    access: String,
    /// The refresh token of the last answer that arrived.
    held: String,
    /// Those before it, oldest first.
    spent: Vec<String>,
}

/// What the server said, if it lived long enough to say it.
type Answer = Option<(u16, Value)>;

/// Everything that the clients share.
struct Scene {
    town: RwLock<Town>,
    base: String,
    http: reqwest::Client,
    /// Families that were revoked, or replayed: nothing of them may ever work again.
    dead: Mutex<Vec<Family>>,
    is_over: AtomicBool,
    counts: Counts,
}

#[derive(Default, Debug)]
struct Counts {
    logins: AtomicUsize,
    refreshes: AtomicUsize,
    shared: AtomicUsize,
    revoked: AtomicUsize,
    replayed: AtomicUsize,
    lost: AtomicUsize,
    haunted: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[expect(clippy::disallowed_methods, reason = "the tester's wishes are no settings of the house")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn below(random: &dyn Random, bound: usize) -> usize {
    usize::from(u16::from_be_bytes(random.bytes())) % bound
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::print_stdout, reason = "what was done, and how long it took, is asked for")]
async fn kill_9_of_the_server_costs_nobody_the_login_and_revives_nothing() {
    let (kills, seed) = (number("VESTIBULE_TEST_KILLS", 5), number("VESTIBULE_TEST_SEED", 4));
    println!("{kills} kills, seed {seed}");
    let town = Town::around(
        1,
        "[limits]\nrequests_per_minute = 1000000\nperson_requests_per_minute = 0",
        "kind = \"sled\"\npath = \"store\"",
    )
    .await;
    let scene = Arc::new(Scene {
        base: town.base.clone(),
        town: RwLock::new(town),
        http: http(),
        dead: Mutex::default(),
        is_over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| tokio::spawn(work(Arc::clone(&scene), Seeded::new(seed * 1000 + n as u64)))).collect();

    let random: &dyn Random = &Seeded::new(seed);
    let mut restarts = Vec::new();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(100 + below(random, 500) as u64)).await;
        if let Some(client) = clients.iter().position(|client| client.is_finished()) {
            panic!("client {client} has given up");
        }
        restarts.push(scene.town.write().await.kill_and_restart(0).await);
        let latest: Vec<usize> = (0..scene.dead.lock().unwrap().len()).rev().take(3).collect();
        for at in latest {
            haunt(&scene, at).await;
        }
    }
    // Some time to go on after the last one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let dead = scene.dead.lock().unwrap().len();
    for at in 0..dead {
        haunt(&scene, at).await;
    }
    restarts.sort_unstable();
    println!("{:?}", scene.counts);
    println!("restart to the first answer: median {:?}, worst {:?}", restarts[restarts.len() / 2], restarts.last());
    assert!(restarts.iter().all(|took| *took < RESTART), "{restarts:?}");
    assert!(scene.counts.refreshes.load(Ordering::Relaxed) > 20 * CLIENTS && dead > 0, "there was load");
}

/// One client: a login, then whatever the dice say; a new login whenever one was ended on purpose.
async fn work(scene: Arc<Scene>, random: Seeded) {
    let random: &dyn Random = &random;
    'login: while !scene.is_over.load(Ordering::Relaxed) {
        let Some(mut family) = scene.log_in().await else { continue };
        while !scene.is_over.load(Ordering::Relaxed) {
            match below(random, 256) {
                0..170 => family.refresh(&scene).await,
                170..200 => family.refresh_twice_at_once(&scene).await,
                200..220 => family.call(&scene).await,
                220..236 => {
                    let dead = scene.dead.lock().unwrap().len();
                    if dead > 0 {
                        haunt(&scene, below(random, dead)).await;
                    }
                }
                236..240 if family.presenting_the_code_again_ends_it(&scene).await => {
                    scene.bury(family);
                    continue 'login;
                }
                240..244 if family.spent.len() > LONG_AGO => {
                    family.replay(&scene).await;
                    scene.bury(family);
                    continue 'login;
                }
                244..246 => {
                    family.revoke(&scene).await;
                    scene.bury(family);
                    continue 'login;
                }
                _ => {}
            }
        }
        // The end: what is alive still is, after all that happened.
        family.refresh(&scene).await;
        family.call(&scene).await;
    }
}

impl Scene {
    /// A form POST; `None` when the connection broke before the whole answer had come.
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("{}{path}", self.base)).body(body);
        self.answer(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let heard = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let bytes = response.bytes().await.ok()?;
            Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        };
        let heard = heard.await;
        if heard.is_none() {
            count(&self.counts.lost);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        heard
    }

    async fn ask_to_refresh(&self, client: &str, token: &str) -> Answer {
        self.post("/token", &[("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)]).await
    }

    async fn call(&self, access: &str) -> Option<u16> {
        let request = self.http.post(format!("{}/notes", self.base)).bearer_auth(access);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        Some(self.answer(request.header("content-type", "application/json").body(body)).await?.0)
    }

    async fn redeem(&self, client: &str, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("client_id", client),
            ("code_verifier", VERIFIER),
        ];
        self.post("/token", &form).await
    }

    /// The way through the browser is left in peace (a human would press reload); the redemption is not. `None` when
    /// its answer was lost: the code was spent for nothing, then, and that must be for good.
    async fn log_in(&self) -> Option<Family> {
        let (client, code) = {
            let town = self.town.read().await;
            let (client, human) = (town.client().await, Browser::new());
            let answer = client.approve(&town, &human, &client.authorize_url(&town, "/notes", &[])).await;
            (client.id, parameter(&answer, "code").unwrap_or_else(|| panic!("no code in {answer}")))
        };
        let begun = Instant::now();
        let (status, tokens) = insist(|| self.redeem(&client, &code)).await;
        if status == 400 {
            return None;
        }
        assert_eq!(status, 200, "{tokens}");
        count(&self.counts.logins);
        let (access, held) = (said(&tokens, "access_token"), said(&tokens, "refresh_token"));
        Some(Family { client, code, redeemed: (begun, Instant::now()), access, held, spent: Vec::new() })
    }

    fn bury(&self, family: Family) {
        self.dead.lock().unwrap().push(family);
    }
}

/// Asks until an answer comes.
async fn insist<F: Future<Output = Answer>>(ask: impl Fn() -> F) -> (u16, Value) {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
    }
}

fn said(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}")).to_owned()
}

impl Family {
    /// Until an answer comes: the token held, or the one before it, always yields.
    async fn refresh(&mut self, scene: &Scene) {
        let (status, tokens) = insist(|| scene.ask_to_refresh(&self.client, &self.held)).await;
        assert_eq!(status, 200, "an acknowledged refresh token was lost: {tokens}");
        self.keep(scene, &tokens);
    }

    /// Two copies of one client: whoever hears something hears the same.
    async fn refresh_twice_at_once(&mut self, scene: &Scene) {
        let ask = || scene.ask_to_refresh(&self.client, &self.held);
        let (one, two) = tokio::join!(ask(), ask());
        let mut heard = [one, two].into_iter().flatten().map(|(status, tokens)| {
            assert_eq!(status, 200, "an acknowledged refresh token was lost: {tokens}");
            tokens
        });
        let Some(tokens) = heard.next() else { return };
        if let Some(also) = heard.next() {
            assert_eq!(said(&also, "refresh_token"), said(&tokens, "refresh_token"), "behaviour 23");
        }
        count(&scene.counts.shared);
        self.keep(scene, &tokens);
    }

    fn keep(&mut self, scene: &Scene, tokens: &Value) {
        count(&scene.counts.refreshes);
        let next = said(tokens, "refresh_token");
        assert!(next != self.held && !self.spent.contains(&next), "a refresh token came back");
        self.spent.push(std::mem::replace(&mut self.held, next));
        self.access = said(tokens, "access_token");
    }

    async fn call(&self, scene: &Scene) {
        let status = scene.call(&self.access).await;
        assert!(matches!(status, None | Some(200)), "a live access token: {status:?}");
    }

    /// Presents the code a second time; true when that ended the family, as it does unless the first was a moment ago
    /// (AZ-6).
    async fn presenting_the_code_again_ends_it(&self, scene: &Scene) -> bool {
        let was_long_ago = self.redeemed.1.elapsed() > Duration::from_secs(11);
        let (status, body) = insist(|| scene.redeem(&self.client, &self.code)).await;
        assert_eq!(status, 400, "a spent code was revived: {body}");
        count(&scene.counts.replayed);
        if self.redeemed.0.elapsed() < Duration::from_secs(9) {
            return false;
        }
        if !was_long_ago {
            // Just at the edge: the server knows which it was, we make sure.
            self.revoke(scene).await;
        }
        true
    }

    /// A token from long ago: a thief's, for all that anybody knows (RT-2).
    async fn replay(&self, scene: &Scene) {
        let old = &self.spent[self.spent.len() - LONG_AGO];
        let (status, body) = insist(|| scene.ask_to_refresh(&self.client, old)).await;
        assert_eq!(status, 400, "a spent refresh token was revived: {body}");
        count(&scene.counts.replayed);
    }

    async fn revoke(&self, scene: &Scene) {
        let form = [("token", self.held.as_str()), ("client_id", self.client.as_str())];
        let (status, body) = insist(|| scene.post("/revoke", &form)).await;
        assert_eq!(status, 200, "{body}");
        count(&scene.counts.revoked);
    }
}

/// Tries everything that a dead family left behind.
async fn haunt(scene: &Scene, at: usize) {
    let (client, code, access, tokens) = {
        let dead = scene.dead.lock().unwrap();
        let family = &dead[at];
        let tokens: Vec<String> = family.spent.last().into_iter().chain([&family.held]).cloned().collect();
        (family.client.clone(), family.code.clone(), family.access.clone(), tokens)
    };
    for token in &tokens {
        if let Some((status, body)) = scene.ask_to_refresh(&client, token).await {
            assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")), "nothing revoked works: {body}");
        }
    }
    if let Some((status, body)) = scene.redeem(&client, &code).await {
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")), "no spent code is revived: {body}");
    }
    if let Some(status) = scene.call(&access).await {
        assert_eq!(status, 401, "nothing revoked works");
    }
    count(&scene.counts.haunted);
}
