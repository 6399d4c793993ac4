//! What `dev` says on stdout: one numbered line per step.

use std::{
    fmt::Display,
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Numbers the steps and prints them as they happen.
#[derive(Debug, Default)]
pub(super) struct Report {
    steps: AtomicUsize,
}

impl Report {
    /// ` 3  register       201     0.4 ms  public client, nothing stored`
    pub(super) fn step(&self, name: &str, outcome: impl Display, took: Duration, note: &str) {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let millis = took.as_secs_f64() * 1000.0;
        say(&format!("{number:>3}  {name:<18} {outcome:<5} {millis:>7.1} ms  {note}"));
    }

    /// How many steps there were.
    pub(super) fn count(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }
}

/// One line on stdout. That nobody reads it is no reason to stop.
pub(super) fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}
