//! `serve`: refuses what is unsafe, says what it is, leaves cleanly.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{command, installation, run, stderr};

/// A running server, killed when a test fails.
struct Server {
    child: Child,
    line: Value,
    log: BufReader<std::process::ChildStderr>,
}

impl Server {
    /// Starts it and waits for its start-up line.
    fn start(folder: &Path) -> Self {
        let mut child = command(folder, &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server ended: {told}");
            told.push_str(&line);
            match serde_json::from_str::<Value>(&line) {
                Ok(line) if line["message"] == "vestibule is open" => return Self { child, line, log },
                _ => {}
            }
        }
    }

    fn get(&self, address: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.line[address].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// SIGTERM; gives the exit code and the rest of the log.
    fn stop(mut self) -> (Option<i32>, String) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn d11_serve_refuses_to_start_without_a_secret_key() {
    let folder = installation();
    let path = folder.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.lines().filter(|l| !l.starts_with("secret_key")).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let output = run(folder.path(), &["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("vestibule secret new"), "{}", stderr(&output));
    assert!(!folder.path().join("store").exists(), "nothing is touched");
}

#[test]
fn serve_says_what_it_is_answers_and_leaves_cleanly_on_sigterm() {
    let folder = installation();
    let server = Server::start(folder.path());
    let line = &server.line;
    assert_eq!(line["public_url"], "https://mcp.example.com");
    assert_eq!(line["store"], "sled");
    assert_eq!(line["survives_restart"], "yes", "operator row 9");
    assert_eq!(line["resources"], "https://mcp.example.com/notes");
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert!(line["key"].as_str().is_some_and(|key| !key.is_empty()));
    assert!(server.get("admin", "/healthz").starts_with("HTTP/1.1 200"));
    assert!(server.get("admin", "/readyz").starts_with("HTTP/1.1 200"));
    let metadata = server.get("listen", "/.well-known/oauth-authorization-server");
    assert!(metadata.contains("\"issuer\":\"https://mcp.example.com\""), "{metadata}");
    let gate = server.get("listen", "/notes");
    assert!(gate.starts_with("HTTP/1.1 401"), "{gate}");
    let (code, rest) = server.stop();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("drained and flushed"), "{rest}");
    for secret in ["hush-hush", crate::config::KEY] {
        assert!(!rest.contains(secret));
    }
}

#[test]
fn operator_row_9_keys_survive_a_restart() {
    let folder = installation();
    let keys = || {
        let server = Server::start(folder.path());
        let answer = server.get("listen", "/jwks");
        assert_eq!(server.stop().0, Some(0));
        answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
    };
    let before = keys();
    assert!(before.contains("\"kid\""), "{before}");
    assert_eq!(before, keys());
}

#[test]
fn an_address_in_use_is_told_with_its_setting() {
    let folder = installation();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("listen: {address} cannot be listened on")), "{}", stderr(&output));
}

#[test]
fn two_servers_cannot_share_a_store_and_check_sees_the_running_one() {
    let folder = installation();
    let server = Server::start(folder.path());
    let output = run(folder.path(), &["check", "--offline"]);
    assert!(output.status.success());
    assert!(super::stdout(&output).contains("is in use by a running server"), "{}", super::stdout(&output));
    assert_eq!(server.stop().0, Some(0));
}
