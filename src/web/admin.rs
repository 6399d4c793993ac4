//! The operator's desk over HTTP, on the admin listener only: JSON in, JSON out. What may be done, and by whom, is
//! decided in [`admin`](crate::admin).
//!
//! | | |
//! |---|---|
//! | `GET /api/v1/clients?after&limit` | clients that people have let in |
//! | `GET /api/v1/client?client=` | one of them, by id or hash |
//! | `POST /api/v1/clients/block`, `…/unblock` `{"client"}` | shut out, let in |
//! | `GET /api/v1/grants?client&subject&before&after&limit` | logins |
//! | `GET`, `DELETE /api/v1/grants/{id}` | one of them; its end |
//! | `POST /api/v1/grants/revoke` `{"client","subject","before","all","dry_run","after"}` | one step of a bulk revocation |
//! | `GET /api/v1/keys` | signing keys |
//! | `POST /api/v1/keys/rotate` `{"now"}` | change them |
//! | `GET /api/v1/master-keys` | master keys, and what rests on each |
//! | `POST /api/v1/master-keys/reseal` | move all records to the current one |

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::Instrument as _;

use super::{
    extract,
    guard::{Names, REQUEST_ID},
    reply,
};
use crate::{
    admin::{Admin, Asked, Failed, Operator, Which},
    token::Rotation,
};

/// What all addresses of the desk begin with.
const ROOT: &str = "/api/v1/";
/// More than a client id and the rest of a request need.
const LIMIT: usize = 16 * 1024;
/// Items of a list, unless the operator says how many; and the most.
const ITEMS: (usize, usize) = (100, 1_000);

/// The desk with what every request needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    admin: Arc<Admin>,
    names: Names,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    client: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    client: Option<String>,
    subject: Option<String>,
    before: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl Listed {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(ITEMS.0).clamp(1, ITEMS.1)
    }
}

/// Without a slip: a member that nobody knows might have been meant to spare somebody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bulk {
    client: Option<String>,
    subject: Option<String>,
    before: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    now: bool,
}

impl Desk {
    pub(crate) fn new(admin: Arc<Admin>) -> Self {
        Self(Arc::new(Inner { admin, names: Names::new() }))
    }

    /// Whether an address of the admin listener is the desk's.
    pub(crate) fn has(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// Answers one request. What was begun is finished, also when the one who asked goes away: the log tells all of it.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response {
        let id = self.0.names.name(request.headers_mut());
        let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or("-"));
        let desk = self.clone();
        let work = async move { desk.judge(request).await }.instrument(span);
        let mut response = tokio::spawn(work).await.unwrap_or_else(|broken| {
            tracing::error!(%broken, "a request of the operator broke off");
            reply::fault(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "something broke on our side")
        });
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn judge(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let body = match extract::body(&parts.headers, body, LIMIT).await {
            Ok(body) => body,
            Err(why) => return reply::fault(why.status(), "invalid_request", &why.to_string()),
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut authorization = parts.headers.get_all(header::AUTHORIZATION).iter();
        let asked = Asked {
            method: parts.method.as_str(),
            target,
            body: &body,
            authorization: authorization.next().and_then(|value| value.to_str().ok()),
        };
        let query = parts.uri.query().unwrap_or_default();
        let outcome = match self.0.admin.admit(asked) {
            Ok(operator) => self.act(operator, &parts.method, parts.uri.path(), query, &body).await,
            Err(failed) => Err(failed),
        };
        outcome.unwrap_or_else(|failed| refused(&failed, target))
    }

    async fn act(
        &self,
        who: Operator,
        method: &Method,
        path: &str,
        query: &str,
        body: &Bytes,
    ) -> Result<Response, Failed> {
        let admin = &self.0.admin;
        let path: Vec<&str> = path.strip_prefix(ROOT).unwrap_or_default().split('/').collect();
        match (method.as_str(), path.as_slice()) {
            ("GET", ["clients"]) => {
                let listed: Listed = in_query(query)?;
                written(&admin.clients(listed.after.as_deref(), listed.limit()).await?)
            }
            ("GET", ["client"]) => written(&admin.client(&in_query::<Named>(query)?.client).await?),
            ("POST", ["clients", "block"]) => written(&admin.block(who, &in_body::<Named>(body)?.client).await?),
            ("POST", ["clients", "unblock"]) => written(&admin.unblock(who, &in_body::<Named>(body)?.client).await?),
            ("GET", ["grants"]) => {
                let listed: Listed = in_query(query)?;
                let limit = listed.limit();
                let which = Which::of(listed.client, listed.subject, listed.before.as_deref())?;
                written(&admin.grants(&which, listed.after.as_deref(), limit).await?)
            }
            ("POST", ["grants", "revoke"]) => {
                let bulk: Bulk = in_body(body)?;
                let which = Which::of(bulk.client, bulk.subject, bulk.before.as_deref())?;
                if which.is_all() != bulk.all {
                    return Err(Failed::Invalid("say which logins: client, subject or before; or all, alone".into()));
                }
                written(&admin.revoke_some(who, &which, bulk.after.as_deref(), bulk.dry_run).await?)
            }
            ("GET", ["grants", id]) => written(&admin.grant(id).await?),
            ("DELETE", ["grants", id]) => written(&admin.revoke(who, id).await?),
            ("GET", ["keys"]) => written(&serde_json::json!({ "keys": admin.signing_keys() })),
            ("POST", ["keys", "rotate"]) => {
                let how = if in_body::<Rotate>(body)?.now { Rotation::Compromised } else { Rotation::Regular };
                written(&admin.rotate(who, how).await?)
            }
            ("GET", ["master-keys"]) => written(&serde_json::json!({ "keys": admin.master_keys().await? })),
            ("POST", ["master-keys", "reseal"]) => written(&admin.reseal(who).await?),
            _ => Err(Failed::NotFound("the desk has no such address")),
        }
    }
}

fn in_query<T: DeserializeOwned>(query: &str) -> Result<T, Failed> {
    serde_urlencoded::from_str(query).map_err(|error| Failed::Invalid(format!("query: {error}").into()))
}

fn in_body<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failed> {
    let body = if body.is_empty() { b"{}" } else { &body[..] };
    serde_json::from_slice(body).map_err(|error| Failed::Invalid(format!("body: {error}").into()))
}

fn written(answer: &impl Serialize) -> Result<Response, Failed> {
    let text = serde_json::to_vec(answer).map_err(|error| Failed::Broken(error.to_string()))?;
    Ok(reply::json(StatusCode::OK, text))
}

fn refused(failed: &Failed, target: &str) -> Response {
    let (status, code) = match failed {
        Failed::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
        Failed::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
        Failed::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
        Failed::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        Failed::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        Failed::Broken(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    };
    let path = target.split('?').next().unwrap_or_default();
    match failed {
        Failed::Store(cause) => tracing::error!(path, %cause, "the operator was not served"),
        Failed::Broken(cause) => tracing::error!(path, cause, "the operator was not served"),
        _ => tracing::warn!(path, code, why = %failed, "the operator was refused"),
    }
    let text = match failed {
        Failed::Broken(_) => "something broke on our side".to_owned(),
        failed => failed.to_string(),
    };
    let mut response = reply::fault(status, code, &text);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Vestibule, Bearer"));
    }
    response
}
