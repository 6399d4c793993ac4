//! The only file, with its two side rooms, that names the PostgreSQL crates: one server, for any number of processes.
//!
//! One table, one row for each value, each verb one statement, so that the server's own row locks make it atomic. A few
//! connections in a pool: commits on different ones share a flush of the server's log. A statement that failed, or did
//! not answer in time, gives its connection up and is not repeated, so that nothing is swapped twice: the caller hears
//! [`Unavailable`], and cannot know whether it was done. Whoever comes next gets a fresh connection.
//!
//! **Durability** is the server's: with `fsync` and `synchronous_commit` on, what it has acknowledged survives its end.
//! [`Life::durable`] therefore changes nothing here.
//!
//! **Expiry** is a column with an index: a sweep takes what is over, in batches, and steps over rows that another
//! process is sweeping.

mod connect;
mod table;

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use deadpool_postgres::{Object, Pool};
use tokio::time::{Instant as Moment, timeout_at};
use tokio_postgres::{
    Row,
    types::{Timestamp, ToSql},
};

use super::{
    Backend, Key, Life, Page, Place, Unavailable,
    settings::{OpenError, PostgresSettings},
};
use crate::domain::Instant;

/// 9999-12-31: what lives longer has no end.
const FOR_EVER: Instant = Instant::from_millis(253_402_300_799_000);

/// One server, or what stands for one.
pub struct Postgres {
    pool: Pool,
    statements: Statements,
    timeout: Duration,
    cautions: Vec<String>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("table", &self.statements.table).finish_non_exhaustive()
    }
}

/// Why a statement failed, in the server's words: never a value, never a credential.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("{0}")]
    Told(String),
}

impl From<Failed> for Unavailable {
    fn from(failed: Failed) -> Self {
        Self(failed.into())
    }
}

impl From<tokio_postgres::Error> for Failed {
    /// The crate's own words for all that the server says are "db error".
    fn from(error: tokio_postgres::Error) -> Self {
        use std::error::Error as _;
        Self::Told(match (error.as_db_error(), error.source()) {
            (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
            (None, Some(cause)) => format!("{error}: {cause}"),
            (None, None) => error.to_string(),
        })
    }
}

/// What is said to the server, with our table's name in it.
struct Statements {
    table: String,
    get: String,
    put: String,
    remove: String,
    insert: String,
    replace: String,
    take: String,
    forget: String,
}

impl Statements {
    fn about(table: String) -> Self {
        let insert = format!("INSERT INTO {table} (key, value, expires_at) VALUES ($1, $2, $3) ON CONFLICT");
        Self {
            get: format!("SELECT value FROM {table} WHERE key = $1"),
            put: format!("{insert} (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"),
            remove: format!("DELETE FROM {table} WHERE key = $1"),
            insert: format!("{insert} DO NOTHING"),
            replace: format!("UPDATE {table} SET value = $3, expires_at = $4 WHERE key = $1 AND value = $2"),
            take: format!("DELETE FROM {table} WHERE key = $1 AND value = $2"),
            // The condition stands twice: a row that was renewed between the look and the removal stays.
            forget: format!(
                "DELETE FROM {table} AS old USING (SELECT key FROM {table} WHERE expires_at <= $1 ORDER BY expires_at \
                 LIMIT $2 FOR UPDATE SKIP LOCKED) AS over WHERE old.key = over.key AND old.expires_at <= $1 \
                 RETURNING old.key"
            ),
            table,
        }
    }

    /// Keys are text in byte order, whatever the database's own order is.
    fn scan(&self, from: &str, has_end: bool) -> String {
        let table = &self.table;
        let end = if has_end { "AND key COLLATE \"C\" < $3 " } else { "" };
        format!(
            "SELECT key, value FROM {table} WHERE key COLLATE \"C\" {from} $1 {end}ORDER BY key COLLATE \"C\" LIMIT $2"
        )
    }
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Postgres {
    /// Connects, makes the table if there is none, and looks whether the server would keep what it is given.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`]: nobody answers, the credentials are refused, or a right is missing.
    pub async fn open(settings: &PostgresSettings) -> Result<Self, OpenError> {
        let unreachable = |cause: String| OpenError::Unreachable { url: settings.url.clone(), cause };
        let table = table::name(settings);
        let mut opened = Self {
            pool: connect::pool(settings).map_err(unreachable)?,
            statements: Statements::about(table),
            timeout: settings.timeout,
            cautions: Vec::new(),
        };
        opened.cautions = table::prepare(&opened, settings).await.map_err(unreachable)?;
        Ok(opened)
    }

    /// One statement on a connection of its own, and its rows.
    async fn rows(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failed> {
        self.ask(async |client: &Object| {
            let statement = client.prepare_cached(statement).await?;
            client.query(&statement, parameters).await
        })
        .await
    }

    /// One statement, and how many rows it changed.
    async fn change(&self, statement: &str, parameters: Parameters<'_>) -> Result<u64, Failed> {
        self.ask(async |client: &Object| {
            let statement = client.prepare_cached(statement).await?;
            client.execute(&statement, parameters).await
        })
        .await
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failed> {
        let deadline = Moment::now() + self.timeout;
        let late = |_| Failed::TimedOut(self.timeout);
        let client = timeout_at(deadline, self.pool.get()).await.map_err(late)?.map_err(connect::told)?;
        let answer = timeout_at(deadline, question(&client)).await;
        if !matches!(answer, Ok(Ok(_))) {
            // It may be dead, at a server that only reads now, or still busy with what we no longer wait for.
            drop(Object::take(client));
        }
        Ok(answer.map_err(late)??)
    }
}

fn bytes(row: &Row, column: usize) -> Result<Bytes, Failed> {
    Ok(Bytes::from(row.try_get::<_, Vec<u8>>(column)?))
}

fn end(expires: Instant) -> Timestamp<std::time::SystemTime> {
    if expires >= FOR_EVER {
        return Timestamp::PosInfinity;
    }
    Timestamp::Value(UNIX_EPOCH + Duration::from_millis(expires.millis()))
}

/// The first text after all that begin with `prefix`; `None` if there is no such text.
fn after_all(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // A step over the gap of the surrogates is a step of one in byte order, too.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[async_trait::async_trait]
impl Backend for Postgres {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, Unavailable> {
        let rows = self.rows(&self.statements.get, &[&key.as_str()]).await?;
        Ok(rows.first().map(|row| bytes(row, 0)).transpose()?)
    }

    async fn set(&self, key: &Key, value: Option<Bytes>, life: Life) -> Result<(), Unavailable> {
        match value {
            Some(value) => self.change(&self.statements.put, &[&key.as_str(), &&*value, &end(life.expires)]).await?,
            None => self.change(&self.statements.remove, &[&key.as_str()]).await?,
        };
        Ok(())
    }

    async fn swap(&self, key: &Key, old: Option<&Bytes>, new: Option<Bytes>, life: Life) -> Result<bool, Unavailable> {
        let (key, end) = (key.as_str(), end(life.expires));
        let changed = match (old, &new) {
            (None, Some(new)) => self.change(&self.statements.insert, &[&key, &&**new, &end]).await?,
            (Some(old), Some(new)) => self.change(&self.statements.replace, &[&key, &&**old, &&**new, &end]).await?,
            (Some(old), None) => self.change(&self.statements.take, &[&key, &&**old]).await?,
            (None, None) => return Ok(self.rows(&self.statements.get, &[&key]).await?.is_empty()),
        };
        Ok(changed > 0)
    }

    /// From the place on along the primary key's own index.
    async fn scan(&self, prefix: &str, from: Option<&Place>, limit: usize) -> Result<Page, Unavailable> {
        let (from, first) = match from {
            Some(place) if place.as_str() >= prefix => (">", place.as_str()),
            _ => (">=", prefix),
        };
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let end = after_all(prefix);
        let statement = self.statements.scan(from, end.is_some());
        let rows = match &end {
            Some(end) => self.rows(&statement, &[&first, &most, end]).await?,
            None => self.rows(&statement, &[&first, &most]).await?,
        };
        let pair = |row: &Row| Ok((Key::from_text(row.try_get(0).map_err(Failed::from)?), bytes(row, 1)?));
        Ok(Page::in_order(rows.iter().map(pair).collect::<Result<_, Unavailable>>()?, limit))
    }

    /// Whatever was acknowledged is the server's already.
    async fn flush(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn forget(&self, now: Instant, limit: usize) -> Result<Option<Vec<Key>>, Unavailable> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&self.statements.forget, &[&end(now), &limit]).await?;
        let key = |row: &Row| Ok(Key::from_text(row.try_get(0).map_err(Failed::from)?));
        rows.iter().map(key).collect::<Result<_, Unavailable>>().map(Some)
    }

    fn is_shared(&self) -> bool {
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
    fn what_begins_with_a_prefix_ends_before_the_next_text() {
        assert_eq!(after_all("note/").as_deref(), Some("note0"));
        assert_eq!(after_all("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_all("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_all(""), None);
        assert_eq!(after_all("\u{10ffff}"), None);
    }

    #[test]
    fn what_lives_for_ever_has_no_end() {
        assert!(matches!(end(Instant::from_millis(u64::MAX)), Timestamp::PosInfinity));
        assert!(matches!(end(Instant::from_secs(100)), Timestamp::Value(_)));
    }
}
