//! Sockets: accept, speak HTTP/1.1 or HTTP/2, and leave in good order.
//!
//! hyper's own builders are used without the detecting wrapper of hyper-util: looking at the first three bytes with
//! `peek` tells the version, puts no layer between socket and parser, and falls under a time limit.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::proxy;

/// How long a request's head may take, and how long a connection may idle between two requests: longer than the minute
/// for which load balancers keep theirs, or they would write into a closing socket (S33, slow heads).
const HEAD_TIME: Duration = Duration::from_secs(75);
/// The largest head, and the most that is buffered for one connection.
const MAX_BUFFER: usize = 64 * 1024;

/// Answers connections of `listener` with `answer` until `stop` turns true, then gives open requests up to `drain`.
pub(crate) async fn serve<A, F>(
    listener: TcpListener,
    answer: A,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) -> io::Result<()>
where
    A: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<proxy::Body>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(speak(stream, peer.ip(), answer.clone(), stop.clone()));
                }
                // A peer that left at once is its own affair; without file descriptors waiting helps, giving up does not.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    tracing::warn!(error = %e, "cannot accept connections");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let ended = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(open = connections.len(), "closing connections that did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

/// Resolves when `stop` turns true, or when nobody is left to turn it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_stopping| *is_stopping).await;
}

async fn speak<A, F>(stream: TcpStream, peer: IpAddr, answer: A, mut stop: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<proxy::Body>> + Send + 'static,
{
    // Small answers must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let is_http2 = tokio::select! {
        seen = timeout(HEAD_TIME, speaks_http2(&stream)) => match seen {
            Ok(Ok(is_http2)) => is_http2,
            Ok(Err(_)) | Err(_) => return,
        },
        () = stopped(&mut stop) => return,
    };
    let answer_one = service_fn(move |request| {
        let answered = answer(request, peer);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let io = TokioIo::new(stream);
    let outcome = if is_http2 {
        let mut connection = pin!(http2_builder().serve_connection(io, answer_one));
        tokio::select! {
            biased;
            outcome = connection.as_mut() => outcome,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut connection = pin!(http1_builder().serve_connection(io, answer_one));
        tokio::select! {
            biased;
            outcome = connection.as_mut() => outcome,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(e) = outcome {
        tracing::debug!(error = %e, "connection ended early");
    }
}

/// Whether the first bytes are the beginning of HTTP/2's preface; no method of HTTP/1 begins with `PRI`.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    loop {
        let n = stream.peek(&mut first).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[..n] != b"PRI"[..n] {
            return Ok(false);
        }
        if n == first.len() {
            return Ok(true);
        }
        // Fewer bytes than a method's name came: `peek` would report them again at once.
        sleep(Duration::from_millis(10)).await;
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_BUFFER);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024);
    builder
}
