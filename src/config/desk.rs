//! The desk at which one reading is done: what every section may look into, and where all that is found is laid down.

use std::{cell::RefCell, fmt::Display, path::PathBuf};

use super::{env::Environment, mistake::Mistake, tree::Origin};

/// One resolved setting, as `check` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Which setting: `resource[0].target`.
    pub path: String,
    /// Its value; secrets are masked.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// What is shared by all sections of one reading.
pub(super) struct Desk<'a> {
    pub(super) environment: &'a Environment,
    /// Relative paths start here: the folder of the file.
    pub(super) folder: PathBuf,
    pub(super) found: RefCell<Found>,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
    pub(super) resolved: Vec<Resolved>,
}

impl Desk<'_> {
    pub(super) fn warn(&self, warning: String) {
        self.found.borrow_mut().warnings.push(warning);
    }

    pub(super) fn mistake(&self, path: &str, origin: &Origin, problem: impl Into<String>, remedy: impl Into<String>) {
        self.found.borrow_mut().mistakes.push(Mistake {
            path: path.to_owned(),
            origin: origin.clone(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn resolved(&self, path: String, value: impl Display, origin: Origin) {
        self.found.borrow_mut().resolved.push(Resolved { path, value: value.to_string(), origin });
    }
}

/// A string and its place.
pub(super) struct Said {
    pub(super) text: String,
    pub(super) path: String,
    pub(super) origin: Origin,
}

impl Said {
    /// What was written, but not under a name such as `client_secret`: in the wrong section it means something else, and
    /// whoever put it there wrote their secret all the same.
    pub(super) fn shown(&self) -> String {
        let is_secret = self.path.rsplit('.').next().is_some_and(|key| key.contains("secret"));
        if is_secret { "what is written".to_owned() } else { shown(&self.text) }
    }
}

/// What was written, fit for a terminal: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}
