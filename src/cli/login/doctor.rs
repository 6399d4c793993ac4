//! `vestibule doctor URL`: what lies between the world and an MCP server, seen from where its clients stand.
//!
//! Discovery is the login's own. Beyond it, everything that proxies, load balancers and bot rules in front of a sound
//! server are known to break is asked for as clients ask: every well-known place, the URL with and without its last
//! slash, the preflights of clients in a browser, the names under which hosted clients come. Nothing is registered and
//! nobody is asked for anything; only where `vestibule login` has kept a login, its token makes two calls and opens a
//! stream.

use std::{path::PathBuf, process::ExitCode};

use http::{HeaderMap, HeaderName, Method, header};
use serde_json::json;
use url::Url;

use super::{
    challenge::{self, Read},
    discovery::{self, Place},
    document::{well_knowns, with_path},
    keep::{Keep, Where},
    mcp,
    report::{Report, Rule, Voice},
    rules as rule,
    server::{self, Flow},
    wire::{self, NoGo, Wire, built, of},
};
use crate::{
    cli::print,
    domain::{Clock as _, HttpsUrl},
    upstream::{self, http::Answer, http::Names as _, http::SystemNames},
};

/// See whether every client can reach an MCP server and log in there.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Options {
    /// The MCP server, as people paste it into their clients.
    url: String,
    /// One JSON document on stdout, with every step.
    #[arg(long)]
    json: bool,
    /// More certificate authorities (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// As a web page would ask that is none of ours.
const PAGE: &str = "https://inspector.example";
/// What such a page sends beyond what needs no leave.
const SENT: &str = "authorization,content-type,mcp-protocol-version";
/// Names under which hosted clients come, and a browser's, which bot rules let pass.
const HOSTED: [&str; 3] = ["Claude-User", "python-httpx/0.28.1", "openai-mcp/1.0.0"];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

pub(in crate::cli) async fn doctor(options: Options) -> anyhow::Result<ExitCode> {
    let url = HttpsUrl::parse(&options.url, false)
        .map_err(|bad| anyhow::anyhow!("{:?} {}", options.url, wire::words(bad)))?;
    let voice = if options.json { Voice::Quiet } else { Voice::Stdout };
    let wires = [super::way_out(options.ca.as_ref(), &url)?, super::way_out(options.ca.as_ref(), &url)?];
    let mut report = Report::new(voice, false);
    examine(&wires, &url, &mut report).await;
    let faults = report.faults();
    if options.json {
        let document = json!({
            "ok": faults == 0, "url": url.to_string(), "faults": faults, "steps": report.steps(),
        });
        print(&document.to_string())?;
    } else if faults == 0 {
        print(&format!("\nNo fault found. Paste {url} into any client."))?;
    } else {
        print(&format!("\n{faults} faults; each says above what to do."))?;
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All of it: a step that fails does not hide the others.
async fn examine(wires: &[Wire; 2], url: &HttpsUrl, report: &mut Report) {
    let wire = &wires[0];
    reach(url, report).await;
    // What stopped it is in the report; so are all the other places, soon.
    let place = discovery::discover(wire, report, url, None, Flow::Browser).await.unwrap_or_default();
    places(wire, url, place.as_ref(), report).await;
    slashes(wire, url, report).await;
    pages(wire, url, place.as_ref(), report).await;
    names(wire, url, report).await;
    session(wires, url, report).await;
}

/// Against a rule, where nothing depends on it.
fn fault(report: &mut Report, rule: &'static Rule, came: impl Into<String>) {
    // The report is not strict, so this ends nothing.
    drop(report.deviates(rule, came));
}

/// Operator row 26: where hosted clients can come to.
async fn reach(url: &HttpsUrl, report: &mut Report) {
    report.step("address");
    if url.is_loopback() {
        report.notes(&rule::HOSTED_PORT, "on this machine: hosted clients cannot come, local ones can");
        return;
    }
    match url.as_url().port() {
        None => report.meets(&rule::HOSTED_PORT, "https on port 443"),
        Some(port) => fault(report, &rule::HOSTED_PORT, format!("port {port}")),
    }
    let host = url.as_url().host_str().unwrap_or_default().trim_matches(['[', ']']);
    match SystemNames.lookup(host).await {
        Ok(found) => {
            let inside: Vec<String> =
                found.iter().filter(|at| !upstream::is_public(at.ip())).map(|at| at.ip().to_string()).collect();
            if inside.is_empty() {
                report.meets(&rule::HOSTED_NAME, format!("{} public addresses", found.len()));
            } else {
                fault(report, &rule::HOSTED_NAME, format!("{host} is at {}", inside.join(", ")));
            }
        }
        Err(error) => fault(report, &rule::HOSTED_NAME, format!("{host}: {error}")),
    }
}

/// Operator rows 2, 5 and 6: every place where some client looks, whichever the others found.
async fn places(wire: &Wire, url: &HttpsUrl, place: Option<&Place>, report: &mut Report) {
    report.step("well-known places");
    let mut wanted: Vec<(Url, &'static Rule, bool)> = Vec::new();
    let resource = well_knowns(url.as_url(), "oauth-protected-resource");
    // The one for the path is this server's; the root's may be another one's.
    wanted.extend(resource.into_iter().enumerate().map(|(at, place)| (place, &rule::EVERY_PRM, at == 0)));
    if let Some(issuer) = place.and_then(|place| Url::parse(&place.server.issuer).ok()) {
        let server = server::places(&issuer);
        wanted.extend(server.into_iter().enumerate().map(|(at, place)| (place, &rule::EVERY_AS, at == 0)));
    }
    for (at, rule, must) in wanted {
        let came = match wire.get(&at).await {
            Ok(found) if found.status.is_success() && serde_json::from_slice::<JsonObject>(&found.body).is_ok() => {
                report.asked(format!("GET {at} → {}", found.status));
                report.meets(rule, at.as_str());
                continue;
            }
            Ok(found) => format!("{} {}", found.status, found.content_type),
            Err(why) => why.to_string(),
        };
        report.asked(format!("GET {at} → {came}"));
        if must { fault(report, rule, came) } else { report.notes(rule, format!("{at}: {came}")) }
    }
}

type JsonObject = serde_json::Map<String, serde_json::Value>;

/// Operator rows 4 and 7: load balancers that match `/mcp/*` and not `/mcp`, or redirect the one to the other.
async fn slashes(wire: &Wire, url: &HttpsUrl, report: &mut Report) {
    report.step("with and without a slash");
    let path = url.as_url().path().trim_end_matches('/');
    if path.is_empty() {
        report.notes(&rule::SLASHES, "the URL has no path");
        return;
    }
    for path in [path.to_owned(), format!("{path}/")] {
        let at = with_path(url.as_url(), &path);
        let answer = match HttpsUrl::parse(at.as_str(), false) {
            Ok(at) => mcp::hello(wire, &at, None).await,
            Err(bad) => Err(NoGo::Refused(wire::words(bad).to_owned())),
        };
        let came = match answer {
            Ok(answer) => answer.status().to_string(),
            Err(why) => why.to_string(),
        };
        report.asked(format!("POST {at} (initialize, no token) → {came}"));
        if came.starts_with("401") || came.starts_with("200") {
            report.meets(&rule::SLASHES, came);
        } else {
            fault(report, &rule::SLASHES, came);
        }
    }
}

/// Operator row 8: clients in a browser ask for leave first, without a token.
async fn pages(wire: &Wire, url: &HttpsUrl, place: Option<&Place>, report: &mut Report) {
    report.step("clients in a browser");
    let mut asked: Vec<(Url, Method)> = vec![(url.as_url().clone(), Method::POST)];
    asked.extend(well_knowns(url.as_url(), "oauth-protected-resource").into_iter().take(1).map(get));
    if let Some(server) = place.map(|place| &place.server) {
        asked.extend(
            Url::parse(&server.issuer).ok().and_then(|issuer| server::places(&issuer).into_iter().next()).map(get),
        );
        asked.extend(server.registration.clone().map(|at| (at, Method::POST)));
        asked.push((server.token.clone(), Method::POST));
    }
    for (at, method) in asked {
        preflight(wire, &at, &method, report).await;
    }
    let answer = sent(wire, url.as_url(), Method::POST, &[(header::ORIGIN, PAGE)]).await;
    match answer.map(|answer| list(&answer, header::ACCESS_CONTROL_EXPOSE_HEADERS)) {
        Ok(exposed) if exposed.iter().any(|name| name == "www-authenticate" || name == "*") => {
            report.meets(&rule::EXPOSED, exposed.join(", "));
        }
        Ok(exposed) => fault(report, &rule::EXPOSED, format!("exposed: {exposed:?}")),
        Err(why) => fault(report, &rule::EXPOSED, why.to_string()),
    }
}

fn get(at: Url) -> (Url, Method) {
    (at, Method::GET)
}

async fn preflight(wire: &Wire, at: &Url, method: &Method, report: &mut Report) {
    let headers = [
        (header::ORIGIN, PAGE),
        (header::ACCESS_CONTROL_REQUEST_METHOD, method.as_str()),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, SENT),
    ];
    let came = match sent(wire, at, Method::OPTIONS, &headers).await {
        Ok(answer) => {
            let origin = of(answer.headers(), header::ACCESS_CONTROL_ALLOW_ORIGIN);
            let allowed = list(&answer, header::ACCESS_CONTROL_ALLOW_HEADERS);
            let missing: Vec<&str> = SENT.split(',').filter(|name| !allowed.iter().any(|one| one == name)).collect();
            if !answer.status().is_success() {
                answer.status().to_string()
            } else if origin != "*" && origin != PAGE {
                format!("{}, allowed origin {origin:?}", answer.status())
            } else if !missing.is_empty() {
                format!("{}, not allowed: {}", answer.status(), missing.join(", "))
            } else {
                report.asked(format!("OPTIONS {at} ({method}) → {}", answer.status()));
                report.meets(&rule::PREFLIGHT, answer.status().to_string());
                return;
            }
        }
        Err(why) => why.to_string(),
    };
    report.asked(format!("OPTIONS {at} ({method}) → {came}"));
    fault(report, &rule::PREFLIGHT, came);
}

/// Operator row 1: bot rules that let a browser pass and not the servers of hosted clients.
async fn names(wire: &Wire, url: &HttpsUrl, report: &mut Report) {
    report.step("names of clients");
    let browser = outlook(wire, url, BROWSER).await;
    report.asked(format!("POST {url} as a browser → {browser}"));
    for name in HOSTED {
        let came = outlook(wire, url, name).await;
        report.asked(format!("POST {url} as {name} → {came}"));
        if came == browser {
            report.meets(&rule::SAME_TO_ALL, format!("{name}: {came}"));
        } else {
            fault(report, &rule::SAME_TO_ALL, format!("{name}: {came}; a browser: {browser}"));
        }
    }
}

/// Status, and whether it is the server's own challenge or a page of something in front of it.
async fn outlook(wire: &Wire, url: &HttpsUrl, name: &str) -> String {
    match sent(wire, url.as_url(), Method::POST, &[(header::USER_AGENT, name)]).await {
        Ok(answer) => match challenge::read(answer.headers()) {
            Read::Bearer(_) => format!("{}, a Bearer challenge", answer.status()),
            _ => answer.status().to_string(),
        },
        Err(why) => why.to_string(),
    }
}

/// Operator rows 20 and 21: where a login is kept, a session is begun over one connection and used over another, and a
/// stream is opened.
async fn session([first, then]: &[Wire; 2], url: &HttpsUrl, report: &mut Report) {
    let kept = Keep::new(url, Where::Auto, None).and_then(|keep| keep.read());
    let now = super::SystemClock.now().secs();
    let tokens = kept.ok().flatten().and_then(|login| login.tokens);
    match tokens.filter(|tokens| tokens.expires_at.is_none_or(|end| end > now)) {
        Some(tokens) => {
            // A failure is in the report, and would be the stream's as well.
            if mcp::verify([first, then], report, url, Some(&tokens.access)).await.is_ok() {
                drop(mcp::listen(first, report, url, &tokens.access).await);
            }
        }
        None => {
            report.step("call");
            report.asked("not made: no login is kept here, or its token has run out (`vestibule login` makes one)");
        }
    }
}

/// `initialize` or a preflight, without a token, under these headers.
async fn sent(wire: &Wire, at: &Url, method: Method, headers: &[(HeaderName, &str)]) -> Result<Answer, NoGo> {
    let body = if method == Method::POST { mcp::greeting() } else { Vec::new() };
    let mut request = http::Request::builder().method(&method).uri(at.as_str());
    if method == Method::POST {
        request = request.header(header::ACCEPT, mcp::BOTH).header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    wire.until(built(request, body)?, |_| true).await
}

/// The members of a list, in small letters.
fn list(answer: &Answer, name: HeaderName) -> Vec<String> {
    let headers: &HeaderMap = answer.headers();
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect()
}
