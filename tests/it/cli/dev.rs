//! `vestibule dev`: the whole walk, as a newcomer runs it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

fn dev(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.arg("dev").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Numbers, times and ports taken out of the lines of the walk.
fn steps(stdout: &str) -> Vec<String> {
    let lines = stdout.lines().filter(|line| line.contains(" ms  "));
    lines.map(|line| line.get(5..29).unwrap_or(line).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn one_command_walks_a_whole_login_with_the_official_sdk_and_exits_0() {
    let output = dev(&["--once"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("NOT FOR PRODUCTION"), "{stdout}");
    insta::assert_snapshot!(steps(&stdout).join("\n"), @r"
    call, no token 401
    resource metadata 200
    server metadata 200
    register 201
    consent page 200
    approve 303
    provider's login 200
    logged in 303
    callback 302
    token 200
    initialize ok
    tools/list ok
    tools/call echo ok
    tools/call whoami ok
    ");
    assert!(stdout.contains(r#""x-forwarded-user":"dev:ann""#), "a forged X-Forwarded-User was believed: {stdout}");
    assert!(stdout.contains("present, and the provider accepts it"), "{stdout}");
    assert_eq!(stderr, "", "a sound walk leaves nothing to warn of");
}

#[test]
fn a_second_walk_over_a_kept_folder_finds_the_key_and_the_store_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev");
    let walk = || {
        let output = dev(&["--once", "--path", path.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(path.join("secret_key")).unwrap()
    };
    assert_eq!(walk(), walk());
    assert!(path.join("store/db").exists());
}

#[test]
fn a_taken_port_is_refused_when_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = dev(&["--once", "--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("port {port} cannot be had")));
}

/// Ends the process if the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(unix)]
#[test]
fn it_stays_up_says_what_to_paste_and_ends_cleanly_on_ctrl_c() {
    let mut running = Running(dev(&[]).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told: Vec<_> = lines.by_ref().take_while(|line| line != "Ctrl-C ends it.").collect();
    let told = told.join("\n");
    for client in ["Claude Code", "Claude Desktop", "VS Code", "Cursor"] {
        assert!(told.contains(client), "{told}");
    }
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
}
