//! From the URL of an MCP server to its authorization server: the challenge, then the metadata of the resource (RFC
//! 9728), compared with what it must say before it is used.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::{
    challenge::{self, Read},
    document::{document, well_knowns},
    mcp,
    report::{Report, Stopped},
    rules as rule,
    server::{self, Flow, Server},
    wire::Wire,
};
use crate::domain::HttpsUrl;

/// What a login needs to know.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The value of the parameter `resource` (RFC 8707).
    pub(super) resource: String,
    /// What the challenge or the metadata names.
    pub(super) scope: Option<String>,
    pub(super) server: Server,
}

/// Finds the place; `None` where the server lets everybody in.
pub(super) async fn discover(
    wire: &Wire,
    report: &mut Report,
    url: &HttpsUrl,
    wanted_issuer: Option<&str>,
    flow: Flow,
) -> Result<Option<Place>, Stopped> {
    let probed = probe(wire, report, url).await?;
    let found = resource_metadata(wire, report, url, probed.pointer.as_deref()).await?;
    let (prm, issuer) = match found {
        Some(prm) => {
            let issuer = issuer_of(report, &prm, wanted_issuer)?;
            (Some(prm), issuer)
        }
        None if probed.open => return Ok(None),
        None if let Some(status) = probed.odd => {
            return Err(report.fails(&rule::CHALLENGED, format!("{status}, and no resource metadata")));
        }
        None => {
            report.deviates(&rule::LEGACY, format!("trying {} as the issuer", url.origin()))?;
            (None, url.origin())
        }
    };
    let server = server::metadata(wire, report, &issuer, flow).await?;
    let listed = prm.as_ref().map(|prm| prm.scopes_supported.join(" ")).filter(|scope| !scope.is_empty());
    let resource = prm.and_then(|prm| prm.resource).unwrap_or_else(|| canonical(url));
    Ok(Some(Place { resource, scope: probed.scope.or(listed), server }))
}

/// MCP's canonical URI of a server: without the slash that a bare origin gains by parsing.
fn canonical(url: &HttpsUrl) -> String {
    if url.as_url().path() == "/" && url.as_url().query().is_none() {
        url.trimmed().to_owned()
    } else {
        url.to_string()
    }
}

#[derive(Default)]
struct Probed {
    open: bool,
    /// A status that is neither success nor a challenge.
    odd: Option<StatusCode>,
    pointer: Option<String>,
    scope: Option<String>,
}

/// RFC 9728 §5: call without a token, read where to get one.
async fn probe(wire: &Wire, report: &mut Report, url: &HttpsUrl) -> Result<Probed, Stopped> {
    report.step("probe");
    let asked = format!("POST {url} (initialize, no token)");
    let answer = match mcp::hello(wire, url, None).await {
        Ok(answer) => answer,
        Err(why) => {
            report.asked(format!("{asked} → {why}"));
            return Err(report.fails(&rule::REACHED, why.to_string()));
        }
    };
    let status = answer.status();
    report.asked(format!("{asked} → {status}"));
    if status.is_redirection() {
        let to = super::wire::of(answer.headers(), http::header::LOCATION);
        return Err(report.fails(&rule::PROBE_MOVED, format!("{status} to {to:?}; use the final URL")));
    }
    if status.is_success() {
        report.notes(&rule::OPEN, format!("{status} to a call without a token"));
        return Ok(Probed { open: true, ..Probed::default() });
    }
    if status.is_server_error() {
        return Err(report.fails(&rule::REACHED, status.to_string()));
    }
    if status == StatusCode::UNAUTHORIZED {
        report.meets(&rule::CHALLENGED, status.to_string());
    } else {
        report.deviates(&rule::CHALLENGED, status.to_string())?;
    }
    let odd = Some(status).filter(|status| *status != StatusCode::UNAUTHORIZED);
    let none = Probed { odd, ..Probed::default() };
    match challenge::read(answer.headers()) {
        Read::Bearer(challenge) => {
            report.meets(&rule::BEARER, "a Bearer challenge");
            match &challenge.resource_metadata {
                Some(pointer) => report.meets(&rule::POINTER, pointer.clone()),
                None => report.deviates(&rule::POINTER, "no resource_metadata in the challenge")?,
            }
            match &challenge.scope {
                Some(scope) => report.meets(&rule::CHALLENGE_SCOPE, format!("{scope:?}")),
                None => report.notes(&rule::CHALLENGE_SCOPE, "no scope in the challenge"),
            }
            Ok(Probed { pointer: challenge.resource_metadata, scope: challenge.scope, ..none })
        }
        Read::Others(schemes) => {
            report.deviates(&rule::BEARER, format!("only {}", schemes.join(", ")))?;
            Ok(none)
        }
        Read::Nothing => {
            report.deviates(&rule::BEARER, "no WWW-Authenticate header")?;
            Ok(none)
        }
        Read::Unreadable(why) => {
            report.deviates(&rule::BEARER, why)?;
            Ok(none)
        }
    }
}

/// RFC 9728 §2, as far as a client uses it.
#[derive(Debug, Deserialize)]
struct Prm {
    resource: Option<String>,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// The document that the challenge names, then the one for the path, then the one for the origin (PRM-3).
async fn resource_metadata(
    wire: &Wire,
    report: &mut Report,
    url: &HttpsUrl,
    pointer: Option<&str>,
) -> Result<Option<Prm>, Stopped> {
    report.step("resource metadata");
    if let Some(pointer) = pointer {
        let found = match wire.admits(pointer) {
            Ok(pointer) => document(wire, report, &pointer, &rule::PRM_JSON).await?,
            Err(why) => return Err(report.fails(&rule::POINTED, why.to_string())),
        };
        match found {
            Some(prm) => return about(report, url, prm).map(Some),
            None => report.deviates(&rule::POINTED, format!("no document at {pointer}"))?,
        }
    }
    for candidate in well_knowns(url.as_url(), "oauth-protected-resource") {
        if let Some(prm) = document(wire, report, &candidate, &rule::PRM_JSON).await? {
            report.meets(&rule::PRM_FOUND, candidate.to_string());
            return about(report, url, prm).map(Some);
        }
    }
    report.notes(&rule::PRM_FOUND, "none");
    Ok(None)
}

/// How a `resource` compares with the URL.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Same,
    /// The same but for a slash at the end.
    Slash,
    /// The same origin, and the URL lies below.
    Above,
    Other,
}

fn fit(resource: &str, url: &Url) -> Fit {
    let Ok(resource) = Url::parse(resource) else { return Fit::Other };
    if resource == *url {
        return Fit::Same;
    }
    if resource.origin() != url.origin() || resource.fragment().is_some() {
        return Fit::Other;
    }
    let (theirs, ours) = (resource.path().trim_end_matches('/'), url.path().trim_end_matches('/'));
    if theirs == ours && resource.query() == url.query() {
        return Fit::Slash;
    }
    let is_below = ours.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_below && resource.query().is_none() { Fit::Above } else { Fit::Other }
}

/// RFC 9728 §3.3: a document about another resource must not be used. One about an origin or a path above is: the same
/// host would get the token either way. It is told all the same, since stricter clients refuse it.
fn about(report: &mut Report, url: &HttpsUrl, prm: Prm) -> Result<Prm, Stopped> {
    let Some(resource) = &prm.resource else {
        return Err(report.fails(&rule::PRM_RESOURCE, "no `resource` in the document"));
    };
    let came = format!("{resource:?}, asked for {:?}", url.to_string());
    match fit(resource, url.as_url()) {
        Fit::Same => report.meets(&rule::PRM_RESOURCE, format!("{resource:?}")),
        Fit::Slash | Fit::Above => report.deviates(&rule::PRM_RESOURCE, came)?,
        Fit::Other => return Err(report.fails(&rule::PRM_RESOURCE, came)),
    }
    if prm.scopes_supported.is_empty() {
        report.notes(&rule::PRM_SCOPES, "none");
    } else {
        report.meets(&rule::PRM_SCOPES, prm.scopes_supported.join(" "));
    }
    Ok(prm)
}

fn issuer_of(report: &mut Report, prm: &Prm, wanted: Option<&str>) -> Result<String, Stopped> {
    let all = prm.authorization_servers.join(" ");
    let chosen = match wanted {
        Some(wanted) => prm.authorization_servers.iter().find(|issuer| *issuer == wanted),
        None => prm.authorization_servers.first(),
    };
    match chosen {
        Some(issuer) => {
            report.meets(&rule::PRM_SERVERS, all);
            Ok(issuer.clone())
        }
        None if all.is_empty() => Err(report.fails(&rule::PRM_SERVERS, "none")),
        None => Err(report.fails(&rule::PRM_SERVERS, format!("{all}, and not the one that --issuer names"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn rfc9728_3_3_a_resource_is_the_url_or_above_it_or_another() {
        let at = url("https://mcp.example.com/a/notes");
        assert_eq!(fit("https://mcp.example.com/a/notes", &at), Fit::Same);
        assert_eq!(fit("HTTPS://MCP.example.com:443/a/notes", &at), Fit::Same);
        assert_eq!(fit("https://mcp.example.com/a/notes/", &at), Fit::Slash);
        for above in ["https://mcp.example.com", "https://mcp.example.com/", "https://mcp.example.com/a"] {
            assert_eq!(fit(above, &at), Fit::Above, "{above}");
        }
        for other in [
            "https://mcp.example.com/a/n",
            "https://mcp.example.com/b",
            "https://example.com/a/notes",
            "http://mcp.example.com/a/notes",
            "https://mcp.example.com/a/notes/x",
            "notes",
            "https://mcp.example.com:8443/a/notes",
        ] {
            assert_eq!(fit(other, &at), Fit::Other, "{other}");
        }
        assert_eq!(fit("https://mcp.example.com", &url("https://mcp.example.com/")), Fit::Same);
    }
}
