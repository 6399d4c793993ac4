//! What every backend must do, run over each of them.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use vestibule::{
    domain::Instant,
    store::{Backend, Change, Key, Life, Place},
};

use super::fixture::{Fixture, Memo, Note};
use crate::world::clock::DAWN;

/// Runs each case over each backend.
macro_rules! over_every_backend {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(super::Fixture::memory().await).await; })*
        }
        mod sled {
            $(#[tokio::test] async fn $case() { super::$case(super::Fixture::sled().await).await; })*
        }
        #[cfg(feature = "redis")]
        mod redis {
            $(#[tokio::test] async fn $case() {
                if let Some(fixture) = super::Fixture::redis().await {
                    super::$case(fixture).await;
                }
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test] async fn $case() {
                if let Some(fixture) = super::Fixture::postgres().await {
                    super::$case(fixture).await;
                }
            })*
        }
    };
}

over_every_backend!(
    a_swap_needs_the_very_bytes,
    a_set_writes_and_removes_whatever_was_there,
    a_scan_brings_what_the_prefix_names_in_pages,
    a_walk_meets_whatever_lies_there_all_the_while,
    what_is_written_is_read,
    an_insert_never_replaces_a_living_record,
    an_update_sees_the_record_and_decides,
    an_update_of_what_was_seen_judges_anew_what_has_changed_since,
    a_record_is_taken_once,
    a_removal_says_whether_there_was_one,
    an_expired_record_is_absent_to_the_millisecond,
    a_list_goes_on_where_it_ended_and_leaves_out_the_expired,
    a_sweep_removes_the_expired_and_nothing_else,
    a_flag_trips_when_its_record_goes_and_only_then,
    the_probe_answers,
);

const LIFE: Life = Life { expires: Instant::from_secs(u32::MAX as u64), durable: true };

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn a_swap_needs_the_very_bytes(Fixture { backend, .. }: Fixture) {
    let key = Key::new("note", "a");
    let (one, two) = (bytes("one"), bytes("two"));
    assert!(!backend.swap(&key, Some(&one), Some(two.clone()), LIFE).await.unwrap(), "nothing is there");
    assert!(backend.swap(&key, None, Some(one.clone()), LIFE).await.unwrap());
    assert!(!backend.swap(&key, None, Some(two.clone()), LIFE).await.unwrap(), "something is there");
    assert!(!backend.swap(&key, Some(&two), None, LIFE).await.unwrap(), "something else is there");
    assert_eq!(backend.get(&key).await.unwrap(), Some(one.clone()));
    assert!(backend.swap(&key, Some(&one), Some(two.clone()), LIFE).await.unwrap());
    assert!(backend.swap(&key, Some(&two), None, LIFE).await.unwrap());
    assert_eq!(backend.get(&key).await.unwrap(), None);
    assert!(backend.swap(&key, None, None, LIFE).await.unwrap(), "nothing for nothing");
}

async fn a_set_writes_and_removes_whatever_was_there(Fixture { backend, .. }: Fixture) {
    let key = Key::new("note", "a");
    for durable in [true, false] {
        let life = Life { durable, ..LIFE };
        backend.set(&key, Some(bytes("one")), life).await.unwrap();
        backend.set(&key, Some(bytes("two")), life).await.unwrap();
        assert_eq!(backend.get(&key).await.unwrap(), Some(bytes("two")));
        backend.set(&key, None, life).await.unwrap();
        backend.set(&key, None, life).await.unwrap();
        assert_eq!(backend.get(&key).await.unwrap(), None);
    }
    backend.flush().await.unwrap();
}

/// The walk to its end, page by page: the ids, as they came, and how many pages it took.
async fn walked(backend: &dyn Backend, prefix: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut from) = (Vec::new(), 0, None);
    loop {
        let page = backend.scan(prefix, from.as_ref(), limit).await.unwrap();
        assert!(page.pairs.len() <= limit, "{} where {limit} were asked for", page.pairs.len());
        ids.extend(page.pairs.into_iter().map(|(key, _)| key.as_str().to_owned()));
        pages += 1;
        // As text it goes out to people and comes back.
        match page.next.map(|place| Place::from_text(place.as_str())) {
            Some(next) => from = Some(next),
            None => return (ids, pages),
        }
    }
}

async fn a_scan_brings_what_the_prefix_names_in_pages(Fixture { backend, .. }: Fixture) {
    for (kind, id) in [("note", "c"), ("note", "a"), ("notes", "x"), ("memo", "z"), ("note", "b"), ("nota", "q")] {
        backend.set(&Key::new(kind, id), Some(bytes("v")), LIFE).await.unwrap();
    }
    for limit in [1, 2, 3, 10] {
        let (mut ids, pages) = walked(&*backend, "note/", limit).await;
        ids.sort();
        assert_eq!(ids, ["note/a", "note/b", "note/c"], "by {limit}");
        assert!(pages >= 3_usize.div_ceil(limit), "by {limit}: {pages} pages");
        assert_eq!(walked(&*backend, "", limit).await.0.len(), 6);
        assert_eq!(walked(&*backend, "not/", limit).await.0, [""; 0]);
    }
    // What a stranger says a page began with opens no other kind.
    for text in ["", "memo/z", "note/", "note/zz", "0 memo/z", " memo/z", "18446744073709551616", "\u{10ffff}"] {
        let page = backend.scan("note/", Some(&Place::from_text(text)), 10).await.unwrap();
        assert!(page.pairs.iter().all(|(key, _)| key.as_str().starts_with("note/")), "{text}");
    }
}

/// Thousands come and go under the walk, so that a server's table grows and shrinks beneath it.
async fn a_walk_meets_whatever_lies_there_all_the_while(Fixture { backend, .. }: Fixture) {
    let lasting = |n: usize| Key::new("note", &format!("lasting-{n}"));
    let passing = |n: usize| Key::new("note", &format!("passing-{n}"));
    let set = async |key: Key, value: Option<Bytes>| {
        backend.set(&key, value, Life { durable: false, ..LIFE }).await.unwrap();
    };
    for n in 0..500 {
        set(lasting(n), Some(bytes("v"))).await;
    }
    let (mut met, mut pages, mut from) = (BTreeSet::new(), 0, None);
    loop {
        let page = backend.scan("note/", from.as_ref(), 25).await.unwrap();
        met.extend(page.pairs.into_iter().map(|(key, _)| key));
        pages += 1;
        match pages {
            1..=6 => {
                for n in pages * 500..(pages + 1) * 500 {
                    set(passing(n), Some(bytes("v"))).await;
                }
            }
            12..=17 => {
                for n in (pages - 11) * 500..(pages - 10) * 500 {
                    set(passing(n), None).await;
                }
            }
            _ => {}
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
        assert!(pages < 5_000, "it comes to an end");
    }
    let missed = (0..500).filter(|n| !met.contains(&lasting(*n))).count();
    assert_eq!(missed, 0, "{pages} pages");
}

async fn what_is_written_is_read(Fixture { store, .. }: Fixture) {
    assert_eq!(store.get::<Note>("a").await.unwrap(), None);
    let note = Note::new("a", "one");
    assert!(store.insert(&note).await.unwrap());
    assert_eq!(store.get::<Note>("a").await.unwrap(), Some(note));
    let note = Note::new("a", "two");
    store.put(&note).await.unwrap();
    assert_eq!(store.get::<Note>("a").await.unwrap(), Some(note));
    assert_eq!(store.get::<Memo>("a").await.unwrap(), None, "another kind is another place");
}

async fn an_insert_never_replaces_a_living_record(fixture: Fixture) {
    let store = &fixture.store;
    assert!(store.insert(&Note::new("a", "one")).await.unwrap());
    assert!(!store.insert(&Note::new("a", "two")).await.unwrap());
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, "one");
    fixture.outlive_notes();
    let later = Note { expires: DAWN + Duration::from_secs(9999), ..Note::new("a", "three") };
    assert!(store.insert(&later).await.unwrap(), "what has expired is not there");
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, "three");
}

async fn an_update_sees_the_record_and_decides(Fixture { store, .. }: Fixture) {
    let put = |old: Option<Note>| {
        let seen = old.map(|note| note.text);
        (Change::Put(Note::new("a", &format!("{}!", seen.as_deref().unwrap_or("new")))), seen)
    };
    assert_eq!(store.update("a", put).await.unwrap(), None);
    assert_eq!(store.update("a", put).await.unwrap().as_deref(), Some("new!"));
    let keep = |old: Option<Note>| (Change::Keep, old.map(|note| note.text));
    assert_eq!(store.update("a", keep).await.unwrap().as_deref(), Some("new!!"));
    let remove = |old: Option<Note>| (Change::Remove, old.is_some());
    assert!(store.update("a", remove).await.unwrap());
    assert!(!store.update("a", remove).await.unwrap());
    assert_eq!(store.get::<Note>("a").await.unwrap(), None);
}

async fn an_update_of_what_was_seen_judges_anew_what_has_changed_since(Fixture { store, .. }: Fixture) {
    store.insert(&Note::new("a", "one")).await.unwrap();
    let seen = store.look::<Note>("a").await.unwrap();
    assert_eq!(seen.record(), Some(&Note::new("a", "one")));
    store.put(&Note::new("a", "two")).await.unwrap();
    let mut judged = Vec::new();
    let decide = |old: Option<Note>| {
        judged.push(old.map(|note| note.text));
        (Change::Put(Note::new("a", "three")), ())
    };
    store.update_seen("a", seen, decide).await.unwrap();
    assert_eq!(judged, [Some("one".to_owned()), Some("two".to_owned())], "the write between was not overlooked");
    let stale = store.look::<Note>("a").await.unwrap();
    store.remove::<Note>("a").await.unwrap();
    let remove = |old: Option<Note>| (Change::Remove, old.is_some());
    assert!(!store.update_seen("a", stale, remove).await.unwrap(), "another was first");
}

async fn a_record_is_taken_once(Fixture { store, .. }: Fixture) {
    let note = Note::new("a", "one");
    store.insert(&note).await.unwrap();
    assert_eq!(store.take::<Note>("a").await.unwrap(), Some(note));
    assert_eq!(store.take::<Note>("a").await.unwrap(), None);
}

async fn a_removal_says_whether_there_was_one(Fixture { store, .. }: Fixture) {
    store.insert(&Note::new("a", "one")).await.unwrap();
    assert!(store.remove::<Note>("a").await.unwrap());
    assert!(!store.remove::<Note>("a").await.unwrap());
}

async fn an_expired_record_is_absent_to_the_millisecond(fixture: Fixture) {
    let store = &fixture.store;
    let note = Note::new("a", "one");
    store.insert(&note).await.unwrap();
    fixture.clock.set(Instant::from_millis(note.expires.millis() - 1));
    assert_eq!(store.get::<Note>("a").await.unwrap(), Some(note.clone()));
    fixture.clock.set(note.expires);
    assert_eq!(store.get::<Note>("a").await.unwrap(), None);
    assert!(store.watch::<Note>("a").await.unwrap().is_none());
    assert_eq!(store.take::<Note>("a").await.unwrap(), None);
    assert!(!store.remove::<Note>("a").await.unwrap());
}

async fn a_list_goes_on_where_it_ended_and_leaves_out_the_expired(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..10 {
        let life = if n % 2 == 0 { 60 } else { 600 };
        let note = Note { expires: DAWN + Duration::from_secs(life), ..Note::new(&format!("n{n}"), "x") };
        store.insert(&note).await.unwrap();
    }
    store.put(&Memo(Note::new("n3", "other kind"))).await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    for limit in [1, 2, 3, 5, 10] {
        let (mut ids, mut from) = (Vec::new(), None);
        loop {
            let listed = store.list::<Note>(from.as_ref(), limit).await.unwrap();
            assert!(listed.records.len() <= limit);
            assert!(listed.records.len() == limit || listed.next.is_none(), "a short list is the last one");
            ids.extend(listed.records.into_iter().map(|(id, _)| id));
            match listed.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        ids.sort();
        assert_eq!(ids, ["n1", "n3", "n5", "n7", "n9"], "by {limit}");
    }
    assert_eq!(store.list::<Memo>(None, 5).await.unwrap().records.len(), 1);
}

async fn a_sweep_removes_the_expired_and_nothing_else(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..600 {
        let life = if n % 3 == 0 { 600 } else { 60 };
        let memo = Memo(Note { expires: DAWN + Duration::from_secs(life), ..Note::new(&format!("{n}"), "x") });
        store.insert(&memo).await.unwrap();
    }
    let foreign = Key::new("memo", "foreign");
    fixture.backend.set(&foreign, Some(bytes("\u{2}not ours")), LIFE).await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 400);
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.list::<Memo>(None, 1000).await.unwrap().records.len(), 200);
    assert_eq!(fixture.backend.scan("", None, 1000).await.unwrap().pairs.len(), 201);
}

async fn a_flag_trips_when_its_record_goes_and_only_then(Fixture { store, .. }: Fixture) {
    for id in ["a", "b"] {
        store.insert(&Note::new(id, "one")).await.unwrap();
    }
    let watch = async |id| store.watch::<Note>(id).await.unwrap().unwrap().1;
    let (first, second, other) = (watch("a").await, watch("a").await, watch("b").await);

    store.get::<Note>("a").await.unwrap();
    store.insert(&Note::new("a", "lost")).await.unwrap();
    store.update("a", |_: Option<Note>| (Change::Keep, ())).await.unwrap();
    assert!(first.holds() && second.holds(), "nothing has happened to the record");

    store.update("a", |_: Option<Note>| (Change::Put(Note::new("a", "two")), ())).await.unwrap();
    assert!(!first.holds() && !second.holds(), "it was replaced");

    let third = watch("a").await;
    store.put(&Note::new("a", "three")).await.unwrap();
    assert!(!third.holds());
    let fourth = watch("a").await;
    assert!(fourth.holds());
    store.take::<Note>("a").await.unwrap();
    assert!(!fourth.holds());
    assert!(other.holds(), "another record is another flag");
    store.remove::<Note>("b").await.unwrap();
    assert!(!other.holds());
    assert!(store.watch::<Note>("b").await.unwrap().is_none());
}

async fn the_probe_answers(Fixture { store, .. }: Fixture) {
    store.probe().await.unwrap();
}
