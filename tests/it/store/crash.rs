//! `kill -9` under load: nothing acknowledged is lost, nothing spent comes back.
//!
//! The child is this very test binary, told by its environment to work in a folder. It says on stdout what was
//! acknowledged; the parent kills it at some line, opens the folder and compares.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use vestibule::{
    crypto::{Random, Seeded},
    store::Change,
};

use super::fixture::{Note, store_at};

const FOLDER: &str = "VESTIBULE_TEST_CRASH_FOLDER";
const ROUND: &str = "VESTIBULE_TEST_CRASH_ROUND";
const ROUNDS: usize = 6;
const TASKS: usize = 16;

/// What the parent knows from the child's words.
#[derive(Default)]
struct Known {
    inserted: BTreeSet<String>,
    take_begun: BTreeSet<String>,
    taken: BTreeSet<String>,
    counted: BTreeMap<String, u64>,
}

impl Known {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("inserted"), Some(id), None) => drop(self.inserted.insert(id.to_owned())),
            (Some("taking"), Some(id), None) => drop(self.take_begun.insert(id.to_owned())),
            (Some("taken"), Some(id), None) => drop(self.taken.insert(id.to_owned())),
            (Some("counted"), Some(id), Some(n)) => drop(self.counted.insert(id.to_owned(), n.parse().unwrap())),
            // The test harness talks too.
            _ => {}
        }
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged_and_revives_nothing_spent() {
    let folder = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    let random: &dyn Random = &Seeded::new(9);
    for round in 0..ROUNDS {
        let [low, high] = random.bytes::<2>();
        run_and_kill(folder.path(), round, 60 + usize::from(low) + 8 * usize::from(high), &mut known);
        compare(folder.path(), &known).await;
    }
    assert!(known.taken.len() > 50 && known.counted.len() == TASKS, "the child did work");
}

/// Starts a child, listens to `lines` of its words, kills it, and hears what it had said until then.
fn run_and_kill(folder: &Path, round: usize, lines: usize, known: &mut Known) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::crash::the_child_works_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = BufReader::new(child.stdout.take().unwrap());
    let mut heard = 0;
    loop {
        let mut line = String::new();
        if words.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // A line that was cut short was not said.
        if let Some(line) = line.strip_suffix('\n') {
            known.hear(line);
        }
        heard += 1;
        if heard == lines {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child was killed, it did not finish");
    assert!(heard >= lines, "the child ended by itself after {heard} lines");
}

async fn compare(folder: &Path, known: &Known) {
    let store = store_at(folder).await;
    for id in known.inserted.difference(&known.take_begun) {
        assert!(store.get::<Note>(id).await.unwrap().is_some(), "{id} was acknowledged and is lost");
    }
    for id in &known.taken {
        assert_eq!(store.get::<Note>(id).await.unwrap(), None, "{id} was spent and is back");
    }
    for (id, n) in &known.counted {
        let found = store.get::<Note>(id).await.unwrap().map_or(0, |note| note.text.parse::<u64>().unwrap());
        assert!(found >= *n, "{id} was acknowledged at {n} and stands at {found}");
    }
}

/// Not a test by itself: without the environment that the parent gives there is nothing to do.
#[test]
fn the_child_works_until_it_is_killed() {
    let (Some(folder), Some(round)) = (std::env::var_os(FOLDER), std::env::var_os(ROUND)) else { return };
    let round = round.into_string().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store_at(Path::new(&folder)).await;
        say("ready");
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (store, round) = (store.clone(), round.clone());
            tasks.spawn(async move {
                for n in 0_u64.. {
                    work(&store, &format!("{round}-{task}-{n}"), &format!("counter-{task}"), n).await;
                }
            });
        }
        tasks.join_all().await;
    });
}

async fn work(store: &vestibule::store::Store, id: &str, counter: &str, n: u64) {
    assert!(store.insert(&Note::new(id, "acknowledged")).await.unwrap());
    say(&format!("inserted {id}"));
    if !n.is_multiple_of(3) {
        say(&format!("taking {id}"));
        assert!(store.take::<Note>(id).await.unwrap().is_some());
        say(&format!("taken {id}"));
    }
    let next = |old: Option<Note>| {
        let next = old.map_or(0, |note| note.text.parse::<u64>().unwrap()) + 1;
        (Change::Put(Note::new(counter, &next.to_string())), next)
    };
    let count = store.update(counter, next).await.unwrap();
    say(&format!("counted {counter} {count}"));
}

/// One line in one write, so that lines of different tasks do not mix.
fn say(words: &str) {
    std::io::stdout().lock().write_all(format!("\n{words}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}
