//! The checked reader: takes known keys out of a table, notes every mistake on the way, and never stops at the first.

use std::fmt::Display;

use super::{
    desk::{Desk, Said},
    mistake::nearest,
    secret,
    tree::{Node, Origin, Table, Value},
};
use crate::domain::{Scope, Secret};

/// One scope, as rules and requests to providers name it (RFC 6749 §3.3).
///
/// # Errors
/// A list in one string, or characters that no scope has.
pub(super) fn scope_token(text: &str) -> Result<String, &'static str> {
    if Scope::parse(text).contains(text) {
        Ok(text.to_owned())
    } else {
        Err("one scope per string, without spaces, quotes and backslashes")
    }
}

/// One table, being emptied. `finish` tells which keys nobody knew.
pub(super) struct Section<'d> {
    pub(super) desk: &'d Desk<'d>,
    pub(super) path: String,
    pub(super) origin: Origin,
    table: Table,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(super) fn new(desk: &'d Desk<'d>, path: String, origin: Origin, table: Table) -> Self {
        Self { desk, path, origin, table, known: Vec::new() }
    }

    /// `path.key`.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Where `key` stands, or where its section begins.
    pub(super) fn place(&self, key: &str) -> Origin {
        self.table.get(key).map_or(&self.origin, |node| &node.origin).clone()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A string under a key that only the data knows.
    pub(super) fn free_text(&mut self, key: &str) -> Option<String> {
        let node = self.table.remove(key)?;
        match node.value {
            Value::Text(text) => {
                self.desk.resolved(self.at(key), format!("{text:?}"), node.origin);
                Some(text)
            }
            _ => {
                self.unfit(key, &node, "\"…\"");
                None
            }
        }
    }

    /// Notes that `key` is wrong as a whole (missing, or at odds with another).
    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.desk.mistake(&self.at(key), &self.place(key), problem, remedy);
    }

    fn unfit(&self, key: &str, node: &Node, expected: &str) {
        let problem = format!("expected {expected}, found {}", node.value.shape());
        self.desk.mistake(&self.at(key), &node.origin, problem, format!("write {key} = {expected}"));
    }

    /// A string, if there is one. `expected` is an example in TOML.
    pub(super) fn said(&mut self, key: &'static str, expected: &str) -> Option<Said> {
        let node = self.take(key)?;
        match node.value {
            Value::Text(text) => Some(Said { text, path: self.at(key), origin: node.origin }),
            other => {
                let problem = format!("expected a string, found {}", other.shape());
                self.desk.mistake(&self.at(key), &node.origin, problem, format!("write {key} = {expected}"));
                None
            }
        }
    }

    /// A string that `parse` understands.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let said = self.said(key, expected)?;
        match parse(&said.text) {
            Ok(value) => {
                self.desk.resolved(said.path, format!("{:?}", said.text), said.origin);
                Some(value)
            }
            Err(error) => {
                let problem = format!("{}: {error}", said.shown());
                self.desk.mistake(&said.path, &said.origin, problem, format!("write {key} = {expected}"));
                None
            }
        }
    }

    /// As [`parsed`](Self::parsed); an absent key means `default`, which is shown as such.
    pub(super) fn parsed_or<T, E: Display>(
        &mut self,
        key: &'static str,
        default: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(key) {
            let text = Value::Text(default.to_owned());
            self.table.insert(key.to_owned(), Node { value: text, origin: Origin::Default });
        }
        self.parsed(key, expected, parse)
    }

    /// As [`parsed`](Self::parsed); an absent key is a mistake.
    pub(super) fn required<T, E: Display>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.wrong(key, "is missing", format!("write {key} = {expected}"));
            return None;
        }
        self.parsed(key, expected, parse)
    }

    /// `true` or `false`.
    pub(super) fn yes_or(&mut self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.take(key) else {
            self.desk.resolved(self.at(key), default, Origin::Default);
            return default;
        };
        let yes = match &node.value {
            Value::Boolean(yes) => Some(*yes),
            Value::Text(text) if !matches!(node.origin, Origin::File { .. }) => text.to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        match yes {
            Some(yes) => self.desk.resolved(self.at(key), yes, node.origin),
            None => self.unfit(key, &node, "true"),
        }
        yes.unwrap_or(default)
    }

    /// A whole number within `range`.
    pub(super) fn number_or(&mut self, key: &'static str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(node) = self.take(key) else {
            self.desk.resolved(self.at(key), default, Origin::Default);
            return default;
        };
        let number = match &node.value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) if !matches!(node.origin, Origin::File { .. }) => text.parse().ok(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(n) => {
                self.desk.resolved(self.at(key), n, node.origin);
                n
            }
            None => {
                let problem = format!("expected a whole number from {} to {}", range.start(), range.end());
                self.desk.mistake(&self.at(key), &node.origin, problem, format!("write {key} = {default}"));
                default
            }
        }
    }

    /// A list of strings; from the environment with commas or spaces between.
    pub(super) fn list(&mut self, key: &'static str, expected: &str) -> Option<Vec<Said>> {
        let node = self.take(key)?;
        let path = self.at(key);
        let items = match node.value {
            Value::Array(items) => items,
            Value::Text(text) if !matches!(node.origin, Origin::File { .. }) => text
                .split([',', ' '])
                .filter(|part| !part.is_empty())
                .map(|part| Node { value: Value::Text(part.to_owned()), origin: node.origin.clone() })
                .collect(),
            _ => {
                self.unfit(key, &node, expected);
                return None;
            }
        };
        let mut said = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            match item.value {
                Value::Text(text) => said.push(Said { text, path: format!("{path}[{index}]"), origin: item.origin }),
                other => {
                    let problem = format!("expected a string, found {}", other.shape());
                    self.desk.mistake(
                        &format!("{path}[{index}]"),
                        &item.origin,
                        problem,
                        format!("{key} = {expected}"),
                    );
                }
            }
        }
        let texts: Vec<&str> = said.iter().map(|s| s.text.as_str()).collect();
        self.desk.resolved(path, format!("{texts:?}"), node.origin);
        Some(said)
    }

    /// A list whose every item `parse` understands; absent means empty.
    pub(super) fn each<T, E: Display>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for said in self.list(key, expected).unwrap_or_default() {
            match parse(&said.text) {
                Ok(value) => parsed.push(value),
                Err(error) => {
                    let problem = format!("{}: {error}", said.shown());
                    self.desk.mistake(&said.path, &said.origin, problem, format!("write {key} = {expected}"));
                }
            }
        }
        parsed
    }

    /// A secret: as it stands, `env:NAME`, or `file:/path`.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret<String>> {
        let said = self.said(key, "\"env:NAME\", or \"file:/path\"")?;
        secret::open(self.desk, said)
    }

    /// A list of secrets; from the environment with commas between. Shown masked, each with its place.
    pub(super) fn secrets(&mut self, key: &'static str, expected: &str) -> Option<Vec<Secret<String>>> {
        let path = self.at(key);
        let node = self.take(key)?;
        let items: Vec<Node> = match node.value {
            Value::Array(items) => items,
            Value::Text(text) if !matches!(node.origin, Origin::File { .. }) => text
                .split(',')
                .map(|part| Node { value: Value::Text(part.trim().to_owned()), origin: node.origin.clone() })
                .collect(),
            _ => {
                self.unfit(key, &node, expected);
                return None;
            }
        };
        let mut secrets = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Value::Text(text) = item.value {
                secrets.push(secret::open(self.desk, Said { text, path, origin: item.origin }));
            } else {
                self.desk.mistake(&path, &item.origin, "expected a string", format!("write {key} = {expected}"));
                secrets.push(None);
            }
        }
        secrets.into_iter().collect()
    }

    /// The table under `key`, empty if absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.at(key);
        match self.take(key) {
            Some(Node { value: Value::Table(table), origin }) => Self::new(self.desk, path, origin, table),
            Some(node) => {
                self.unfit(key, &node, &format!("[{path}]"));
                Self::new(self.desk, path, node.origin, Table::new())
            }
            None => Self::new(self.desk, path, Origin::Default, Table::new()),
        }
    }

    /// The tables under `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.at(key);
        let items = match self.take(key) {
            None => Vec::new(),
            Some(Node { value: Value::Array(items), .. }) => items,
            Some(node) => {
                let problem = format!("expected [[{key}]], found {}", node.value.shape());
                self.desk.mistake(&path, &node.origin, problem, format!("write the section's head as [[{key}]]"));
                Vec::new()
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item.value {
                Value::Table(table) => sections.push(Self::new(self.desk, path, item.origin, table)),
                other => {
                    let problem = format!("expected a table, found {}", other.shape());
                    self.desk.mistake(&path, &item.origin, problem, format!("write the section's head as [[{key}]]"));
                }
            }
        }
        sections
    }

    /// All that is left, by name: the tables under `[upstream.X]`, or free keys.
    pub(super) fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// Tells every key that nobody took, with the nearest known one.
    pub(super) fn finish(self) {
        for (key, node) in &self.table {
            let remedy = match nearest(key, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None if self.known.is_empty() => "take it out".to_owned(),
                None => {
                    let mut known = self.known.clone();
                    known.sort_unstable();
                    format!("take it out; known here are {}", known.join(", "))
                }
            };
            self.desk.mistake(&self.at(key), &node.origin, "is not a setting", remedy);
        }
    }
}
