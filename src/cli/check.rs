//! `vestibule check`: what would be built and who said so; what to paste where; whether provider and store answer.

use std::{fmt::Write, process::ExitCode, sync::Arc};

use anyhow::anyhow;
use serde_json::json;

use super::{
    SystemClock,
    findings::{self, Finding, Grade},
    print,
    sources::ConfigOption,
};
use crate::{
    config::{self, Mistakes, Settings},
    crypto::{Keyring, Os},
    store::{self, OpenError},
    upstream::{Failed, Upstreams, http::Http},
};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// One JSON document on stdout.
    #[arg(long)]
    json: bool,
    /// Ask no provider.
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let settings = match config::load(&options.config.sources(Vec::new())?) {
        Ok(settings) => settings,
        Err(mistakes) if options.json => {
            print(&told(&mistakes).to_string())?;
            return Ok(ExitCode::FAILURE);
        }
        Err(mistakes) => return Err(mistakes.into()),
    };
    let mut findings = findings::of(&settings);
    findings.extend(store(&settings).await);
    if !options.offline {
        findings.extend(providers(&settings).await?);
    }
    let is_sound = findings.iter().all(|finding| finding.grade != Grade::Failure);
    let text =
        if options.json { document(&settings, &findings, is_sound) } else { page(&settings, &findings, is_sound) };
    print(text.trim_end())?;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Mistakes as JSON.
fn told(mistakes: &Mistakes) -> serde_json::Value {
    let one = |mistake: &config::Mistake| {
        json!({
            "setting": mistake.path,
            "place": mistake.origin.to_string(),
            "problem": mistake.problem,
            "remedy": mistake.remedy,
        })
    };
    json!({ "ok": false, "mistakes": mistakes.0.iter().map(one).collect::<Vec<_>>() })
}

/// Opens the store and closes it again. A running server holds its folder: that is as good as an answer. A folder that
/// is not there yet is left for `serve` to make.
async fn store(settings: &Settings) -> Vec<Finding> {
    match &settings.store {
        store::Settings::Memory => vec![Finding::new(Grade::Ok, STORE, "memory")],
        store::Settings::Sled(sled) => vec![folder(settings, sled).await],
        store::Settings::Redis(redis) => server(settings, &redis.url).await,
        store::Settings::Postgres(postgres) => server(settings, &postgres.url).await,
    }
}

/// What findings about the store begin with.
const STORE: &str = "store";

async fn opened(settings: &Settings, store: store::Settings) -> Result<store::Store, OpenError> {
    let keyring = Arc::new(Keyring::new(settings.secret_key.clone(), settings.older_keys.clone()));
    let store = store::open(store, keyring, Arc::new(SystemClock), Arc::new(Os)).await?;
    store.probe().await?;
    Ok(store)
}

async fn server(settings: &Settings, url: &url::Url) -> Vec<Finding> {
    drop(rustls::crypto::ring::default_provider().install_default());
    match opened(settings, settings.store.clone()).await {
        Ok(store) => {
            let cautions = store.cautions().iter().map(|caution| Finding::new(Grade::Warning, STORE, caution.clone()));
            std::iter::once(Finding::new(Grade::Ok, STORE, format!("{url} answers"))).chain(cautions).collect()
        }
        Err(error) => vec![Finding::new(Grade::Failure, STORE, error.to_string())],
    }
}

async fn folder(settings: &Settings, sled: &store::SledSettings) -> Finding {
    let about = STORE;
    let path = sled.path.display();
    if !sled.path.exists() {
        return Finding::new(Grade::Ok, about, format!("{path} is not there yet; serve will make it"));
    }
    let sled = store::SledSettings { patience: std::time::Duration::ZERO, ..sled.clone() };
    match opened(settings, store::Settings::Sled(sled)).await {
        Ok(_) => Finding::new(Grade::Ok, about, format!("{path} opens")),
        Err(OpenError::Held { .. }) => Finding::new(Grade::Ok, about, format!("{path} is in use by a running server")),
        Err(error) => Finding::new(Grade::Failure, about, error.to_string()),
    }
}

/// Asks each provider for its metadata and keys.
async fn providers(settings: &Settings) -> anyhow::Result<Vec<Finding>> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = Http::new(&settings.http).map_err(|e| anyhow!("the HTTP client cannot start: {e}"))?;
    let upstreams = Upstreams::new(settings.upstreams.clone(), http, Arc::new(SystemClock));
    let mut findings = Vec::new();
    for upstream in upstreams.iter() {
        let about = format!("upstream.{}", upstream.name());
        findings.push(match upstream.probe().await {
            Ok(line) => Finding::new(Grade::Ok, about, line),
            Err(error) => Finding::new(Grade::Failure, about, explained(&error)),
        });
    }
    Ok(findings)
}

/// With the cause, which only the operator may see.
fn explained(error: &Failed) -> String {
    match error {
        Failed::Unreachable { cause } | Failed::Refused { cause: Some(cause), .. } => format!("{error}: {cause}"),
        _ => error.to_string(),
    }
}

fn document(settings: &Settings, findings: &[Finding], is_sound: bool) -> String {
    let resolved: Vec<_> = settings
        .resolved
        .iter()
        .map(|r| json!({ "setting": r.path, "value": r.value, "origin": r.origin.to_string() }))
        .collect();
    let redirects: serde_json::Map<_, _> =
        settings.upstreams.iter().map(|u| (u.name.to_string(), json!(u.callback.to_string()))).collect();
    let servers: Vec<_> =
        settings.resources.iter().map(|r| json!({ "title": r.title, "url": r.uri.as_str() })).collect();
    json!({
        "ok": is_sound,
        "settings": resolved,
        "redirect_uris": redirects,
        "mcp_servers": servers,
        "findings": findings,
    })
    .to_string()
}

fn page(settings: &Settings, findings: &[Finding], is_sound: bool) -> String {
    let mut page = String::from("Settings\n");
    let left = settings.resolved.iter().map(|r| r.path.len() + r.value.chars().count() + 3).max().unwrap_or(0).min(72);
    for r in &settings.resolved {
        let setting = format!("{} = {}", r.path, r.value);
        let _infallible = writeln!(page, "  {setting:left$}  # {}", r.origin);
    }
    page.push_str("\nRegister at the provider as redirect URI\n");
    for upstream in &settings.upstreams {
        let _infallible = writeln!(page, "  {}: {}", upstream.provider.title, upstream.callback);
    }
    page.push_str("\nPaste into MCP clients\n");
    for resource in &settings.resources {
        let _infallible = writeln!(page, "  {}: {}", resource.title, resource.uri);
    }
    page.push_str("\nFindings\n");
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => "ok",
            Grade::Note => "note",
            Grade::Warning => "WARNING",
            Grade::Failure => "FAILURE",
        };
        let _infallible = writeln!(page, "  {grade:7}  {}: {}", finding.about, finding.text);
    }
    page.push_str(if is_sound { "\nThis can be served.\n" } else { "\nThis should not be served yet.\n" });
    page
}
