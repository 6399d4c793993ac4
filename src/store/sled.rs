//! The only file that names the `sled` crate: an embedded database in one folder, for one process.
//!
//! sled 0.34 is fenced. Many tasks that await its flush at once deadlock it for good, so exactly one flush is ever
//! under way: one thread collects those who wait for durability, flushes once for all of them and then answers
//! (group commit). It also flushes what nobody waits for, every `flush_every`. sled's own flush timer is off.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Backend, Key, Life, Page, Place, Unavailable,
    settings::{Fsync, OpenError, SledSettings},
};

/// How many acknowledgements one flush may answer.
const GROUP: usize = 512;
/// Pause between two attempts to open a folder that another process holds.
const RETRY: Duration = Duration::from_millis(100);
/// Where the process that holds the folder writes its pid, for the error message of the next one.
const OWNER: &str = "owner";

/// One sled database. Dropping it flushes and lets go of the folder.
#[derive(Debug)]
pub struct Sled {
    tree: sled::Tree,
    /// Something was written that nobody waits for.
    dirty: Arc<AtomicBool>,
    flusher: Flusher,
}

/// A flush failed; everyone who waited for it gets the same words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("flush failed: {0}")]
struct FlushFailed(Arc<str>);

type Waiter = oneshot::Sender<Result<(), FlushFailed>>;

impl Sled {
    /// Opens the folder, waiting up to `settings.patience` for another process to let go of it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: SledSettings) -> Result<Self, OpenError> {
        let path = settings.path.clone();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&settings)).await;
        opened.unwrap_or_else(|panic| Err(OpenError::Damaged { path, cause: panic.to_string() }))
    }

    fn open_blocking(settings: &SledSettings) -> Result<Self, OpenError> {
        let path = &settings.path;
        let folder = |source| OpenError::Folder { path: path.clone(), source };
        make_private(path).map_err(folder)?;
        let db = open_when_free(settings)?;
        fs::write(path.join(OWNER), std::process::id().to_string()).map_err(folder)?;
        let log = match settings.fsync {
            Fsync::System => None,
            Fsync::Always => Some(File::open(path.join("db")).map_err(folder)?),
        };
        let (tree, dirty) = ((*db).clone(), Arc::new(AtomicBool::new(false)));
        let flusher = Flusher::start(FlushLoop { db, log, every: settings.flush_every, dirty: dirty.clone() });
        Ok(Self { tree, dirty, flusher: flusher.map_err(folder)? })
    }

    /// After a write: waits for the next flush, or leaves it to the timer.
    async fn settle(&self, durable: bool) -> Result<(), Unavailable> {
        if durable {
            self.flusher.flushed().await
        } else {
            self.dirty.store(true, Ordering::Release);
            Ok(())
        }
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Unavailable {
    Unavailable(error.into())
}

fn bytes(value: &sled::IVec) -> Bytes {
    Bytes::copy_from_slice(value)
}

#[async_trait::async_trait]
impl Backend for Sled {
    /// Inline: about 19 µs under load, cheaper than a trip to another thread.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        let value = self.tree.get(key.as_str()).map_err(unavailable)?;
        Ok(value.as_ref().map(bytes))
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        match value {
            Some(value) => self.tree.insert(key.as_str(), &*value),
            None => self.tree.remove(key.as_str()),
        }
        .map_err(unavailable)?;
        self.settle(life.durable).await
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        let swapped = self.tree.compare_and_swap(key.as_str(), old.map(|old| &**old), new.as_deref());
        if swapped.map_err(unavailable)?.is_err() {
            return Ok(false);
        }
        self.settle(life.durable).await?;
        Ok(true)
    }

    /// On a thread that may block: a scan can read many pages from the disk.
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        let (tree, prefix, from) = (self.tree.clone(), prefix.to_owned(), from.cloned());
        tokio::task::spawn_blocking(move || scan(&tree, &prefix, from.as_ref(), limit))
            .await
            .map_err(unavailable)?
            .map_err(unavailable)
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        self.flusher.flushed().await
    }
}

fn scan(tree: &sled::Tree, prefix: &str, from: Option<&Place>, limit: usize) -> sled::Result<Page> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let from = match from {
        Some(place) if place.as_str() >= prefix => Excluded(place.as_str().as_bytes()),
        _ => Included(prefix.as_bytes()),
    };
    let mut found = Vec::new();
    for pair in tree.range::<&[u8], _>((from, Unbounded)) {
        let (key, value) = pair?;
        if found.len() == limit || !key.starts_with(prefix.as_bytes()) {
            break;
        }
        // We write nothing but text; another program's key is not ours to show.
        if let Ok(text) = std::str::from_utf8(&key) {
            found.push((Key::from_text(text.to_owned()), bytes(&value)));
        }
    }
    Ok(Page::in_order(found, limit))
}

/// Makes the folder if need be, for the owner alone: values are sealed, but nobody else has business here.
fn make_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn open_when_free(settings: &SledSettings) -> Result<sled::Db, OpenError> {
    let path = &settings.path;
    let config = sled::Config::new().path(path).cache_capacity(settings.cache).flush_every_ms(None);
    let mut waited = Duration::ZERO;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(error) if !is_held(&error) => {
                return Err(OpenError::Damaged { path: path.clone(), cause: error.to_string() });
            }
            Err(_) if waited >= settings.patience => {
                return Err(OpenError::Held { path: path.clone(), owner: owner(path) });
            }
            Err(_) => {
                if waited.is_zero() {
                    tracing::warn!(path = %path.display(), "the store is held by another process; waiting for it");
                }
                thread::sleep(RETRY);
                waited += RETRY;
            }
        }
    }
}

/// sled wraps the failed file lock in an error that only its words tell from others.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

fn owner(path: &Path) -> Option<u32> {
    fs::read_to_string(path.join(OWNER)).ok()?.trim().parse().ok()
}

/// The hand that reaches the flushing thread.
#[derive(Debug)]
struct Flusher {
    /// `None` only while dropping.
    waiters: Option<mpsc::Sender<Waiter>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    fn start(work: FlushLoop) -> io::Result<Self> {
        let (waiters, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("store-flush".into()).spawn(move || work.run(&queue))?;
        Ok(Self { waiters: Some(waiters), thread: Some(thread) })
    }

    /// Returns when everything written before the call would survive a crash of this process.
    async fn flushed(&self) -> Result<(), Unavailable> {
        let (answer, answered) = oneshot::channel();
        let sent = self.waiters.as_ref().is_some_and(|waiters| waiters.send(answer).is_ok());
        if !sent {
            return Err(unavailable("the flushing thread has ended"));
        }
        answered.await.map_err(unavailable)?.map_err(unavailable)
    }
}

impl Drop for Flusher {
    /// Lets the thread flush a last time and waits for it, so that the folder is free when this returns.
    fn drop(&mut self) {
        self.waiters = None;
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// What the flushing thread owns.
struct FlushLoop {
    db: sled::Db,
    log: Option<File>,
    every: Duration,
    dirty: Arc<AtomicBool>,
}

impl FlushLoop {
    fn run(self, queue: &mpsc::Receiver<Waiter>) {
        loop {
            match queue.recv_timeout(self.every) {
                Ok(first) => {
                    // Whoever is about to write gets to, so that one flush serves many; alone, this costs nothing.
                    thread::yield_now();
                    let group: Vec<Waiter> = std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).collect();
                    let outcome = self.flush();
                    for waiter in group {
                        // Whoever hung up meanwhile no longer wants to know.
                        let _ = waiter.send(outcome.clone());
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.dirty.load(Ordering::Acquire) => drop(self.flush()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return drop(self.flush()),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one thread that flushes")]
    fn flush(&self) -> Result<(), FlushFailed> {
        self.dirty.store(false, Ordering::Release);
        let flushed = self.db.flush().map_err(|error| error.to_string());
        let synced = flushed.and_then(|_| match &self.log {
            Some(log) => log.sync_data().map_err(|error| error.to_string()),
            None => Ok(()),
        });
        synced.map_err(|cause| {
            self.dirty.store(true, Ordering::Release);
            tracing::error!(cause, "the store could not be written");
            FlushFailed(cause.into())
        })
    }
}
