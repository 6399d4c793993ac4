//! A private `redis-server` in a folder of its own, on a port of its own.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use vestibule::store::{Backend, Key, Life, Page, Place, RedisSettings, Unavailable, redis::Redis};

use crate::world::certificates;

pub(crate) struct RedisServer {
    port: u16,
    /// Whether the port speaks TLS, by the certificates in the folder.
    tls: bool,
    further: Vec<String>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// `None`, aloud, where the program is not installed; a failure where `CI` is set. Keeps an append-only file that is
    /// synchronised before each reply; `further` arguments come after that.
    pub(crate) fn start(further: &[&str]) -> Option<Self> {
        Self::prepared(further, false)
    }

    /// The same with TLS and nothing else, by an authority of its own: [`Self::authority`].
    pub(crate) fn with_tls(further: &[&str]) -> Option<Self> {
        Self::prepared(further, true)
    }

    #[expect(clippy::print_stdout, reason = "what was not run is said aloud")]
    fn prepared(further: &[&str], tls: bool) -> Option<Self> {
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "redis-server is missing, and CI is set");
            println!("SKIPPED: redis-server is missing");
            return None;
        }
        let further = further.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { port: 0, tls, further, folder: tempfile::tempdir().unwrap(), child: None };
        if tls {
            certificates::make(server.folder.path());
        }
        // Somebody may take the port between our look and the server's.
        for _ in 0..10 {
            server.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it where it was, with what it had; whether it then answers.
    pub(super) fn run(&mut self) -> bool {
        let folder: &Path = self.folder.path();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        let port = self.port.to_string();
        if self.tls {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            for (name, file) in [("cert", "leaf.pem"), ("key", "leaf.key"), ("ca-cert", "ca.pem")] {
                command.arg(format!("--tls-{name}-file")).arg(folder.join(file));
            }
        } else {
            command.args(["--port", &port]);
        }
        command.arg("--dir").arg(folder).args(&self.further);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..1000 {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.answers() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        false
    }

    /// Whether it has read its files and serves; to be refused for want of a password, or of TLS, is an answer too.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        let mut answer = [0; 8];
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let is_answered = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer[..6]));
        if self.tls {
            return true;
        }
        is_answered.is_ok() && !answer.starts_with(b"-LOAD")
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `redis://…`.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "rediss" } else { "redis" }, self.port)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.child.iter().map(Child::id).collect()
    }

    /// PEM of its authority.
    pub(crate) fn authority(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("ca.pem")).unwrap()
    }

    pub(super) fn settings(&self) -> RedisSettings {
        RedisSettings::at(self.url().parse().unwrap())
    }

    pub(super) async fn open(&self) -> Redis {
        Redis::open(&self.settings()).await.expect("opens")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis that forgets a century late: its own clock is not the one in a test's hand.
pub(super) struct Lasting(pub(super) Redis);

impl Lasting {
    fn longer(life: Life) -> Life {
        Life { expires: life.expires + Duration::from_secs(100 * 365 * 86_400), ..life }
    }
}

#[async_trait::async_trait]
impl Backend for Lasting {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.0.get(key).await
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        self.0.set(key, value, Self::longer(life)).await
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        self.0.swap(key, old, new, Self::longer(life)).await
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        self.0.scan(prefix, from, limit).await
    }

    async fn flush(&self) -> Result<(), Unavailable> {
        self.0.flush().await
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}
