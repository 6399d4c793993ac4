//! Everything outside the servers, in one place behind one lock: time, chance, the store's medium, the providers, who is
//! alive, and the ledger that judges. The lock is never held across an await.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::Notify, time};
use vestibule::{
    crypto::Keyring,
    domain::{Clock, Instant},
};

use super::{
    chance::Chance,
    disk::Disk,
    ledger::Ledger,
    plan::{Kind, Millis, Plan, SKEW, span},
    provider::Provider,
};
use crate::world::clock::DAWN;

/// One life of one server: after a crash the same server begins another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) server: usize,
    pub(super) number: u64,
}

/// The end of one life, for all who wait for it. (tokio's `watch` wakes them in an order of its own chance.)
#[derive(Default)]
pub(super) struct End {
    is_over: AtomicBool,
    waiting: Notify,
}

impl End {
    fn come(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.waiting.notify_waiters();
    }

    pub(super) async fn wait(&self) {
        let mut told = pin!(self.waiting.notified());
        told.as_mut().enable();
        if !self.is_over.load(Ordering::SeqCst) {
            told.await;
        }
    }
}

/// How a server is.
pub(super) struct Vital {
    pub(super) life: Life,
    pub(super) is_up: bool,
    /// Its clock, against the true time.
    pub(super) skew: i64,
    /// The store does not answer it until then.
    pub(super) outage_until: Millis,
    end: Arc<End>,
}

/// What happened, in numbers: a simulation in which nothing goes wrong proves nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) operations: u64,
    /// Of them, before all was healed.
    pub(super) troubled: u64,
    pub(super) crashes: u64,
    pub(super) lost_writes: u64,
    pub(super) store_faults: u64,
    pub(super) provider_faults: u64,
    pub(super) lost_messages: u64,
    pub(super) duplicates: u64,
    pub(super) families: u64,
    pub(super) refreshes: u64,
    pub(super) same_successors: u64,
    pub(super) renewals: u64,
    pub(super) revocations: u64,
    pub(super) replays: u64,
    pub(super) calls: u64,
    /// Families that had to be usable at the end, and were.
    pub(super) living: u64,
    /// Families that had to be dead at the end, and were.
    pub(super) dead: u64,
    /// Families of which nobody can say.
    pub(super) excused: u64,
}

impl Tally {
    /// Each number, with the one to which it is added.
    fn pairs(&mut self, other: Self) -> [(&mut u64, u64); 18] {
        [
            (&mut self.operations, other.operations),
            (&mut self.troubled, other.troubled),
            (&mut self.crashes, other.crashes),
            (&mut self.lost_writes, other.lost_writes),
            (&mut self.store_faults, other.store_faults),
            (&mut self.provider_faults, other.provider_faults),
            (&mut self.lost_messages, other.lost_messages),
            (&mut self.duplicates, other.duplicates),
            (&mut self.families, other.families),
            (&mut self.refreshes, other.refreshes),
            (&mut self.same_successors, other.same_successors),
            (&mut self.renewals, other.renewals),
            (&mut self.revocations, other.revocations),
            (&mut self.replays, other.replays),
            (&mut self.calls, other.calls),
            (&mut self.living, other.living),
            (&mut self.dead, other.dead),
            (&mut self.excused, other.excused),
        ]
    }

    /// Everything happened, and often; and of few families nobody could say whether they must live.
    pub(super) fn assert_is_eventful(mut self, histories: u64) {
        let text = format!("{self:?}");
        assert!(self.pairs(Self::default()).iter().all(|(number, _)| **number > histories / 100), "{text}");
        assert!(self.excused < self.living / 2, "{text}");
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (sum, number) in self.pairs(other) {
            *sum += number;
        }
    }
}

pub(super) struct State {
    pub(super) chance: Chance,
    pub(super) disk: Disk,
    pub(super) provider: Provider,
    pub(super) ledger: Ledger,
    pub(super) vitals: Vec<Vital>,
    pub(super) tally: Tally,
    /// Nothing goes wrong any more.
    pub(super) is_healed: bool,
    /// Requests under way.
    pub(super) under_way: usize,
    pub(super) violation: Option<String>,
    pub(super) trace: Option<Vec<String>>,
}

pub(super) struct World {
    pub(super) plan: Plan,
    begun: time::Instant,
    state: Mutex<State>,
}

impl World {
    pub(super) fn new(plan: Plan, tracing: bool) -> Arc<Self> {
        let vital = |server| Vital {
            life: Life { server, number: 0 },
            is_up: false,
            skew: 0,
            outage_until: 0,
            end: Arc::default(),
        };
        let state = State {
            chance: Chance::new(plan.seed, 2),
            disk: Disk::new(plan.kind == Kind::Disk),
            provider: Provider::new(plan.upstreams),
            ledger: Ledger::default(),
            vitals: (0..plan.servers()).map(vital).collect(),
            tally: Tally::default(),
            is_healed: false,
            under_way: 0,
            violation: None,
            trace: tracing.then(Vec::new),
        };
        Arc::new(Self { plan, begun: time::Instant::now(), state: Mutex::new(state) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time since the beginning.
    pub(super) fn now(&self) -> Millis {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.state().trace {
            trace.push(format!("{:>12.3}  {}", now as f64 / 1000.0, what()));
        }
    }

    /// The first one is the one that counts.
    pub(super) fn violate(&self, what: String) {
        self.say(|| format!("!!! {what}"));
        self.state().violation.get_or_insert(what);
    }

    pub(super) fn is_violated(&self) -> bool {
        self.state().violation.is_some()
    }

    pub(super) fn chance<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.state().chance)
    }

    pub(super) fn is_alive(&self, life: Life) -> bool {
        let state = self.state();
        let vital = &state.vitals[life.server];
        vital.is_up && vital.life == life
    }

    /// The server begins a life.
    pub(super) fn begin_life(&self, server: usize) -> (Life, Arc<End>) {
        let end = Arc::<End>::default();
        let mut state = self.state();
        let vital = &mut state.vitals[server];
        vital.life.number += 1;
        (vital.is_up, vital.end) = (true, Arc::clone(&end));
        (vital.life, end)
    }

    /// Power off, if this life is not over yet. Whatever it had in memory is gone; its tasks never run on, since each
    /// waits for a store or a provider that does not answer the dead.
    pub(super) fn crash(&self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let lost = {
            let mut state = self.state();
            let state = &mut *state;
            let lost = state.disk.lose_some(&mut state.chance);
            state.provider.lose(life);
            state.vitals[life.server].is_up = false;
            state.vitals[life.server].end.come();
            state.tally.crashes += 1;
            state.tally.lost_writes += lost as u64;
            lost
        };
        self.say(|| format!("server {} crashes; {lost} unflushed writes are lost", life.server));
    }

    pub(super) async fn pause(&self, millis: Millis) {
        if millis == 0 {
            tokio::task::yield_now().await;
        } else {
            time::sleep(span(millis)).await;
        }
    }

    /// A pause of chance.
    pub(super) async fn rest(&self, range: std::ops::Range<Millis>) {
        let millis = self.chance(|chance| chance.within(range));
        self.pause(millis).await;
    }

    /// The server's clock is set anew, as by NTP.
    pub(super) fn step_clock(&self, server: usize) {
        let skew = {
            let mut state = self.state();
            let skew = i64::try_from(state.chance.below(2 * SKEW + 1)).unwrap() - i64::try_from(SKEW).unwrap();
            state.vitals[server].skew = skew;
            skew
        };
        self.say(|| format!("the clock of server {server} is {skew} ms off"));
    }
}

/// The clock on the wall of one server.
pub(super) struct WallClock {
    pub(super) world: Arc<World>,
    pub(super) server: usize,
}

impl Clock for WallClock {
    fn now(&self) -> Instant {
        let skew = self.world.state().vitals[self.server].skew;
        Instant::from_millis((DAWN.millis() + self.world.now()).saturating_add_signed(skew))
    }
}

/// The ring of all histories: its subkeys are derived once.
pub(super) fn keyring() -> Arc<Keyring> {
    static RING: OnceLock<Arc<Keyring>> = OnceLock::new();
    Arc::clone(RING.get_or_init(crate::world::keyring))
}
