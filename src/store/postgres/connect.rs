//! The way to the server: who we are, how TLS is checked, how many connections.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod};
use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{
    Config, NoTls,
    config::{SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Failed;
use crate::store::settings::{PostgresSettings, Tls};

/// A connection on which nothing happens is asked after so often whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The pool; nothing is connected yet.
pub(super) fn pool(settings: &PostgresSettings) -> Result<Pool, String> {
    let mut config = address(settings)?;
    let recycling_method = RecyclingMethod::Fast;
    let manager = match &settings.tls {
        Tls::Off => {
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method })
        }
        Tls::Checked { authorities } => {
            config.ssl_mode(SslMode::Require);
            let tls = MakeRustlsConnect::new(tls(authorities.as_deref())?);
            Manager::from_config(config, tls, ManagerConfig { recycling_method })
        }
    };
    // Ends at the server what nobody waits for any more; a stricter default of the database would make swaps fail.
    let manners = format!(
        "SET statement_timeout = {}; SET default_transaction_isolation = 'read committed'",
        settings.timeout.as_millis()
    );
    let greet = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let manners = manners.clone();
        Box::pin(async move { client.batch_execute(&manners).await.map_err(HookError::Backend) })
    });
    let pool = Pool::builder(manager).max_size(settings.connections).post_create(greet).build();
    pool.map_err(|error| error.to_string())
}

/// The settings in the crate's own words. Credentials never stand in the URL.
fn address(settings: &PostgresSettings) -> Result<Config, String> {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut config = Config::new();
    config
        .application_name("vestibule")
        .connect_timeout(settings.timeout)
        .tcp_user_timeout(settings.timeout * 3)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE / 3)
        .keepalives_retries(3)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .port(settings.url.port().unwrap_or(5432));
    match settings.url.host_str().map(plain) {
        Some(folder) if folder.starts_with('/') => config.host_path(folder),
        Some(host) if !host.is_empty() => config.host(host.trim_matches(['[', ']'])),
        _ => return Err("the URL names no host".to_owned()),
    };
    let database = plain(settings.url.path().trim_start_matches('/'));
    if !database.is_empty() {
        config.dbname(database);
    }
    if let Some(username) = &settings.username {
        config.user(username);
    }
    if let Some(password) = &settings.password {
        config.password(password.expose());
    }
    Ok(config)
}

/// Always checked, chain and name: whoever could stand between could also answer with records of yesterday.
fn tls(authorities: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("ca_file is not PEM: {error}"))?;
                roots.add(certificate).map_err(|error| format!("ca_file: {error}"))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's certificates could not be read");
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Why there is no connection to be had.
pub(super) fn told(error: PoolError) -> Failed {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
        other => Failed::Told(other.to_string()),
    }
}
