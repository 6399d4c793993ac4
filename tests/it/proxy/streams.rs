//! Both ways, byte for byte, without waiting and without end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::time::timeout;
use vestibule::domain::Grant;

use super::gatehouse::{Gatehouse, settings, told};
use crate::world::mcp::big;

/// Far above anything that happens here, far below a test's patience.
const SOON: Duration = Duration::from_secs(10);

fn asking(method: &str, token: &str, fake: &str) -> Request<Empty<Bytes>> {
    Gatehouse::request("/mcp")
        .method(method)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("x-fake", fake)
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn behaviour_27_the_first_event_arrives_while_the_stream_goes_on() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    for method in ["POST", "GET"] {
        let feed = gate.mcp.next_stream();
        let answer = gate.send(asking(method, &token, "stream")).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        let mut body = answer.into_body();
        for event in ["data: first\n\n", ": a comment\n\n", "data: second\n\n"] {
            feed.send(Bytes::from(event)).await.unwrap();
            let frame = timeout(SOON, body.frame()).await.expect("in time").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
        drop(feed);
        assert!(timeout(SOON, body.frame()).await.expect("in time").is_none());
    }
}

#[tokio::test]
async fn a_burst_of_events_arrives_whole_in_order_and_in_few_pieces() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let feed = gate.mcp.next_stream();
    let mut whole = String::new();
    for number in 0..1000 {
        let event = format!("data: {number}\n\n");
        whole.push_str(&event);
        feed.send(event.into()).await.unwrap();
    }
    drop(feed);
    let mut body = gate.send(asking("POST", &token, "stream")).await.into_body().into_data_stream();
    let (mut got, mut pieces) = (Vec::new(), 0);
    while let Some(piece) = timeout(SOON, body.next()).await.expect("in time") {
        got.extend_from_slice(&piece.unwrap());
        pieces += 1;
    }
    assert_eq!(String::from_utf8(got).unwrap(), whole);
    assert!(pieces < 300, "{pieces} pieces for 1000 events");
}

#[tokio::test]
async fn behaviour_27_the_request_streams_while_it_is_written() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let (feed, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let pieces = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|bytes| (Ok::<_, std::convert::Infallible>(Frame::data(bytes)), receiver))
    });
    let request = Gatehouse::request("/mcp")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("x-fake", "echo")
        .body(StreamBody::new(Box::pin(pieces)))
        .unwrap();
    feed.send(Bytes::from_static(b"one")).await.unwrap();
    let mut body = gate.send(request).await.into_body();
    for piece in [&b"one"[..], b"two", b"three"] {
        if piece != b"one" {
            feed.send(Bytes::from_static(piece)).await.unwrap();
        }
        let frame = timeout(SOON, body.frame()).await.expect("in time").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(feed);
    assert!(timeout(SOON, body.frame()).await.expect("in time").is_none());
}

#[tokio::test]
async fn megabytes_pass_both_ways_byte_for_byte() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    assert_eq!(told(gate.send(asking("GET", &token, "big")).await).await.body, big());
    let request = Gatehouse::request("/mcp")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("x-fake", "echo")
        .body(http_body_util::Full::new(big()))
        .unwrap();
    assert_eq!(told(gate.send(request).await).await.body, big());
}

#[tokio::test]
async fn wire_5_a_client_that_leaves_ends_the_targets_stream() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let feed = gate.mcp.next_stream();
    let mut answer = gate.send(asking("POST", &token, "stream")).await;
    feed.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    assert!(answer.body_mut().frame().await.is_some());
    assert!(!feed.is_closed());
    drop(answer);
    timeout(SOON, feed.closed()).await.expect("the target was told");
}

#[tokio::test]
async fn wire_5_a_client_that_leaves_before_the_answer_ends_the_targets_work() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let mut hang = gate.mcp.next_hang();
    let call = timeout(Duration::from_millis(300), gate.send(asking("POST", &token, "hang"))).await;
    assert!(call.is_err(), "it hangs");
    assert!(timeout(SOON, hang.recv()).await.expect("the target was told").is_none());
}

#[tokio::test]
async fn wire_5_a_target_that_breaks_off_is_not_made_a_whole_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(half).await.unwrap();
    });
    let gate =
        Gatehouse::with(settings(), |all| all[0] = super::gatehouse::resource("/mcp", &target, Vec::new())).await;
    let token = gate.token("ann", "/mcp").await;
    let mut body = gate.send(asking("POST", &token, "")).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello", "what did come, came");
    assert!(timeout(SOON, body.collect()).await.expect("in time").is_err());
}

#[tokio::test]
async fn a_silent_stream_ends_after_the_idle_timeout_and_not_while_it_speaks() {
    let patience = Duration::from_millis(400);
    let gate = Gatehouse::with(vestibule::proxy::Settings { idle_timeout: patience, ..settings() }, |_| {}).await;
    let token = gate.token("ann", "/mcp").await;
    let feed = gate.mcp.next_stream();
    let mut body = gate.send(asking("GET", &token, "stream")).await.into_body();
    for _ in 0..6 {
        tokio::time::sleep(patience / 4).await;
        feed.send(Bytes::from_static(b": ping\n\n")).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
    }
    assert!(timeout(SOON, body.frame()).await.expect("in time").unwrap().is_err(), "silence is an error, not an end");
    timeout(SOON, feed.closed()).await.expect("the target was told");
}

#[tokio::test]
async fn behaviour_27_wire_5_expiry_ends_a_sessions_listening_and_no_call() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    gate.clock.advance(Duration::from_millis(3_599_500));
    let open = async |method: &str, session: bool| {
        let feed = gate.mcp.next_stream();
        let mut request = asking(method, &token, "stream");
        if session {
            request.headers_mut().insert("mcp-session-id", "s".parse().unwrap());
        }
        (gate.send(request).await.into_body(), feed)
    };
    let (mut listening, _feed) = open("GET", true).await;
    let (mut call, call_feed) = open("POST", true).await;
    let (mut oldest, oldest_feed) = open("GET", false).await;
    gate.clock.advance(Duration::from_secs(3600));
    assert!(timeout(SOON, listening.frame()).await.expect("in time").is_none(), "ends quietly, to be opened anew");
    for (body, feed) in [(&mut call, call_feed), (&mut oldest, oldest_feed)] {
        feed.send(Bytes::from_static(b"data: result\n\n")).await.unwrap();
        assert!(timeout(SOON, body.frame()).await.expect("in time").unwrap().is_ok());
    }
}

#[tokio::test]
async fn wire_5_d14_a_revocation_ends_every_stream_of_its_login_and_a_refresh_none() {
    let gate = Gatehouse::open().await;
    let (token, grant) = gate.token_with("ann", "/mcp", "notes").await;
    let (id, other) = (grant.to_string(), gate.token("bob", "/mcp").await);
    let mut streams = Vec::new();
    for (method, token) in [("GET", &token), ("POST", &token), ("POST", &other)] {
        let feed = gate.mcp.next_stream();
        let mut body = gate.send(asking(method, token, "stream")).await.into_body();
        feed.send(Bytes::from_static(b"data: begun\n\n")).await.unwrap();
        assert!(timeout(SOON, body.frame()).await.expect("in time").unwrap().is_ok());
        streams.push((body, feed));
    }
    let mut grant: Grant = gate.store.get(&id).await.unwrap().unwrap();
    // What a refresh does to the record.
    grant.expires = grant.expires + Duration::from_secs(1);
    gate.store.put(&grant).await.unwrap();
    for (body, feed) in &mut streams {
        feed.send(Bytes::from_static(b"data: goes on\n\n")).await.unwrap();
        assert!(timeout(SOON, body.frame()).await.expect("in time").unwrap().is_ok());
    }
    assert!(gate.store.remove::<Grant>(&id).await.unwrap());
    let (mut others, others_feed) = streams.pop().unwrap();
    for (body, feed) in &mut streams {
        assert!(timeout(SOON, body.frame()).await.expect("in time").is_none(), "ends, though nothing is said");
        timeout(SOON, feed.closed()).await.expect("the target was told");
    }
    others_feed.send(Bytes::from_static(b"data: untouched\n\n")).await.unwrap();
    assert!(timeout(SOON, others.frame()).await.expect("in time").unwrap().is_ok());
}

#[tokio::test]
async fn wire_1_statuses_and_bodies_are_the_targets_own() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let answer = gate.call("/mcp", &token, &[("x-fake", "not-found")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#);
    let answer = gate.call("/mcp", &token, &[("x-fake", "accepted")]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::ACCEPTED, 0));
    let answer = gate.call("/mcp", &token, &[("x-fake", "no-content")]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = gate.call("/mcp", &token, &[("x-fake", "forbidden")]).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::FORBIDDEN, "no"));
    assert_eq!(answer.header("www-authenticate"), None, "a challenge of the target's leads nowhere");
}

#[tokio::test]
async fn a_401_of_the_target_becomes_ours() {
    let gate = Gatehouse::open().await;
    let token = gate.token("ann", "/mcp").await;
    let answer = gate.call("/mcp", &token, &[("x-fake", "unauthorized")]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("resource_metadata=\"https://mcp.example.com/"), "{challenge}");
    assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 1);
    assert_eq!(answer.header("x-inner"), None);
    assert!(!answer.text().contains("inner"));
}

#[tokio::test]
async fn a_401_that_no_login_can_mend_is_no_challenge() {
    let gate = Gatehouse::with(settings(), |all| all[0].inject = Vec::new()).await;
    let token = gate.token("ann", "/mcp").await;
    let answer = gate.call("/mcp", &token, &[("x-fake", "unauthorized")]).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(!answer.text().contains("inner"));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_502_and_one_that_is_slow_504() {
    let dead = "http://127.0.0.1:9/mcp";
    let quick = vestibule::proxy::Settings { header_timeout: Some(Duration::from_millis(200)), ..settings() };
    let gate = Gatehouse::with(quick, |all| all[1] = super::gatehouse::resource("/who", dead, Vec::new())).await;
    let token = gate.token("ann", "/who").await;
    let answer = gate.call("/who", &token, &[]).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    insta::assert_snapshot!(answer.text(), @r#"{"error":"bad_gateway","error_description":"the MCP server cannot be reached"}"#);
    let token = gate.token("ann", "/mcp").await;
    let mut hang = gate.mcp.next_hang();
    let answer = gate.call("/mcp", &token, &[("x-fake", "hang")]).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(timeout(SOON, hang.recv()).await.expect("the target was told").is_none());
}

#[tokio::test]
async fn s24_ses_2_a_session_opens_for_nobody_else() {
    let gate = Gatehouse::open().await;
    let (ann, bob) = (gate.token("ann", "/mcp").await, gate.token("bob", "/mcp").await);
    let opened = gate.call("/mcp", &ann, &[("x-fake", "session")]).await;
    let id = opened.header("mcp-session-id").expect("passed on").to_owned();
    let before = gate.mcp.seen().len();
    let answer = gate.call("/mcp", &bob, &[("mcp-session-id", &id)]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(gate.mcp.seen().len(), before, "the target heard of it");
    assert_eq!(gate.call("/mcp", &ann, &[("mcp-session-id", &id)]).await.status, StatusCode::OK);
    assert_eq!(gate.mcp.last().header("mcp-session-id"), Some(id.as_str()));
    // The person's next token still opens it: bound to the subject, not to the token.
    gate.clock.advance(Duration::from_secs(60));
    let (next, _) = gate.token_with("ann", "/mcp", "notes offline_access").await;
    assert_eq!(gate.call("/mcp", &next, &[("mcp-session-id", &id)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn ses_1_a_session_id_opens_nothing_by_itself() {
    let gate = Gatehouse::open().await;
    let ann = gate.token("ann", "/mcp").await;
    let opened = gate.call("/mcp", &ann, &[("x-fake", "session")]).await;
    let id = opened.header("mcp-session-id").expect("passed on").to_owned();
    let before = gate.mcp.seen().len();
    for token in ["", "nonsense", id.as_str()] {
        assert_eq!(gate.call("/mcp", token, &[("mcp-session-id", &id)]).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(gate.mcp.seen().len(), before, "the target heard of it");
}

#[tokio::test]
async fn a_post_is_sent_once_even_if_the_connection_dies_under_it() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            count.send(()).unwrap();
        }
    });
    let gate =
        Gatehouse::with(settings(), |all| all[0] = super::gatehouse::resource("/mcp", &target, Vec::new())).await;
    let token = gate.token("ann", "/mcp").await;
    assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::BAD_GATEWAY);
    counted.recv().await.unwrap();
    assert!(counted.try_recv().is_err(), "the POST was repeated");
}

/// A target that answers `{}` to each request, closes after `per_line` of them, and tells each connection.
async fn counting_target(per_line: usize) -> (String, tokio::sync::mpsc::UnboundedReceiver<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (count, counted) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.send(()).unwrap();
            tokio::spawn(async move {
                for _ in 0..per_line {
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n{}") {
                        let mut buffer = [0; 4096];
                        let n = stream.read(&mut buffer).await.unwrap();
                        if n == 0 {
                            return;
                        }
                        seen.extend_from_slice(&buffer[..n]);
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                }
            });
        }
    });
    (target, counted)
}

#[tokio::test]
async fn a_line_is_used_again_and_one_found_dead_is_dialled_anew() {
    for (per_line, lines) in [(100, 1), (1, 5)] {
        let (target, mut counted) = counting_target(per_line).await;
        let gate =
            Gatehouse::with(settings(), |all| all[0] = super::gatehouse::resource("/mcp", &target, Vec::new())).await;
        let token = gate.token("ann", "/mcp").await;
        for _ in 0..5 {
            assert_eq!(gate.call("/mcp", &token, &[]).await.status, StatusCode::OK);
            // The target's farewell has to arrive, as it would between two calls of a person.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let mut count = 0;
        while counted.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, lines);
    }
}
