//! How long a fetched document may be used: RFC 9111, as the crate reads it, between a floor and a ceiling of ours. The
//! only file that names `http_cache_semantics`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};

use crate::domain::{FetchedDocument, Instant};

/// One login asks for the document at four stages: within this time it is one document, whatever its host says of caching.
pub(super) const FLOOR: Duration = Duration::from_secs(5 * 60);
/// No document is believed for longer, whatever its host says (SEP-991).
pub(super) const CEILING: Duration = Duration::from_secs(24 * 3600);
/// How long the last valid copy stands in for a host that fails (CIMD-8, behaviour 13).
pub(super) const STALE_IF_ERROR: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is kept of a response's headers: all that the rules look at. `set-cookie` and `vary: *` say "for one reader only".
const KEPT: [HeaderName; 9] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
];
/// The longest value that is kept, in bytes.
const LONGEST: usize = 1024;

/// The headers of an answer that decide, tamed: a stranger wrote them.
pub(super) fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::new();
    for name in KEPT {
        for value in headers.get_all(&name).iter().take(8).filter_map(|value| value.to_str().ok()) {
            if value.len() > LONGEST {
                continue;
            }
            let value = match name {
                // Directives are case-insensitive (RFC 9111 §5.2); the crate's are not.
                header::CACHE_CONTROL => value.to_ascii_lowercase(),
                // Such an age is nonsense, and adding to it must not overflow.
                header::AGE if value.parse::<u32>().is_err() => continue,
                // That there is one is all that counts.
                header::SET_COOKIE => "x=x".to_owned(),
                _ => value.to_owned(),
            };
            kept.push((name.as_str().to_owned(), value));
        }
    }
    kept
}

/// Until when the document is used without a question.
pub(super) fn fresh_until(document: &FetchedDocument) -> Instant {
    let life = policy(document).time_to_live(system_time(document.validated));
    document.validated + life.clamp(FLOOR, CEILING)
}

/// Whether it may be written down (`no-store`, and `private` where a copy would serve others).
pub(super) fn may_be_kept(document: &FetchedDocument) -> bool {
    policy(document).is_storable()
}

/// The headers of a question whether the document has changed (RFC 9110 §13.1).
pub(super) fn conditions(document: &FetchedDocument, now: Instant) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    if let BeforeRequest::Stale { request, .. } =
        policy(document).before_request(&request(&document.url), system_time(now))
    {
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
            conditions.extend(request.headers.get(&name).cloned().map(|value| (name, value)));
        }
    }
    conditions
}

/// The headers of the document after a 304, if that 304 means it (RFC 9111 §4.3.4).
pub(super) fn confirmed(document: &FetchedDocument, answer: &HeaderMap, now: Instant) -> Option<Vec<(String, String)>> {
    let mut said: HeaderMap = map(&kept(answer));
    let mut known = document.clone();
    // What a cache on the way said of its old answer is no word about this one.
    known.headers.retain(|(name, _)| name != header::AGE.as_str());
    // A 304 need not repeat the validator that it answers to; we asked for one document only.
    if !said.contains_key(header::ETAG) && !said.contains_key(header::LAST_MODIFIED) {
        for (name, value) in map(&known.headers) {
            if let Some(name) = name.filter(|name| [header::ETAG, header::LAST_MODIFIED].contains(name)) {
                said.insert(name, value);
            }
        }
    }
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    *response.headers_mut() = said;
    match policy(&known).after_response(&request(&document.url), &response, system_time(now)) {
        AfterResponse::NotModified(_, parts) => {
            let mut headers = kept(&parts.headers);
            headers.retain(|(name, _)| name != header::AGE.as_str() && name != header::DATE.as_str());
            // Freshness that the old answer did not speak of is the new one's all the same.
            for (name, value) in kept(answer) {
                if !headers.iter().any(|(known, _)| *known == name) {
                    headers.push((name, value));
                }
            }
            Some(headers)
        }
        AfterResponse::Modified(..) => None,
    }
}

fn policy(document: &FetchedDocument) -> CachePolicy {
    let mut response = Response::new(());
    *response.headers_mut() = map(&document.headers);
    // We answer many people out of one copy.
    let options = CacheOptions { shared: true, ..CacheOptions::default() };
    CachePolicy::new_options(&request(&document.url), &response, system_time(document.validated), options)
}

fn request(url: &str) -> Request<()> {
    let mut request = Request::new(());
    if let Ok(uri) = url.parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn map(headers: &[(String, String)]) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    headers.iter().filter_map(pair).collect()
}

fn system_time(at: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at.millis())).unwrap_or(SystemTime::UNIX_EPOCH)
}
