//! What only the embedded database does: folders, locks, reopening.

use std::{sync::Arc, time::Duration};

use vestibule::{
    crypto::Keyring,
    store::{self, Fsync, OpenError, Settings, SledSettings, sled::Sled},
};

use super::fixture::{Memo, Note, store_at};
use crate::world::{self, ManualClock};

fn impatient(path: &std::path::Path) -> SledSettings {
    SledSettings { patience: Duration::from_millis(200), ..SledSettings::at(path) }
}

#[tokio::test]
async fn reopening_keeps_durable_and_best_effort_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = store_at(&path).await;
    store.insert(&Note::new("a", "durable")).await.unwrap();
    store.put(&Memo(Note::new("b", "best effort"))).await.unwrap();
    store.insert(&Note::new("c", "spent")).await.unwrap();
    store.take::<Note>("c").await.unwrap();
    drop(store);
    let store = store_at(&path).await;
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, "durable");
    assert_eq!(store.get::<Memo>("b").await.unwrap().unwrap().0.text, "best effort");
    assert_eq!(store.get::<Note>("c").await.unwrap(), None);
}

#[tokio::test]
async fn a_held_folder_is_refused_with_the_name_of_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let held = Sled::open(impatient(folder.path())).await.unwrap();
    let error = Sled::open(impatient(folder.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::Held { owner: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("held by another process"), "{error}");
    drop(held);
    Sled::open(impatient(folder.path())).await.expect("free again");
}

#[tokio::test]
async fn a_rolling_restart_waits_for_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let held = Sled::open(SledSettings::at(folder.path())).await.unwrap();
    let next = tokio::spawn(Sled::open(SledSettings::at(folder.path())));
    tokio::time::sleep(Duration::from_millis(150)).await;
    drop(held);
    next.await.unwrap().expect("opens once the other has gone");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let error = Sled::open(impatient(&file.join("db"))).await.unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("var/vestibule");
    let _sled = Sled::open(impatient(&path)).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn every_setting_opens() {
    let folder = tempfile::tempdir().unwrap();
    let always = SledSettings { fsync: Fsync::Always, ..SledSettings::at(folder.path().join("always")) };
    for settings in [Settings::Memory, Settings::Sled(always)] {
        let opened = store::open(settings, world::keyring(), ManualClock::new(), world::random()).await;
        let store = opened.unwrap();
        assert!(store.insert(&Note::new("a", "one")).await.unwrap());
        assert!(store.take::<Note>("a").await.unwrap().is_some());
        store.flush().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_of_another_key_is_refused_and_a_rotated_key_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |keyring: Keyring| {
        let settings = Settings::Sled(impatient(folder.path()));
        store::open(settings, Arc::new(keyring), ManualClock::new(), world::random()).await
    };
    let (old, new) = (|| world::master_key(1), || world::master_key(2));
    open(Keyring::new(old(), vec![])).await.unwrap().insert(&Note::new("a", "one")).await.unwrap();
    let error = open(Keyring::new(new(), vec![])).await.err().unwrap();
    assert!(matches!(error, OpenError::OtherKey), "{error}");
    let rotated = open(Keyring::new(new(), vec![old()])).await.unwrap();
    assert!(rotated.get::<Note>("a").await.unwrap().is_some());
    drop(rotated);
    open(Keyring::new(new(), vec![])).await.expect("the mark was sealed anew");
}

/// Best-effort records reach the disk without anyone waiting for them.
#[tokio::test]
async fn the_timer_writes_what_nobody_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SledSettings { flush_every: Duration::from_millis(5), ..SledSettings::at(folder.path()) };
    let backend = Arc::new(Sled::open(settings).await.unwrap());
    let store = store::Store::new(backend, world::keyring(), ManualClock::new(), world::random());
    let length = || std::fs::read(folder.path().join("db")).unwrap();
    let before = length();
    store.put(&Memo(Note::new("a", "later"))).await.unwrap();
    for _ in 0..400 {
        if length() != before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("two seconds later nothing is on the disk");
}
