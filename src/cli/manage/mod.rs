//! `vestibule client|grant|key …`: a running server, managed through its admin listener (D7).

mod desk;
mod table;

use std::{
    io::{self, BufRead, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{bail, ensure};
use clap::Subcommand;
use desk::Desk;
pub(super) use desk::ServerOption;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use table::{Column, sheet, table, text};

use super::print;
use crate::domain::Instant;

#[derive(Subcommand)]
pub(super) enum Client {
    /// Clients that people have let in, and blocked ones.
    List {
        #[command(flatten)]
        server: ServerOption,
        #[command(flatten)]
        part: Part,
    },
    /// One client: by its id, or by the short name that `list` shows.
    Show {
        #[command(flatten)]
        server: ServerOption,
        client: String,
    },
    /// End all logins of a client. It may begin new ones.
    Revoke {
        #[command(flatten)]
        server: ServerOption,
        client: String,
        /// Only tell how many.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shut a client out, until `unblock`, and end all its logins. Also before it was ever let in.
    Block {
        #[command(flatten)]
        server: ServerOption,
        client: String,
    },
    /// Let a blocked client in again.
    Unblock {
        #[command(flatten)]
        server: ServerOption,
        client: String,
    },
}

#[derive(Subcommand)]
pub(super) enum Grant {
    /// Logins: which client may use which server for which person.
    List {
        #[command(flatten)]
        server: ServerOption,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        part: Part,
    },
    /// One login.
    Show {
        #[command(flatten)]
        server: ServerOption,
        id: String,
    },
    /// End one login, or all of a client, of a person, from before a time: whatever is said has to hold.
    Revoke {
        #[command(flatten)]
        server: ServerOption,
        /// The login to end.
        #[arg(conflicts_with_all = ["client", "subject", "before", "all"])]
        id: Option<String>,
        #[command(flatten)]
        which: Which,
        /// Every login there is.
        #[arg(long, conflicts_with_all = ["client", "subject", "before"])]
        all: bool,
        /// Only tell how many.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask whether `--all` is meant.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum Key {
    /// Print the key by which a backend opens the `upstream_token` inside access tokens, as a JWK.
    Show(super::key::Options),
    /// The signing keys of the running server, the one that signs first.
    List {
        #[command(flatten)]
        server: ServerOption,
    },
    /// The master keys (`secret_key`), what rests on each, and whether an older one may be dropped.
    Master {
        #[command(flatten)]
        server: ServerOption,
        /// First seal all records under the current one.
        #[arg(long)]
        reseal: bool,
    },
    /// Let the next signing key sign from now on. What the current one signed stays good.
    Rotate {
        #[command(flatten)]
        server: ServerOption,
        /// The keys may be known to a stranger: replace all of them, and believe nothing that they signed.
        #[arg(long)]
        now: bool,
        /// Do not ask whether `--now` is meant.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which logins.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// Of this client, by its id or short name.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Of this person, e.g. github:1234.
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Begun before this time: 2026-11-02T09:00:00Z, or a day (its first moment, UTC).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<String>,
}

/// How much of a list.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Part {
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    /// Go on after a list that was cut: its `next`.
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
}

fn moment(text: &str) -> Result<String, &'static str> {
    let day = format!("{text}T00:00:00Z");
    let at = Instant::parse_rfc3339(text).or_else(|| Instant::parse_rfc3339(&day));
    at.map(Instant::to_rfc3339).ok_or("expected a time such as 2026-11-02T09:00:00Z, or a day such as 2026-11-02")
}

impl Which {
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let pairs = [("client", &self.client), ("subject", &self.subject), ("before", &self.before)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

pub(super) async fn client(command: Client) -> anyhow::Result<ExitCode> {
    match command {
        Client::List { server, part } => {
            let listed = list(&Desk::of(&server)?, "clients", &[], &part).await?;
            show_list(&server, "clients", &listed, &CLIENTS)?;
        }
        Client::Show { server, client } => {
            let query = query(&[("client", &client)]);
            show(&server, &Desk::of(&server)?.get(&format!("/api/v1/client?{query}")).await?)?;
        }
        Client::Revoke { server, client, dry_run } => {
            let desk = Desk::of(&server)?;
            // A name that nobody has would end nothing and look like success.
            desk.get(&format!("/api/v1/client?{}", query(&[("client", &client)]))).await?;
            bulk(&server, &desk, json!({ "client": client, "dry_run": dry_run })).await?;
        }
        Client::Block { server, client } => {
            let answer = Desk::of(&server)?.post("/api/v1/clients/block", &json!({ "client": client })).await?;
            show(&server, &answer)?;
        }
        Client::Unblock { server, client } => {
            let answer = Desk::of(&server)?.post("/api/v1/clients/unblock", &json!({ "client": client })).await?;
            show(&server, &answer)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn grant(command: Grant) -> anyhow::Result<ExitCode> {
    match command {
        Grant::List { server, which, part } => {
            let listed = list(&Desk::of(&server)?, "grants", &which.pairs(), &part).await?;
            show_list(&server, "grants", &listed, &GRANTS)?;
        }
        Grant::Show { server, id } => {
            show(&server, &Desk::of(&server)?.get(&format!("/api/v1/grants/{}", segment(&id))).await?)?;
        }
        Grant::Revoke { server, id: Some(id), dry_run, .. } => {
            let (desk, target) = (Desk::of(&server)?, format!("/api/v1/grants/{}", segment(&id)));
            let answer = if dry_run { desk.get(&target).await? } else { desk.delete(&target).await? };
            show(&server, &answer)?;
        }
        Grant::Revoke { server, which, all, dry_run, yes, .. } => {
            let pairs = which.pairs();
            ensure!(all || !pairs.is_empty(), "say which logins: an id, --client, --subject, --before, or --all");
            let desk = Desk::of(&server)?;
            if all && !dry_run && !yes {
                confirm("This ends every login: everyone has to log in again.")?;
            }
            let mut asked: serde_json::Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            asked.insert("all".to_owned(), all.into());
            asked.insert("dry_run".to_owned(), dry_run.into());
            bulk(&server, &desk, asked.into()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn key(command: Key) -> anyhow::Result<ExitCode> {
    match command {
        Key::Show(options) => super::key::show(&options)?,
        Key::List { server } => {
            let answer = Desk::of(&server)?.get("/api/v1/keys").await?;
            show_list(&server, "keys", &answer, &KEYS)?;
        }
        Key::Master { server, reseal } => {
            let desk = Desk::of(&server)?;
            let done = if reseal { desk.post("/api/v1/master-keys/reseal", &json!({})).await? } else { Value::Null };
            let mut answer = desk.get("/api/v1/master-keys").await?;
            if reseal && !server.json {
                print(&format!("{} records resealed", text(&done, "resealed")))?;
            }
            if reseal {
                answer["reseal"] = done;
            }
            show_list(&server, "keys", &answer, &MASTERS)?;
        }
        Key::Rotate { server, now, yes } => {
            let desk = Desk::of(&server)?;
            if now && !yes {
                confirm("This makes every access token worthless. Clients refresh; nobody has to log in again.")?;
            }
            let answer = desk.post("/api/v1/keys/rotate", &json!({ "now": now })).await?;
            show_list(&server, "keys", &answer, &KEYS)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

const CLIENTS: [Column; 6] = [
    ("CLIENT", |row| text(row, "client")),
    ("NAME", |row| text(row, "name")),
    ("ORIGIN", |row| text(row, "origin")),
    ("FIRST SEEN", |row| text(row, "first_seen")),
    ("LAST SEEN", |row| text(row, "last_seen")),
    ("BLOCKED", |row| text(row, "blocked")),
];

const GRANTS: [Column; 6] = [
    ("GRANT", |row| text(row, "id")),
    ("PERSON", |row| row["email"].as_str().map_or_else(|| text(row, "subject"), str::to_owned)),
    ("RESOURCE", |row| text(row, "resource")),
    ("CLIENT", |row| text(row, "client")),
    ("CREATED", |row| text(row, "created")),
    ("EXPIRES", |row| text(row, "expires")),
];

const KEYS: [Column; 5] = [
    ("KEY", |row| text(row, "kid")),
    ("ALG", |row| text(row, "alg")),
    ("STAGE", |row| text(row, "stage")),
    ("SINCE", |row| text(row, "since")),
    ("UNTIL", |row| text(row, "until")),
];

const MASTERS: [Column; 7] = [
    ("KEY", |row| text(row, "key")),
    ("ROLE", |row| text(row, "role")),
    ("RECORDS", |row| text(row, "records")),
    ("CLIENTS", |row| text(row, "clients")),
    ("LOGINS", |row| text(row, "logins")),
    ("MAY BE DROPPED", |row| match row["after"].as_str() {
        Some(after) => format!("after {after}"),
        None => text(row, "may_be_dropped"),
    }),
    ("BECAUSE", |row| text(row, "because")),
];

/// Page after page, until there are enough.
async fn list(desk: &Desk, what: &str, which: &[(&str, &str)], part: &Part) -> anyhow::Result<Value> {
    let (mut items, mut after) = (Vec::new(), part.after.clone());
    while items.len() < part.limit {
        let limit = (part.limit - items.len()).min(1_000).to_string();
        let mut pairs = which.to_vec();
        pairs.push(("limit", &limit));
        pairs.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = desk.get(&format!("/api/v1/{what}?{}", query(&pairs))).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    Ok(json!({ what: items, "next": after }))
}

/// Step after step, until the server says that all is done. Each step is short, so it can be broken off at any time and
/// begun again.
async fn bulk(server: &ServerOption, desk: &Desk, mut asked: Value) -> anyhow::Result<()> {
    let (mut examined, mut revoked) = (0, 0);
    loop {
        let answer = desk.post("/api/v1/grants/revoke", &asked).await?;
        examined += answer["examined"].as_u64().unwrap_or(0);
        revoked += answer["revoked"].as_u64().unwrap_or(0);
        asked["after"] = answer["next"].clone();
        if asked["after"].is_null() {
            break;
        }
    }
    let dry_run = asked["dry_run"] == true;
    if server.json {
        return print(&json!({ "examined": examined, "revoked": revoked, "dry_run": dry_run }).to_string());
    }
    let verb = if dry_run { "would end" } else { "ended" };
    print(&format!("{revoked} of {examined} logins {verb}"))
}

fn show_list(server: &ServerOption, what: &str, listed: &Value, columns: &[Column]) -> anyhow::Result<()> {
    if server.json {
        return print(&listed.to_string());
    }
    let rows = listed[what].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return print("none");
    }
    print(&table(rows, columns))?;
    match listed["next"].as_str() {
        Some(next) => print(&format!("… and more: --after {next}")),
        None => Ok(()),
    }
}

fn show(server: &ServerOption, thing: &Value) -> anyhow::Result<()> {
    print(&if server.json { thing.to_string() } else { sheet(thing) })
}

/// Asks a person at a terminal; a program has to say `--yes`.
fn confirm(what: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("{what} Say --yes if that is meant");
    }
    write!(io::stderr(), "{what} Type yes to go on: ")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    ensure!(line.trim() == "yes", "nothing was done");
    Ok(())
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// What a person typed, as one segment of a path.
fn segment(text: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(text, PLAIN).to_string()
}
