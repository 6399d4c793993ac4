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
    /// A PostgreSQL server, for any number of processes.
    Postgres(PostgresSettings),
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
    /// PEM of the authorities trusted for `rediss://` instead of the system's.
    pub authorities: Option<Vec<u8>>,
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
        let timeout = Duration::from_secs(3);
        Self { url, username: None, password: None, authorities: None, prefix, timeout }
    }
}

/// `[store] kind = "postgres"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://host:port/database`. Holds no credentials, so that it may be shown. A host that is a folder, with its
    /// slashes percent-encoded, is that of a Unix socket.
    pub url: url::Url,
    /// The role; `None` for the name of the user who runs this process.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// The schema of the table; `None` for the first one on the role's search path.
    pub schema: Option<String>,
    /// The table, which is made if it is not there.
    pub table: String,
    /// Whether the way there is sealed.
    pub tls: Tls,
    /// How many connections there may be at once.
    pub connections: usize,
    /// How long one operation may take before the answer is [`Unavailable`].
    pub timeout: Duration,
}

impl PostgresSettings {
    /// The defaults for the server at `url`: no credentials, TLS, the table `vestibule`, 8 connections, 3 s.
    #[must_use]
    pub fn at(url: url::Url) -> Self {
        Self {
            url,
            username: None,
            password: None,
            schema: None,
            table: "vestibule".to_owned(),
            tls: Tls::Checked { authorities: None },
            connections: 8,
            timeout: Duration::from_secs(3),
        }
    }
}

/// How the way to a server is sealed. There is no "if it offers": whoever stands between would take the offer away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Off,
    /// TLS, with the certificate's chain and name checked.
    Checked {
        /// PEM of the authorities trusted instead of the system's.
        authorities: Option<Vec<u8>>,
    },
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
    #[error("this build has no {0} in it (feature `{0}`)")]
    NotBuilt(&'static str),
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
