//! Answers of the desk as people read them.

use serde_json::Value;

/// One column: its head, and what stands below it.
pub(super) type Column = (&'static str, fn(&Value) -> String);

/// Columns as wide as what is in them; nothing for an empty list.
pub(super) fn table(rows: &[Value], columns: &[Column]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, cell)| tamed(&cell(row))).collect()).collect();
    let width = |at: usize| {
        let longest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        longest.max(columns[at].0.len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let head: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(&cells).map(line).collect::<Vec<_>>().join("\n")
}

/// One thing, a line for each of its members.
pub(super) fn sheet(thing: &Value) -> String {
    let Some(members) = thing.as_object() else { return thing.to_string() };
    let width = members.keys().map(String::len).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| format!("{name:width$}  {}", tamed(&plain(value)));
    members.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A member's text; `-` where there is none.
pub(super) fn text(row: &Value, member: &str) -> String {
    plain(&row[member])
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// Names and addresses come from strangers: nothing of them may steer a terminal.
fn tamed(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell_and_terminals_are_not_steered() {
        let rows = [json!({ "a": "long name", "b": 1 }), json!({ "a": "\u{1b}[2Jx", "b": null })];
        let columns: [Column; 2] = [("NAME", |row| text(row, "a")), ("N", |row| text(row, "b"))];
        assert_eq!(table(&rows, &columns), "NAME       N\nlong name  1\n?[2Jx      -");
        assert_eq!(sheet(&json!({ "blocked": true })), "blocked  yes");
        assert_eq!(sheet(&json!({ "name": "a\nb" })), "name  a?b");
    }
}
