//! Every demand of the texts, every known attack and every habit of real clients has a test that names it.
//!
//! The list is `requirements.toml`. A test belongs to a row when its name carries the row's id (`az_4_…`, `s12_…`,
//! `behaviour_17_…`) or when the row names it, which is for tests that carry the clause of an RFC instead. The table for
//! readers, `docs/requirements.md`, is written from both and compared here; `UPDATE_DOCS=1` writes it anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

const TABLE: &str = "docs/requirements.md";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    level: Level,
    text: String,
    #[serde(default)]
    source: String,
    #[serde(default = "yes")]
    built: bool,
    /// Names of Rust tests, or `file.test.mjs: title` for those against third-party parts.
    #[serde(default)]
    tests: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "MAY")]
    May,
    #[serde(rename = "OWN")]
    Own,
    #[serde(rename = "ATTACK")]
    Attack,
    #[serde(rename = "CLIENT")]
    Client,
}

impl Level {
    const fn needs_a_test(self) -> bool {
        !matches!(self, Self::Should | Self::May | Self::Own)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Own => "own",
            Self::Attack => "attack",
            Self::Client => "clients",
        }
    }
}

/// All tests by name, each with the files it stands in.
struct Tests(BTreeMap<String, BTreeSet<PathBuf>>);

impl Tests {
    fn read() -> Self {
        let mut all = Self(BTreeMap::new());
        for folder in ["src", "tests"] {
            all.walk(Path::new(folder));
        }
        all
    }

    fn walk(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                self.walk(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for name in rust_tests(&fs::read_to_string(&path).unwrap()) {
                    self.0.entry(name.to_owned()).or_default().insert(path.clone());
                }
            } else if path.to_str().is_some_and(|path| path.ends_with(".test.mjs")) {
                let file = path.file_name().unwrap().to_str().unwrap().to_owned();
                for title in script_tests(&fs::read_to_string(&path).unwrap()) {
                    self.0.entry(format!("{file}: {title}")).or_default().insert(path.clone());
                }
            }
        }
    }

    /// Those whose name carries `id` as whole words.
    fn named(&self, id: &str) -> BTreeSet<&str> {
        let words = format!("_{}_", id.to_lowercase().replace('-', "_"));
        let carries = |name: &&str| format!("_{name}_").contains(&words);
        self.0.keys().map(String::as_str).filter(carries).collect()
    }
}

/// The functions behind `#[test]` and `#[tokio::test…]`, and those that an `over_every_…!(a, b);` makes into tests.
fn rust_tests(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    let plain = source.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let (before, after) = line.split_once("fn ")?;
        let named = is_test && matches!(before.trim(), "" | "async" | "pub" | "pub async");
        is_test = is_test && !named;
        named.then(|| after.split(['(', '<']).next().unwrap_or_default())
    });
    let lists = source.split("\nover_every_").skip(1).filter_map(|rest| rest.split_once("!(")?.1.split_once(");"));
    plain.chain(lists.flat_map(|(names, _)| names.split(',').map(str::trim).filter(|name| !name.is_empty())))
}

/// The titles behind `test(` and `it(` at the begin of a line.
fn script_tests(source: &str) -> impl Iterator<Item = &str> {
    source.lines().map(str::trim).filter_map(|line| {
        let rest = line.strip_prefix("test(").or_else(|| line.strip_prefix("it("))?;
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"' | '`'))?;
        rest[1..].split(quote).next()
    })
}

fn list() -> Vec<Requirement> {
    toml::from_str::<List>(include_str!("requirements.toml")).unwrap().requirement
}

/// The tests of a row: those it names and those that name it.
fn tests_of<'a>(row: &'a Requirement, tests: &'a Tests) -> BTreeSet<&'a str> {
    let mut all = tests.named(&row.id);
    all.extend(row.tests.iter().map(String::as_str));
    all
}

#[test]
fn every_must_every_attack_and_every_behaviour_has_a_test_that_names_it() {
    let tests = Tests::read();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for row in &list() {
        if !seen.insert(row.id.clone()) {
            wrong.push(format!("{} stands in the list twice", row.id));
        }
        for name in row.tests.iter().filter(|name| !tests.0.contains_key(*name)) {
            wrong.push(format!("{} names the test {name}, which is not there", row.id));
        }
        match (row.built, tests_of(row, &tests).is_empty()) {
            (true, true) if row.level.needs_a_test() => wrong.push(format!("{} has no test: {}", row.id, row.text)),
            (false, false) => wrong.push(format!("{} is called not built and has tests", row.id)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_for_readers_says_the_same() {
    let written = table(&list(), &Tests::read());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(TABLE, &written).unwrap();
    }
    let kept = fs::read_to_string(TABLE).unwrap_or_default();
    assert!(kept == written, "{TABLE} is not what the tests say; UPDATE_DOCS=1 writes it anew");
}

fn table(rows: &[Requirement], tests: &Tests) -> String {
    let mut page = String::from(
        "# Requirements and their tests\n\nWritten by `tests/it/requirements.rs` from `tests/it/requirements.toml` and the \
         names of the tests; a MUST, an attack or a behaviour of clients without a test fails the build.\n",
    );
    let parts = [
        ("What the texts demand", &[Level::Must, Level::MustNot, Level::Should, Level::May, Level::Own][..]),
        ("Attacks", &[Level::Attack][..]),
        ("What real clients do", &[Level::Client][..]),
    ];
    for (title, levels) in parts {
        let _ = write!(page, "\n## {title}\n\n| | | | Shown by |\n|---|---|---|---|\n");
        for row in rows.iter().filter(|row| levels.contains(&row.level)) {
            let shown = if row.built { links(row, tests) } else { "*not built yet*".to_owned() };
            let source = if row.source.is_empty() { String::new() } else { format!(" ({})", row.source) };
            let text = format!("{}{source}", row.text).replace('|', "\\|");
            let _ = writeln!(page, "| {} | {} | {text} | {shown} |", row.id, row.level.as_str());
        }
    }
    page
}

/// Each test once, linked to the (first) file it stands in.
fn links(row: &Requirement, tests: &Tests) -> String {
    let link = |name: &str| {
        let path = tests.0.get(name).and_then(BTreeSet::first).map(|path| path.display().to_string());
        format!("[`{name}`](../{})", path.unwrap_or_default())
    };
    tests_of(row, tests).into_iter().map(link).collect::<Vec<_>>().join("<br>")
}
