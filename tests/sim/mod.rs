//! # Whole deployments in a bottle (D16)
//!
//! Servers built of the real rooms, their clients, two providers and a store with real semantics, on one thread, from
//! one seed: what is simulated, what is not and how to replay a seed stands in `docs/simulation.md`.
//!
//! ```text
//! plan ─► history ─► seat (clients, people) ─► deployment (the real rooms) ─┬► disk      (store)
//!                                  │                                        └► provider  (network)
//!                                  └► ledger (the model: is this answer allowed?)       all of it in one world
//! ```

mod chance;
mod deployment;
mod disk;
mod history;
mod ledger;
mod plan;
mod planted;
mod provider;
mod seat;
mod world;

use std::time::Instant;

use history::Report;
use plan::{Kind, Plan, Planted};
use world::Tally;

/// How many histories the tests run together, unless `SIM_HISTORIES` says otherwise: `tests/run` asks for 20,000 of an
/// optimised build, `just sim` for a million.
const HISTORIES: u64 = 2_000;
/// How many tests share them, so that they run on several cores.
const SHARES: u64 = 4;
/// After so many histories a planted bug must have been found.
const SOON: u64 = 20_000;

fn asked(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[expect(clippy::print_stderr, reason = "how far it is, and what a seed is about, is for whoever looks on")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs one; a violation ends the test, with the seed and what led to it.
fn hold(plan: &Plan) -> Tally {
    let report = history::run(plan.clone(), false);
    if let Some(what) = report.violation {
        let again = history::run(plan.clone(), true);
        panic!(
            "{}\n\nseed {}: {what}\n{plan:?}\nreplay it with: just sim-seed {}\n",
            again.trace.join("\n"),
            plan.seed,
            plan.seed
        );
    }
    report.tally
}

fn share(number: u64) {
    let count = asked("SIM_HISTORIES").unwrap_or(HISTORIES).div_ceil(SHARES);
    let first = asked("SIM_FIRST").unwrap_or(1) + number * count;
    let (mut tally, begun) = (Tally::default(), Instant::now());
    for done in 1..=count {
        tally += hold(&Plan::draw(first + done - 1, None));
        if done % 10_000 == 0 || done == count {
            let pace = done as f64 / begun.elapsed().as_secs_f64();
            say(&format!("share {number}: {done} of {count} histories, {pace:.0} in a second: {tally:?}"));
        }
    }
    if count >= 500 {
        tally.assert_is_eventful(count);
    }
}

#[test]
fn histories_first_share() {
    share(0);
}

#[test]
fn histories_second_share() {
    share(1);
}

#[test]
fn histories_third_share() {
    share(2);
}

#[test]
fn histories_fourth_share() {
    share(3);
}

/// One server on its disk: before and after each operation of a day, whatever is lost with the crash.
#[test]
fn a_crash_at_every_operation_on_a_disk() {
    history::every_crash(Kind::Disk).for_each(|plan| _ = hold(&plan));
}

/// Two servers over one store: the one that executes that operation crashes before or after it.
#[test]
fn a_crash_at_every_operation_of_two_servers() {
    history::every_crash(Kind::Shared).for_each(|plan| _ = hold(&plan));
}

/// With `SIM_SEED` this one is told aloud; without, some are run twice, and every line of them has to be the same.
#[test]
fn one_seed_is_one_history() {
    if let Some(seed) = asked("SIM_SEED") {
        let Report { violation, trace, .. } = history::run(Plan::draw(seed, None), true);
        say(&trace.join("\n"));
        assert_eq!(violation, None);
        return;
    }
    for seed in 1..=100 {
        let [one, two] = [0, 1].map(|_| history::run(Plan::draw(seed, None), true).trace);
        assert!(one.len() > 20 && one == two, "seed {seed} has two histories");
    }
}

/// A simulation that finds nothing might be one that cannot. What is rare is looked for from a seed on that is not far
/// from one that finds it, since many histories before it take minutes.
fn is_found(planted: Planted, from: u64) {
    let caught = |seed| Some((seed, history::run(Plan::draw(seed, Some(planted)), false).violation?));
    let (seed, what) = (from..from + SOON).find_map(caught).unwrap_or_else(|| panic!("{planted:?} was not found"));
    say(&format!("{planted:?} is found by seed {seed}: {what}"));
}

#[test]
fn a_disk_that_does_not_flush_is_found() {
    is_found(Planted::NoFlush, 1);
}

#[test]
fn a_swap_that_checks_and_then_writes_is_found() {
    is_found(Planted::CheckThenWrite, 1);
}

#[test]
fn a_grace_without_the_same_successor_is_found() {
    is_found(Planted::OtherSuccessor, 1);
}

#[test]
fn a_reader_of_what_is_not_yet_flushed_is_found() {
    is_found(Planted::DirtyRead, 5_500);
}
