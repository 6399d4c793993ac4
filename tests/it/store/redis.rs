//! What only a Redis does: credentials, prefixes, expiry of its own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;
use vestibule::{
    crypto::Keyring,
    domain::Instant,
    store::{self, Backend as _, Change, Key, Life, OpenError, RedisSettings, Settings, redis::Redis},
};

use super::{fixture::Note, redis_server::RedisServer};
use crate::world::{self, ManualClock};

const LIFE: Life = Life { expires: Instant::from_secs(u32::MAX as u64), durable: true };

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
        while redis.scan("note/", None, 10).await.unwrap().pairs.len() > 2 {
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
        assert_eq!(redis.scan("", None, 10).await.unwrap().pairs, [(key.clone(), Bytes::from(value))]);
    }
}

/// A page walks as far as it has to, not over everything that lies there.
#[tokio::test]
async fn a_page_of_a_scan_costs_what_it_brings() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let backend = server.open().await;
    let keys = (0..20_000).map(|n| Key::new("note", &n.to_string()));
    let set = |key: Key| {
        let backend = &backend;
        async move { backend.set(&key, Some(Bytes::from_static(b"v")), LIFE).await.unwrap() }
    };
    stream::iter(keys.map(set)).buffer_unordered(256).collect::<()>().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut asking = client.get_multiplexed_async_connection().await.unwrap();
    let mut scans = async || {
        let said: String = redis::cmd("INFO").arg("commandstats").query_async(&mut asking).await.unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    let mut from = None;
    for page in 1..=20 {
        let found = backend.scan("note/", from.as_ref(), 10).await.unwrap();
        assert_eq!(found.pairs.len(), 10);
        from = found.next;
        let scans = scans().await;
        assert!(scans <= 3 * page, "{scans} steps for {page} pages of 10 among 20,000");
    }
}

/// D11: a process that was not given the key that another seals with judges, replaces and removes nothing of it. What lies
/// under a key that nobody has any more is absent, as before.
#[tokio::test]
async fn d11_a_record_under_a_key_that_another_process_has_is_not_absent() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let open = async |keys: &[u8]| {
        let keys: Vec<_> = keys.iter().map(|byte| world::rooms::master_key(*byte)).collect();
        let (current, older) = keys.split_first().unwrap();
        let ring = Arc::new(Keyring::new(current.clone(), older.to_vec()));
        let settings = Settings::Redis(server.settings());
        store::open(settings, ring, Arc::new(vestibule::cli::SystemClock), Arc::new(vestibule::crypto::Os)).await
    };
    let lasting = |id: &str| Note { expires: Instant::from_secs(u32::MAX.into()), ..Note::new(id, "one") };
    let old = open(&[1]).await.unwrap();
    old.insert(&lasting("before")).await.unwrap();
    assert!(!old.lacks_key().await.unwrap());
    let new = open(&[2, 1]).await.unwrap();
    new.insert(&lasting("a")).await.unwrap();
    assert!(old.lacks_key().await.unwrap() && !new.lacks_key().await.unwrap());

    let keep = |note: Option<Note>| (Change::Keep, note);
    assert!(old.get::<Note>("a").await.is_err() && old.watch::<Note>("a").await.is_err());
    assert!(old.insert(&lasting("a")).await.is_err() && old.update("a", keep).await.is_err());
    assert!(old.take::<Note>("a").await.is_err() && old.remove::<Note>("a").await.is_err());
    assert!(old.list::<Note>(None, 10).await.is_err(), "a list that leaves some out would say that all is done");
    assert_eq!(new.get::<Note>("a").await.unwrap(), Some(lasting("a")));
    assert_eq!(old.get::<Note>("before").await.unwrap(), Some(lasting("before")), "under the key that both have");
    assert!(matches!(open(&[1]).await, Err(OpenError::OtherKey)), "and it could not start again");

    // Also when a third process, which has both, has started with the older one in front since.
    open(&[1, 2]).await.unwrap();
    assert!(old.lacks_key().await.unwrap() && old.get::<Note>("a").await.is_err());
    assert!(matches!(open(&[2]).await, Err(OpenError::OtherKey)), "the older one seals again");
    open(&[2, 1]).await.unwrap();
    let last = open(&[2]).await.unwrap();
    assert_eq!(last.get::<Note>("before").await.unwrap(), None, "the key was dropped by everybody who starts");
    assert!(!last.lacks_key().await.unwrap());
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
    assert!(store.list::<Note>(None, 10).await.unwrap().records.is_empty());
    assert!(store.cautions().is_empty(), "what cannot be asked is not held against the server");
}

#[tokio::test]
async fn tls_is_checked_against_the_authority_that_was_named() {
    let user = ["--user", "guest", "on", ">hush-hush", "~vestibule:*", "+@all", "-config"];
    let Some(server) = RedisServer::with_tls(&[&["--requirepass", "top-secret"][..], &user].concat()) else { return };
    let with = |authorities: Option<Vec<u8>>| RedisSettings {
        username: Some("guest".to_owned()),
        password: Some("hush-hush".into()),
        authorities,
        ..server.settings()
    };
    let redis = Redis::open(&with(Some(server.authority()))).await.expect("opens");
    let key = Key::new("note", "a");
    assert!(redis.swap(&key, None, Some(Bytes::from_static(b"one")), LIFE).await.unwrap());
    assert_eq!(redis.get(&key).await.unwrap().unwrap(), "one");

    let error = Redis::open(&with(None)).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let elsewhere = server.url().replace("127.0.0.1", "localhost").parse().unwrap();
    let settings = RedisSettings { url: elsewhere, ..with(Some(server.authority())) };
    let error = Redis::open(&settings).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let clear = server.url().replace("rediss", "redis").parse().unwrap();
    assert!(Redis::open(&RedisSettings { url: clear, ..with(None) }).await.is_err());
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
