//! `[[resource.require]]`, `read_body` and `[resource.implies]`: what some operations need beyond every call (SC-3, CH-6).

use std::collections::BTreeMap;

use super::{
    quantity,
    section::{Section, scope_token},
    tree::{Origin, Value},
};
use crate::domain::{
    Scope,
    step_up::{Hierarchy, Pattern, Rule, StepUp},
};

/// The rules. Where there are any, it has to be said whether bodies are read: on wires whose headers tell nothing the
/// choice is between reading and asking for everything.
pub(super) fn rules(section: &mut Section<'_>) -> StepUp {
    let rules: Vec<Rule> = section.sections("require").into_iter().filter_map(rule).collect();
    let is_said = section.has("read_body");
    let read_body = section.parsed("read_body", "\"64KiB\", or \"off\"", quantity::reading);
    if !rules.is_empty() && !is_said {
        let remedy = "write read_body = \"64KiB\" (clients of every revision step up), or \"off\" (only where every \
                      client and the server speak 2026-07-28 or later; others need all the scopes at once)";
        section.wrong("read_body", "is missing: may messages be read to see which rule they meet?", remedy);
    }
    if rules.is_empty() && matches!(read_body, Some(Some(_))) {
        section.wrong("read_body", "reads messages for no rule", "write [[resource.require]], or leave it out");
    }
    StepUp { rules, read_body: read_body.flatten() }
}

fn rule(mut section: Section<'_>) -> Option<Rule> {
    let before = section.desk.found.borrow().mistakes.len();
    let pattern = |text: &str| Pattern::parse(text).ok_or("expected a name, or the begin of one and a *");
    let methods = section.each("methods", r#"["tools/call"]"#, pattern);
    let names = section.each("names", r#"["delete_*"]"#, pattern);
    let scopes = section.each("scopes", r#"["notes.write"]"#, scope_token);
    let is_sound = section.desk.found.borrow().mistakes.len() == before;
    for (key, is_empty, example) in
        [("methods", methods.is_empty(), r#"["tools/call"]"#), ("scopes", scopes.is_empty(), r#"["notes.write"]"#)]
    {
        if is_sound && is_empty {
            section.wrong(key, "is missing", format!("write {key} = {example}"));
        }
    }
    section.finish();
    let scopes: Scope = scopes.iter().map(String::as_str).collect();
    (!methods.is_empty() && !scopes.is_empty()).then_some(Rule { methods, names, scopes })
}

/// Which scopes contain which others.
pub(super) fn hierarchy(section: &mut Section<'_>) -> Hierarchy {
    let mut table = section.section("implies");
    let mut contains = BTreeMap::new();
    for (broad, node) in table.rest() {
        let path = table.at(&broad);
        let remedy = "write \"notes.admin\" = [\"notes.write\"] in [resource.implies]";
        if let Err(problem) = scope_token(&broad) {
            table.desk.mistake(&path, &node.origin, problem, remedy);
            continue;
        }
        let Value::Array(items) = node.value else {
            table.desk.mistake(&path, &node.origin, "expected the scopes that it contains", remedy);
            continue;
        };
        let mut narrow = Vec::new();
        for item in items {
            match item.value {
                Value::Text(text) if scope_token(&text).is_ok() => narrow.push(text),
                _ => table.desk.mistake(&path, &item.origin, "expected one scope per string", remedy),
            }
        }
        let shown: Origin = node.origin;
        table.desk.resolved(path, format!("{narrow:?}"), shown);
        contains.insert(broad, narrow.iter().map(String::as_str).collect());
    }
    Hierarchy::new(contains)
}
