//! A target behind TLS with a certificate of the operator's own authority (`extra_ca`).

use std::{net::SocketAddr, path::Path};

use http::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use vestibule::proxy::Settings;

use super::gatehouse::{Gatehouse, resource, settings};
use crate::world::certificates;

/// `openssl s_server` in front of one canned HTTP/1.1 answer: third-party TLS, and no TLS server among our dependencies.
async fn target(folder: &Path) -> (SocketAddr, tokio::process::Child) {
    // `s_server` wants a port; one that was just free will do.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut child = tokio::process::Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &address.to_string(), "-cert", "leaf.pem", "-key", "leaf.key"])
        .args(["-alpn", "http/1.1"])
        .current_dir(folder)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    tokio::spawn(async move {
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        while lines.read_line(&mut line).await.is_ok_and(|n| n > 0) {
            if line == "\r\n" {
                let _ = lines.read_exact(&mut [0; 2]).await;
                let _ = input.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").await;
            }
            line.clear();
        }
    });
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    (address, child)
}

#[tokio::test]
async fn an_https_target_is_trusted_through_extra_ca_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let ca = std::fs::read(folder.path().join("ca.pem")).unwrap();
    let (address, _child) = target(folder.path()).await;
    let url = format!("https://{address}/mcp");
    for (extra_ca, status) in [(None, StatusCode::BAD_GATEWAY), (Some(ca), StatusCode::OK)] {
        let settings = Settings { extra_ca, ..settings() };
        let gate = Gatehouse::with(settings, |all| all[0] = resource("/mcp", &url, Vec::new())).await;
        let token = gate.token("ann", "/mcp").await;
        let answer = gate.call("/mcp", &token, &[]).await;
        assert_eq!(answer.status, status);
        if status == StatusCode::OK {
            assert_eq!(answer.text(), "secret");
        }
    }
}

#[test]
fn extra_ca_that_holds_none_is_a_mistake() {
    for (pem, said) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "PEM")]
    {
        let settings = Settings { extra_ca: Some(pem.as_bytes().to_vec()), ..settings() };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mistake = runtime.block_on(Gatehouse::mistake(settings));
        assert!(mistake.contains(said), "{mistake}");
    }
}
