//! A server over a store in which many people are logged in, for `benches/load/many.py`.
//!
//! ```console
//! $ cargo run --release --example filled -- vestibule.toml <client id> <Grants> <sample> <file>
//! ```
//!
//! Builds the house of the configuration, as `serve` does, lays that many Grants into its store by the house's own hand
//! (each sealed, each with a refresh token that works at its first Resource), writes the refresh tokens of an evenly
//! spread sample into the file, and serves until SIGTERM. Only from inside the process can the memory store be filled.

use std::{
    io::{BufWriter, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use vestibule::{
    cli::{House, SystemClock},
    config::{self, Sources},
    crypto::{Keyring, Os, Random, hash},
    domain::{
        ClientId, Clock as _, Grant, GrantId, GrantStage, Identity, Instant, RefreshToken, ResourceUri, Scope, Secret,
        Subject, UpstreamLogin, UpstreamName, UpstreamTokens,
        grant::{RefreshChain, SecretHash},
    },
    store::Store,
    telemetry,
};

/// How many are on their way to the store at once.
const ABREAST: usize = 512;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, client, grants, sample, file] = arguments.as_slice() else {
        anyhow::bail!("usage: filled <configuration> <client id> <Grants> <sample> <file>");
    };
    let (grants, sample): (u64, u64) = (grants.parse()?, sample.parse()?);
    let read = config::File::read(&PathBuf::from(config)).with_context(|| config.clone())?;
    let settings = config::load(&Sources { file: Some(read), ..Sources::default() })?;
    telemetry::start(&settings.telemetry)?;
    let public = TcpListener::bind(settings.listen).await?;
    let admin = TcpListener::bind(settings.admin_listen.context("the admin listener is needed")?).await?;
    let login = Login {
        keyring: Keyring::new(settings.secret_key.clone(), settings.older_keys.clone()),
        client: ClientId::new(client.clone()),
        resource: settings.resources.first().context("a Resource is needed")?.uri.clone(),
        upstream: UpstreamName::parse("stub")?,
        now: SystemClock.now(),
    };
    let house = House::build(settings, Arc::new(SystemClock), Arc::new(Os)).await?;
    fill(house.store(), &login, grants, sample, file).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    house
        .serve(public, Some(admin), async move {
            terminate.recv().await;
        })
        .await
}

/// What all these logins have in common.
struct Login {
    keyring: Keyring,
    client: ClientId,
    resource: ResourceUri,
    upstream: UpstreamName,
    now: Instant,
}

impl Login {
    /// One as a login with a usual provider leaves it, once its code is redeemed; and its refresh token.
    fn of(&self, person: u64) -> (Grant, Secret<String>) {
        let random: &dyn Random = &Os;
        let id = GrantId::from_bytes(random.bytes());
        let (token, text) = hash::issue::<RefreshToken>(&self.keyring, *id.as_bytes(), 0, random);
        let chain = RefreshChain {
            generation: 0,
            current: hash::secret_hash(&token),
            retired: Vec::new(),
            key: Some(self.keyring.id()),
            holder: None,
        };
        let tokens = UpstreamTokens {
            access: Secret::new(format!("gho_{}", "u".repeat(36))),
            refresh: None,
            expires: None,
            scope: Some("read".to_owned()),
        };
        let grant = Grant {
            id,
            client: self.client.clone(),
            identity: Identity {
                subject: Subject::new(&self.upstream, &person.to_string()),
                email: Some(format!("person-{person}@example.com")),
                email_verified: true,
                name: Some(format!("Person {person}")),
                username: Some(format!("person-{person}")),
                groups: Vec::new(),
            },
            resource: self.resource.clone(),
            scope: Scope::parse("mcp"),
            login: Some(UpstreamLogin { upstream: self.upstream.clone(), tokens }),
            actor: None,
            created: self.now,
            expires: self.now + Duration::from_secs(30 * 86_400),
            stage: GrantStage::Active {
                code: Some(SecretHash::from_bytes(random.bytes())),
                redeemed: self.now,
                refresh: Some(chain),
            },
        };
        (grant, text)
    }
}

async fn fill(store: &Store, login: &Login, grants: u64, sample: u64, file: &str) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    let put = |person: u64| {
        let (grant, token) = login.of(person);
        // Spread evenly: with each Grant the sample grows by its share.
        let is_shown = person * sample / grants != (person + 1) * sample / grants;
        async move {
            store.put(&grant).await?;
            Ok::<_, anyhow::Error>(is_shown.then_some(token))
        }
    };
    let mut tokens = stream::iter((0..grants).map(put)).buffer_unordered(ABREAST);
    while let Some(token) = tokens.try_next().await? {
        if let Some(token) = token {
            writeln!(out, "{}", token.expose())?;
        }
    }
    drop(tokens);
    store.flush().await?;
    out.flush()?;
    tracing::info!(grants, "filled");
    Ok(())
}
