//! The one reader of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{Clock, Instant};

/// The system's clock. A clock that stands before 1970 reads as 1970: everything is then expired, nothing is revived.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters the house (D16)")]
    fn now(&self) -> Instant {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
