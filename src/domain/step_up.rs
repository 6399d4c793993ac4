//! Which scopes an operation needs beyond those of every call: the operator's step-up rules (SC-3).

use std::collections::BTreeMap;

use super::Scope;

/// What a JSON-RPC message asks the MCP server to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `tools/call`, `resources/read`, …
    pub method: String,
    /// The tool's or prompt's name, or the resource's URI; `None` where the message names none.
    pub name: Option<String>,
}

/// A method or name in a rule: itself, or all that begin with what stands before a final `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern; `None` where it is empty, a lone `*`, or has a `*` elsewhere than at its end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        (!stem.is_empty() && !stem.contains('*')).then(|| Self(text.to_owned()))
    }

    /// Whether it means `text`. Letters count as they are written: so do MCP servers (RS-8).
    #[must_use]
    pub fn means(&self, text: &str) -> bool {
        self.0.strip_suffix('*').map_or(self.0 == text, |stem| text.starts_with(stem))
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One `[[resource.require]]`: operations, and what they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of which methods.
    pub methods: Vec<Pattern>,
    /// With which names; any where it is empty.
    pub names: Vec<Pattern>,
    /// All of these are needed.
    pub scopes: Scope,
}

impl Rule {
    /// A name that a message does not tell is met by every rule of its method: what is unknown needs more, not less.
    fn means(&self, operation: &Operation) -> bool {
        let named = match &operation.name {
            Some(name) => self.names.iter().any(|pattern| pattern.means(name)),
            None => true,
        };
        self.methods.iter().any(|pattern| pattern.means(&operation.method)) && (self.names.is_empty() || named)
    }
}

/// The step-up rules of one Resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUp {
    /// All of those that mean an operation count.
    pub rules: Vec<Rule>,
    /// How many bytes of a request may be read to see what it asks; `None` where only its headers are looked at.
    pub read_body: Option<usize>,
}

impl StepUp {
    /// Whether there is nothing to decide.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What these operations need together, so that one challenge names it all (CH-5).
    #[must_use]
    pub fn needs(&self, operations: &[Operation]) -> Scope {
        let means = |rule: &&Rule| operations.iter().any(|operation| rule.means(operation));
        union(self.rules.iter().filter(means))
    }

    /// What any operation might need: demanded where nobody can tell which one it is.
    #[must_use]
    pub fn needs_of_all(&self) -> Scope {
        union(self.rules.iter())
    }
}

fn union<'a>(rules: impl Iterator<Item = &'a Rule>) -> Scope {
    rules.fold(Scope::default(), |all, rule| all.joined_with(&rule.scopes))
}

/// Which scopes contain which others (CH-6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchy(BTreeMap<String, Scope>);

impl Hierarchy {
    /// From broad scopes to the narrower ones that each contains directly.
    #[must_use]
    pub const fn new(contains: BTreeMap<String, Scope>) -> Self {
        Self(contains)
    }

    /// Whether no scope contains another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every scope that is named in it.
    #[must_use]
    pub fn names(&self) -> Scope {
        let broad: Scope = self.0.keys().map(String::as_str).collect();
        self.0.values().fold(broad, |all, narrow| all.joined_with(narrow))
    }

    /// `scope` and all that it contains, through any number of steps.
    #[must_use]
    pub fn widened(&self, scope: &Scope) -> Scope {
        let mut all = scope.clone();
        loop {
            let contained = all.iter().filter_map(|token| self.0.get(token));
            let next = contained.fold(all.clone(), |all, narrow| all.joined_with(narrow));
            if next == all {
                return all;
            }
            all = next;
        }
    }
}
