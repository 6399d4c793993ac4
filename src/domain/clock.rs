//! Time as it enters the house: never read, always handed in (D16).

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `seconds` seconds after the Unix epoch (JWT `NumericDate`, RFC 7519 §2).
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// A `NumericDate` as others write it (RFC 7519 §2): nonsense becomes the nearest end of time, and adding to it stays
    /// sane.
    #[must_use]
    pub fn from_numeric_date(seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
        let millis = (seconds * 1000.0) as u64;
        Self(millis.min(1 << 53))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down (JWT `NumericDate`).
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// RFC 3339 in UTC, to the second: `2026-11-02T09:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let at =
            i64::try_from(self.0).ok().and_then(DateTime::from_timestamp_millis).unwrap_or(DateTime::<Utc>::MAX_UTC);
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Reads RFC 3339 with any offset. What lies before 1970 is no moment of ours.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(at.timestamp_millis()).ok().map(Self)
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Where the house learns what time it is: the system in production, a hand-turned dial in tests.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Instant;
}

#[cfg(test)]
mod tests {
    use super::Instant;

    #[test]
    fn rfc3339_both_ways() {
        let nine = Instant::from_secs(1_793_610_000);
        assert_eq!(nine.to_rfc3339(), "2026-11-02T09:00:00Z");
        assert_eq!(Instant::parse_rfc3339("2026-11-02T10:00:00+01:00"), Some(nine));
        for bad in ["", "2026-11-02", "yesterday", "1969-01-01T00:00:00Z"] {
            assert_eq!(Instant::parse_rfc3339(bad), None, "{bad}");
        }
        assert!(Instant::from_millis(u64::MAX).to_rfc3339().starts_with("+262142"));
    }
}
