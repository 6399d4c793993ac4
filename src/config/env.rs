//! The environment: `VESTIBULE__SECTION__KEY` overrides what the file says; a flag overrides both (attacks §2).
//!
//! `VESTIBULE__UPSTREAM__GITHUB__CLIENT_ID`, `VESTIBULE__RESOURCE__0__PATH` (the number may be left out while there is
//! only one), lists with commas. Each secret has a twin with `_FILE` that names a file. An empty variable counts as
//! absent, since composed environments cannot leave one out.

use std::collections::BTreeMap;

use super::{
    mistake::Mistake,
    tree::{Node, Origin, Table, Value},
};

const PREFIX: &str = "VESTIBULE__";
/// Settings that hold secrets, and so may come from a file.
pub(super) const SECRETS: [&str; 8] =
    ["secret_key", "client_secret", "shared_secret", "secret", "value", "password", "token", "initial_access_tokens"];
/// Sections that are lists of tables.
const LISTS: [&str; 2] = ["resource", "client"];
/// The deepest setting is `resource.0.inject.0.value`.
const MAX_DEPTH: usize = 6;

/// Variables by name. Tests write their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process. Variables that are not Unicode are left out: no setting is one.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// The value of a variable, unless it is empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// Writes the variables over the tree.
pub(super) fn overlay(table: &mut Table, environment: &Environment, mistakes: &mut Vec<Mistake>) {
    let mut variables: Vec<(Vec<String>, &String, &String)> = environment
        .0
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, name, value)))
        .map(|(rest, name, value)| (rest.split("__").map(str::to_ascii_lowercase).collect(), name, value))
        .collect();
    // Numbers as numbers, so that the second comes before the tenth.
    variables.sort_by_cached_key(|(keys, ..)| {
        keys.iter().map(|key| (key.parse().unwrap_or(usize::MAX), key.clone())).collect::<Vec<_>>()
    });
    for (mut keys, name, value) in variables {
        let value = match as_secret_file(&mut keys) {
            Some(twin) if environment.get(&format!("{PREFIX}{twin}")).is_some() => {
                mistakes.push(mistake(name, format!("both {PREFIX}{twin} and its _FILE twin are set"), "keep one"));
                continue;
            }
            Some(_) => format!("file:{value}"),
            None => value.clone(),
        };
        let node = Node { value: Value::Text(value), origin: Origin::Environment(name.clone()) };
        if keys.iter().any(String::is_empty) || keys.len() > MAX_DEPTH {
            let remedy = "name one setting, such as VESTIBULE__UPSTREAM__GITHUB__CLIENT_ID";
            mistakes.push(mistake(name, "this names no setting".to_owned(), remedy));
        } else if let Err(problem) = set(table, &keys, node) {
            mistakes.push(mistake(name, problem, "see the file's format in the README"));
        }
    }
}

fn mistake(name: &str, problem: String, remedy: &str) -> Mistake {
    Mistake { path: String::new(), origin: Origin::Environment(name.to_owned()), problem, remedy: remedy.to_owned() }
}

/// For `…_FILE` of a secret: cuts the ending off the last key and gives the twin's name.
fn as_secret_file(keys: &mut [String]) -> Option<String> {
    let last = keys.last_mut()?;
    let secret = last.strip_suffix("_file").filter(|key| SECRETS.contains(key))?.to_owned();
    *last = secret;
    Some(keys.join("__").to_ascii_uppercase())
}

/// Puts `node` at the place that `keys` name, making sections on the way.
pub(super) fn set(table: &mut Table, keys: &[String], node: Node) -> Result<(), String> {
    let Some((first, rest)) = keys.split_first() else { return Ok(()) };
    let key = spelling(table, first);
    if rest.is_empty() {
        table.insert(key, node);
        return Ok(());
    }
    let fresh = || match LISTS.contains(&first.as_str()) {
        true => Value::Array(Vec::new()),
        false => Value::Table(Table::new()),
    };
    let inner = table.entry(key).or_insert_with(|| Node { value: fresh(), origin: node.origin.clone() });
    match &mut inner.value {
        Value::Table(table) => set(table, rest, node),
        Value::Array(items) => set_item(items, first, rest, node),
        // A plain value of the file gives way to the section: `allow = "anyone"` to ALLOW__EMAILS.
        other => {
            *other = fresh();
            set(table, keys, node)
        }
    }
}

fn set_item(items: &mut Vec<Node>, name: &str, keys: &[String], node: Node) -> Result<(), String> {
    let numbered = keys.split_first().and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
    let (index, keys) = match numbered {
        Some((index, _)) if index > items.len() => {
            return Err(format!("there is no {name}[{index}]: the next free number is {}", items.len()));
        }
        Some(numbered) => numbered,
        None if items.len() > 1 => {
            return Err(format!("there are {} of [[{name}]]: put a number behind its name, from 0 on", items.len()));
        }
        None => (0, keys),
    };
    if index == items.len() {
        items.push(Node { value: Value::Table(Table::new()), origin: node.origin.clone() });
    }
    match items.get_mut(index) {
        Some(item) if keys.is_empty() => *item = node,
        Some(Node { value: Value::Table(table), .. }) => return set(table, keys, node),
        _ => return Err(format!("{name}[{index}] is not a table")),
    }
    Ok(())
}

/// The spelling under which the file has the key: a variable's name cannot hold the hyphen of `[upstream.my-idp]`.
fn spelling(table: &Table, key: &str) -> String {
    let own = table.keys().find(|own| own.replace('-', "_").eq_ignore_ascii_case(key));
    own.map_or_else(|| key.to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::{Environment, Table, Value, overlay};
    use crate::config::file;

    fn after(toml: &str, variables: &[(&str, &str)]) -> (Table, Vec<String>) {
        let (mut table, _) = file::read("v.toml", toml);
        let mut mistakes = Vec::new();
        overlay(&mut table, &variables.iter().copied().collect::<Environment>(), &mut mistakes);
        (table, mistakes.into_iter().map(|m| m.problem).collect())
    }

    fn text(table: &Table, keys: &[&str]) -> String {
        let (first, rest) = keys.split_first().unwrap();
        match &table[*first].value {
            Value::Text(text) => text.clone(),
            Value::Table(inner) => text(inner, rest),
            Value::Array(items) => match &items[rest[0].parse::<usize>().unwrap()].value {
                Value::Table(inner) => text(inner, &rest[1..]),
                _ => panic!(),
            },
            _ => panic!(),
        }
    }

    #[test]
    fn a_variable_overrides_hyphens_and_numbers_included() {
        let (table, mistakes) = after(
            &format!("[upstream.my-idp]\nclient_id = \"old\"\n{}", "[[resource]]\n".repeat(9)),
            &[
                ("VESTIBULE__UPSTREAM__MY_IDP__CLIENT_ID", "new"),
                ("VESTIBULE__RESOURCE__10__PATH", "/k"),
                ("VESTIBULE__RESOURCE__9__PATH", "/c"),
                ("VESTIBULE__RESOURCE__1__PATH", "/b"),
                ("VESTIBULE__UPSTREAM__MY_IDP__CLIENT_SECRET_FILE", "/run/s"),
                ("VESTIBULE__LISTEN", ""),
                ("VESTIBULE_PORT", "tcp://10.0.0.1"),
            ],
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(text(&table, &["upstream", "my-idp", "client_id"]), "new");
        assert_eq!(text(&table, &["upstream", "my-idp", "client_secret"]), "file:/run/s");
        assert_eq!(text(&table, &["resource", "9", "path"]), "/c");
        assert!(!table.contains_key("listen"));
    }

    #[test]
    fn a_variable_without_a_place_is_a_mistake() {
        let (_, mistakes) = after(
            "[[resource]]\n[[resource]]",
            &[
                ("VESTIBULE__RESOURCE__PATH", "/a"),
                ("VESTIBULE__RESOURCE__7__PATH", "/a"),
                ("VESTIBULE__", "x"),
                ("VESTIBULE__SECRET_KEY", "x"),
                ("VESTIBULE__SECRET_KEY_FILE", "x"),
            ],
        );
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }
}
