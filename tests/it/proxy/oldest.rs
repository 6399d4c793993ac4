//! The oldest wire (MCP 2024-11-05): a stream whose first event names the address to post to.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::{sync::mpsc::Sender, time::timeout};
use vestibule::domain::Injection;

use super::gatehouse::{Gatehouse, resource, settings};

const SOON: Duration = Duration::from_secs(10);

/// `/mcp` before `/mcp` at the target as ever, `/notes` before its `/sse`.
async fn gate() -> Gatehouse {
    Gatehouse::with(settings(), |resources| {
        let sse = resources[0].target.as_url().join("/sse").unwrap();
        resources.push(resource("/notes", sse.as_str(), vec![Injection::UpstreamToken]));
    })
    .await
}

async fn open(gate: &Gatehouse, path: &str) -> (Sender<Bytes>, Incoming) {
    let token = gate.token("ann", path).await;
    let feed = gate.mcp.next_stream();
    let request = Request::get(path)
        .header(header::HOST, "mcp.example.com")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("x-fake", "stream")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = gate.send(request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    (feed, answer.into_body())
}

async fn frame(body: &mut Incoming) -> String {
    let frame = timeout(SOON, body.frame()).await.expect("in time").expect("a frame").expect("sound");
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// What the client is told when the target says `event` first.
async fn told(gate: &Gatehouse, path: &str, event: &str) -> String {
    let (feed, mut body) = open(gate, path).await;
    feed.send(Bytes::from(event.to_owned())).await.unwrap();
    let mut told = frame(&mut body).await;
    while !told.ends_with("\n\n") {
        told += &frame(&mut body).await;
    }
    told
}

/// The address in an `endpoint` event.
fn address(event: &str) -> &str {
    event.strip_prefix("event: endpoint\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).expect(event)
}

#[tokio::test]
async fn mcp_2024_11_05_the_endpoint_is_written_anew_and_leads_to_the_targets_own() {
    let gate = gate().await;
    let inside = format!("http://{}", gate.mcp.address);
    for (path, said, meant) in [
        ("/notes", "/message?sessionId=a%20b", "/message?sessionId=a%20b"),
        ("/notes", "messages/?session_id=1", "/messages/?session_id=1"),
        ("/notes", "?session_id=1", "/sse?session_id=1"),
        ("/notes", &format!("{inside}/message?sessionId=1"), "/message?sessionId=1"),
        ("/mcp", "/mcp/message?sessionId=1", "/mcp/message?sessionId=1"),
    ] {
        for event in [format!("event: endpoint\ndata: {said}\n\n"), format!("data:{said}\r\nevent:endpoint\r\n\r\n")] {
            let token = gate.token("ann", path).await;
            let told = told(&gate, path, &event).await;
            let way = address(&told);
            assert!(way.starts_with(&format!("{path}/~endpoint/")), "{way}");
            assert!(!way.contains("ession"), "{way}");
            assert_eq!(gate.call(way, &token, &[("x-fake", "accepted")]).await.status, StatusCode::ACCEPTED);
            assert_eq!(gate.mcp.last().target, meant);
            assert_eq!(gate.mcp.last().body, "{}");
        }
    }
}

#[tokio::test]
async fn mcp_2024_11_05_what_follows_passes_byte_for_byte_and_in_time() {
    let gate = gate().await;
    let (feed, mut body) = open(&gate, "/notes").await;
    // In pieces, behind a comment that must not wait for them.
    feed.send(Bytes::from(": hello\r\n\r\nevent: endp")).await.unwrap();
    assert_eq!(frame(&mut body).await, ": hello\r\n\r\n");
    feed.send(Bytes::from("oint\r\ndata: /message\r")).await.unwrap();
    feed.send(Bytes::from("\n\r\nevent: message\r\ndata: 1\r\n\r\n: part")).await.unwrap();
    let first = frame(&mut body).await;
    let (event, rest) = first.split_once("\n\n").unwrap();
    assert!(event.starts_with("event: endpoint\ndata: /notes/~endpoint/"), "{event}");
    assert_eq!(rest, "event: message\r\ndata: 1\r\n\r\n: part");
    feed.send(Bytes::from("event: endpoint\ndata: /second\n\n")).await.unwrap();
    assert_eq!(frame(&mut body).await, "event: endpoint\ndata: /second\n\n", "only the first event is looked at");
}

#[tokio::test]
async fn s24_ses_2_nobody_else_posts_to_an_endpoint_and_nobody_makes_one_up() {
    let gate = gate().await;
    let told = told(&gate, "/notes", "event: endpoint\ndata: /message?sessionId=1\n\n").await;
    let way = address(&told);
    let (ann, bob) = (gate.token("ann", "/notes").await, gate.token("bob", "/notes").await);
    let before = gate.mcp.seen().len();
    assert_eq!(gate.call(way, &bob, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(gate.call(way, "", &[]).await.status, StatusCode::UNAUTHORIZED);
    let elsewhere = way.replace("/notes/", "/mcp/");
    assert_eq!(gate.call(&elsewhere, &gate.token("ann", "/mcp").await, &[]).await.status, StatusCode::NOT_FOUND);
    for forged in ["/notes/~endpoint/", "/notes/~endpoint/L21lc3NhZ2U", &way[..way.len() - 2]] {
        assert_eq!(gate.call(forged, &ann, &[]).await.status, StatusCode::NOT_FOUND, "{forged}");
    }
    assert_eq!(gate.mcp.seen().len(), before, "the target heard of it");
}

#[tokio::test]
async fn s28_an_endpoint_at_another_server_is_told_to_nobody() {
    let gate = gate().await;
    for foreign in ["http://evil.example/message", "//evil.example/message", "https://127.0.0.1/message", "http://["] {
        let (feed, mut body) = open(&gate, "/notes").await;
        feed.send(Bytes::from(format!("event: endpoint\ndata: {foreign}\n\n"))).await.unwrap();
        assert!(timeout(SOON, body.frame()).await.expect("in time").unwrap().is_err(), "{foreign}");
    }
}

#[tokio::test]
async fn a_target_that_knows_its_public_address_is_believed() {
    let gate = gate().await;
    for known in ["https://mcp.example.com/notes/message?sessionId=1", "/notes/messages/?session_id=1"] {
        let event = format!("event: endpoint\ndata: {known}\n\n");
        assert_eq!(told(&gate, "/notes", &event).await, event);
    }
}

#[tokio::test]
async fn behaviour_27_what_is_no_endpoint_is_not_touched() {
    let gate = gate().await;
    let long = format!("data: {}\n\n", "x".repeat(10_000));
    for event in [
        "data: /message\n\n",
        "event: message\ndata: {}\n\n",
        "event: endpoint\n\n",
        "event: endpoint\ndata: a\ndata: b\n\n",
        &long,
    ] {
        assert_eq!(told(&gate, "/notes", event).await, event);
    }
    // A stream that ends before its first event is whole.
    let (feed, mut body) = open(&gate, "/notes").await;
    feed.send(Bytes::from("event: endpoint\ndata: /mess")).await.unwrap();
    drop(feed);
    assert_eq!(frame(&mut body).await, "event: endpoint\ndata: /mess");
    assert!(timeout(SOON, body.frame()).await.expect("in time").is_none());
}
