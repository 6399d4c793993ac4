//! What was asked, what was expected by which clause, and what came: told while it happens, kept for `--json`.
//!
//! Everything that servers say passes through [`plain`] first: a terminal obeys control characters, and a debugger is
//! pointed at servers that misbehave. Secrets never come here; callers say what kind of thing came instead.

use std::io::{self, Write as _};

use serde::Serialize;

/// One thing that a clause demands of a server, and what its operator does when it is not so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// What is so when all is well.
    pub(super) expected: &'static str,
    /// Who says so.
    pub(super) clause: &'static str,
    /// For the operator of the server.
    pub(super) remedy: &'static str,
}

/// How it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As the clause says.
    Ok,
    /// Allowed, and worth knowing.
    Note,
    /// Against the clause; the login goes on, and other clients may not.
    Deviates,
    /// The login cannot go on, or must not.
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    verdict: Verdict,
    expected: &'static str,
    clause: &'static str,
    came: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

/// One step of the login.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    asked: Vec<String>,
    checks: Vec<Check>,
}

/// Why the login ended: the step that failed, by which clause, and what helps.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {came}\n  expected  {expected} ({clause})\n  remedy    {remedy}")]
pub(super) struct Stopped {
    /// The name of the step.
    pub(super) step: &'static str,
    came: String,
    expected: &'static str,
    clause: &'static str,
    remedy: &'static str,
}

/// Where the explanation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Nowhere: only failures and what a person must do are said.
    Quiet,
    /// What people asked for goes to stdout.
    Stdout,
    /// stdout belongs to a token.
    Stderr,
}

/// The steps so far.
#[derive(Debug)]
pub(super) struct Report {
    voice: Voice,
    /// Whether a deviation ends the login.
    strict: bool,
    steps: Vec<Step>,
}

impl Report {
    pub(super) const fn new(voice: Voice, strict: bool) -> Self {
        Self { voice, strict, steps: Vec::new() }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, name: &'static str) {
        self.steps.push(Step { name, asked: Vec::new(), checks: Vec::new() });
        self.say(&format!("{}{name}", if self.steps.len() > 1 { "\n" } else { "" }));
    }

    /// A request and its answer, or another thing that was done.
    pub(super) fn asked(&mut self, what: impl Into<String>) {
        let what = plain(&what.into());
        self.say(&format!("  {what}"));
        if let Some(step) = self.steps.last_mut() {
            step.asked.push(what);
        }
    }

    /// It was as the rule says.
    pub(super) fn meets(&mut self, rule: &'static Rule, came: impl Into<String>) {
        self.check(Verdict::Ok, rule, came.into());
    }

    /// Worth knowing; nothing is wrong.
    pub(super) fn notes(&mut self, rule: &'static Rule, came: impl Into<String>) {
        self.check(Verdict::Note, rule, came.into());
    }

    /// Against the rule, and still usable.
    ///
    /// # Errors
    /// [`Stopped`] where deviations count as failures.
    pub(super) fn deviates(&mut self, rule: &'static Rule, came: impl Into<String>) -> Result<(), Stopped> {
        let came = came.into();
        if self.strict {
            return Err(self.fails(rule, came));
        }
        self.check(Verdict::Deviates, rule, came);
        Ok(())
    }

    /// Against the rule: the login ends here.
    pub(super) fn fails(&mut self, rule: &'static Rule, came: impl Into<String>) -> Stopped {
        let came = plain(&came.into());
        let step = self.steps.last().map_or("login", |step| step.name);
        self.check(Verdict::Failed, rule, came.clone());
        Stopped { step, came, expected: rule.expected, clause: rule.clause, remedy: rule.remedy }
    }

    fn check(&mut self, verdict: Verdict, rule: &'static Rule, came: String) {
        let came = plain(&came);
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Deviates => "DEVIATES",
            Verdict::Failed => "FAILED",
        };
        let remedy = (verdict != Verdict::Ok).then_some(rule.remedy);
        self.say(&format!("  {word:<8}  {} ({})", rule.expected, rule.clause));
        self.say(&format!("            came: {came}"));
        if let Some(remedy) = remedy {
            self.say(&format!("            remedy: {remedy}"));
        }
        if let Some(step) = self.steps.last_mut() {
            step.checks.push(Check { verdict, expected: rule.expected, clause: rule.clause, came, remedy });
        }
    }

    fn say(&self, line: &str) {
        // A reader who has gone (`| head`) ends nothing.
        match self.voice {
            Voice::Quiet => {}
            Voice::Stdout => drop(writeln!(io::stdout().lock(), "{line}")),
            Voice::Stderr => drop(writeln!(io::stderr().lock(), "{line}")),
        }
    }

    /// How many checks deviated.
    pub(super) fn deviations(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.checks).filter(|check| check.verdict == Verdict::Deviates).count()
    }

    /// How many checks deviated or failed.
    pub(super) fn faults(&self) -> usize {
        let is_fault = |check: &&Check| matches!(check.verdict, Verdict::Deviates | Verdict::Failed);
        self.steps.iter().flat_map(|step| &step.checks).filter(is_fault).count()
    }

    /// All steps, for `--json`.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// The longest text of a server's that is shown, in characters.
const LONGEST: usize = 400;

/// Without control characters, which a terminal would obey (also the ones that turn the direction of writing), and not
/// longer than a person reads.
pub(super) fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let safe = |c: char| if c.is_control() || turns(c) { '\u{fffd}' } else { c };
    let mut out: String = text.chars().take(LONGEST).map(safe).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_write_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{202e}c\u{7}"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(plain(&"x".repeat(1000)).chars().count(), LONGEST + 1);
    }
}
