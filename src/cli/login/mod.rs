//! # A client of our own, for any MCP server
//!
//! **Purpose.** `vestibule login URL` logs in where Claude or VS Code would, by the same specifications, and keeps the
//! tokens for scripts (`--print-token`). On the way it is a debugger: `--explain` tells each request, what is expected by
//! which clause, what came, and what the operator of that server can do about it.
//!
//! ```text
//! probe ─► resource metadata ─► server metadata ─► client ─► authorization | device ─► token ─► keep ─► call
//!  401        RFC 9728            RFC 8414         7591, CIMD    RFC 8252      RFC 8628    RFC 6749          MCP
//! ```
//!
//! `vestibule doctor URL` (`doctor`) looks with the same eyes and logs in nowhere: it asks for everything that proxies in
//! front of a sound server are known to break.
//!
//! **Neighbours.** It shares words ([`domain`](crate::domain)), chance and the way out
//! ([`upstream::http`](crate::upstream::http)) with the house, and none of its server rooms: what it believes of a server
//! it was told by that server. The grants are `oauth2`'s. All expectations stand in `rules`.
//!
//! **Nevers.** No plain http but on loopback, and no loopback for a server that is elsewhere. No metadata about another
//! resource or by another issuer. No token to any place but the one whose metadata was checked when it was given, and no
//! client of one issuer at another. No secret in an explanation. Nothing but the token on the stdout of `--print-token`.

mod authorize;
mod callback;
mod challenge;
mod client;
mod device;
mod discovery;
mod doctor;
mod document;
mod keep;
mod mcp;
mod options;
mod report;
mod rules;
mod server;
mod session;
mod token;
mod wire;

/// Whether these `WWW-Authenticate` headers hold a Bearer challenge. A door for `fuzz/` alone.
#[cfg(fuzzing)]
#[must_use]
pub fn is_bearer(headers: &http::HeaderMap) -> bool {
    matches!(challenge::read(headers), challenge::Read::Bearer(_))
}

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
pub(super) use doctor::{Options as DoctorOptions, doctor};
pub(super) use options::Options;
use serde_json::json;

use self::{
    authorize::Scene,
    discovery::Place,
    keep::{Keep, Login},
    report::{Report, Stopped, Voice},
    server::Flow,
    wire::Wire,
};
use super::{SystemClock, print};
use crate::{
    crypto::{Os, Random},
    domain::{Clock, HttpsUrl},
    upstream::http::{Http, HttpSettings},
};

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// A step failed; the server's operator can mend it.
    #[error(transparent)]
    Step(Stopped),
    /// It could not be done here.
    #[error(transparent)]
    Here(#[from] anyhow::Error),
}

impl From<crate::domain::pkce::PkceError> for Ended {
    fn from(error: crate::domain::pkce::PkceError) -> Self {
        Self::Here(error.into())
    }
}

type Outcome<T> = Result<T, Ended>;

/// Everything that a run of the command works with.
struct Desk {
    options: Options,
    url: HttpsUrl,
    wire: Wire,
    keep: Keep,
    clock: SystemClock,
    random: Arc<dyn Random>,
}

/// What came of it, for the last line and for `--json`.
#[derive(Debug, Default, serde::Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<mcp::Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_in: Option<String>,
    #[serde(skip)]
    words: String,
}

pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (voice, strict, is_json) = (options.voice(), options.strict, options.json);
    let desk = Desk::new(options)?;
    let mut report = Report::new(voice, strict);
    let outcome = desk.work(&mut report).await;
    if is_json {
        print(&document(&desk, &report, &outcome).to_string())?;
    }
    match outcome {
        Ok(done) => {
            if !is_json {
                desk.close(&report, &done)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Ended::Here(error)) if !is_json => Err(error),
        Err(Ended::Step(stopped)) if !is_json => {
            let hint = if voice == Voice::Quiet { "\n  --explain tells every step" } else { "" };
            anyhow::bail!("failed at the step {stopped}{hint}")
        }
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// The whole run as JSON.
fn document(desk: &Desk, report: &Report, outcome: &Outcome<Done>) -> serde_json::Value {
    let (failed, error) = match outcome {
        Ok(_) => (None, None),
        Err(Ended::Step(stopped)) => (Some(stopped.step), Some(stopped.to_string())),
        Err(Ended::Here(error)) => (None, Some(format!("{error:#}"))),
    };
    json!({
        "ok": outcome.is_ok(),
        "url": desk.url.to_string(),
        "failed": failed,
        "error": error,
        "deviations": report.deviations(),
        "result": outcome.as_ref().ok(),
        "steps": report.steps(),
    })
}

/// The way to this server, with the certificate authorities that the person adds.
fn way_out(ca: Option<&PathBuf>, url: &HttpsUrl) -> anyhow::Result<Wire> {
    let extra_ca = match ca {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?),
        None => None,
    };
    let http = Http::new(&HttpSettings { extra_ca, ..HttpSettings::default() })
        .map_err(|e| anyhow::anyhow!("the HTTP client cannot start: {e}"))?;
    Ok(Wire::new(http, url))
}

impl Desk {
    fn new(options: Options) -> anyhow::Result<Self> {
        let url = HttpsUrl::parse(&options.url, false)
            .map_err(|bad| anyhow::anyhow!("{:?} {}", options.url, wire::words(bad)))?;
        let wire = way_out(options.ca.as_ref(), &url)?;
        let keep = Keep::new(&url, options.keep, options.token_file.clone())?;
        Ok(Self { options, url, wire, keep, clock: SystemClock, random: Arc::new(Os) })
    }

    async fn work(&self, report: &mut Report) -> Outcome<Done> {
        let options = &self.options;
        if options.logout {
            self.log_out(report).await
        } else if options.print_token {
            self.print_token(report).await
        } else if options.refresh {
            self.refresh(report).await
        } else {
            self.log_in(report).await
        }
    }

    fn close(&self, report: &Report, done: &Done) -> anyhow::Result<()> {
        if self.options.print_token {
            return Ok(());
        }
        let count = report.deviations();
        let deviations = match count {
            0 => String::new(),
            _ if self.options.explain => format!("\n{count} deviations: other clients may not get this far."),
            _ => format!("\n{count} deviations from the specifications; --explain tells them."),
        };
        let gap = if self.options.explain { "\n" } else { "" };
        print(&format!("{gap}{}{deviations}", done.words))
    }

    fn now(&self) -> u64 {
        self.clock.now().secs()
    }

    async fn log_in(&self, report: &mut Report) -> Outcome<Done> {
        let options = &self.options;
        let flow = if options.device { Flow::Device } else { Flow::Browser };
        let found = discovery::discover(&self.wire, report, &self.url, options.issuer.as_deref(), flow).await?;
        let Some(place) = found else {
            let seen = mcp::verify([&self.wire; 2], report, &self.url, None).await?;
            let words = format!("{} asks for no login. {}", self.url, words_of(&seen));
            return Ok(Done { server: Some(seen), words, ..Done::default() });
        };
        if options.no_login {
            let words = format!("{} can be logged in to, at {}.", self.url, report::plain(&place.server.issuer));
            return Ok(Done { issuer: Some(place.server.issuer), words, ..Done::default() });
        }
        let login = self.authorized(report, &place, flow).await?;
        let kept_in = {
            report.step("keep");
            let kept_in = self.keep.hold()?.write(&login)?;
            report.asked(format!("written to {kept_in}"));
            kept_in
        };
        let Some(tokens) = &login.tokens else { return Err(anyhow::anyhow!("a login without tokens").into()) };
        let seen = mcp::verify([&self.wire; 2], report, &self.url, Some(&tokens.access)).await?;
        let words = format!("Logged in to {}. {} The login is kept in {kept_in}.", self.url, words_of(&seen));
        Ok(Done {
            server: Some(seen),
            issuer: Some(login.issuer.clone()),
            scope: tokens.scope.clone(),
            expires_at: tokens.expires_at,
            kept_in: Some(kept_in),
            words,
        })
    }

    async fn authorized(&self, report: &mut Report, place: &Place, flow: Flow) -> Outcome<Login> {
        let options = &self.options;
        // What cannot be read stops here, before a person is troubled: this login could not replace it safely.
        let kept = if options.new_client { None } else { self.keep.read()? };
        let scope = options.scope.clone().or_else(|| with_offline_access(place));
        let scene = Scene {
            wire: &self.wire,
            random: &*self.random,
            place,
            given: &options.given(),
            kept: kept.as_ref(),
            scope: scope.as_deref(),
            human: options.human(),
            now: self.now(),
        };
        let (client, tokens) = match flow {
            Flow::Browser => authorize::log_in(&scene, report).await?,
            Flow::Device => device::log_in(&scene, &self.clock, report).await?,
        };
        let server = &place.server;
        Ok(Login::new(
            self.url.to_string(),
            place.resource.clone(),
            server.issuer.clone(),
            server.token.to_string(),
            server.revocation.as_ref().map(ToString::to_string),
            client,
            Some(tokens),
        ))
    }
}

/// What the challenge or the metadata names, and a refresh token where the server has them for the asking (SEP-2207).
fn with_offline_access(place: &Place) -> Option<String> {
    let scope = place.scope.clone();
    let is_offered = place.server.scopes.iter().any(|one| one == "offline_access");
    match scope {
        Some(scope) if is_offered && !scope.split(' ').any(|one| one == "offline_access") => {
            Some(format!("{scope} offline_access"))
        }
        scope => scope,
    }
}

fn words_of(seen: &mcp::Seen) -> String {
    let name = seen.name.as_deref().unwrap_or("The MCP server");
    let version = seen.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{name}{version} offers {} tool{}.", seen.tools, if seen.tools == 1 { "" } else { "s" })
}

/// To the person, on stderr: what they must do now.
fn say(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
