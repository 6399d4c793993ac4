//! What only a PostgreSQL does: its table, rights, credentials, TLS, expiry by index, outages that last.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;
use vestibule::{
    domain::Instant,
    store::{self, Backend as _, Key, Life, OpenError, PostgresSettings, Settings, Store, Tls, postgres::Postgres},
};

use super::{fixture::Note, postgres_server::PostgresServer};
use crate::world::{self, ManualClock, certificates};

const LIFE: Life = Life { expires: Instant::from_secs(u32::MAX as u64), durable: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_together_make_one_table() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let settings = PostgresSettings { connections: 1, ..server.settings() };
        tasks.spawn(async move { Postgres::open(&settings).await });
    }
    for opened in tasks.join_all().await {
        opened.expect("opens");
    }
    let columns = "SELECT string_agg(attname || ' ' || atttypid::regtype::text || ' ' || coalesce(collname, ''), ', ' \
                   ORDER BY attnum) FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation \
                   WHERE attrelid = 'vestibule'::regclass AND attnum > 0";
    let told = server.sql(columns).await.unwrap();
    assert_eq!(told, "key text C, value bytea , expires_at timestamp with time zone ");
}

#[tokio::test]
async fn houses_with_tables_of_their_own_do_not_see_each_other() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql("CREATE SCHEMA doors").await;
    let open = async |schema: Option<&str>, table: &str| {
        let (schema, table) = (schema.map(str::to_owned), table.to_owned());
        Postgres::open(&PostgresSettings { schema, table, ..server.settings() }).await.unwrap()
    };
    let houses = [open(None, "one").await, open(Some("doors"), "one").await, open(None, "a \"odd\" ' name").await];
    let key = Key::new("note", "a");
    for (n, house) in houses.iter().enumerate() {
        house.set(&key, Some(Bytes::from(n.to_string())), LIFE).await.unwrap();
    }
    for (n, house) in houses.iter().enumerate() {
        assert_eq!(house.scan("", None, 10).await.unwrap().pairs, [(key.clone(), Bytes::from(n.to_string()))]);
    }
    assert_eq!(server.sql("SELECT count(*) FROM doors.one").await.as_deref(), Some("1"));
}

/// A database in another language's order must not change what comes after what.
#[tokio::test]
async fn keys_stand_in_byte_order() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let postgres = server.open().await;
    for id in ["b", "B", "a/1", "a-1", "é", "Z", "_"] {
        postgres.set(&Key::new("note", id), Some(Bytes::from_static(b"v")), LIFE).await.unwrap();
    }
    let ids: Vec<String> =
        postgres.scan("note/", None, 10).await.unwrap().pairs.iter().map(|(key, _)| key.id().to_owned()).collect();
    assert_eq!(ids, ["B", "Z", "_", "a-1", "a/1", "b", "é"]);
}

#[tokio::test]
async fn a_role_that_lacks_a_right_is_told_which() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let open = async |role: &str| {
        Postgres::open(&PostgresSettings { username: Some(role.to_owned()), ..server.settings() }).await
    };
    server.sql("CREATE ROLE guest LOGIN").await;
    let error = open("guest").await.unwrap_err().to_string();
    assert!(error.contains("cannot be made: permission denied for schema public"), "{error}");
    server.open().await;
    let error = open("guest").await.unwrap_err().to_string();
    assert!(error.contains("the role guest may not SELECT, INSERT, UPDATE, DELETE on"), "{error}");
    server.sql("GRANT SELECT, INSERT, UPDATE ON vestibule TO guest").await;
    let error = open("guest").await.unwrap_err().to_string();
    assert!(error.contains("GRANT DELETE ON \"vestibule\" TO \"guest\""), "{error}");
    server.sql("GRANT DELETE ON vestibule TO guest").await;
    open("guest").await.expect("four rights are enough");
}

#[tokio::test]
async fn a_table_of_somebody_else_is_not_used() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql("CREATE TABLE vestibule (key text, chairs int)").await;
    let error = Postgres::open(&server.settings()).await.unwrap_err().to_string();
    assert!(error.contains("is not one of ours") && error.contains("value"), "{error}");
}

#[tokio::test]
async fn a_forgetful_server_is_told_of() {
    let Some(good) = PostgresServer::start(&["fsync=on"]) else { return };
    let opened = good.open().await;
    assert!(opened.cautions().is_empty(), "{:?}", opened.cautions());
    good.sql("ALTER TABLE vestibule SET UNLOGGED; ALTER ROLE postgres SET synchronous_commit = off").await;
    assert_eq!(good.open().await.cautions().len(), 2);
    let Some(bad) = PostgresServer::start(&["fsync=off", "full_page_writes=off"]) else { return };
    let cautions = bad.open().await.cautions().join("\n");
    assert!(cautions.contains("fsync = on") && cautions.contains("full_page_writes = on"), "{cautions}");
}

/// A stricter default of the database would turn a lost swap into an error.
#[tokio::test]
async fn the_databases_own_isolation_does_not_matter() {
    let Some(server) = PostgresServer::start(&["default_transaction_isolation=serializable"]) else { return };
    let clock = ManualClock::new();
    let store = Store::new(server.open().await, world::keyring(), clock, Arc::new(vestibule::crypto::Os));
    store.insert(&Note::new("a", "spend me")).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        tasks.spawn(async move { store.take::<Note>("a").await.unwrap().is_some() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused() {
    let Some(server) = PostgresServer::start(&["default_transaction_read_only=on"]) else { return };
    let error = Postgres::open(&server.settings()).await.unwrap_err().to_string();
    assert!(error.contains("does not allow writes"), "{error}");
}

/// Answers with a lock in the way are errors in time, and the connection they were asked on is given up.
#[tokio::test]
async fn a_statement_that_hangs_is_given_up() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let settings = PostgresSettings { timeout: Duration::from_millis(700), connections: 1, ..server.settings() };
    let postgres = Postgres::open(&settings).await.unwrap();
    let key = Key::new("note", "a");
    postgres.set(&key, Some(Bytes::from_static(b"v")), LIFE).await.unwrap();
    let lock = "BEGIN; LOCK TABLE vestibule IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
    let (locked, answer) = tokio::join!(server.sql(lock), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        postgres.get(&key).await
    });
    assert!(locked.is_some());
    assert!(answer.is_err());
    assert_eq!(postgres.get(&key).await.unwrap().unwrap(), "v", "a fresh connection answers");
}

/// `pg_hba.conf` that wants a password, or a certificate-checked way, from everyone but the test's administrator.
fn guarded(folder: &Path, line: &str) {
    let text = format!("local all all trust\nhost all postgres 127.0.0.1/32 trust\n{line}\n");
    std::fs::write(folder.join("data/pg_hba.conf"), text).unwrap();
}

#[tokio::test]
async fn credentials_are_used_and_never_told() {
    let hba = |folder: &Path| guarded(folder, "host all all 127.0.0.1/32 scram-sha-256");
    let Some(server) = PostgresServer::prepared(&[], hba) else { return };
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'hush-hush'; CREATE SCHEMA AUTHORIZATION guest").await;
    let with = |password: Option<&str>| PostgresSettings {
        username: Some("guest".to_owned()),
        password: password.map(Into::into),
        ..server.settings()
    };
    for settings in [with(None), with(Some("wrong-guess"))] {
        let error = Postgres::open(&settings).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("password"), "{error}");
        assert!(!format!("{error} {error:?} {settings:?}").contains("wrong-guess"));
    }
    let settings = Settings::Postgres(with(Some("hush-hush")));
    let store = store::open(settings, world::keyring(), ManualClock::new(), world::random()).await.unwrap();
    store.probe().await.unwrap();
    assert!(store.insert(&Note::new("a", "one")).await.unwrap());
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let url = server.socket_url().parse().unwrap();
    let postgres = Postgres::open(&PostgresSettings { url, ..server.settings() }).await.expect("opens");
    assert!(postgres.get(&Key::new("note", "a")).await.unwrap().is_none());
}

#[tokio::test]
async fn tls_is_checked_against_the_authority_that_was_named() {
    let lay = |folder: &Path| {
        certificates::make(folder);
        guarded(folder, "hostssl all all 127.0.0.1/32 trust");
    };
    let of = |name: &str, file: &str| format!("{name}=../{file}");
    let tls = ["ssl=on", &of("ssl_cert_file", "leaf.pem"), &of("ssl_key_file", "leaf.key")];
    let Some(server) = PostgresServer::prepared(&tls, lay) else { return };
    let authority = std::fs::read(server.folder().join("ca.pem")).unwrap();
    server.sql("CREATE ROLE guest LOGIN; CREATE SCHEMA AUTHORIZATION guest").await;
    let with = |url: String, tls: Tls| {
        let username = Some("guest".to_owned());
        PostgresSettings { username, tls, url: url.parse().unwrap(), ..server.settings() }
    };
    let ours = || Tls::Checked { authorities: Some(authority.clone()) };
    let postgres = Postgres::open(&with(server.url(), ours())).await.expect("opens");
    assert!(postgres.get(&Key::new("note", "a")).await.unwrap().is_none());
    let sealed = server.sql("SELECT count(*) FROM pg_stat_ssl WHERE ssl").await;
    assert_ne!(sealed.as_deref(), Some("0"), "the way is sealed");

    let stranger = Tls::Checked { authorities: None };
    let error = Postgres::open(&with(server.url(), stranger)).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let elsewhere = server.url().replace("127.0.0.1", "localhost");
    let error = Postgres::open(&with(elsewhere, ours())).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let error = Postgres::open(&with(server.url(), Tls::Off)).await.unwrap_err().to_string();
    assert!(error.contains("no encryption"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_the_clear() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let settings = PostgresSettings { tls: Tls::Checked { authorities: None }, ..server.settings() };
    let error = Postgres::open(&settings).await.unwrap_err().to_string();
    assert!(error.contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let Some(mut server) = PostgresServer::start(&[]) else { return };
    server.stop();
    let error = Postgres::open(&server.settings()).await.unwrap_err();
    assert!(error.to_string().starts_with("the store postgres://127.0.0.1:"), "{error}");
}
