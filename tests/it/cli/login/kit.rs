//! `vestibule login` as a person runs it, and a server of a stranger's that tells the truth unless a test says otherwise.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

use crate::world::browser::Browser;

/// Longer than any of these takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home of its own, so that nothing of the tester's is read or written.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where logins go when nothing else is said.
    pub(crate) fn logins(&self) -> PathBuf {
        self.path().join("state/vestibule/logins")
    }

    /// The one record there is.
    pub(crate) fn record(&self) -> PathBuf {
        let all: Vec<_> = std::fs::read_dir(self.logins())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// What is in it.
    pub(crate) fn kept(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.record()).unwrap()).unwrap()
    }

    /// Changes what is in it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut kept = self.kept();
        change(&mut kept);
        std::fs::write(self.record(), kept.to_string()).unwrap();
    }

    /// As if the access token had run out.
    pub(crate) fn expire(&self) {
        self.change(|kept| kept["tokens"]["expires_at"] = 1.into());
    }

    /// Begins `vestibule login ARGUMENTS` here, without a browser and without a keyring.
    pub(crate) fn start(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["login"];
        all.extend(arguments);
        if !arguments.contains(&"--token-file") {
            all.extend(["--keep", "file"]);
        }
        self.begin(&all)
    }

    /// `vestibule doctor ARGUMENTS`, to its end.
    pub(crate) async fn doctor(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["doctor"];
        all.extend(arguments);
        self.begin(&all).end().await
    }

    fn begin(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).env_clear().env("HOME", self.path());
        command.env("XDG_STATE_HOME", self.path().join("state")).current_dir(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Run { child, stdin, stderr, said: String::new() }
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end().await
    }

    /// A whole login at a server that asks nobody: to the address, and where it leads.
    pub(crate) async fn log_in(&self, url: &str, arguments: &[&str]) -> Ended {
        let mut all = vec![url, "--no-browser"];
        all.extend(arguments);
        let mut run = self.start(&all);
        let Some(address) = run.address().await else { return run.end().await };
        let page = Browser::new().get(&address).await;
        if let Some(back) = page.location() {
            let page = Browser::new().get(&back).await;
            assert!(page.status == 200 && page.body.contains("You may close this window"), "{page:?}");
        }
        run.end().await
    }
}

/// One that runs.
pub(crate) struct Run {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Lines<BufReader<ChildStderr>>,
    said: String,
}

/// One that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The first line of stderr that fits, without its margin; none when it ends before.
    pub(crate) async fn line(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let looking = async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if fits(line.trim()) {
                    return Some(line.trim().to_owned());
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("a line in time")
    }

    /// The address to open.
    pub(crate) async fn address(&mut self) -> Option<String> {
        self.line(|line| line.starts_with("http") && line.contains("code_challenge")).await
    }

    /// Types a line.
    pub(crate) async fn paste(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn end(mut self) -> Ended {
        let mut stdout = self.child.stdout.take().unwrap();
        let (mut text, mut bytes) = (std::mem::take(&mut self.said), Vec::new());
        let reading = async {
            let (status, _, ()) = tokio::join!(self.child.wait(), stdout.read_to_end(&mut bytes), async {
                while let Ok(Some(line)) = self.stderr.next_line().await {
                    text.push_str(&line);
                    text.push('\n');
                }
            });
            status.unwrap().code().expect("an exit, not a signal")
        };
        let code = tokio::time::timeout(PATIENCE, reading).await.expect("an end in time");
        Ended { code, stdout: String::from_utf8(bytes).unwrap(), stderr: text }
    }
}

impl Ended {
    /// Exit code 0.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Exit code 1, at this step.
    pub(crate) fn failed_at(self, step: &str) -> Self {
        assert_eq!(self.code, 1, "{}\n{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(&format!("failed at the step {step}: ")), "{}\n{}", self.stdout, self.stderr);
        self
    }
}
