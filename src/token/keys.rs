//! Signing keys as they lie in the store, and the rules by which they move on (ASM-13). Nothing is read or written here.
//!
//! ```text
//! published ──── a day at least, usually a whole period ────► signs ──── [tokens] rotate_keys ────► verifies ──► gone
//!    Next                                                    Current                               Retired
//! ```
//! One record holds all keys of one algorithm, so that a rotation is a single swap: of many replicas (or tasks, or
//! operators) that try at once, one wins, and the others find it done. No lease is needed for what one swap decides. At
//! every moment there is exactly one current key and one next key, and a verifier whose copy of our key set is not older
//! than [`LEAD`] knows every key in use: the next key was in it before it signed anything.
//!
//! After a change of algorithm the old one's record stays for as long as a process still signs by it (`used`, told
//! hourly) and its last token lives; then it is removed as a whole.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{
        Random,
        jwt::{Alg, BadKey, SigningKey},
    },
    domain::{Instant, Secret, secret::in_record},
    store::Record,
};

/// How long a key is published before it signs. Our own header lets caches keep the set for five minutes, but some
/// verifiers have a mind of their own (two hours at large API gateways).
pub(super) const LEAD: Duration = Duration::from_secs(24 * 3600);
/// How long a retired key stays: the longest life that `access_life` may have, and an hour for replicas that have not
/// noticed yet and for clocks that differ.
pub(super) const RETIRED: Duration = Duration::from_secs(25 * 3600);
/// How often a process that signs says so.
const USED: Duration = Duration::from_secs(3600);
/// 2100-01-01: a key set has no end of its own.
const FOREVER: Instant = Instant::from_secs(4_102_444_800);

/// Where a key stands. Keys of every stage verify and are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Published ahead of its use, so that caches of our key set know it in time.
    Next,
    /// Signs.
    Current,
    /// Signs no more; stays until its last token has died.
    Retired,
}

impl Stage {
    /// Its name in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Retired => "retired",
        }
    }
}

/// One key in its record.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredKey {
    pub(super) stage: Stage,
    /// When it entered the stage.
    pub(super) since: Instant,
    /// The private JWK, with its `kid`.
    #[serde(with = "in_record")]
    pub(super) jwk: Secret<String>,
}

impl StoredKey {
    /// A fresh key.
    pub(super) fn generate(alg: Alg, stage: Stage, since: Instant, random: &dyn Random) -> Result<Self, BadKey> {
        let kid = URL_SAFE_NO_PAD.encode(random.bytes::<9>());
        let jwk = SigningKey::generate(alg, &kid)?.to_private_jwk();
        Ok(Self { stage, since, jwk })
    }

    pub(super) fn kid(&self) -> String {
        let jwk: Result<Named, _> = serde_json::from_str(self.jwk.expose());
        jwk.map(|named| named.kid).unwrap_or_default()
    }
}

/// What of a JWK is no secret.
#[derive(Deserialize)]
struct Named {
    kid: String,
}

/// `signing-key/{alg}`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeySet {
    pub(super) alg: String,
    pub(super) keys: Vec<StoredKey>,
    /// When a process that signs by this algorithm last said so.
    #[serde(default)]
    pub(super) used: Option<Instant>,
}

impl Record for KeySet {
    const KIND: &'static str = "signing-key";
    const PURPOSE: &'static str = "store/signing-key";

    fn id(&self) -> String {
        self.alg.clone()
    }

    fn expires(&self) -> Instant {
        FOREVER
    }
}

/// How the keys are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// How long a key signs; `None` for until somebody rotates.
    pub(super) every: Option<Duration>,
    /// The longest life of a token that this process makes.
    pub(super) life: Duration,
}

impl Schedule {
    fn retired(self) -> Duration {
        RETIRED.max(self.life + USED)
    }
}

/// What is to be done with a set that this process signs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Something that needs no new key: a retired one goes, or the hour is told.
    Tidy,
    /// Something that leaves room for a next key: the rotation, or a set without one.
    Fresh,
}

impl KeySet {
    /// The first two keys of an algorithm. Nobody has a copy of an older set, so the current one needs no lead.
    pub(super) fn first(alg: Alg, now: Instant, random: &dyn Random) -> Result<Self, BadKey> {
        let key = |stage| StoredKey::generate(alg, stage, now, random);
        Ok(Self { alg: alg.as_str().to_owned(), keys: vec![key(Stage::Current)?, key(Stage::Next)?], used: Some(now) })
    }

    /// The names of all keys.
    pub(super) fn kids(&self) -> Vec<String> {
        self.keys.iter().map(StoredKey::kid).collect()
    }

    /// The name of the key that signs.
    pub(super) fn signer(&self) -> String {
        self.of_stage(Stage::Current).map(StoredKey::kid).unwrap_or_default()
    }

    pub(super) fn of_stage(&self, stage: Stage) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.stage == stage)
    }

    /// When the next key may sign; `None` while there is none.
    pub(super) fn next_usable(&self) -> Option<Instant> {
        self.of_stage(Stage::Next).map(|next| next.since + LEAD)
    }

    /// When the schedule takes the next key.
    pub(super) fn rotates(&self, schedule: Schedule) -> Option<Instant> {
        let current = self.of_stage(Stage::Current)?;
        Some((current.since + schedule.every?).max(self.next_usable()?))
    }

    /// When a key leaves its stage, as far as that is planned.
    pub(super) fn until(&self, key: &StoredKey, schedule: Schedule) -> Option<Instant> {
        match key.stage {
            Stage::Next | Stage::Current => self.rotates(schedule),
            Stage::Retired => Some(key.since + schedule.retired()),
        }
    }

    pub(super) fn due(&self, now: Instant, schedule: Schedule) -> Due {
        let is_over = |key: &StoredKey| key.stage == Stage::Retired && key.since + schedule.retired() <= now;
        if self.of_stage(Stage::Next).is_none() || self.rotates(schedule).is_some_and(|at| at <= now) {
            Due::Fresh
        } else if self.keys.iter().any(is_over) || self.used.is_none_or(|used| used + USED <= now) {
            Due::Tidy
        } else {
            Due::Nothing
        }
    }

    /// Does what is due. Without a fresh key, only what needs none.
    pub(super) fn tended(mut self, now: Instant, schedule: Schedule, fresh: Option<StoredKey>) -> Self {
        self.used = Some(now);
        self.keys.retain(|key| key.stage != Stage::Retired || key.since + schedule.retired() > now);
        match fresh {
            Some(fresh) if self.rotates(schedule).is_some_and(|at| at <= now) => self.rotated(now, fresh),
            Some(fresh) if self.of_stage(Stage::Next).is_none() => {
                self.keys.push(fresh);
                self
            }
            _ => self,
        }
    }

    /// Next becomes current, current retires, `fresh` is the next one.
    pub(super) fn rotated(mut self, now: Instant, fresh: StoredKey) -> Self {
        for key in &mut self.keys {
            let then = match key.stage {
                Stage::Next => Stage::Current,
                Stage::Current => Stage::Retired,
                Stage::Retired => continue,
            };
            (key.stage, key.since) = (then, now);
        }
        self.keys.push(fresh);
        self
    }

    /// Of an algorithm that this process does not sign by: whether its last token has died.
    pub(super) fn is_over(&self, now: Instant, schedule: Schedule) -> bool {
        self.used.is_some_and(|used| used + USED + schedule.retired() <= now)
    }

    /// The keys, the one that signs first.
    pub(super) fn read(&self) -> Result<Vec<SigningKey>, BadKey> {
        let (current, others): (Vec<_>, Vec<_>) = self.keys.iter().partition(|key| key.stage == Stage::Current);
        if current.len() != 1 {
            return Err(BadKey::NO_CURRENT);
        }
        current.into_iter().chain(others).map(|key| SigningKey::from_private_jwk(&key.jwk)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAWN: Instant = Instant::from_secs(1_800_000_000);
    const SCHEDULE: Schedule = Schedule { every: Some(Duration::from_secs(90 * 86_400)), life: USED };

    fn key(stage: Stage, since: Instant) -> StoredKey {
        StoredKey { stage, since, jwk: "{}".into() }
    }

    fn set(keys: Vec<StoredKey>) -> KeySet {
        KeySet { alg: "ES256".to_owned(), keys, used: Some(DAWN) }
    }

    fn stages(set: &KeySet) -> Vec<Stage> {
        set.keys.iter().map(|key| key.stage).collect()
    }

    #[test]
    fn an_old_record_without_a_next_key_gets_one_and_rotates_only_after_its_lead() {
        let old = set(vec![key(Stage::Current, DAWN - DAY * 365)]);
        assert_eq!(old.due(DAWN, SCHEDULE), Due::Fresh);
        let with_next = old.tended(DAWN, SCHEDULE, Some(key(Stage::Next, DAWN)));
        assert_eq!(stages(&with_next), [Stage::Current, Stage::Next]);
        assert_eq!(with_next.due(DAWN, SCHEDULE), Due::Nothing);
        assert_eq!(with_next.rotates(SCHEDULE), Some(DAWN + LEAD));
        let rotated = with_next.tended(DAWN + LEAD, SCHEDULE, Some(key(Stage::Next, DAWN + LEAD)));
        assert_eq!(stages(&rotated), [Stage::Retired, Stage::Current, Stage::Next]);
    }

    #[test]
    fn a_retired_key_stays_as_long_as_the_longest_token_may_live() {
        let now = DAWN + DAY * 30;
        let keys = vec![key(Stage::Current, now), key(Stage::Next, now), key(Stage::Retired, now)];
        let set = KeySet { used: Some(now + RETIRED), ..set(keys) };
        assert_eq!(set.due(now + RETIRED - Duration::from_millis(1), SCHEDULE), Due::Nothing);
        assert_eq!(set.due(now + RETIRED, SCHEDULE), Due::Tidy);
        assert_eq!(stages(&set.tended(now + RETIRED, SCHEDULE, None)), [Stage::Current, Stage::Next]);
        assert!(RETIRED > DAY, "access_life goes up to 24 h");
    }

    #[test]
    fn what_never_rotates_still_has_a_next_key_at_hand() {
        let never = Schedule { every: None, ..SCHEDULE };
        let set = set(vec![key(Stage::Current, DAWN), key(Stage::Next, DAWN)]);
        let later = KeySet { used: Some(DAWN + DAY * 3650), ..set };
        assert_eq!(later.due(DAWN + DAY * 3650, never), Due::Nothing);
        assert_eq!(later.rotates(never), None);
    }
}
