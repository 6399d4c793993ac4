//! `[store]`: where everything is remembered.

use super::{desk::shown, quantity::size, section::Section};
use crate::store::{self, Fsync, RedisSettings, SledSettings};

/// `[store]`.
pub(super) fn read(top: &mut Section<'_>) -> Option<store::Settings> {
    let mut section = top.section("store");
    let kind = section.parsed_or("kind", "sled", "\"sled\"", |text| match text {
        "sled" | "memory" => Ok(text.to_owned()),
        "redis" if cfg!(feature = "redis") => Ok(text.to_owned()),
        "redis" => Err("this build has no Redis in it; build it with the feature redis"),
        _ => Err(
            "expected sled (one process, one folder), redis (any number of processes) or memory (forgets everything)",
        ),
    });
    let folder = section.desk.folder.clone();
    let settings = if kind.as_deref() == Some("memory") {
        section
            .desk
            .warn("store.kind = \"memory\": a restart logs everyone out; use \"sled\" outside of tests".to_owned());
        Some(store::Settings::Memory)
    } else if kind.as_deref() == Some("redis") {
        redis(&mut section)
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
    const SERVER: &str = "\"rediss://redis.internal:6379\"";
    let url = redis_address(section, SERVER);
    let username = section.parsed("username", "\"vestibule\"", |text| match text {
        "" => Err("must not be empty"),
        name => Ok(name.to_owned()),
    });
    let no_password = username.is_some() && !section.has("password");
    if no_password {
        section.wrong("password", "is missing for the user", "write password = \"env:NAME\", or \"file:/path\"");
    }
    let password = section.secret("password");
    let prefix = section.parsed_or("prefix", "vestibule:", "\"vestibule:\"", |text| {
        let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if is_plain && text.len() <= 64 { Ok(text.to_owned()) } else { Err("expected at most 64 bytes without blanks") }
    });
    Some(store::Settings::Redis(RedisSettings { username, password, prefix: prefix?, ..RedisSettings::at(url?) }))
}

/// The URL, which is shown to people: one that may hold a password is refused without a word of it.
fn redis_address(section: &mut Section<'_>, expected: &str) -> Option<url::Url> {
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
    match redis_url(&said.text) {
        Ok(url) => {
            section.desk.resolved(said.path, format!("{:?}", said.text), said.origin);
            Some(url)
        }
        Err(error) => {
            section.desk.mistake(&said.path, &said.origin, format!("{}: {error}", shown(&said.text)), remedy);
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
