//! Tokens that nobody brings (behaviour 30; operator row 1).

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use vestibule::{
    domain::{Grant, Scope},
    store::{Store, memory::Memory},
    token::{Algorithm, Mint, keep_keys},
};

use super::kit::{Bench, grant, resource, settings};
use crate::world::{ManualClock, keyring, random};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn behaviour_30_a_token_that_nobody_brings_is_missed_after_a_minute_and_once() {
    let (bench, mint, grant) = Bench::ready().await;
    mint.expect_call(&grant, "Claude");
    bench.clock.advance(seconds(59));
    assert_eq!(mint.missed_calls().await, []);
    bench.clock.advance(seconds(1));
    let missed = mint.missed_calls().await;
    let [login] = missed.as_slice() else { panic!("{missed:?}") };
    assert_eq!((login.grant, login.client.as_str(), &login.resource), (grant.id, "Claude", &grant.resource));
    assert_eq!(mint.missed_calls().await, [], "told once");
}

#[tokio::test]
async fn behaviour_30_a_token_that_came_is_not_missed_wherever_it_came() {
    for path in ["/notes", "/elsewhere"] {
        let (bench, mint, grant) = Bench::ready().await;
        let token = mint.mint(&grant, &Scope::parse("read")).await.unwrap().token;
        mint.expect_call(&grant, "Claude");
        bench.clock.advance(seconds(30));
        // At another resource it is refused, and the gate says so itself.
        assert_eq!(mint.verify(token.expose(), &resource(path)).await.is_ok(), path == "/notes");
        bench.clock.advance(seconds(600));
        assert_eq!(mint.missed_calls().await, [], "{path}");
    }
}

#[tokio::test]
async fn behaviour_30_what_was_given_back_or_cannot_be_looked_up_is_not_missed() {
    let (bench, mint, first) = Bench::ready().await;
    mint.expect_call(&first, "Claude");
    bench.store.remove::<Grant>(&first.id.to_string()).await.unwrap();
    bench.clock.advance(seconds(60));
    assert_eq!(mint.missed_calls().await, []);
    let second = grant(2);
    bench.store.put(&second).await.unwrap();
    mint.expect_call(&second, "Claude");
    bench.clock.advance(seconds(60));
    bench.bar(true);
    assert_eq!(mint.missed_calls().await, []);
}

#[tokio::test]
async fn s33_a_crowd_of_logins_that_never_call_does_not_fill_the_memory() {
    let (bench, mint, grant) = Bench::ready().await;
    for n in 0..20_000_u32 {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        mint.expect_call(&Grant { id: vestibule::domain::GrantId::from_bytes(id), ..grant.clone() }, "Claude");
    }
    bench.clock.advance(seconds(60));
    let before = bench.reads();
    assert_eq!(mint.missed_calls().await, []);
    let looked_up = bench.reads() - before;
    assert!((1000..8000).contains(&looked_up), "{looked_up}");
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn behaviour_30_the_log_says_where_to_look_and_warns_only_where_nobody_else_can_have_had_the_call() {
    let paper = Paper::default();
    let writer = paper.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(lines);

    let (bench, shared, given) = Bench::ready().await;
    shared.expect_call(&given, "Claude");
    let clock = ManualClock::new();
    let store = Store::new(Arc::new(Memory::new()), keyring(), clock.clone(), random());
    store.put(&given).await.unwrap();
    let alone = Mint::open(settings(Algorithm::Es256), store, keyring(), clock.clone(), random()).await.unwrap();
    alone.expect_call(&given, "Cursor");
    let keepers = [tokio::spawn(keep_keys(shared)), tokio::spawn(keep_keys(alone))];
    bench.clock.advance(seconds(60));
    clock.advance(seconds(60));
    tokio::time::sleep(seconds(5)).await;
    keepers.iter().for_each(tokio::task::JoinHandle::abort);

    let text = paper.text();
    let line = |client: &str| text.lines().find(|line| line.contains(client)).unwrap_or_else(|| panic!("{text}"));
    let (warned, told) = (line("Cursor"), line("Claude"));
    assert!(warned.contains(" WARN ") && warned.contains("vestibule doctor") && warned.contains("Authorization"));
    assert!(warned.contains("resource=https://mcp.example.com/notes"), "{warned}");
    assert!(told.contains(" INFO ") && told.contains("others may have had it"), "{told}");
    assert_eq!(text.matches("a minute ago").count(), 2, "{text}");
    assert!(!text.contains("gho_upstream"), "s31: {text}");
}
