//! Health on the admin listener: whether the process lives, and whether its parts do. Answers are cached for a second,
//! so that a flood of probes reaches no store and no provider.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Readiness, reply};

/// How long an outcome is repeated without asking again.
const FRESH: Duration = Duration::from_secs(1);
/// How long the parts may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the probes ask.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

/// The document of `/readyz`.
#[derive(serde::Serialize)]
struct Report {
    ready: bool,
    /// Each part: `ok`, or what is wrong with it.
    parts: BTreeMap<String, String>,
}

struct Inner {
    ready: Readiness,
    fresh: Duration,
    patience: Duration,
    is_leaving: AtomicBool,
    last: Mutex<Option<(Instant, bool, Bytes)>>,
}

impl Health {
    /// Health of the parts that `ready` looks at.
    pub(crate) fn new(ready: Readiness) -> Self {
        Self::with(ready, FRESH, PATIENCE)
    }

    fn with(ready: Readiness, fresh: Duration, patience: Duration) -> Self {
        Self(Arc::new(Inner { ready, fresh, patience, is_leaving: AtomicBool::new(false), last: Mutex::default() }))
    }

    /// From now on not ready: load balancers send no more while open requests end.
    pub(crate) fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Answers one probe.
    pub(crate) async fn answer(&self, method: &Method, path: &str) -> Response {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return reply::fault(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "probes are GET requests");
        }
        match path {
            "/healthz" | "/ping" => {
                let mut response = Response::new(Body::from("ok"));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                response
            }
            "/readyz" | "/ready" => self.readiness().await,
            _ => reply::fault(StatusCode::NOT_FOUND, "not_found", "probes are /healthz, /ping, /readyz and /ready"),
        }
    }

    async fn readiness(&self) -> Response {
        if self.0.is_leaving.load(Ordering::Relaxed) {
            return reply::fault(StatusCode::SERVICE_UNAVAILABLE, "draining", "this process is shutting down");
        }
        // The lock is held while asking: probes that come meanwhile wait for the same answer.
        let mut last = self.0.last.lock().await;
        let (is_ready, text) = match &*last {
            Some((when, is_ready, text)) if when.elapsed() < self.0.fresh => (*is_ready, text.clone()),
            _ => {
                let (is_ready, text) = self.ask().await;
                *last = Some((Instant::now(), is_ready, text.clone()));
                (is_ready, text)
            }
        };
        reply::json(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
    }

    async fn ask(&self) -> (bool, Bytes) {
        let parts = match timeout(self.0.patience, (self.0.ready)()).await {
            Ok(parts) => parts,
            Err(_) => vec![("parts".to_owned(), Err("no answer in time".to_owned()))],
        };
        let is_ready = parts.iter().all(|(_, outcome)| outcome.is_ok());
        let parts: BTreeMap<_, _> =
            parts.into_iter().map(|(name, outcome)| (name, outcome.err().unwrap_or_else(|| "ok".to_owned()))).collect();
        let report = serde_json::to_vec(&Report { ready: is_ready, parts }).unwrap_or_default();
        (is_ready, report.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn seen(health: &Health, path: &str) -> (u16, String) {
        let response = health.answer(&Method::GET, path).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Parts that are sound when first asked and not after; and how often they were asked.
    fn failing() -> (Readiness, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ready: Readiness = Arc::new(move || {
            let turn = count.fetch_add(1, Ordering::Relaxed);
            let store = if turn == 0 { Ok(()) } else { Err("disk full".to_owned()) };
            async move { vec![("store".to_owned(), store)] }.boxed()
        });
        (ready, asked)
    }

    #[tokio::test]
    async fn readiness_cannot_be_flooded() {
        let (ready, asked) = failing();
        let health = Health::with(ready, Duration::from_secs(3600), PATIENCE);
        for _ in 0..100 {
            assert_eq!(seen(&health, "/readyz").await, (200, r#"{"ready":true,"parts":{"store":"ok"}}"#.to_owned()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn readiness_names_the_part_that_fails() {
        let health = Health::with(failing().0, Duration::ZERO, PATIENCE);
        assert_eq!(seen(&health, "/ready").await.0, 200);
        assert_eq!(seen(&health, "/ready").await, (503, r#"{"ready":false,"parts":{"store":"disk full"}}"#.to_owned()));
        assert_eq!(seen(&health, "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(seen(&health, "/metricsx").await.0, 404);
        health.leave();
        assert!(seen(&health, "/readyz").await.1.contains("draining"));
        assert_eq!(seen(&health, "/ping").await.0, 200);
    }

    #[tokio::test]
    async fn a_part_that_hangs_is_not_ready() {
        let health = Health::with(Arc::new(|| std::future::pending().boxed()), FRESH, Duration::from_millis(5));
        let (status, body) = seen(&health, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("no answer in time"), "{body}");
    }
}
