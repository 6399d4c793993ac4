//! The only file that names the `redis` crate: one Redis or Valkey server, for any number of processes.
//!
//! One multiplexed connection that mends itself; a command that was under way when it broke is not repeated, so that
//! nothing is swapped twice: the caller hears [`Unavailable`], and cannot know whether it was done. Every command names
//! one key, so a cluster behind a proxy serves as well. `swap` is one script, atomic by the server's nature.
//!
//! **Durability** is the server's: what it has acknowledged is as safe as its `appendonly` and `appendfsync` say, and an
//! asynchronous failover can bring back the last moments. [`Life::durable`] therefore changes nothing here.
//!
//! **Expiry** is the server's too (`PXAT`), a minute late: the sealed header decides, and the two clocks may differ.
//!
//! **A scan has the server's order**, which is none: a page goes on from the server's own cursor. What lies there all the
//! while is met, what the server's table rearranges itself around may be met twice. A step of the server may bring some
//! names more than a page holds: they travel to the next page in its [`Place`]. After a restart or a failover of the
//! server the order is another one, so a walk that was under way has to be begun again.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use redis::{
    Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{
    Backend, Key, Life, Page, Place, Unavailable,
    settings::{OpenError, RedisSettings},
};
use crate::domain::Instant;

/// `KEYS[1]` the key; `ARGV`: `1` if something should be there, and what; `1` if something is to be written, what, and
/// until when (empty for ever).
const SWAP: &str = "
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if found ~= ARGV[2] then return 0 end
elseif found then
  return 0
end
if ARGV[3] ~= '1' then
  redis.call('DEL', KEYS[1])
elseif ARGV[5] == '' then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PXAT', ARGV[5])
end
return 1
";

/// How much longer than its life a value may lie there.
const GRACE: Duration = Duration::from_secs(60);
/// 9999-12-31: what lives longer is written without an end, since the server counts in signed milliseconds.
const FOR_EVER: u64 = 253_402_300_799_000;
/// How many keys the server looks at in one step of a scan, between which it serves others: the least, and the most.
const STEPS: (usize, usize) = (16, 1000);
/// How many values one round trip brings.
const FETCH: usize = 256;

/// One server, or what stands for one.
pub struct Redis {
    connection: ConnectionManager,
    swap: Script,
    prefix: String,
    timeout: Duration,
    cautions: Vec<String>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// No answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
struct TimedOut(Duration);

impl Redis {
    /// Connects, says PING, and looks whether the server would keep what it is given.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`]: nobody answers, or the credentials are refused.
    pub async fn open(settings: &RedisSettings) -> Result<Self, OpenError> {
        let unreachable = |error: &dyn std::fmt::Display| OpenError::Unreachable {
            url: settings.url.clone(),
            cause: error.to_string(),
        };
        let client = client(settings).map_err(|error| unreachable(&error))?;
        // Few and quick attempts: a command that waits for them still answers in time, and the next one tries again.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(200));
        let connection =
            ConnectionManager::new_with_config(client, config).await.map_err(|error| unreachable(&error))?;
        let mut opened = Self {
            connection,
            swap: Script::new(SWAP),
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            cautions: Vec::new(),
        };
        opened.ask::<()>(&redis::cmd("PING")).await.map_err(|error| unreachable(&error.0))?;
        opened.cautions = opened.look().await;
        Ok(opened)
    }

    /// What an operator would want to hear about the server. One that does not let itself be asked (many a hosted one)
    /// is taken at its word.
    async fn look(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        match self.setting("appendonly").await.as_deref() {
            Some("no") => cautions.push(
                "the Redis server keeps no append-only file: a restart of it logs everyone out; set appendonly yes"
                    .to_owned(),
            ),
            Some(_) => {}
            None => {
                tracing::info!("the Redis server does not tell its settings; see that it keeps an append-only file");
            }
        }
        if let Some(policy) = self.setting("maxmemory-policy").await
            && policy != "noeviction"
        {
            cautions.push(format!(
                "the Redis server may throw records away when memory is short (maxmemory-policy {policy}), which logs \
                 people out; set maxmemory-policy noeviction"
            ));
        }
        cautions
    }

    async fn setting(&self, name: &str) -> Option<String> {
        let pair: Vec<String> = self.ask(redis::cmd("CONFIG").arg("GET").arg(name)).await.ok()?;
        pair.into_iter().nth(1)
    }

    /// Sends one command and waits for its answer, but not for ever.
    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Unavailable> {
        let mut connection = self.connection.clone();
        self.in_time(command.query_async(&mut connection)).await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Unavailable> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|error| Unavailable(error.into())),
            Err(_) => Err(Unavailable(TimedOut(self.timeout).into())),
        }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.as_str())
    }

    /// Up to `limit` names that begin with `prefix`, each once, and where to go on.
    async fn names(&self, prefix: &str, mut walk: Walk, limit: usize) -> Result<(BTreeSet<String>, Walk), Unavailable> {
        let pattern = format!("{}*", literal(&format!("{}{prefix}", self.prefix)));
        let (mut found, mut looked) = (BTreeSet::new(), 0);
        loop {
            while found.len() < limit
                && let Some(name) = walk.over.pop_first()
            {
                found.insert(name);
            }
            let Some(cursor) = walk.cursor.filter(|_| found.len() < limit) else { return Ok((found, walk)) };
            // As many as will bring what is missing, if names go on lying as thick as they did.
            let each = (looked / found.len().max(1)).max(1);
            let wanted = (limit - found.len()).saturating_mul(each).clamp(STEPS.0, STEPS.1);
            let mut step = redis::cmd("SCAN");
            step.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(wanted);
            let (next, names): (u64, Vec<Vec<u8>>) = self.ask(&step).await?;
            looked += wanted;
            walk.cursor = (next != 0).then_some(next);
            // We write nothing but text; another program's key is not ours to show.
            let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
            let ours = names.filter_map(|name| Some(name.strip_prefix(&self.prefix)?.to_owned()));
            walk.over.extend(ours.filter(|name| name.starts_with(prefix) && !found.contains(name)));
        }
    }
}

/// Where a scan stands.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walk {
    /// The server's; `None` when it has walked over everything.
    cursor: Option<u64>,
    /// Names that it brought and that found no room on a page yet.
    over: BTreeSet<String>,
}

impl Walk {
    /// The cursor, or nothing, and the names, with a space before each: no name of ours holds one.
    fn read(place: Option<&Place>) -> Self {
        let Some(place) = place else { return Self { cursor: Some(0), over: BTreeSet::new() } };
        let mut words = place.as_str().split(' ');
        let cursor = words.next().and_then(|cursor| cursor.parse().ok());
        Self { cursor, over: words.map(str::to_owned).collect() }
    }

    fn place(self) -> Option<Place> {
        if self.cursor.is_none() && self.over.is_empty() {
            return None;
        }
        let mut text = self.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        for name in self.over {
            text.push(' ');
            text.push_str(&name);
        }
        Some(Place::from_text(text))
    }
}

/// One who connects; nothing is connected yet.
fn client(settings: &RedisSettings) -> Result<Client, RedisError> {
    let address = address(settings)?;
    match &settings.authorities {
        None => Client::open(address),
        authorities => {
            let certificates = TlsCertificates { client_tls: None, root_cert: authorities.clone() };
            Client::build_with_tls(address, certificates)
        }
    }
}

/// The settings in the crate's own words. Credentials never stand in the URL.
fn address(settings: &RedisSettings) -> Result<ConnectionInfo, RedisError> {
    let info = settings.url.as_str().into_connection_info()?;
    let mut with = info.redis_settings().clone().set_lib_name("vestibule", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &settings.username {
        with = with.set_username(username);
    }
    if let Some(password) = &settings.password {
        with = with.set_password(password.expose());
    }
    Ok(info.set_redis_settings(with))
}

/// `text` as a pattern that matches nothing else.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// When the server may forget it; `None` for never.
fn end(expires: Instant) -> Option<u64> {
    let end = (expires + GRACE).millis();
    (end < FOR_EVER).then_some(end)
}

#[async_trait::async_trait]
impl Backend for Redis {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        self.ask(redis::cmd("GET").arg(self.name(key))).await
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        let Some(value) = value else {
            return self.ask(redis::cmd("DEL").arg(self.name(key))).await;
        };
        let mut command = redis::cmd("SET");
        command.arg(self.name(key)).arg(&*value);
        if let Some(end) = end(life.expires) {
            command.arg("PXAT").arg(end);
        }
        self.ask(&command).await
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        let flag = |given: bool| if given { "1" } else { "0" };
        let mut call = self.swap.prepare_invoke();
        call.key(self.name(key))
            .arg(flag(old.is_some()))
            .arg(old.map_or(&[][..], |old| old))
            .arg(flag(new.is_some()))
            .arg(new.as_deref().unwrap_or_default())
            .arg(end(life.expires).map(|end| end.to_string()).unwrap_or_default());
        let mut connection = self.connection.clone();
        self.in_time(call.invoke_async(&mut connection)).await
    }

    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        let (names, walk) = self.names(prefix, Walk::read(from), limit).await?;
        // A place comes back from outside: it opens nothing that the prefix does not.
        let names: Vec<String> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
        let mut pairs = Vec::with_capacity(names.len());
        for chunk in names.chunks(FETCH) {
            let mut fetch = Pipeline::new();
            for name in chunk {
                fetch.get(format!("{}{name}", self.prefix));
            }
            let mut connection = self.connection.clone();
            let values: Vec<Option<Bytes>> = self.in_time(fetch.query_async(&mut connection)).await?;
            // What went between its name and its value is left out.
            let found = chunk.iter().zip(values);
            pairs.extend(found.filter_map(|(name, value)| Some((Key::from_text(name.clone()), value?))));
        }
        Ok(Page { pairs, next: walk.place() })
    }

    /// Whatever was acknowledged is the server's already.
    async fn flush(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn forgets_by_itself(&self) -> bool {
        true
    }

    fn cautions(&self) -> &[String] {
        &self.cautions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_own_text_alone() {
        assert_eq!(literal("vestibule:note/"), "vestibule:note/");
        assert_eq!(literal(r"a*b?[c]\d-^"), r"a\*b\?\[c\]\\d\-\^");
    }

    #[test]
    fn a_place_is_read_as_it_was_written_and_the_end_is_none() {
        let place =
            |cursor, names: &[&str]| Walk { cursor, over: names.iter().map(|&name| name.to_owned()).collect() }.place();
        assert_eq!(place(None, &[]), None);
        for (cursor, names) in [(Some(7), &["grant/a", "grant/b"][..]), (None, &["grant/a"]), (Some(u64::MAX), &[])] {
            let written = place(cursor, names);
            assert_eq!(Walk::read(written.as_ref()).place(), written);
            assert_eq!(Walk::read(written.as_ref()).cursor, cursor);
        }
        assert_eq!(Walk::read(None).cursor, Some(0));
        assert_eq!(Walk::read(Some(&Place::from_text("grant/foreign"))).place(), None, "of another backend: the end");
    }

    #[test]
    fn what_lives_for_ever_has_no_end() {
        assert_eq!(end(Instant::from_secs(100)), Some(160_000));
        assert_eq!(end(Instant::from_millis(u64::MAX)), None);
    }
}
