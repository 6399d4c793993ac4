//! What the servers for many processes have in common, for tests that run over each of them.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use vestibule::store::Backend;

#[cfg(feature = "postgres")]
use super::postgres_server::PostgresServer;
#[cfg(feature = "redis")]
use super::redis_server::{Lasting, RedisServer};

/// Sends a signal to each of these processes.
pub(super) fn signal(which: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        let _ = Command::new("kill").arg(which).args(pids).stderr(Stdio::null()).status();
    }
}

/// What can be started, opened, and killed.
pub(crate) trait Server: Sized + Send + 'static {
    /// `None`, aloud, where it is not installed.
    fn start() -> Option<Self>;
    /// A connection of its own.
    async fn backend(&self) -> Arc<dyn Backend>;
    /// What goes below `[store]`.
    fn toml(&self) -> String;
    /// `kill -9`.
    fn kill(&mut self);
    /// Starts it again with what it had; whether it answers.
    fn run(&mut self) -> bool;
    /// It stands still: connections stay, answers do not come.
    fn freeze(&self);
    /// It goes on where it stood.
    fn thaw(&self);
}

#[cfg(feature = "redis")]
impl Server for RedisServer {
    fn start() -> Option<Self> {
        Self::start(&[])
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Lasting(self.open().await))
    }

    fn toml(&self) -> String {
        format!("kind = \"redis\"\nurl = \"{}\"", self.url())
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn run(&mut self) -> bool {
        self.run()
    }

    fn freeze(&self) {
        signal("-STOP", &self.pids());
    }

    fn thaw(&self) {
        signal("-CONT", &self.pids());
    }
}

#[cfg(feature = "postgres")]
impl Server for PostgresServer {
    fn start() -> Option<Self> {
        Self::start(&[])
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        self.open().await
    }

    fn toml(&self) -> String {
        format!("kind = \"postgres\"\nurl = \"{}\"\nusername = \"postgres\"", self.url())
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn run(&mut self) -> bool {
        self.run()
    }

    fn freeze(&self) {
        signal("-STOP", &self.pids());
    }

    fn thaw(&self) {
        signal("-CONT", &self.pids());
    }
}

/// Runs each case over each server.
macro_rules! over_every_server {
    ($($case:ident),* $(,)?) => {
        #[cfg(feature = "redis")]
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)] async fn $case() {
                if let Some(server) = <crate::store::redis_server::RedisServer as crate::store::server::Server>::start() {
                    super::$case(server).await;
                }
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)] async fn $case() {
                if let Some(server) = <crate::store::postgres_server::PostgresServer as crate::store::server::Server>::start() {
                    super::$case(server).await;
                }
            })*
        }
    };
}

pub(crate) use over_every_server;
