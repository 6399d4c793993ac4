//! The one table: its making, the rights we need on it, and what the operator should know.

use super::{Failed, Postgres};
use crate::store::settings::PostgresSettings;

/// What every verb together needs.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The table's name, quoted, with its schema if one was chosen.
pub(super) fn name(settings: &PostgresSettings) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match &settings.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&settings.table)),
        None => quoted(&settings.table),
    }
}

/// Makes the table if it is not there, sees that it can be used, and says what is unwise.
pub(super) async fn prepare(postgres: &Postgres, settings: &PostgresSettings) -> Result<Vec<String>, String> {
    let table = &postgres.statements.table;
    if !is_there(postgres).await.map_err(|error| error.to_string())? {
        let made = make(postgres, settings).await;
        // Another process may have made it meanwhile, with rights that we lack.
        if let Err(error) = made
            && !is_there(postgres).await.unwrap_or(false)
        {
            return Err(format!(
                "the table {table} is not there and cannot be made: {error}; let the role create it (GRANT CREATE ON \
                 SCHEMA …), or create it as docs/stores.md says"
            ));
        }
    }
    look(postgres).await
}

async fn is_there(postgres: &Postgres) -> Result<bool, Failed> {
    let rows = postgres.rows("SELECT to_regclass($1) IS NOT NULL", &[&postgres.statements.table]).await?;
    Ok(match rows.first() {
        Some(row) => row.try_get(0)?,
        None => false,
    })
}

/// `IF NOT EXISTS` alone is no defence against two processes at once, hence the lock. All of it is one transaction.
async fn make(postgres: &Postgres, settings: &PostgresSettings) -> Result<(), Failed> {
    let table = &postgres.statements.table;
    let index = format!("\"{}_expires_at\"", settings.table.replace('"', "\"\""));
    let literal = table.replace('\'', "''");
    // Records are short-lived: the default would let a fifth of the table die before it is cleaned.
    let statements = format!(
        "SELECT pg_advisory_xact_lock(hashtextextended('vestibule ' || '{literal}', 0));
         CREATE TABLE IF NOT EXISTS {table} (
             key text COLLATE \"C\" PRIMARY KEY,
             value bytea NOT NULL,
             expires_at timestamptz NOT NULL
         ) WITH (autovacuum_vacuum_scale_factor = 0.05);
         CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at);"
    );
    postgres.ask(async |client: &deadpool_postgres::Object| client.batch_execute(&statements).await).await
}

/// Rights that are missing are an error; what could lose acknowledged records is a caution.
async fn look(postgres: &Postgres) -> Result<Vec<String>, String> {
    let table = &postgres.statements.table;
    let statement = "SELECT current_user::text, relpersistence::text, current_setting('fsync'), \
                     current_setting('full_page_writes'), current_setting('synchronous_commit'), \
                     has_table_privilege(oid, 'SELECT'), has_table_privilege(oid, 'INSERT'), \
                     has_table_privilege(oid, 'UPDATE'), has_table_privilege(oid, 'DELETE') \
                     FROM pg_class WHERE oid = to_regclass($1)";
    let row = postgres.rows(statement, &[table]).await.map_err(|error| error.to_string())?.pop();
    let row = row.ok_or_else(|| format!("the table {table} has gone"))?;
    let text = |column: usize| row.try_get::<_, String>(column).map_err(|error| Failed::from(error).to_string());
    let mut missing = Vec::new();
    for (at, right) in RIGHTS.iter().enumerate() {
        if !row.try_get::<_, bool>(5 + at).map_err(|error| Failed::from(error).to_string())? {
            missing.push(*right);
        }
    }
    if !missing.is_empty() {
        let (missing, role) = (missing.join(", "), text(0)?);
        return Err(format!(
            "the role {role} may not {missing} on the table {table}; GRANT {missing} ON {table} TO \"{role}\""
        ));
    }
    // Fails here, and not in the middle of a login, if somebody else's table has our name.
    let shape = format!("SELECT key COLLATE \"C\", value, expires_at FROM {table} WHERE expires_at IS NULL LIMIT 0");
    postgres.rows(&shape, &[]).await.map_err(|error| format!("the table {table} is not one of ours: {error}"))?;
    let mut cautions = Vec::new();
    if text(1)? != "p" {
        cautions.push(format!(
            "the table {table} is not logged: a crash of the server empties it and logs everyone out; ALTER TABLE \
             {table} SET LOGGED"
        ));
    }
    for (column, setting) in [(2, "fsync"), (3, "full_page_writes"), (4, "synchronous_commit")] {
        if text(column)? == "off" {
            cautions.push(format!(
                "the PostgreSQL server has {setting} off: a crash of it may lose logins and bring back what was spent; \
                 set {setting} = on"
            ));
        }
    }
    Ok(cautions)
}
