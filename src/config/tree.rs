//! Values with the place they came from: what the file, the environment and the flags have in common.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from 1.
    File {
        /// The file's name as it was given.
        name: Arc<str>,
        /// The line.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A flag on the command line.
    Flag(&'static str),
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and its place. Not `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The shapes that settings have.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A shape that no setting has (a date, a float), by its name.
    Other(&'static str),
}

/// Keys in alphabetical order.
pub(super) type Table = BTreeMap<String, Node>;

impl Value {
    /// What a mistake calls it.
    pub(super) const fn shape(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}
