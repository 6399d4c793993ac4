//! TOML text to the tree. All syntax errors at once; nothing else is judged here.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    mistake::Mistake,
    tree::{Node, Origin, Table, Value},
};

/// Deeper nesting than any setting has.
const MAX_DEPTH: usize = 16;

/// Reads `text`. What is sound is returned even beside syntax errors, so that its mistakes are told in the same breath.
pub(super) fn read(name: &str, text: &str) -> (Table, Vec<Mistake>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let broken = errors.iter().filter_map(|error| error.span().map(|span| span.start)).collect();
    let place = Place { name: name.into(), lines: Lines::of(text), broken };
    let mistakes = errors
        .iter()
        .map(|error| Mistake {
            path: String::new(),
            origin: place.origin(error.span().map_or(0, |span| span.start)),
            // Only the message: the parser's own picture of the line could show a secret.
            problem: format!("this is not TOML: {}", error.message()),
            remedy: "mend the line; strings stand in double quotes, sections in [brackets]".to_owned(),
        })
        .collect();
    (place.table(table.into_inner(), 0), mistakes)
}

struct Place {
    name: Arc<str>,
    lines: Lines,
    /// Where the text stops to be TOML.
    broken: Vec<usize>,
}

impl Place {
    fn origin(&self, offset: usize) -> Origin {
        Origin::File { name: Arc::clone(&self.name), line: self.lines.at(offset) }
    }

    fn table(&self, table: DeTable<'_>, depth: usize) -> Table {
        table
            .into_iter()
            // A name in quotes that were left open has swallowed lines, too. That it is no TOML has been told.
            .filter(|(key, _)| !self.is_broken(&key.span()))
            .map(|(key, value)| {
                // The key's line: a value may begin on a later one, but people look for the key.
                let offset = key.span().start;
                let span = value.span();
                (key.into_inner().into_owned(), self.node(value.into_inner(), (offset, span), depth + 1))
            })
            .collect()
    }

    fn node(&self, value: DeValue<'_>, (offset, span): (usize, Range<usize>), depth: usize) -> Node {
        // A bracket or a quote that is left open swallows the lines below it, and secrets with them. What is wrong with
        // such a value is told, what is in it is not.
        let is_whole = !matches!(value, DeValue::Array(_) | DeValue::String(_));
        let value = if is_whole || !self.is_broken(&span) {
            self.value(value, depth)
        } else {
            Value::Other("something that is not TOML")
        };
        Node { value, origin: self.origin(offset) }
    }

    fn is_broken(&self, span: &Range<usize>) -> bool {
        self.broken.iter().any(|at| (span.start..=span.end).contains(at))
    }

    fn value(&self, value: DeValue<'_>, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Other("something nested too deeply");
        }
        match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number out of range"), Value::Integer),
            DeValue::Boolean(yes) => Value::Boolean(yes),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::Array(
                items
                    .into_iter()
                    .map(|item: Spanned<DeValue<'_>>| {
                        let span = item.span();
                        self.node(item.into_inner(), (span.start, span), depth + 1)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        }
    }
}

/// Offsets at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Value, read};

    #[test]
    fn every_value_knows_its_line() {
        let (table, mistakes) = read("v.toml", "a = 1\n[[b]]\nc = [\n  \"x\",\n  \"y\",\n]\n[[b]]\n");
        assert!(mistakes.is_empty());
        let Value::Array(items) = &table["b"].value else { panic!() };
        let lines: Vec<_> = items.iter().map(|i| i.origin.to_string()).collect();
        assert_eq!(lines, ["v.toml:2", "v.toml:7"]);
        let Value::Table(first) = &items[0].value else { panic!() };
        assert_eq!(first["c"].origin, Origin::File { name: "v.toml".into(), line: 3 });
        let Value::Array(inner) = &first["c"].value else { panic!() };
        assert_eq!(inner[1].origin.to_string(), "v.toml:5");
    }

    /// Found by fuzzing: the password became an e-mail rule, and was shown as a bad one.
    #[test]
    fn s31_what_an_open_bracket_swallows_is_not_looked_at() {
        let text = "[a]\nallow = [\"x\"\n[b]\nclient_secret = \"hunter2\"\nc = [\"y\"]\nd = [\"z\"]\n";
        let (table, mistakes) = read("v.toml", text);
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hunter2")), "{mistakes:?}");
        let Value::Table(a) = &table["a"].value else { panic!() };
        assert!(matches!(a["allow"].value, Value::Other(_)));
    }

    /// Found by fuzzing: all that followed became the name of a section, and was shown as an unknown one.
    #[test]
    fn s31_what_open_quotes_in_a_name_swallow_is_not_shown() {
        for open in [
            "[\"\"\"re]\n",
            "[\"\"\"\n",
            "['''\n",
            "\"\"\"",
            "[a.\"\"\"b]\n",
            "[[\"\"\"b]]\n",
            "a.'''b = 1\n",
            "[\"",
            "\"",
            "a = { \"\"\"b = 1\n",
        ] {
            let text = format!("x = 1\n{open}[b]\nclient_secret = \"hunter2\"\nc = 1\n");
            let (table, mistakes) = read("v.toml", &text);
            assert!(!mistakes.is_empty(), "{open}");
            let told = format!("{mistakes:?} {:?}", names(&table));
            assert!(!told.contains("hunter2"), "{open}: {told}");
            assert!(matches!(table["x"].value, Value::Integer(1)), "{open}");
        }
    }

    fn names(table: &super::Table) -> Vec<String> {
        let below = table.iter().flat_map(|(key, node)| match &node.value {
            Value::Table(table) => [vec![key.clone()], names(table)].concat(),
            _ => vec![key.clone()],
        });
        below.collect()
    }

    #[test]
    fn all_syntax_errors_are_told_and_the_rest_is_kept() {
        let (table, mistakes) = read("v.toml", "a = \nb = 2\nc = nonsense\n");
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert_eq!(mistakes[1].origin.to_string(), "v.toml:3");
        assert!(matches!(table["b"].value, Value::Integer(2)));
    }
}
