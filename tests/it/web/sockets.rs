//! The sockets: versions of HTTP, the admin listener, leaving in good order.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use vestibule::web;

use super::doorway::{door, settings};
use crate::world::FakeMcp;

struct Served {
    public: SocketAddr,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    outcome: JoinHandle<std::io::Result<()>>,
    _mcp: FakeMcp,
}

async fn serve(settings: web::Settings) -> Served {
    let (door, mcp, _) = door(&["/notes"], |_| {}).await;
    let (public, admin) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = (public.local_addr().unwrap(), admin.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let ready: web::Readiness = Arc::new(|| Box::pin(async { vec![("store".to_owned(), Ok(()))] }));
    let outcome = tokio::spawn(web::serve(settings, door, public, Some(admin), ready, async {
        let _ = stopped.await;
    }));
    Served { public: addresses.0, admin: addresses.1, stop, outcome, _mcp: mcp }
}

/// Everything the other side says until it closes.
async fn talk(address: SocketAddr, said: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: mcp.example.com\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn health_is_on_the_admin_listener_alone() {
    let served = serve(settings()).await;
    for path in ["/healthz", "/ping"] {
        let heard = talk(served.admin, &get(path)).await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("\r\n\r\nok"), "{heard}");
    }
    for path in ["/readyz", "/ready"] {
        let heard = talk(served.admin, &get(path)).await;
        assert!(heard.ends_with(r#"{"ready":true,"parts":{"store":"ok"}}"#), "{heard}");
    }
    assert!(talk(served.public, &get("/healthz")).await.starts_with("HTTP/1.1 404"));
    assert!(talk(served.admin, &get("/jwks")).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let served = serve(settings()).await;
    assert!(talk(served.public, &get("/jwks")).await.starts_with("HTTP/1.1 200"));
    let stream = TcpStream::connect(served.public).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/jwks", served.public))
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
}

#[tokio::test]
async fn a_method_that_begins_like_http2_is_http1() {
    let served = serve(settings()).await;
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    stream.write_all(b"P").await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(b"UT /jwks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 405"), "{heard}");
}

#[tokio::test]
async fn s33_oversized_heads_and_nonsense_are_refused() {
    let served = serve(settings()).await;
    let huge = format!("GET /jwks HTTP/1.1\r\nhost: x\r\nx-big: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    // The door may close before it has heard it all.
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 431"), "{heard}");
    assert!(talk(served.public, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(talk(served.public, &get("/jwks")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn open_requests_end_before_the_door_closes() {
    let served = serve(settings()).await;
    let mut slow = TcpStream::connect(served.public).await.unwrap();
    let body = r#"{"redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"none"}"#;
    let head =
        format!("POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).await.unwrap();
    // The request is in hand once the door asks for its body.
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"));
    let idle = TcpStream::connect(served.public).await.unwrap();

    served.stop.send(()).unwrap();
    // Nobody new is let in, and probes hear that we are leaving.
    while TcpStream::connect(served.public).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(talk(served.admin, &get("/readyz")).await.starts_with("HTTP/1.1 503"));
    assert!(talk(served.admin, &get("/healthz")).await.starts_with("HTTP/1.1 200"));

    slow.write_all(body.as_bytes()).await.unwrap();
    let mut heard = String::new();
    slow.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 201"), "{heard}");
    served.outcome.await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut settings = settings();
    settings.drain = std::time::Duration::from_millis(20);
    let served = serve(settings).await;
    let mut slow = TcpStream::connect(served.public).await.unwrap();
    slow.write_all(b"POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    slow.read_exact(&mut [0; 25]).await.unwrap();
    served.stop.send(()).unwrap();
    served.outcome.await.unwrap().unwrap();
    assert_eq!(slow.read(&mut [0; 64]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_network_that_is_none_is_told_before_anything_listens() {
    let mut settings = settings();
    settings.trusted_proxies = vec!["everyone".to_owned()];
    let served = serve(settings).await;
    let error = served.outcome.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("`everyone` in trusted_proxies"), "{error}");
}
