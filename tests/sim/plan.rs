//! What kind of history it will be: drawn once, before anything happens.

use std::time::Duration;

use super::chance::Chance;

/// Milliseconds.
pub(super) type Millis = u64;

pub(super) const SECOND: Millis = 1000;
pub(super) const MINUTE: Millis = 60 * SECOND;
pub(super) const HOUR: Millis = 60 * MINUTE;
pub(super) const DAY: Millis = 24 * HOUR;
/// Clocks of servers differ from the true one by at most this.
pub(super) const SKEW: Millis = 2 * SECOND;
/// What a judge of clocks has to grant: two servers, each skewed, and rounding to seconds.
pub(super) const SLACK: Millis = 2 * SKEW + SECOND;
/// The longest that a write may still be on its way when its writer was told that the store does not answer.
pub(super) const LATE: Millis = 5 * SECOND;

/// Where the records lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server over a disk of its own (sled): what was not flushed may be lost when it crashes.
    Disk,
    /// Two servers over one store (Redis, Postgres): what it did stays done, but it may answer late or not at all.
    Shared,
}

/// A bug put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    /// The disk says "durable" before it is.
    NoFlush,
    /// A swap that looks, and then writes.
    CheckThenWrite,
    /// Within the grace the predecessor yields another successor than the first time.
    OtherSuccessor,
    /// Nobody waits for the flush of what another has written.
    DirtyRead,
}

/// How a provider treats its refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refreshing {
    /// Each is good once; a second use ends the login.
    Rotating,
    /// One for ever.
    Stable,
    /// None.
    Absent,
}

/// How often something goes wrong, in a thousand occasions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) crash: u64,
    pub(super) store_refuses: u64,
    pub(super) store_forgets_to_reply: u64,
    pub(super) store_is_late: u64,
    pub(super) provider: u64,
    pub(super) request_lost: u64,
    pub(super) reply_lost: u64,
    pub(super) hang_up: u64,
    pub(super) duplicate: u64,
    pub(super) slow: u64,
}

/// One provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upstream {
    pub(super) refreshing: Refreshing,
    /// Life of its access tokens; `None`: without end.
    pub(super) life: Option<Millis>,
    /// Whether it has a revocation endpoint, which ends all logins of the person there.
    pub(super) revokes: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) planted: Option<Planted>,
    pub(super) rates: Rates,
    pub(super) upstreams: [Upstream; 2],
    pub(super) grace: Millis,
    pub(super) grant_life: Millis,
    pub(super) absolute_life: Millis,
    /// ES256 with keys in the store, instead of HS256 with a secret in the file.
    pub(super) has_stored_keys: bool,
    pub(super) seats: usize,
    pub(super) steps: u64,
    /// Crash at this operation of the store: before it (`false`) or after it (`true`). Nothing else goes wrong then.
    pub(super) crash_at: Option<(u64, bool)>,
}

impl Plan {
    pub(super) fn draw(seed: u64, planted: Option<Planted>) -> Self {
        let mut chance = Chance::new(seed, 1);
        let mut kind = if chance.permille(450) { Kind::Disk } else { Kind::Shared };
        let upstream = |chance: &mut Chance| {
            let refreshing = *chance.pick(&[
                Refreshing::Rotating,
                Refreshing::Rotating,
                Refreshing::Rotating,
                Refreshing::Stable,
                Refreshing::Absent,
            ]);
            let life = *chance.pick(&[Some(HOUR), Some(HOUR), Some(10 * MINUTE), Some(100 * SECOND), None]);
            Upstream { refreshing, life, revokes: chance.permille(300) }
        };
        let upstreams = [upstream(&mut chance), upstream(&mut chance)];
        let grace = *chance.pick(&[60, 60, 60, 60, 60, 60, 30, 30, 10, 0]) * SECOND;
        let (grant_life, absolute_life) =
            *chance.pick(&[(30 * DAY, 90 * DAY), (30 * DAY, 90 * DAY), (30 * DAY, 90 * DAY), (6 * HOUR, 18 * HOUR)]);
        let mut rates = rates(&mut chance);
        if planted == Some(Planted::DirtyRead) {
            // Only twins and a crash in one moment show it, and what is given back alone: lost refreshes mend themselves.
            kind = Kind::Disk;
            (rates.crash, rates.duplicate) = (40, 300);
        }
        Self {
            seed,
            kind,
            planted,
            rates,
            upstreams,
            grace,
            grant_life,
            absolute_life,
            has_stored_keys: chance.permille(60),
            seats: usize::try_from(chance.within(1..4)).unwrap(),
            steps: chance.within(6..18),
            crash_at: None,
        }
    }

    /// A short life without any trouble, but for one crash, on a disk or between two servers.
    pub(super) fn scripted(kind: Kind, crash_at: Option<(u64, bool)>) -> Self {
        let upstream = Upstream { refreshing: Refreshing::Rotating, life: Some(HOUR), revokes: true };
        Self {
            seed: crash_at.map_or(0, |(op, after)| 2 * op + u64::from(after) + 1),
            kind,
            planted: None,
            rates: Rates::default(),
            upstreams: [upstream, upstream],
            grace: MINUTE,
            grant_life: 30 * DAY,
            absolute_life: 90 * DAY,
            has_stored_keys: true,
            seats: 2,
            steps: 0,
            crash_at,
        }
    }

    pub(super) fn servers(&self) -> usize {
        match self.kind {
            Kind::Disk => 1,
            Kind::Shared => 2,
        }
    }
}

/// Calm, rough or stormy, each kind of trouble by itself.
fn rates(chance: &mut Chance) -> Rates {
    if chance.permille(50) {
        return Rates::default();
    }
    let mut rate = |some: u64| *chance.pick(&[0, some, some, 3 * some]);
    Rates {
        crash: rate(6),
        store_refuses: rate(6),
        store_forgets_to_reply: rate(6),
        store_is_late: rate(4),
        provider: rate(80),
        request_lost: rate(20),
        reply_lost: rate(40),
        hang_up: rate(20),
        duplicate: rate(60),
        slow: rate(60),
    }
}

pub(super) const fn span(millis: Millis) -> Duration {
    Duration::from_millis(millis)
}
