//! What the operator may choose, and why it may not open.

use std::{path::PathBuf, time::Duration};

use super::Unavailable;
use crate::domain::Secret;

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// Nothing survives the process: for `dev` and tests.
    Memory,
    /// An embedded database in one folder, for one process.
    Sled(SledSettings),
    /// A Redis or Valkey server, for any number of processes.
    Redis(RedisSettings),
}

/// `[store] kind = "sled"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledSettings {
    /// The folder; made with mode 0700 if it is not there.
    pub path: PathBuf,
    /// How long a best-effort record may wait for the disk.
    pub flush_every: Duration,
    /// Bytes of page cache.
    pub cache: u64,
    /// How far a durable write goes.
    pub fsync: Fsync,
    /// How long to wait for another process to let go of the folder (a rolling restart).
    pub patience: Duration,
}

impl SledSettings {
    /// The defaults for the folder `path`: 50 ms, 64 MiB, written to the system, 10 s.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            flush_every: Duration::from_millis(50),
            cache: 64 << 20,
            fsync: Fsync::System,
            patience: Duration::from_secs(10),
        }
    }
}

/// `[store] kind = "redis"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://host:port/database`, or `rediss://` for TLS. Holds no credentials, so that it may be shown.
    pub url: url::Url,
    /// The ACL user; `None` for the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// Before every key of ours, so that several houses (or other programs) may share one database.
    pub prefix: String,
    /// How long one operation may take before the answer is [`Unavailable`].
    pub timeout: Duration,
}

impl RedisSettings {
    /// The defaults for the server at `url`: no credentials, keys below `vestibule:`, 3 s.
    #[must_use]
    pub fn at(url: url::Url) -> Self {
        let prefix = "vestibule:".to_owned();
        Self { url, username: None, password: None, prefix, timeout: Duration::from_secs(3) }
    }
}

/// `[store] fsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Handed to the operating system before the reply: survives `kill -9`; a power cut may cost the last moments.
    #[default]
    System,
    /// Also synchronised with the disk before the reply, at the price of some milliseconds.
    Always,
}

/// The store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made or read.
    #[error("the store's folder {path} cannot be used: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the store {path} is held by another process{}; one store folder serves one process, so stop that one or \
         choose another folder", owner.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Held {
        /// The folder.
        path: PathBuf,
        /// Which process wrote its name there.
        owner: Option<u32>,
    },
    /// The database in it is damaged, or not one of ours.
    #[error("the store {path} does not open: {cause}")]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// The server does not answer, or refuses us.
    #[error("the store {url} cannot be used: {cause}")]
    Unreachable {
        /// Where it should be.
        url: url::Url,
        /// What came back; never a credential.
        cause: String,
    },
    /// This program was built without the backend that was asked for.
    #[error("this build has no Redis in it (feature `redis`)")]
    NotBuilt,
    /// Sealed under a key that is not in the ring. To go on would log everyone out without a word.
    #[error(
        "the store was sealed under another secret_key; add the former key to the older ones (or mend the current \
         one), or begin anew with an empty store"
    )]
    OtherKey,
    /// It opened and then failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
