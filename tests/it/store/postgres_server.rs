//! A private PostgreSQL in a folder of its own, on a port of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use vestibule::store::{Backend, PostgresSettings, Tls, postgres::Postgres};

use super::server::signal;

/// The server refuses to run as root; this user is on every system.
const NOBODY: u32 = 65534;

pub(crate) struct PostgresServer {
    port: u16,
    programs: PathBuf,
    further: Vec<String>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl PostgresServer {
    /// `None`, aloud, where the programs are not installed; a failure where `CI` is set. Anyone on loopback is let in as
    /// `postgres`. `further` settings (`fsync=on`) come after ours.
    pub(crate) fn start(further: &[&str]) -> Option<Self> {
        Self::prepared(further, |_| {})
    }

    /// The same, after something was laid into its folder.
    #[expect(clippy::print_stdout, reason = "what was not run is said aloud")]
    pub(crate) fn prepared(further: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing, and CI is set");
            println!("SKIPPED: PostgreSQL is missing");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        copy(&cluster(&programs), &folder.path().join("data"));
        prepare(folder.path());
        own(folder.path());
        let further = further.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { port: 0, programs, further, folder, child: None };
        // Somebody may take the port between our look and the server's.
        for _ in 0..10 {
            server.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("postgres does not start: {}", server.said());
    }

    /// Starts it where it was, with what it had; whether it then answers. Until the last of those that were killed with
    /// it has gone, it refuses.
    pub(crate) fn run(&mut self) -> bool {
        for _ in 0..20 {
            if self.run_once() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn run_once(&mut self) -> bool {
        let folder: &Path = self.folder.path();
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = as_nobody(&self.programs.join("postgres"));
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).arg("-p").arg(self.port.to_string());
        // Who is killed leaves his files to the system, so that nothing need wait for the disk here.
        let ours = ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=100"];
        for setting in ours.into_iter().chain(self.further.iter().map(String::as_str)) {
            command.arg("-c").arg(setting);
        }
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
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

    /// Whether it serves: it asks for a password or lets us in, instead of being about to start.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        let hello = [&196_608_u32.to_be_bytes()[..], b"user\0postgres\0\0"].concat();
        let length = u32::try_from(hello.len() + 4).unwrap().to_be_bytes();
        let mut answer = [0];
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let asked = stream.write_all(&[&length[..], &hello].concat()).and_then(|()| stream.read_exact(&mut answer));
        asked.is_ok() && &answer == b"R"
    }

    /// `kill -9` of all of it.
    pub(crate) fn kill(&mut self) {
        let all = self.pids();
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
        signal("-KILL", &all[1..]);
    }

    /// Of the server first, then of its workers.
    pub(super) fn pids(&self) -> Vec<u32> {
        let Some(server) = self.child.as_ref().map(Child::id) else { return Vec::new() };
        let workers = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        std::iter::once(server).chain(workers.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// A stop in good order: nobody is waited for, connections are cut.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal("-INT", &[child.id()]);
        child.wait().unwrap();
    }

    /// `postgres://…`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://127.0.0.1:{}/postgres", self.port)
    }

    /// The same server at its Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://{folder}:{}/postgres", self.port)
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        let defaults = PostgresSettings::at(self.url().parse().unwrap());
        PostgresSettings { username: Some("postgres".into()), tls: Tls::Off, ..defaults }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Backend> {
        Arc::new(Postgres::open(&self.settings()).await.expect("opens"))
    }

    /// What an administrator does: statements, and the first column of the last row as text.
    pub(crate) async fn sql(&self, statements: &str) -> Option<String> {
        let address = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let answers = client.simple_query(statements).await.unwrap();
        let rows = answers.iter().filter_map(|answer| match answer {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0)?.to_owned()),
            _ => None,
        });
        rows.last()
    }

    /// Where its files are; what was prepared lies here.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its log, for the one who looks for a reason.
    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Not `kill -9`, which would leave a piece of the system's shared memory behind each time. A test may have failed
        // while it stood still.
        signal("-CONT", &self.pids());
        let Some(mut child) = self.child.take() else { return };
        signal("-QUIT", &[child.id()]);
        let _ = child.wait();
    }
}

/// Where `postgres` and `initdb` are: on the path, or where Debian keeps them, the newest version last.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut versions: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path()).collect();
    versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let debian = versions.into_iter().rev().map(|version| version.join("bin"));
    let has_both = |folder: &PathBuf| folder.join("postgres").exists() && folder.join("initdb").exists();
    let found = std::env::split_paths(&path).chain(debian).find(has_both)?;
    // A link's own folder lacks the libraries that the program looks for beside itself.
    Some(fs::canonicalize(found.join("postgres")).ok()?.parent()?.to_owned())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
}

/// A new cluster, made once for all tests: `initdb` takes a second, a copy a twentieth.
fn cluster(programs: &Path) -> PathBuf {
    let version = Command::new(programs.join("postgres")).arg("--version").output().unwrap().stdout;
    let version: String = String::from_utf8(version).unwrap().split_whitespace().nth(2).unwrap().to_owned();
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{version}"));
    if !made.exists() {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path());
        let data = folder.path().join("data");
        let mut command = as_nobody(&programs.join("initdb"));
        command.arg("-D").arg(&data).args(["-N", "-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C"]);
        let output = command.arg("--wal-segsize=1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Many test processes may be here at once; the first who is done wins, and nobody sees half of it.
        let whole = tempfile::Builder::new().prefix("postgres-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        copy(&data, &whole.path().join("data"));
        let _ = fs::rename(whole.path().join("data"), &made);
    }
    made
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Gives a folder and what lies in it to the user who runs the server.
fn own(folder: &Path) {
    if is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}
