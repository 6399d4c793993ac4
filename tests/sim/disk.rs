//! The store's medium, with real semantics.
//!
//! As a [`Disk`] it is sled's: writes go to a log in memory, a flush writes the log out up to where it stood, and a crash
//! takes any end of what was not flushed. As a shared server it has no log: what it did is done. In both cases every
//! operation is a place where its server may crash, before or after it took effect; where the reply may get lost; and,
//! over a network, where the effect may come later than the writer's patience lasts.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use vestibule::store::{Backend, Key, Life as Keep, Page, Place, Unavailable};

use super::{
    chance::Chance,
    plan::{Kind, LATE, Millis, Planted},
    planted,
    world::{Life, State, World},
};

struct Undo {
    key: Key,
    before: Option<Bytes>,
}

#[derive(Default)]
pub(super) struct Disk {
    values: BTreeMap<Key, Bytes>,
    /// How to take back what was not flushed, oldest first.
    log: Vec<Undo>,
    flushed: usize,
    has_log: bool,
}

impl Disk {
    pub(super) fn new(has_log: bool) -> Self {
        Self { has_log, ..Self::default() }
    }

    fn write(&mut self, key: &Key, value: Option<Bytes>) {
        let before = match value {
            Some(value) => self.values.insert(key.clone(), value),
            None => self.values.remove(key),
        };
        if self.has_log {
            self.log.push(Undo { key: key.clone(), before });
        }
    }

    /// Where the log ends now.
    fn mark(&self) -> usize {
        self.flushed + self.log.len()
    }

    fn flush_to(&mut self, mark: usize) {
        let count = mark.saturating_sub(self.flushed);
        self.log.drain(..count);
        self.flushed += count;
    }

    /// The crash: an end of the log, of any length, was never written.
    pub(super) fn lose_some(&mut self, chance: &mut Chance) -> usize {
        let lost = chance.index(self.log.len() + 1);
        for undo in self.log.drain(self.log.len() - lost..).rev() {
            match undo.before {
                Some(value) => self.values.insert(undo.key, value),
                None => self.values.remove(&undo.key),
            };
        }
        self.flushed += self.log.len();
        self.log.clear();
        lost
    }
}

/// One operation, on its way.
#[derive(Clone)]
enum Verb {
    Flush,
    Get(Key),
    Set { key: Key, value: Option<Bytes>, durable: bool },
    Swap { key: Key, old: Option<Bytes>, new: Option<Bytes>, durable: bool },
    Scan { prefix: String, from: Option<Place>, limit: usize },
}

enum Outcome {
    Value(Option<Bytes>),
    Done,
    Swapped(bool),
    Page(Page),
}

impl Verb {
    const fn is_write(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::Swap { .. })
    }

    fn say(&self, outcome: &Outcome) -> String {
        let short = |key: &Key| key.as_str().chars().take(18).collect::<String>();
        match (self, outcome) {
            (Self::Get(key), Outcome::Value(value)) => {
                format!("get {} -> {}", short(key), if value.is_some() { "some" } else { "none" })
            }
            (Self::Flush, _) => "flush".to_owned(),
            (Self::Set { key, .. }, _) => format!("set {}", short(key)),
            (Self::Swap { key, old, new, .. }, Outcome::Swapped(won)) => {
                let is = |value: &Option<Bytes>| if value.is_some() { "some" } else { "none" };
                format!("swap {} {} for {} -> {won}", short(key), is(old), is(new))
            }
            (Self::Scan { prefix, .. }, Outcome::Page(page)) => format!("scan {prefix} -> {}", page.pairs.len()),
            _ => "?".to_owned(),
        }
    }

    fn apply(&self, disk: &mut Disk, planted: Option<Planted>) -> Outcome {
        let bent = |key: &Key, value: &Option<Bytes>| match (planted, value) {
            (Some(Planted::OtherSuccessor), Some(value)) => Some(planted::with_other_successors(key, value)),
            _ => value.clone(),
        };
        match self {
            Self::Flush => Outcome::Done,
            Self::Get(key) => Outcome::Value(disk.values.get(key).cloned()),
            Self::Set { key, value, .. } => {
                disk.write(key, bent(key, value));
                Outcome::Done
            }
            Self::Swap { key, old, new, .. } => {
                if disk.values.get(key) != old.as_ref() {
                    return Outcome::Swapped(false);
                }
                disk.write(key, bent(key, new));
                Outcome::Swapped(true)
            }
            Self::Scan { prefix, from, limit } => {
                let is_ours = |key: &Key| {
                    key.as_str().starts_with(prefix.as_str())
                        && from.as_ref().is_none_or(|place| key.as_str() > place.as_str())
                };
                let ours = disk.values.iter().filter(|(key, _)| is_ours(key));
                let pairs = ours.take(*limit).map(|(key, value)| (key.clone(), value.clone())).collect();
                Outcome::Page(Page::in_order(pairs, *limit))
            }
        }
    }
}

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    CrashBefore,
    CrashAfter,
    Refuses,
    ForgetsToReply,
    /// It says nothing in time and does it later.
    Late(Millis),
}

struct Fate {
    before: Millis,
    after: Millis,
    fault: Fault,
}

/// The store as one life of one server sees it.
pub(super) struct Port {
    pub(super) world: Arc<World>,
    pub(super) life: Life,
}

impl Port {
    fn fate(&self, verb: &Verb) -> Fate {
        let (now, plan) = (self.world.now(), &self.world.plan);
        let mut state = self.world.state();
        let state = &mut *state;
        state.tally.operations += 1;
        state.tally.troubled += u64::from(!state.is_healed);
        let (chance, rates) = (&mut state.chance, &plan.rates);
        if let Some((at, after)) = plan.crash_at {
            let crashes = state.tally.troubled == at && !state.is_healed;
            let fault = if after { Fault::CrashAfter } else { Fault::CrashBefore };
            return Fate { before: 0, after: 0, fault: if crashes { fault } else { Fault::None } };
        }
        let shared = plan.kind == Kind::Shared;
        let mut delay = || match chance.below(100) {
            0..60 => 0,
            60..92 => chance.within(1..15),
            92..99 => chance.within(15..200),
            _ => chance.within(200..2000),
        };
        let (before, mut after) = (delay(), delay());
        // A flush takes its time, in which others see what is not flushed.
        if !shared && verb.is_write() {
            after = delay().max(after) + delay();
        }
        if state.is_healed {
            return Fate { before: before.min(20), after: after.min(20), fault: Fault::None };
        }
        let is_out = now < state.vitals[self.life.server].outage_until;
        let fault = match chance.below(1000) {
            _ if is_out && shared && verb.is_write() && chance.permille(200) => Fault::Late(chance.within(1..LATE)),
            _ if is_out => Fault::Refuses,
            n if n < rates.crash => *chance.pick(&[Fault::CrashBefore, Fault::CrashAfter]),
            n if n < rates.crash + rates.store_refuses => Fault::Refuses,
            n if n < rates.crash + rates.store_refuses + rates.store_forgets_to_reply => Fault::ForgetsToReply,
            _ if shared && verb.is_write() && chance.permille(rates.store_is_late) => {
                Fault::Late(chance.within(1..LATE))
            }
            _ => Fault::None,
        };
        if fault != Fault::None {
            state.tally.store_faults += 1;
        }
        Fate { before, after, fault }
    }

    async fn go(&self, verb: Verb) -> Result<Outcome, Unavailable> {
        let fate = self.fate(&verb);
        self.world.pause(fate.before).await;
        self.be_alive().await;
        match fate.fault {
            Fault::CrashBefore => self.die().await,
            Fault::Refuses => return Err(self.refuse(&verb, "refused")),
            Fault::Late(by) => {
                let (world, late) = (Arc::clone(&self.world), verb.clone());
                tokio::spawn(async move {
                    world.pause(by).await;
                    let outcome = late.apply(&mut world.state().disk, world.plan.planted);
                    world.say(|| format!("late: {}", late.say(&outcome)));
                });
                return Err(self.refuse(&verb, "too late"));
            }
            Fault::None | Fault::CrashAfter | Fault::ForgetsToReply => {}
        }
        let (outcome, mark) = self.take_effect(&verb).await;
        if fate.fault == Fault::CrashAfter {
            self.die().await;
        }
        self.world.pause(fate.after).await;
        self.be_alive().await;
        // On a disk, a reply that is not given is a flush that failed.
        if fate.fault == Fault::ForgetsToReply {
            return Err(self.refuse(&verb, "done, and no reply"));
        }
        self.settle(&verb, &outcome, mark);
        Ok(outcome)
    }

    async fn take_effect(&self, verb: &Verb) -> (Outcome, usize) {
        let planted = self.world.plan.planted;
        if let (Some(Planted::CheckThenWrite), Verb::Swap { key, old, new, .. }) = (planted, verb) {
            if self.world.state().disk.values.get(key) != old.as_ref() {
                return (Outcome::Swapped(false), 0);
            }
            self.world.rest(0..5).await;
            self.be_alive().await;
            let mut state = self.world.state();
            state.disk.write(key, new.clone());
            return (Outcome::Swapped(true), state.disk.mark());
        }
        let (outcome, mark) = {
            let mut state = self.world.state();
            (verb.apply(&mut state.disk, planted), state.disk.mark())
        };
        self.world.say(|| format!("  {} {}", self.life.server, verb.say(&outcome)));
        (outcome, mark)
    }

    /// The contract of [`Backend`]: what was durably written has reached the disk when the writer hears of it, and all
    /// that was written has when somebody asked for a flush.
    fn settle(&self, verb: &Verb, outcome: &Outcome, mark: usize) {
        let (planted, mut state) = (self.world.plan.planted, self.world.state());
        let State { disk, provider, chance, .. } = &mut *state;
        let flushes = match (verb, outcome) {
            (Verb::Set { durable, .. }, _) => *durable,
            (Verb::Swap { durable, .. }, Outcome::Swapped(won)) => *durable && *won,
            (Verb::Flush, _) => planted != Some(Planted::DirtyRead),
            _ => false,
        };
        if flushes && (planted != Some(Planted::NoFlush) || chance.permille(100)) {
            disk.flush_to(mark);
        }
        if !provider.waits_for(self.life) {
            return;
        }
        // What the store has acknowledged is kept.
        let acknowledged: Vec<_> = match (verb, outcome) {
            (Verb::Swap { key, new: Some(value), .. }, Outcome::Swapped(true)) => vec![(key, value)],
            (Verb::Flush, _) => disk.values.iter().collect(),
            _ => Vec::new(),
        };
        for grant in acknowledged.into_iter().filter_map(|(key, value)| planted::read_grant(key, value)) {
            provider.note_kept(&grant);
        }
    }

    async fn be_alive(&self) {
        if !self.world.is_alive(self.life) {
            std::future::pending::<()>().await;
        }
    }

    async fn die(&self) {
        self.world.crash(self.life);
        std::future::pending::<()>().await;
    }

    fn refuse(&self, verb: &Verb, why: &'static str) -> Unavailable {
        self.world.say(|| {
            let name = match verb {
                Verb::Flush => "flush".to_owned(),
                Verb::Get(key) => format!("get {}", key.as_str()),
                Verb::Set { key, .. } => format!("set {}", key.as_str()),
                Verb::Swap { key, .. } => format!("swap {}", key.as_str()),
                Verb::Scan { prefix, .. } => format!("scan {prefix}"),
            };
            format!("  {} {} -> {why}", self.life.server, name.chars().take(24).collect::<String>())
        });
        Unavailable(why.into())
    }
}

#[async_trait::async_trait]
impl Backend for Port {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        match self.go(Verb::Get(key.clone())).await? {
            Outcome::Value(value) => Ok(value),
            _ => unreachable!(),
        }
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Keep) -> Result<(), Unavailable> {
        self.go(Verb::Set { key: key.clone(), value, durable: life.durable }).await.map(drop)
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Keep) -> Result<bool, Unavailable> {
        match self.go(Verb::Swap { key: key.clone(), old: old.cloned(), new, durable: life.durable }).await? {
            Outcome::Swapped(won) => Ok(won),
            _ => unreachable!(),
        }
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        match self.go(Verb::Scan { prefix: prefix.to_owned(), from: from.cloned(), limit }).await? {
            Outcome::Page(page) => Ok(page),
            _ => unreachable!(),
        }
    }

    /// A shared server has nothing to flush.
    async fn flush(&self) -> Result<(), Unavailable> {
        if self.is_shared() {
            return Ok(());
        }
        self.go(Verb::Flush).await.map(drop)
    }

    fn is_shared(&self) -> bool {
        self.world.plan.kind == Kind::Shared
    }
}
