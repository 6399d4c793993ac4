//! What only servers for many processes do: other processes, outages, restarts under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};
use vestibule::store::{self, Change, Liveness, Store};

use super::{
    fixture::{Memo, Note},
    server::{Server, over_every_server},
};
use crate::world::{self, ManualClock, clock::DAWN};

over_every_server!(
    what_another_process_does_trips_our_flags,
    a_second_look_tells_the_first,
    a_revocation_elsewhere_counts_here_soon,
    an_outage_trips_what_cannot_be_confirmed_and_answers_unavailable,
    a_server_killed_and_started_under_load_gives_no_wrong_answer,
    two_sweeps_at_once_remove_each_record_once,
);

async fn store_over(server: &impl Server) -> Store {
    let backend = server.backend().await;
    Store::new(backend, world::keyring(), ManualClock::new(), Arc::new(vestibule::crypto::Os))
}

async fn watch(store: &Store, id: &str) -> Liveness {
    store.watch::<Note>(id).await.unwrap().expect("it is there").1
}

/// D14, step by step: what another process removed or replaced trips here, and nothing else does.
async fn what_another_process_does_trips_our_flags(server: impl Server) {
    let (ours, theirs) = (store_over(&server).await, store_over(&server).await);
    for id in ["removed", "replaced", "kept"] {
        ours.insert(&Note::new(id, "one")).await.unwrap();
    }
    let flags = [watch(&ours, "removed").await, watch(&ours, "replaced").await, watch(&ours, "kept").await];
    ours.look_again().await;
    assert!(flags.iter().all(Liveness::holds), "nothing has happened yet");
    theirs.remove::<Note>("removed").await.unwrap();
    theirs.update("replaced", |_: Option<Note>| (Change::Put(Note::new("replaced", "two")), ())).await.unwrap();
    ours.look_again().await;
    assert_eq!(flags.map(|flag| flag.holds()), [false, false, true]);
    assert!(ours.watch::<Note>("removed").await.unwrap().is_none());
    let again = watch(&ours, "replaced").await;
    ours.look_again().await;
    assert!(again.holds(), "the next look begins afresh");
}

/// Whoever looks and sees something else than those before him tells them at once.
async fn a_second_look_tells_the_first(server: impl Server) {
    let (ours, theirs) = (store_over(&server).await, store_over(&server).await);
    ours.insert(&Note::new("a", "one")).await.unwrap();
    let first = watch(&ours, "a").await;
    theirs.put(&Note::new("a", "two")).await.unwrap();
    ours.watch::<Note>("a").await.unwrap();
    assert!(!first.holds());
    let second = watch(&ours, "a").await;
    theirs.remove::<Note>("a").await.unwrap();
    assert!(ours.watch::<Note>("a").await.unwrap().is_none());
    assert!(!second.holds());
}

/// The reader of a served house: no more than 5 s; the limit here only ends a test that hangs.
async fn a_revocation_elsewhere_counts_here_soon(server: impl Server) {
    let (ours, theirs) = (store_over(&server).await, store_over(&server).await);
    let reader = tokio::spawn(store::replicas::run(ours.clone()));
    ours.insert(&Note::new("a", "one")).await.unwrap();
    let flag = watch(&ours, "a").await;
    theirs.remove::<Note>("a").await.unwrap();
    let tripped = async {
        while flag.holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), tripped).await.expect("the flag trips");
    reader.abort();
}

/// Nothing that cannot be confirmed is held to be in force.
async fn an_outage_trips_what_cannot_be_confirmed_and_answers_unavailable(mut server: impl Server) {
    let store = store_over(&server).await;
    store.insert(&Note::new("a", "one")).await.unwrap();
    let flag = watch(&store, "a").await;
    server.kill();
    store.look_again().await;
    assert!(!flag.holds());
    assert!(store.get::<Note>("a").await.is_err());
    assert!(store.watch::<Note>("a").await.is_err());
    assert!(store.take::<Note>("a").await.is_err());
    assert!(store.list::<Note>(None, 5).await.is_err());
    assert!(store.probe().await.is_err());
}

/// What one note went through, as its own task knows it.
struct Story {
    id: String,
    inserted: bool,
    taken: usize,
    is_sure: bool,
}

/// Inserts notes and lets two take each, until told to stop.
async fn spend(store: Store, task: usize, stop: Arc<AtomicBool>) -> Vec<Story> {
    let mut stories = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let id = format!("{task}-{n}");
        let Ok(inserted) = store.insert(&Note::new(&id, "spend me")).await else {
            stories.push(Story { id, inserted: false, taken: 0, is_sure: false });
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (one, two) = tokio::join!(store.take::<Note>(&id), store.take::<Note>(&id));
        let is_sure = one.is_ok() && two.is_ok();
        let taken = [one, two].into_iter().filter(|taken| matches!(taken, Ok(Some(_)))).count();
        stories.push(Story { id, inserted, taken, is_sure });
    }
    stories
}

async fn a_server_killed_and_started_under_load_gives_no_wrong_answer(mut server: impl Server) {
    let store = store_over(&server).await;
    store.insert(&Note::new("kept", "one")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        tasks.spawn(spend(store.clone(), task, stop.clone()));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(store.get::<Note>("kept").await.is_err(), "nobody is there to answer");
        assert!(server.run());
        let back = async {
            while store.get::<Note>("kept").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), back).await.expect("mends itself");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Release);
    let stories: Vec<Story> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(stories.iter().any(|story| !story.is_sure), "the outage was felt");
    for Story { id, inserted, taken, is_sure } in &stories {
        assert!(*taken <= 1, "{id} was taken twice");
        assert!(!is_sure || *inserted, "{id} is a fresh name");
        assert!(!is_sure || *taken == 1, "{id} was inserted and acknowledged, and nobody got it");
        if *taken == 1 {
            assert!(store.get::<Note>(id).await.unwrap().is_none(), "{id} came back");
        }
    }
    assert!(store.get::<Note>("kept").await.unwrap().is_some());
}

/// Replicas sweep when they like.
async fn two_sweeps_at_once_remove_each_record_once(server: impl Server) {
    let clock = ManualClock::new();
    let open =
        async || Store::new(server.backend().await, world::keyring(), clock.clone(), Arc::new(vestibule::crypto::Os));
    let (ours, theirs) = (open().await, open().await);
    for n in 0..700 {
        let memo = Memo(Note::new(&n.to_string(), "short"));
        ours.put(&memo).await.unwrap();
    }
    let renewed = Note { expires: DAWN + Duration::from_secs(6000), ..Note::new("renewed", "long") };
    ours.insert(&renewed).await.unwrap();
    clock.advance(Duration::from_secs(601));
    let (one, two) = tokio::join!(ours.sweep(Duration::ZERO), theirs.sweep(Duration::ZERO));
    assert_eq!(one.unwrap() + two.unwrap(), 700);
    assert_eq!(server.backend().await.scan("", None, 10).await.unwrap().pairs.len(), 1);
}
