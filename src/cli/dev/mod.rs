//! # `vestibule dev`: a whole login on one machine
//!
//! **Purpose.** Whoever meets Vestibule for the first time sees it work before configuring anything (D13): a tiny
//! identity provider, a tiny MCP server and the real house between them start on loopback; then the official Rust MCP
//! SDK logs in through them while a stand-in plays the human, and each step is printed with its outcome and time.
//! Afterwards everything stays up for the person's own client.
//!
//! **Neighbours.** It builds the same [`House`] as `serve`, from a TOML text of its own, so nothing is special about it
//! but the keys: without `--path` they live as long as the process.
//!
//! **Nevers.** It never listens beyond loopback, and it is no test double: [`walk`] knows the house only by HTTP.

mod human;
mod provider;
mod report;
mod server;
mod walk;

use std::{io, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use provider::Provider;
use report::{Report, say};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{House, SystemClock};
use crate::{
    config,
    crypto::{MasterKey, Os, Random},
    domain::Clock,
    telemetry,
    web::snippet,
};

/// Where the house stands if nobody else does.
const PORT: u16 = 8080;

/// `vestibule dev`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// End after the walk: exit code 0 if it went through, 1 if not.
    #[arg(long)]
    once: bool,
    /// The port of the house [default: 8080, or a free one if that is taken].
    #[arg(long)]
    port: Option<u16>,
    /// Keep key and records in this folder, so that clients stay logged in over a restart.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Which events are logged, e.g. info, or vestibule=debug,info.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// Starts everything, walks one login, and stays up until Ctrl-C (or ends, with `once`).
///
/// # Errors
/// When something does not start, or the walk fails and `once` is set.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    telemetry::start(&telemetry::Settings { log: options.log.clone(), format: telemetry::Format::Text })?;
    // The SDK's HTTP client leaves the choice to the program; an error only says that there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (stop, stopped) = watch::channel(false);
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(Os));
    let (public, doors, behind) = (listen(options.port).await?, any_port().await?, any_port().await?);
    let origin = origin(&public)?;
    let (issuer, target) = (self::origin(&doors)?, format!("{}/mcp", self::origin(&behind)?));
    let callback = format!("{origin}/callback/dev");
    let provider = Provider::new(issuer, callback, Arc::clone(&clock), Arc::clone(&random))?;

    spawn(doors, provider.router());
    spawn(behind, server::router(Arc::clone(&provider)));
    let settings = settings(&options, &origin, &provider, &target, &*random)?;
    let house = House::build(settings, clock, random).await?;
    let house = tokio::spawn(house.serve(public, None, until(stopped)));

    let url = format!("{origin}/mcp");
    greet(&options, &url, provider.issuer(), &target);
    let walked = tell(&url).await;
    if options.once {
        close(&stop, house).await?;
        return walked;
    }
    let interrupted = interrupted()?;
    invite(&url);
    interrupted.await;
    say("\nclosing");
    close(&stop, house).await
}

/// Walks and says how it went.
async fn tell(url: &str) -> anyhow::Result<()> {
    let (report, began) = (Arc::new(Report::default()), std::time::Instant::now());
    let walked = walk::walk(url, &report).await;
    let millis = began.elapsed().as_secs_f64() * 1000.0;
    match &walked {
        Ok(()) => say(&format!("\nThe whole login: {} steps, {millis:.0} ms, all well.", report.count())),
        Err(error) => say(&format!("\nThe walk stopped after {} steps: {error:#}", report.count())),
    }
    walked
}

async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let wanted = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(PORT))).await;
    match (wanted, port) {
        (Err(error), None) if error.kind() == io::ErrorKind::AddrInUse => any_port().await,
        (wanted, _) => wanted.with_context(|| format!("port {} cannot be had", port.unwrap_or(PORT))),
    }
}

async fn any_port() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port can be had on loopback")
}

fn origin(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// The side shows end with the process.
fn spawn(listener: TcpListener, router: axum::Router) {
    tokio::spawn(async move {
        // Small writes must not wait for the other side's acknowledgement (40 ms on Linux).
        let prompt = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        if let Err(error) = axum::serve(prompt, router).await {
            tracing::error!(%error, "a part of dev stopped");
        }
    });
}

/// The file that an operator would write.
fn settings(
    options: &Options,
    origin: &str,
    provider: &Provider,
    target: &str,
    random: &dyn Random,
) -> anyhow::Result<config::Settings> {
    let (key, store) = match &options.path {
        None => (MasterKey::generate(random).to_text().expose().clone(), "kind = \"memory\"".to_owned()),
        Some(folder) => {
            let store = std::path::absolute(folder.join("store"))?;
            let path = serde_json::Value::from(store.to_str().context("the path must be UTF-8")?);
            (kept_key(folder, random)?, format!("kind = \"sled\"\npath = {path}"))
        }
    };
    let listen = origin.trim_start_matches("http://");
    let (issuer, client_id, secret) = (provider.issuer(), provider::CLIENT_ID, provider.client_secret());
    let text = format!(
        "public_url = \"{origin}\"\nlisten = \"{listen}\"\nsecret_key = \"{key}\"\n\
         [store]\n{store}\n[device]\nenabled = true\n\
         [upstream.dev]\nprovider = \"oidc\"\nissuer = \"{issuer}\"\nclient_id = \"{client_id}\"\n\
         client_secret = \"{secret}\"\n\
         [[resource]]\npath = \"/mcp\"\ntitle = \"The dev server\"\ntarget = \"{target}\"\nupstream = \"dev\"\n\
         inject = [\"upstream_token\", \"identity\"]\nallow = \"anyone\"\n"
    );
    let mut settings = config::from_toml(&text)?;
    // The greeting says it louder.
    settings.warnings.clear();
    // Whoever presses Ctrl-C here does not wait for streams to end.
    settings.web.drain = Duration::from_secs(1);
    Ok(settings)
}

/// The key beside the store in `folder`; made on the first start, readable by its owner alone.
fn kept_key(folder: &std::path::Path, random: &dyn Random) -> anyhow::Result<String> {
    let file = folder.join("secret_key");
    if let Ok(key) = std::fs::read_to_string(&file) {
        return Ok(key.trim().to_owned());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let key = MasterKey::generate(random).to_text();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&file).and_then(|mut file| io::Write::write_all(&mut file, key.expose().as_bytes()));
    written.with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(key.expose().clone())
}

fn greet(options: &Options, url: &str, issuer: &str, target: &str) {
    let memory = match &options.path {
        Some(folder) => format!("kept in {}", folder.display()),
        None => "forgotten when it ends (--path keeps them)".to_owned(),
    };
    say(&format!(
        "*** vestibule dev: NOT FOR PRODUCTION. Everyone who clicks is let in. ***\n\n\
         Identity provider   {issuer}   (stands where Google would; one person, Ann)\n\
         MCP server          {target}   (official Rust SDK; tools echo and whoami)\n\
         Vestibule           {url}   (keys and records: {memory})\n\n\
         One login, walked by the SDK's own client and a stand-in for the human:\n"
    ));
}

fn invite(url: &str) {
    say("\nEverything stays up. Connect your own client:");
    for entry in snippet::snippets("vestibule-dev", url) {
        let text = entry.text.replace('\n', "\n    ");
        say(&format!("\n  {} · {}\n    {text}\n  {}", entry.client, entry.place, entry.then));
    }
    say("\nCtrl-C ends it.");
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender gone means the same as told to stop.
    drop(stopped.wait_for(|stop| *stop).await);
}

async fn close(stop: &watch::Sender<bool>, house: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    stop.send_replace(true);
    house.await.context("the house fell")?
}

/// Resolves at Ctrl-C or SIGTERM. The handlers stand from this call on, not only from the first poll, so that whoever
/// reads the invitation can end the show at once.
#[cfg(unix)]
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two side shows without the house between them: a login, and the token shown to the MCP server.
    #[tokio::test]
    async fn the_side_shows_play_together() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let (doors, behind) = (any_port().await.unwrap(), any_port().await.unwrap());
        let (issuer, target) = (origin(&doors).unwrap(), format!("{}/mcp", origin(&behind).unwrap()));
        let callback = "http://127.0.0.1:1/callback/dev";
        let provider = Provider::new(issuer.clone(), callback.to_owned(), Arc::new(SystemClock), Arc::new(Os)).unwrap();
        spawn(doors, provider.router());
        spawn(behind, server::router(Arc::clone(&provider)));

        let verifier = "a".repeat(43);
        let challenge = crate::crypto::hash::s256(&crate::domain::CodeVerifier::parse(&verifier).unwrap());
        let query = [
            ("response_type", "code"),
            ("client_id", provider::CLIENT_ID),
            ("redirect_uri", callback),
            ("state", "s&t"),
            ("nonce", "n"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let start = format!("{issuer}/authorize?{}", serde_urlencoded::to_string(query).unwrap());
        let end = human::Human::new().unwrap().log_in(&start, callback, |_| {}).await.unwrap();
        let found: std::collections::HashMap<_, _> = end.query_pairs().into_owned().collect();
        assert_eq!((&*found["state"], &found["iss"]), ("s&t", &issuer));

        let form = [
            ("grant_type", "authorization_code"),
            ("code", &found["code"]),
            ("redirect_uri", callback),
            ("code_verifier", &verifier),
            ("client_secret", provider.client_secret()),
        ];
        let redeem = || {
            let request = reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{issuer}/token"));
            let form = serde_urlencoded::to_string(form).unwrap();
            request.header("content-type", "application/x-www-form-urlencoded").body(form).send()
        };
        let tokens: serde_json::Value = serde_json::from_str(&redeem().await.unwrap().text().await.unwrap()).unwrap();
        assert!(provider.knows(tokens["access_token"].as_str().unwrap()));
        assert_eq!(redeem().await.unwrap().status(), 400, "a code is good for once");

        let who = walk::whoami_with(&target, tokens["access_token"].as_str().unwrap()).await.unwrap();
        assert_eq!(who, r#"{"upstream_token":"present, and the provider accepts it"}"#);
    }
}
