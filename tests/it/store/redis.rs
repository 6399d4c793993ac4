//! What only a server for many does: credentials, prefixes, expiry of its own, other processes, outages.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{task::JoinSet, time::timeout};
use vestibule::{
    domain::Instant,
    store::{self, Backend as _, Change, Key, Life, Liveness, OpenError, RedisSettings, Settings, Store, redis::Redis},
};

use super::{
    fixture::Note,
    redis_server::{Lasting, RedisServer},
};
use crate::world::{self, ManualClock};

const LIFE: Life = Life { expires: Instant::from_secs(u32::MAX as u64), durable: true };

async fn store_over(server: &RedisServer) -> Store {
    let backend = Arc::new(Lasting(server.open().await));
    Store::new(backend, world::keyring(), ManualClock::new(), Arc::new(vestibule::crypto::Os))
}

async fn watch(store: &Store, id: &str) -> Liveness {
    store.watch::<Note>(id).await.unwrap().expect("it is there").1
}

/// D14, step by step: what another process removed or replaced trips here, and nothing else does.
#[tokio::test]
async fn what_another_process_does_trips_our_flags() {
    let Some(server) = RedisServer::start(&[]) else { return };
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
#[tokio::test]
async fn a_second_look_tells_the_first() {
    let Some(server) = RedisServer::start(&[]) else { return };
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
#[tokio::test]
async fn a_revocation_elsewhere_counts_here_soon() {
    let Some(server) = RedisServer::start(&[]) else { return };
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
#[tokio::test]
async fn an_outage_trips_what_cannot_be_confirmed_and_answers_unavailable() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_killed_and_started_under_load_gives_no_wrong_answer() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
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

/// The server forgets by itself, a minute after the record's end.
#[expect(clippy::disallowed_methods, reason = "the server has a clock of its own, and it is this one")]
#[tokio::test]
async fn what_has_expired_goes_by_itself() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let redis = server.open().await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let life = |millis| Life { expires: Instant::from_millis(millis), durable: true };
    let value = Bytes::from_static(b"v");
    let (set, swapped, kept) = (Key::new("note", "set"), Key::new("note", "swapped"), Key::new("note", "kept"));
    redis.set(&set, Some(value.clone()), life(now - 61_000)).await.unwrap();
    assert!(redis.swap(&swapped, None, Some(value.clone()), life(now - 61_000)).await.unwrap());
    redis.set(&kept, Some(value.clone()), life(now)).await.unwrap();
    assert!(redis.swap(&Key::new("note", "ever"), None, Some(value), life(u64::MAX)).await.unwrap());
    let gone = async {
        while redis.scan("note/", None, 10).await.unwrap().len() > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.expect("they go");
    assert!(redis.get(&set).await.unwrap().is_none() && redis.get(&swapped).await.unwrap().is_none());
    assert!(redis.get(&kept).await.unwrap().is_some(), "the minute is not over");
}

#[tokio::test]
async fn houses_with_different_prefixes_do_not_see_each_other() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let open = async |prefix: &str| {
        Redis::open(&RedisSettings { prefix: prefix.to_owned(), ..server.settings() }).await.unwrap()
    };
    // As a pattern the first would match the second.
    let (one, two) = (open("h*[a-c]?").await, open("house:b:").await);
    let key = Key::new("note", "a");
    one.set(&key, Some(Bytes::from_static(b"one")), LIFE).await.unwrap();
    two.set(&key, Some(Bytes::from_static(b"two")), LIFE).await.unwrap();
    for (redis, value) in [(&one, "one"), (&two, "two")] {
        assert_eq!(redis.get(&key).await.unwrap().unwrap(), value);
        assert_eq!(redis.scan("", None, 10).await.unwrap(), [(key.clone(), Bytes::from(value))]);
    }
}

/// A user who may touch our keys alone and ask no settings is enough.
#[tokio::test]
async fn credentials_are_used_and_never_told() {
    let user = ["--user", "guest", "on", ">hush-hush", "~vestibule:*", "+@all", "-config"];
    let Some(server) = RedisServer::start(&[&["--requirepass", "top-secret"][..], &user].concat()) else { return };
    let with = |username: Option<&str>, password: &str| RedisSettings {
        username: username.map(str::to_owned),
        password: Some(password.into()),
        ..server.settings()
    };
    for settings in [server.settings(), with(None, "wrong-guess"), with(Some("guest"), "wrong-guess")] {
        let error = Redis::open(&settings).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
        assert!(!format!("{error} {error:?} {settings:?}").contains("wrong-guess"));
    }
    Redis::open(&with(None, "top-secret")).await.expect("the default user");
    let settings = Settings::Redis(with(Some("guest"), "hush-hush"));
    let store = store::open(settings, world::keyring(), ManualClock::new(), world::random()).await.unwrap();
    store.probe().await.unwrap();
    assert!(store.list::<Note>(None, 10).await.unwrap().is_empty());
    assert!(store.cautions().is_empty(), "what cannot be asked is not held against the server");
}

#[tokio::test]
async fn a_forgetful_server_is_told_of() {
    let Some(good) = RedisServer::start(&[]) else { return };
    assert!(good.open().await.cautions().is_empty());
    let Some(bad) = RedisServer::start(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]) else { return };
    let cautions = bad.open().await.cautions().join("\n");
    assert!(cautions.contains("appendonly yes") && cautions.contains("allkeys-lru"), "{cautions}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    server.kill();
    let error = Redis::open(&server.settings()).await.unwrap_err();
    assert!(error.to_string().starts_with("the store redis://127.0.0.1:"), "{error}");
}
