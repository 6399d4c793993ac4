//! The servers, built of the real rooms, and the wires between them and their clients.

use std::{
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, select};
use tokio::task::AbortHandle;
use vestibule::{
    domain::{
        Allow, HttpsUrl, Resource, ResourceUri, Scope, Secret, Trusts, UpstreamName,
        step_up::{Hierarchy, StepUp},
    },
    oauth::{Advertise, AuthorizationServer, CimdSettings, ConsentMode, Parts, Registration, Settings},
    store::{Store, replicas},
    token::{self, Algorithm, Mint},
    upstream::{Upstreams, http::Http},
};

use super::{
    chance::Dice,
    disk::Port,
    plan::{DAY, Kind, Millis, Plan, SECOND, span},
    provider::{self, Line, NAMES, PUBLIC_URL},
    seat::Seat,
    world::{End, Life, WallClock, World, keyring},
};

/// The paths of the two Resources; people of provider `one` at the first, of `two` at the second.
pub(super) const PATHS: [&str; 2] = ["/notes", "/mail"];
/// How long a client waits for an answer.
const PATIENCE: Millis = 30 * SECOND;

/// One life of one server: the rooms over its port to the store, its line to the providers and its clock.
pub(super) struct Node {
    pub(super) life: Life,
    pub(super) server: AuthorizationServer,
    pub(super) mint: Mint,
    pub(super) store: Store,
    end: Arc<End>,
    background: [AbortHandle; 2],
}

impl Drop for Node {
    fn drop(&mut self) {
        self.background.iter().for_each(AbortHandle::abort);
    }
}

pub(super) struct Deployment {
    pub(super) world: Arc<World>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    pub(super) seats: Mutex<Vec<Seat>>,
}

pub(super) fn resource_uri(at: usize) -> ResourceUri {
    ResourceUri::under(&HttpsUrl::parse(PUBLIC_URL, false).unwrap(), PATHS[at])
}

impl Deployment {
    /// All servers, not yet up, and a task for each that builds it, again after each crash.
    pub(super) fn open(world: Arc<World>) -> Arc<Self> {
        let servers = world.plan.servers();
        let nodes = Mutex::new((0..servers).map(|_| None).collect());
        let deployment = Arc::new(Self { world, nodes, seats: Mutex::default() });
        for server in 0..servers {
            let keeper = Arc::clone(&deployment);
            tokio::spawn(async move { keeper.keep_up(server).await });
        }
        deployment
    }

    async fn keep_up(&self, server: usize) {
        loop {
            let (life, end) = self.world.begin_life(server);
            let building = self.build(life, Arc::clone(&end));
            let built = match select(pin!(building), pin!(end.wait())).await {
                Either::Left((node, _)) => node,
                Either::Right(_) => None,
            };
            if let Some(node) = built {
                self.world.say(|| format!("server {server} is up, life {}", life.number));
                self.nodes.lock().unwrap()[server] = Some(Arc::new(node));
                end.wait().await;
                self.nodes.lock().unwrap()[server] = None;
            } else {
                // A start that fails is a process that ends.
                self.world.crash(life);
            }
            self.world.rest(100..3000).await;
        }
    }

    async fn build(&self, life: Life, end: Arc<End>) -> Option<Node> {
        let (plan, world) = (&self.world.plan, &self.world);
        let clock = Arc::new(WallClock { world: Arc::clone(world), server: life.server });
        let random = Arc::new(Dice::new(plan.seed, 1000 * (life.server as u64 + 1) + life.number));
        let port = Arc::new(Port { world: Arc::clone(world), life });
        let store = Store::new(port, keyring(), clock.clone(), random.clone());
        let algorithm =
            if plan.has_stored_keys { Algorithm::Es256 } else { Algorithm::Hs256(Secret::new(vec![7; 32])) };
        let minting = token::Settings {
            issuer: PUBLIC_URL.to_owned(),
            algorithm,
            life: Duration::from_secs(3600),
            rotate: Some(span(2 * DAY)),
            claims: Vec::new(),
            dpop: token::Dpop::default(),
        };
        let mint = Mint::open(minting, store.clone(), keyring(), clock.clone(), random.clone()).await.ok()?;
        let http = Http::over(Arc::new(Line { world: Arc::clone(world), life }));
        let upstreams = Upstreams::new(upstreams(plan), http.clone(), clock.clone());
        let parts = Parts {
            store: store.clone(),
            mint: mint.clone(),
            upstreams,
            http,
            keyring: keyring(),
            clock,
            random,
            resources: resources(),
        };
        let server = AuthorizationServer::new(settings(plan), parts);
        // As `cli` does it.
        let background = [
            tokio::spawn(replicas::run(store.clone())).abort_handle(),
            tokio::spawn(token::keep_keys(mint.clone())).abort_handle(),
        ];
        Some(Node { life, server, mint, store, end, background })
    }

    /// The server, if it is up.
    pub(super) fn node(&self, server: usize) -> Option<Arc<Node>> {
        self.nodes.lock().unwrap()[server].clone()
    }

    pub(super) fn any_server(&self) -> usize {
        self.world.chance(|chance| chance.index(self.world.plan.servers()))
    }

    /// A request to a server and its answer, over a network that loses both, and sometimes delivers twice. `None`: no
    /// answer, for whatever reason.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        server: usize,
        request: impl Fn(Arc<Node>) -> BoxFuture<'static, T> + Send + Sync + 'static,
    ) -> Option<T> {
        let (travel, lost, reply_lost, hang_up, again) = {
            let mut state = self.world.state();
            let state = &mut *state;
            let (chance, rates) = (&mut state.chance, &self.world.plan.rates);
            if state.is_healed || self.world.plan.crash_at.is_some() {
                (0, false, false, None, None)
            } else {
                let travel = if chance.permille(rates.slow) { chance.within(1..3000) } else { chance.within(0..10) };
                let lost = chance.permille(rates.request_lost);
                let reply_lost = chance.permille(rates.reply_lost);
                let hang_up = chance.permille(rates.hang_up).then(|| chance.within(0..300));
                let again = chance.permille(rates.duplicate).then(|| chance.within(0..5000));
                state.tally.lost_messages += u64::from(lost) + u64::from(reply_lost) + u64::from(hang_up.is_some());
                state.tally.duplicates += u64::from(again.is_some());
                (travel, lost, reply_lost, hang_up, again)
            }
        };
        self.world.pause(travel).await;
        if lost {
            self.world.pause(500).await;
            return None;
        }
        if let Some(later) = again {
            let (world, twin) =
                (Arc::clone(&self.world), self.node(server).map(|node| (request(Arc::clone(&node)), node)));
            let busy = Busy::new(&self.world);
            tokio::spawn(async move {
                let _busy = busy;
                world.pause(later).await;
                // A connection does not outlive its server.
                if let Some((answering, node)) = twin
                    && world.is_alive(node.life)
                {
                    serve(&node, answering).await;
                }
            });
        }
        let Some(node) = self.node(server) else {
            self.world.pause(50).await;
            return None;
        };
        let (busy, answering) = (Busy::new(&self.world), request(Arc::clone(&node)));
        let handling = tokio::spawn(async move {
            let _busy = busy;
            serve(&node, answering).await
        });
        let patience = hang_up.unwrap_or(PATIENCE);
        let abort = handling.abort_handle();
        let answer = match tokio::time::timeout(span(patience), handling).await {
            Ok(answer) => answer.unwrap_or_else(|error| {
                if error.is_panic() {
                    self.world.violate(format!("a server panicked: {error}"));
                }
                None
            }),
            Err(_) => {
                // The server drops what nobody waits for.
                abort.abort();
                None
            }
        };
        answer.filter(|_| !reply_lost)
    }

    /// Waits until no request is under way, or for a minute.
    pub(super) async fn settle(&self) {
        for _ in 0..300 {
            if self.world.state().under_way == 0 {
                return;
            }
            self.world.pause(200).await;
        }
    }
}

/// The answer, unless the server dies first.
async fn serve<T>(node: &Node, answering: impl Future<Output = T>) -> Option<T> {
    match select(pin!(answering), pin!(node.end.wait())).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// Counts who is under way.
pub(super) struct Busy(Arc<World>);

impl Busy {
    pub(super) fn new(world: &Arc<World>) -> Self {
        world.state().under_way += 1;
        Self(Arc::clone(world))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

fn settings(plan: &Plan) -> Settings {
    Settings {
        public_url: HttpsUrl::parse(PUBLIC_URL, false).unwrap(),
        consent: ConsentMode::Remember,
        registration: Registration::default(),
        clients: Vec::new(),
        issuers: Vec::new(),
        named_resource: vestibule::oauth::NamedResource::Optional,
        secret_by: vestibule::oauth::SecretBy::Registered,
        pace: vestibule::oauth::Pace::default(),
        code_life: Duration::from_secs(60),
        request_life: Duration::from_secs(600),
        grant_life: span(plan.grant_life),
        absolute_life: span(plan.absolute_life),
        refresh_grace: span(plan.grace),
        device: None,
        cimd: CimdSettings { advertise: Advertise::Off, ..CimdSettings::new() },
        consent_life: Duration::from_secs(90 * 86_400),
    }
}

fn upstreams(plan: &Plan) -> Vec<vestibule::upstream::Settings> {
    // Reading a preset takes longer than a whole refresh.
    static READ: OnceLock<[[vestibule::upstream::Settings; 2]; 2]> = OnceLock::new();
    let read = READ.get_or_init(|| {
        [0, 1].map(|at| {
            [false, true].map(|revokes| {
                let mut plan = Plan::scripted(Kind::Disk, None);
                plan.upstreams[at].revokes = revokes;
                provider::settings(at, &plan)
            })
        })
    });
    [0, 1].iter().map(|&at| read[at][usize::from(plan.upstreams[at].revokes)].clone()).collect()
}

fn resources() -> Arc<[Arc<Resource>]> {
    [0, 1]
        .map(|at| {
            Arc::new(Resource {
                uri: resource_uri(at),
                path: PATHS[at].to_owned(),
                title: PATHS[at].to_owned(),
                target: HttpsUrl::parse("http://127.0.0.1:1/mcp", false).unwrap(),
                upstream: UpstreamName::parse(NAMES[at]).unwrap(),
                scopes: Scope::parse("read write"),
                upstream_scopes: Vec::new(),
                inject: Vec::new(),
                allow: Allow::Anyone,
                clients: Vec::new(),
                trusts: Trusts::default(),
                is_default: at == 0,
                hierarchy: Hierarchy::default(),
                demands_proof: false,
                step_up: StepUp::default(),
            })
        })
        .into()
}
