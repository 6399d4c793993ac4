//! One history: a deployment, some seats, and what happens to them, until everything is healed and must be well.

use std::sync::Arc;

use tokio::{runtime, time};

use super::{
    chance::Chance,
    deployment::{Busy, Deployment},
    ledger::Scene,
    plan::{DAY, HOUR, Kind, MINUTE, Millis, Plan, SECOND, SLACK, span},
    seat::{Seat, registration},
    world::{State, Tally, World},
};

/// How a history ended.
pub(super) struct Report {
    pub(super) tally: Tally,
    pub(super) violation: Option<String>,
    pub(super) trace: Vec<String>,
}

/// Runs it: one thread, no wall clock, and no chance but the plan's.
pub(super) fn run(plan: Plan, tracing: bool) -> Report {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(plan, tracing);
        let deployment = Deployment::open(Arc::clone(&world));
        live(&deployment).await;
        let mut state = world.state();
        Report { tally: state.tally, violation: state.violation.take(), trace: state.trace.take().unwrap_or_default() }
    })
}

async fn live(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    world.say(|| format!("{:?}", world.plan));
    take_seats(deployment).await;
    if world.plan.crash_at.is_some() || world.plan.steps == 0 {
        script(deployment).await;
    } else {
        for _ in 0..world.plan.steps {
            step(deployment).await;
            if world.is_violated() {
                return;
            }
        }
    }
    heal(deployment).await;
    judge(deployment).await;
}

/// Everybody registers, at whatever server is up.
async fn take_seats(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    let node = loop {
        if let Some(node) = (0..world.plan.servers()).find_map(|server| deployment.node(server)) {
            break node;
        }
        world.pause(100).await;
    };
    for number in 0..world.plan.seats {
        let (client, person, at) = world.chance(|chance| (chance.below(2), chance.index(2), chance.index(2)));
        let reply = node.server.register(registration(usize::try_from(client).unwrap()).as_bytes(), None).unwrap();
        let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
        let client = reply["client_id"].as_str().unwrap().to_owned();
        world
            .say(|| format!("seat {number}: client {}, person {person}, resource {at}", super::ledger::short(&client)));
        deployment.seats.lock().unwrap().push(Seat { client, person, at, browser: None, hand: None, is_busy: false });
    }
}

/// Something happens. Half of the time it has not ended when the next thing happens.
async fn step(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    let (at, what) = world.chance(|chance| (chance.index(world.plan.seats), chance.below(100)));
    let now = world.now();
    if deployment.hand(at).is_none() {
        start(deployment, move |d| async move { d.log_in(at).await });
    }
    match what {
        0..26 => start(deployment, move |d| async move { d.refresh(at).await }),
        26..36 => {
            // Two copies of one client, or two of its tasks, with one token.
            for _ in 0..2 {
                start(deployment, move |d| async move { d.refresh(at).await });
            }
        }
        36..46 => start(deployment, move |d| async move { call(&d, at).await }),
        46..50 => crash(deployment),
        50..54 => start(deployment, replay),
        54..56 => start(deployment, replay_code),
        56..60 => {
            if let Some(hand) = deployment.hand(at) {
                start(deployment, move |d| async move {
                    d.revoke(&hand.refresh).await;
                });
            }
        }
        60..63 => end_at_provider(deployment, at),
        63..66 => {
            let server = deployment.any_server();
            world.step_clock(server);
        }
        66..70 => {
            let (server, span) = (deployment.any_server(), world.chance(|chance| chance.within(500..6000)));
            world.say(|| format!("the store does not answer server {server} for {span} ms"));
            world.state().vitals[server].outage_until = now + span;
        }
        70..73 => {
            let span = world.chance(|chance| chance.within(2 * SECOND..30 * SECOND));
            world.say(|| format!("the providers are out of order for {span} ms"));
            world.state().provider.outage_until = now + span;
        }
        73..76 => start(deployment, sweep),
        76..79 => start(deployment, move |d| async move { d.log_in(at).await }),
        79..82 => {
            let by = world.chance(|chance| chance.within(MINUTE..2 * HOUR));
            jump(deployment, by).await;
        }
        _ => {
            deployment.settle().await;
            let by = world.chance(|chance| match chance.below(10) {
                0..3 => chance.within(SECOND..90 * SECOND),
                3..7 => chance.within(8 * MINUTE..65 * MINUTE),
                7..9 => chance.within(HOUR..10 * HOUR),
                _ => chance.within(DAY..32 * DAY),
            });
            jump(deployment, by).await;
        }
    }
    if world.chance(Chance::coin) {
        deployment.settle().await;
    } else {
        world.rest(0..1500).await;
    }
}

fn start<F>(deployment: &Arc<Deployment>, what: impl FnOnce(Arc<Deployment>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (busy, doing) = (Busy::new(&deployment.world), what(Arc::clone(deployment)));
    tokio::spawn(async move {
        let _busy = busy;
        doing.await;
    });
}

/// A call at its Resource, sometimes at the other one, sometimes with a target that refuses it; then at the other
/// server, a moment later.
async fn call(deployment: &Arc<Deployment>, at: usize) {
    let Some(hand) = deployment.hand(at) else { return };
    let (elsewhere, is_refused) = deployment.world.chance(|chance| (chance.permille(100), chance.permille(150)));
    let own = deployment.seat(at).at;
    let resource = if elsewhere { 1 - own } else { own };
    for _ in 0..2 {
        deployment.call(&hand.access, resource, deployment.any_server(), is_refused && !elsewhere).await;
        deployment.world.rest(0..400).await;
    }
}

/// A thief, or a copy of a client that slept: any token that was ever given.
async fn replay(deployment: Arc<Deployment>) {
    let tokens = deployment.world.state().ledger.refresh_tokens();
    if !tokens.is_empty() {
        let token = deployment.world.chance(|chance| chance.pick(&tokens).clone());
        deployment.world.say(|| format!("somebody replays {}", super::ledger::short(&token)));
        deployment.present_refresh(&token, deployment.any_server()).await;
    }
}

async fn replay_code(deployment: Arc<Deployment>) {
    let codes = deployment.world.state().ledger.codes();
    if !codes.is_empty() {
        let code = deployment.world.chance(|chance| chance.pick(&codes).clone());
        deployment.present_code(&code).await;
    }
}

async fn sweep(deployment: Arc<Deployment>) {
    if let Some(node) = deployment.node(deployment.any_server()) {
        let _ = node.store.sweep(span(20)).await;
    }
}

fn crash(deployment: &Deployment) {
    if let Some(node) = deployment.node(deployment.any_server()) {
        deployment.world.crash(node.life);
    }
}

/// The person ends the login at the provider.
fn end_at_provider(deployment: &Deployment, at: usize) {
    let Some(hand) = deployment.hand(at) else { return };
    let mut state = deployment.world.state();
    if let Some(login) = state.ledger.login_of(&hand.refresh) {
        state.provider.end(login, "ended by the person at the provider");
    }
}

/// Time goes by at once, as for a machine that was asleep.
async fn jump(deployment: &Deployment, by: Millis) {
    let world = &deployment.world;
    world.say(|| format!("{by} ms go by"));
    if by > SLACK {
        world.state().provider.lose_all();
    }
    time::advance(span(by)).await;
}

/// A day in the life of two seats without any trouble, for the crash that comes at one operation of it.
async fn script(deployment: &Arc<Deployment>) {
    for at in 0..deployment.world.plan.seats {
        deployment.log_in(at).await;
        deployment.refresh(at).await;
        call(deployment, at).await;
    }
    deployment.world.pause(20 * SECOND).await;
    for at in 0..deployment.world.plan.seats {
        start(deployment, move |d| async move { d.refresh(at).await });
        start(deployment, move |d| async move { d.refresh(at).await });
    }
    deployment.settle().await;
    jump(deployment, 58 * MINUTE).await;
    for at in 0..deployment.world.plan.seats {
        deployment.refresh(at).await;
        start(deployment, move |d| async move { d.refresh(at).await });
    }
    deployment.settle().await;
    if let Some(hand) = deployment.hand(0) {
        deployment.revoke(&hand.refresh).await;
    }
}

/// From here on nothing goes wrong, and what had gone wrong has time to heal: who was shut out is let in again.
async fn heal(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    world.say(|| "all is healed".to_owned());
    {
        let mut state = world.state();
        state.is_healed = true;
        state.provider.outage_until = 0;
        state.vitals.iter_mut().for_each(|vital| vital.outage_until = 0);
    }
    deployment.settle().await;
    // Leases of the dead expire, and failures are forgotten; clients whose answer was lost have asked again by now.
    time::advance(span(35 * SECOND)).await;
    world.pause(6 * SECOND).await;
}

/// Who must be logged in is, at every server; who must not be is not, at any.
async fn judge(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    for at in 0..world.plan.seats {
        for server in 0..world.plan.servers() {
            let Some(hand) = deployment.hand(at) else { break };
            if world.is_violated() {
                return;
            }
            let before = world.enter(|ledger, scene| Ok(ledger.standing(scene, &hand.refresh))).unwrap();
            let answer = deployment.present_refresh(&hand.refresh, server).await;
            match (before, answer) {
                (_, Some(Ok(response))) => {
                    let access = response.access_token.expose();
                    if !deployment.call(access, deployment.seat(at).at, server, false).await {
                        world.violate("a call was not answered although nothing is out of order".to_owned());
                    }
                    let refresh = response.refresh_token.as_ref().unwrap().expose().clone();
                    let hand = super::seat::Hand { refresh, access: access.clone(), code: hand.code };
                    deployment.seats.lock().unwrap()[at].hand = Some(hand);
                    if server + 1 == world.plan.servers() {
                        world.state().tally.living += u64::from(before == Ok(true));
                        world.state().tally.excused += u64::from(before.is_err());
                    }
                }
                (Ok(false), Some(Err(_))) => world.state().tally.dead += 1,
                (Ok(true), Some(Err(code))) if deployment.is_excused(&hand.refresh) => {
                    world.say(|| format!("excused: {}", code.as_str()));
                    world.state().tally.excused += 1;
                }
                (Err(why), Some(Err(_))) => {
                    world.say(|| format!("excused: {why}"));
                    world.state().tally.excused += 1;
                    break;
                }
                (_, answer) => {
                    let said = answer.map(|answer| answer.map(drop).map_err(|code| code.as_str()));
                    world.violate(format!("seat {at} is not well at server {server} although all is healed: {said:?}"));
                }
            }
        }
    }
    dead_stay_dead(deployment).await;
}

/// Every refresh token of every family that is known to be dead, at every server.
async fn dead_stay_dead(deployment: &Arc<Deployment>) {
    let world = &deployment.world;
    let tokens = world.state().ledger.refresh_tokens();
    for token in tokens {
        if world.is_violated() {
            return;
        }
        if world.state().ledger.is_dead(&token) {
            for server in 0..world.plan.servers() {
                deployment.present_refresh(&token, server).await;
            }
        }
    }
}

impl Deployment {
    /// Whether by now something is known that may have ended the family.
    fn is_excused(&self, token: &str) -> bool {
        let now = self.world.now();
        let mut state = self.world.state();
        let State { ledger, provider, tally, .. } = &mut *state;
        ledger.standing(&Scene { plan: &self.world.plan, provider, tally, now }, token) != Ok(true)
    }
}

/// The plans of one crash before and one after each operation of the script.
pub(super) fn every_crash(kind: Kind) -> impl Iterator<Item = Plan> {
    let calm = run(Plan::scripted(kind, None), false);
    assert_eq!(calm.violation, None);
    let places = (1..=calm.tally.troubled).flat_map(|op| [(op, false), (op, true)]);
    places.map(move |place| Plan::scripted(kind, Some(place)))
}
