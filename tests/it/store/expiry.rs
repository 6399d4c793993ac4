//! What has expired goes, without being in anyone's way, and the store is then as small as before.

use std::{sync::Arc, time::Duration};

use vestibule::{
    domain::Clock as _,
    store::{SledSettings, Store, sled::Sled},
};

use super::fixture::{Fixture, Memo, Note};
use crate::world::{self, ManualClock};

/// Short-lived records of one round, and how long they live.
const ROUND: usize = 600;
const SHORT: Duration = Duration::from_secs(60);

/// Writes a round of short-lived records, lets them expire, and sweeps them out.
async fn churn(store: &Store, clock: &ManualClock) {
    for n in 0..ROUND {
        let memo = Memo(Note { expires: clock.now() + SHORT, ..Note::new(&n.to_string(), &"x".repeat(400)) });
        store.put(&memo).await.unwrap();
    }
    clock.advance(SHORT);
    assert_eq!(store.get::<Memo>("7").await.unwrap(), None, "absent before it is swept");
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), ROUND as u64);
}

async fn the_number_of_records_returns_to_its_level(fixture: Fixture) {
    for n in 0..50 {
        let note =
            Note { expires: fixture.clock.now() + Duration::from_secs(86_400), ..Note::new(&n.to_string(), "x") };
        fixture.store.insert(&note).await.unwrap();
    }
    for _ in 0..3 {
        churn(&fixture.store, &fixture.clock).await;
        assert_eq!(fixture.backend.scan("", None, 10_000).await.unwrap().pairs.len(), 50);
    }
    assert_eq!(fixture.store.list::<Note>(None, 1000).await.unwrap().records.len(), 50);
}

#[tokio::test]
async fn in_memory_the_number_of_records_returns_to_its_level() {
    the_number_of_records_returns_to_its_level(Fixture::memory().await).await;
}

#[tokio::test]
async fn in_sled_the_number_of_records_returns_to_its_level() {
    the_number_of_records_returns_to_its_level(Fixture::sled().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn in_postgres_the_number_of_records_returns_to_its_level() {
    if let Some(fixture) = Fixture::postgres().await {
        the_number_of_records_returns_to_its_level(fixture).await;
    }
}

/// The file does not shrink, but what was freed is used again.
#[tokio::test]
async fn the_file_of_sled_stops_growing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let sled = Arc::new(Sled::open(SledSettings::at(folder.path())).await.unwrap());
    let store = Store::new(sled, world::keyring(), clock.clone(), Arc::new(vestibule::crypto::Os));
    let size = || std::fs::metadata(folder.path().join("db")).unwrap().len();
    let mut sizes = Vec::new();
    for _ in 0..24 {
        churn(&store, &clock).await;
        store.flush().await.unwrap();
        sizes.push(size());
    }
    let (early, late) = (sizes[7], sizes[23]);
    assert!(late <= 2 * early, "{sizes:?}");
}

/// The table's dead rows are used again once the server has cleaned up, which it does by itself; here it is told to.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn the_table_of_postgres_stops_growing() {
    let Some(server) = super::postgres_server::PostgresServer::start(&["autovacuum=off"]) else { return };
    let clock = ManualClock::new();
    let store = Store::new(server.open().await, world::keyring(), clock.clone(), Arc::new(vestibule::crypto::Os));
    let mut sizes = Vec::new();
    for _ in 0..8 {
        churn(&store, &clock).await;
        server.sql("VACUUM vestibule").await;
        let size = server.sql("SELECT pg_total_relation_size('vestibule')").await.unwrap();
        sizes.push(size.parse::<u64>().unwrap());
    }
    assert!(sizes[7] <= sizes[1] + sizes[1] / 4, "{sizes:?}");
    assert_eq!(server.sql("SELECT count(*) FROM vestibule").await.as_deref(), Some("0"));
}

/// Between two batches everyone else gets on, even on one thread.
#[tokio::test]
async fn a_sweep_of_many_lets_others_in_between() {
    let fixture = Fixture::memory().await;
    for n in 0..5_000 {
        fixture.store.put(&Memo(Note::new(&n.to_string(), "x"))).await.unwrap();
    }
    fixture
        .store
        .put(&Note { expires: fixture.clock.now() + 2 * Duration::from_secs(600), ..Note::new("kept", "x") })
        .await
        .unwrap();
    fixture.outlive_notes();
    let sweep = fixture.store.sweep(Duration::from_millis(1));
    let others = async {
        let mut turns = 0;
        loop {
            assert!(fixture.store.get::<Note>("kept").await.unwrap().is_some());
            turns += 1;
            tokio::task::yield_now().await;
            if fixture.backend.scan("memo/", None, 1).await.unwrap().pairs.is_empty() {
                return turns;
            }
        }
    };
    let (removed, turns) = tokio::join!(sweep, others);
    assert_eq!(removed.unwrap(), 5_000);
    assert!(turns >= 5_000 / 256, "only {turns} turns for the others");
}
