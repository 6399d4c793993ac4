//! A Resource made ready for the hot path: where its requests go, made once.

use std::sync::Arc;

use http::uri::PathAndQuery;

use super::{Settings, challenge::Challenge, challenge::Refusal, headers::Dressing};
use crate::domain::Resource;

/// One Resource and all that can be known of its requests beforehand.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) resource: Arc<Resource>,
    pub(super) challenge: Challenge,
    pub(super) dressing: Dressing,
    /// The public origin, where proofs have to be made for (D9).
    pub(super) origin: String,
    /// Path and query of the target as it was configured: where nearly every request goes.
    target: PathAndQuery,
}

impl Route {
    /// # Errors
    /// A sentence, where the target or an injected header cannot be written.
    pub(super) fn new(resource: &Arc<Resource>, settings: &Settings) -> Result<Self, String> {
        let url = resource.target.as_url();
        let bad = |_| format!("target {url}: not an address");
        let origin = settings.public_url.origin();
        Ok(Self {
            resource: Arc::clone(resource),
            challenge: Challenge::of(resource, &origin),
            dressing: Dressing::new(resource, &settings.public_url)?,
            origin,
            target: url[url::Position::BeforePath..url::Position::AfterQuery].parse().map_err(bad)?,
        })
    }

    /// What of `path` lies below the Resource, if it is a whole-segment prefix: `/notes` owns `/notes`, `/notes/` and
    /// `/notes/x`, not `/notesx`.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.resource.path.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Where at the target a request for `rest` below the Resource goes. Only path and query ever come from a request:
    /// scheme and authority are the operator's (S28). `/notes` and `/notes/` are one (behaviour 29).
    pub(super) fn aim(&self, rest: &str, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
        let rest = if rest == "/" { "" } else { rest };
        if rest.is_empty() && query.is_none() {
            return Ok(self.target.clone());
        }
        if has_dot_segments(rest) {
            return Err(Refusal::Path);
        }
        let own = self.target.path();
        let mut text = String::with_capacity(own.len() + rest.len() + query.map_or(0, str::len) + 2);
        text.push_str(if rest.is_empty() { own } else { own.trim_end_matches('/') });
        text.push_str(rest);
        let mut separator = '?';
        for query in [self.target.query(), query].into_iter().flatten().filter(|query| !query.is_empty()) {
            text.push(separator);
            text.push_str(query);
            separator = '&';
        }
        PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Refusal::Path)
    }
}

/// Whether some server would read a `.` or `..` segment out of it, and so leave the configured path (S17): also encoded,
/// behind encoded slashes and backslashes, and with parameters (`..;x`).
fn has_dot_segments(rest: &str) -> bool {
    if !rest.contains(['.', '%']) {
        return false;
    }
    let plain =
        rest.to_ascii_lowercase().replace("%25", "%").replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    plain.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Allow, HttpsUrl, ResourceUri, Scope, Trusts, UpstreamName,
        step_up::{Hierarchy, StepUp},
    };

    fn route(path: &str, target: &str) -> Route {
        let public_url = HttpsUrl::parse("https://mcp.example.com", false).unwrap();
        let resource = Resource {
            uri: ResourceUri::under(&public_url, path),
            path: path.to_owned(),
            title: String::new(),
            target: HttpsUrl::parse(target, true).unwrap(),
            upstream: UpstreamName::parse("idp").unwrap(),
            scopes: Scope::parse("mcp"),
            upstream_scopes: Vec::new(),
            inject: Vec::new(),
            allow: Allow::Anyone,
            clients: Vec::new(),
            trusts: Trusts::default(),
            step_up: StepUp::default(),
            hierarchy: Hierarchy::default(),
            demands_proof: false,
            is_default: false,
        };
        let settings = Settings {
            public_url,
            hosts: Vec::new(),
            origins: Vec::new(),
            header_timeout: None,
            idle_timeout: std::time::Duration::from_secs(1),
            extra_ca: None,
        };
        Route::new(&Arc::new(resource), &settings).unwrap()
    }

    fn aim(route: &Route, path: &str, query: Option<&str>) -> Option<String> {
        route.aim(route.below(path)?, query).ok().map(|uri| uri.to_string())
    }

    #[test]
    fn behaviour_29_with_and_without_the_last_slash() {
        let notes = route("/notes", "http://127.0.0.1:3000/mcp");
        for path in ["/notes", "/notes/"] {
            assert_eq!(aim(&notes, path, None).as_deref(), Some("/mcp"));
            assert_eq!(aim(&notes, path, Some("a=1")).as_deref(), Some("/mcp?a=1"));
        }
        assert_eq!(aim(&notes, "/notesx", None), None);
        assert_eq!(aim(&notes, "/notes/sse", Some("x")).as_deref(), Some("/mcp/sse?x"));
        let root = route("", "https://10.0.0.1/?key=v");
        assert_eq!(aim(&root, "/", None).as_deref(), Some("/?key=v"));
        assert_eq!(aim(&root, "/mcp", Some("a=1")).as_deref(), Some("/mcp?key=v&a=1"));
    }

    #[test]
    fn s28_no_path_leaves_the_target() {
        let notes = route("/notes", "http://127.0.0.1:3000/mcp");
        for path in ["/notes//evil.example/x", "/notes/@evil.example", "/notes/:80", "/notes/http://evil.example/"] {
            assert!(aim(&notes, path, None).unwrap().starts_with("/mcp/"), "{path}");
        }
        for path in [
            "/notes/..",
            "/notes/../x",
            "/notes/%2e%2E/x",
            "/notes/a/..;/x",
            "/notes/..%2fx",
            "/notes/.%5cx",
            "/notes/%252e%252e/x",
            "/notes/./x",
        ] {
            assert_eq!(notes.aim(notes.below(path).unwrap(), None), Err(Refusal::Path), "{path}");
        }
        assert!(aim(&notes, "/notes/a..b/.well-known", None).is_some());
    }
}
