//! `[store]`: where everything is remembered.

use super::{quantity::size, section::Section, server::certificates, tree::Origin};
use crate::{
    domain::Secret,
    store::{self, Fsync, PostgresSettings, RedisSettings, SledSettings, Tls},
};

/// `[store]`.
pub(super) fn read(top: &mut Section<'_>) -> Option<store::Settings> {
    let mut section = top.section("store");
    let kind = section.parsed_or("kind", "sled", "\"sled\"", |text| match text {
        "sled" | "memory" => Ok(text.to_owned()),
        "redis" if cfg!(feature = "redis") => Ok(text.to_owned()),
        "redis" => Err("this build has no Redis in it; build it with the feature redis"),
        "postgres" if cfg!(feature = "postgres") => Ok(text.to_owned()),
        "postgres" => Err("this build has no PostgreSQL in it; build it with the feature postgres"),
        _ => Err("expected sled (one process, one folder), redis or postgres (any number of processes) or memory \
                  (forgets everything)"),
    });
    let folder = section.desk.folder.clone();
    let settings = if kind.as_deref() == Some("memory") {
        section
            .desk
            .warn("store.kind = \"memory\": a restart logs everyone out; use \"sled\" outside of tests".to_owned());
        Some(store::Settings::Memory)
    } else if kind.as_deref() == Some("redis") {
        redis(&mut section)
    } else if kind.as_deref() == Some("postgres") {
        postgres(&mut section)
    } else {
        let path = section.parsed_or("path", "/var/lib/vestibule", "\"/var/lib/vestibule\"", |text| match text {
            "" => Err("must not be empty"),
            path => Ok(folder.join(path)),
        });
        let fsync = section.parsed_or("fsync", "system", "\"system\", or \"always\"", |text| match text {
            "system" => Ok(Fsync::System),
            "always" => Ok(Fsync::Always),
            _ => Err("expected system (survives kill -9) or always (survives a power cut)"),
        });
        let cache = section.parsed_or("cache", "64MiB", "\"64MiB\"", size);
        sled(path, fsync, cache)
    };
    section.finish();
    kind.and(settings)
}

fn sled(path: Option<std::path::PathBuf>, fsync: Option<Fsync>, cache: Option<u64>) -> Option<store::Settings> {
    Some(store::Settings::Sled(SledSettings { fsync: fsync?, cache: cache?, ..SledSettings::at(path?) }))
}

/// `[store] kind = "redis"`.
fn redis(section: &mut Section<'_>) -> Option<store::Settings> {
    let url = server_url(section, "\"rediss://redis.internal:6379\"", redis_url);
    if section.has("username") && !section.has("password") {
        section.wrong("password", "is missing for the user", "write password = \"env:NAME\", or \"file:/path\"");
    }
    let (username, password) = credentials(section);
    let authorities = authorities(section, url.as_ref().is_some_and(|url| url.scheme() == "redis"));
    let prefix = section.parsed_or("prefix", "vestibule:", "\"vestibule:\"", |text| {
        let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if is_plain && text.len() <= 64 { Ok(text.to_owned()) } else { Err("expected at most 64 bytes without blanks") }
    });
    let defaults = RedisSettings::at(url?);
    Some(store::Settings::Redis(RedisSettings { username, password, authorities, prefix: prefix?, ..defaults }))
}

/// `[store] kind = "postgres"`. A role may do without a password: at a Unix socket the system says who comes.
fn postgres(section: &mut Section<'_>) -> Option<store::Settings> {
    let at = section.place("url");
    let asked = server_url(section, "\"postgres://db.internal:5432/vestibule\"", postgres_url);
    let (username, password) = credentials(section);
    let is_off = asked.as_ref().and_then(|asked| tls_is_off(section, asked, &at));
    let authorities = authorities(section, is_off == Some(true));
    let schema = section.parsed("schema", "\"public\"", name);
    let table = section.parsed_or("table", "vestibule", "\"vestibule\"", name);
    let connections = section.number_or("connections", 8, 1..=500);
    Some(store::Settings::Postgres(PostgresSettings {
        username,
        password,
        schema,
        table: table?,
        tls: if is_off? { Tls::Off } else { Tls::Checked { authorities } },
        connections: connections as usize,
        ..PostgresSettings::at(asked?.url)
    }))
}

/// Near, nobody stands between; farther away a password and answers that can be replaced go over the network.
fn tls_is_off(section: &mut Section<'_>, asked: &PostgresAddress, at: &Origin) -> Option<bool> {
    let is_given_up = section.parsed_or("tls", "checked", "\"checked\"", |text| match text {
        "checked" => Ok(false),
        "dangerous_off" => Ok(true),
        _ => Err("expected checked (TLS, certificates verified; not needed on loopback), or dangerous_off"),
    })?;
    match asked.sslmode {
        _ if is_given_up && !asked.is_near => {
            let text = "store.tls = \"dangerous_off\": who stands on the way to the database reads the password, and \
                        can answer in its place";
            section.desk.warn(text.to_owned());
            Some(true)
        }
        Sslmode::Disable if !asked.is_near => {
            let problem = "sslmode=disable away from this machine: who stands between reads the password";
            let remedy = "take it out, or write tls = \"dangerous_off\" where the way there is sealed otherwise";
            section.desk.mistake(&section.at("url"), at, problem, remedy);
            None
        }
        Sslmode::Unsaid => Some(asked.is_near),
        Sslmode::Disable => Some(true),
        Sslmode::Checked => Some(is_given_up),
    }
}

/// Who we are at the server.
fn credentials(section: &mut Section<'_>) -> (Option<String>, Option<Secret<String>>) {
    let username = section.parsed("username", "\"vestibule\"", |text| match text {
        "" => Err("must not be empty"),
        name => Ok(name.to_owned()),
    });
    (username, section.secret("password"))
}

/// `ca_file`: PEM of the authorities that are trusted for this server instead of the system's.
fn authorities(section: &mut Section<'_>, tls_is_off: bool) -> Option<Vec<u8>> {
    if tls_is_off && section.has("ca_file") {
        let remedy = "take it out, or ask for TLS: rediss://…, or postgres://…?sslmode=verify-full";
        section.wrong("ca_file", "is of no use without TLS", remedy);
    }
    section.parsed("ca_file", "\"/etc/ssl/store-ca.pem\"", certificates(section.desk))
}

/// A name that means the same quoted and unquoted, and leaves room for the index's.
fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain && text.len() <= 48 {
        Ok(text.to_owned())
    } else {
        Err("expected at most 48 small letters, digits and _, not a digit first")
    }
}

/// The URL, which is shown to people: one that may hold a password is refused without a word of it.
fn server_url<T>(section: &mut Section<'_>, expected: &str, parse: fn(&str) -> Result<T, &'static str>) -> Option<T> {
    let remedy = format!("write url = {expected}");
    if !section.has("url") {
        section.wrong("url", "is missing", remedy.clone());
    }
    let said = section.said("url", expected)?;
    if said.text.contains('@') {
        let problem = "must not hold credentials: they have settings of their own, username and password";
        section.desk.mistake(&said.path, &said.origin, problem, remedy);
        return None;
    }
    match parse(&said.text) {
        Ok(url) => {
            section.desk.resolved(said.path, format!("{:?}", said.text), said.origin);
            Some(url)
        }
        Err(error) => {
            section.desk.mistake(&said.path, &said.origin, format!("{}: {error}", said.shown()), remedy);
            None
        }
    }
}

/// Where the server is. Credentials have settings of their own, and nothing here may switch a check of TLS off.
fn redis_url(text: &str) -> Result<url::Url, &'static str> {
    let url = url::Url::parse(text).map_err(|_| "expected a URL")?;
    let database = url.path().trim_start_matches('/');
    match &url {
        u if !matches!(u.scheme(), "redis" | "rediss") => Err("expected redis:// or rediss:// (with TLS)"),
        u if u.host_str().is_none_or(str::is_empty) => Err("names no host"),
        u if u.query().is_some() || u.fragment().is_some() => Err("must hold nothing beyond host, port and database"),
        _ if !database.is_empty() && database.parse::<u16>().is_err() => Err("expected the database's number as path"),
        _ => Ok(url),
    }
}

/// What a PostgreSQL URL says.
struct PostgresAddress {
    url: url::Url,
    sslmode: Sslmode,
    /// A Unix socket, or loopback: nobody stands between.
    is_near: bool,
}

/// libpq's word, as people paste it. `require` there means TLS with any certificate; here every TLS is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sslmode {
    Unsaid,
    Disable,
    Checked,
}

/// Where the server is. Of libpq's parameters only `sslmode` may stand here, and it cannot switch a check off.
fn postgres_url(text: &str) -> Result<PostgresAddress, &'static str> {
    let mut url = url::Url::parse(text).map_err(|_| "expected a URL with one host")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut sslmode = Sslmode::Unsaid;
    for (name, value) in url.query_pairs() {
        sslmode = match (&*name, &*value) {
            ("sslmode", "disable") => Sslmode::Disable,
            ("sslmode", "require" | "verify-ca" | "verify-full") => Sslmode::Checked,
            ("sslmode", _) => return Err("sslmode must be disable or verify-full: what may be refused is no defence"),
            _ => return Err("must hold nothing beyond host, port, database and sslmode"),
        };
    }
    let is_socket = host.starts_with("%2F") || host.starts_with("%2f");
    let is_near =
        is_socket || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match &url {
        u if !matches!(u.scheme(), "postgres" | "postgresql") => return Err("expected postgres://"),
        u if u.fragment().is_some() => return Err("must hold nothing beyond host, port, database and sslmode"),
        _ if host.contains(',') => return Err("expected a URL with one host"),
        _ if host.is_empty() => {
            return Err("names no host (a Unix socket's folder is a host too: %2Frun%2Fpostgresql)");
        }
        u if u.path().trim_start_matches('/').is_empty() => return Err("names no database"),
        u if u.path()[1..].contains('/') => return Err("expected one database as path"),
        _ if is_socket && sslmode == Sslmode::Checked => return Err("a Unix socket has no TLS"),
        _ => {}
    }
    url.set_query(None);
    Ok(PostgresAddress { url, sslmode, is_near })
}
