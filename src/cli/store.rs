//! `vestibule store export|import`: from one store to another without logging anyone out.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;

use super::{SystemClock, print, sources::ConfigOption};
use crate::{
    config,
    crypto::{Keyring, Os, hash::sha256},
    store::{
        self, Store,
        parcel::{Admitted, Foot, Head, Parcel, VERSION},
    },
};

/// How many records are looked at in one scan.
const PAGE: usize = 2_000;
/// How many records are on their way at once.
const ABREAST: usize = 32;

#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum Command {
    /// Write every record, sealed as it is, to a new file. Stop the servers first, so that nothing changes behind it.
    Export(Options),
    /// Lay the records of such a file into the store; what lies there already stays. May be begun again at any time.
    Import(Options),
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// The file: sealed records, one JSON document a line. Worthless without secret_key, and still nobody else's business.
    file: PathBuf,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Export(options) => {
            let store = open(&options, Purpose::Export).await?;
            let (records, before) = export(&store, &options.file).await?;
            let again = if before > 0 { format!(", {before} of them in an earlier attempt") } else { String::new() };
            print(&format!("{records} records exported to {}{again}", options.file.display()))
        }
        Command::Import(options) => {
            let lines = File::open(&options.file)
                .with_context(|| format!("the export {} cannot be read", options.file.display()))?;
            let store = open(&options, Purpose::Import).await?;
            let records = inspect(&store, BufReader::new(&lines))?;
            print(&import(&store, &options.file, records).await?.to_string())
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Export,
    Import,
}

async fn open(options: &Options, purpose: Purpose) -> anyhow::Result<Store> {
    let settings = config::load(&options.config.sources(Vec::new())?)?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let chosen = match settings.store {
        store::Settings::Memory => bail!("the store is \"memory\", which nobody else can read or fill"),
        // A running server will not let go of it, so there is nothing to wait for.
        store::Settings::Sled(sled) => {
            if purpose == Purpose::Export && !sled.path.exists() {
                bail!("there is no store at {}", sled.path.display());
            }
            store::Settings::Sled(store::SledSettings { patience: Duration::ZERO, ..sled })
        }
        server => server,
    };
    let keyring = Arc::new(Keyring::new(settings.secret_key, settings.older_keys));
    Ok(store::open(chosen, keyring, Arc::new(SystemClock), Arc::new(Os)).await?)
}

/// Writes beside the file and gives it its name at the end, so that under this name there is never half an export. How
/// many records are in it, and how many of them an attempt that was interrupted had written.
async fn export(store: &Store, file: &Path) -> anyhow::Result<(u64, u64)> {
    if file.exists() {
        bail!("{} is there already; name a new file", file.display());
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let why = || format!("{} cannot be written", partial.display());
    let mut there = go_on(store, &partial).with_context(why)?;
    let before = there.len() as u64;
    let mut output = BufWriter::new(private(&partial).with_context(why)?);
    if before == 0 {
        line(&mut output, &store.head()?)?;
    }
    let (bar, mut from) = (bar(None), None);
    loop {
        let (parcels, next) = store.parcels(from.as_ref(), PAGE).await?;
        for parcel in &parcels {
            if there.insert(sha256(parcel.key.as_bytes())) {
                line(&mut output, parcel).with_context(why)?;
                bar.inc(1);
            }
        }
        output.flush().with_context(why)?;
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let records = there.len() as u64;
    line(&mut output, &Foot { records })?;
    let output = output.into_inner().map_err(|error| error.into_error()).with_context(why)?;
    output.sync_all().with_context(why)?;
    fs::rename(&partial, file).with_context(|| format!("{} cannot be written", file.display()))?;
    bar.finish_and_clear();
    Ok((records, before))
}

/// Of each record's key.
type Names = HashSet<[u8; 32]>;

/// What an interrupted export had written; half a line at its end is cut off. One of another ring, or of which not one
/// record was written, is begun anew.
fn go_on(store: &Store, partial: &Path) -> anyhow::Result<Names> {
    let input = match File::open(partial) {
        Ok(input) => input,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Names::new()),
        Err(error) => return Err(error.into()),
    };
    let (mut input, mut text) = (BufReader::new(input), String::new());
    let (mut sound, mut there) = (0, Names::new());
    while input.read_line(&mut text)? > 0 && text.ends_with('\n') {
        if sound == 0 {
            let head: Option<Head> = serde_json::from_str(&text).ok();
            if head.is_none_or(|head| !store.knows_mark(&head.mark)) {
                break;
            }
        } else {
            let Ok(parcel) = serde_json::from_str::<Parcel>(&text) else { break };
            there.insert(sha256(parcel.key.as_bytes()));
        }
        sound += text.len() as u64;
        text.clear();
    }
    File::options().write(true).open(partial)?.set_len(if there.is_empty() { 0 } else { sound })?;
    Ok(there)
}

/// For its owner alone, and written at the end.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create(true).append(true).open(path)
}

fn line(output: &mut impl std::io::Write, what: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, what)?;
    output.write_all(b"\n")
}

/// Reads the whole file before anything is written: what is no export, or not all of one, or of another ring, changes
/// nothing. How many records are in it.
fn inspect(store: &Store, mut input: impl std::io::BufRead) -> anyhow::Result<u64> {
    let (mut text, mut number, mut foot) = (String::new(), 0_u64, None);
    while input.read_line(&mut text).context("the export cannot be read")? > 0 {
        number += 1;
        if foot.is_some() {
            bail!("line {number} comes after the end of the export");
        }
        if number == 1 {
            let head: Head = parsed(&text, number)?;
            if head.vestibule_store != VERSION {
                bail!("this is an export of version {}, and this program reads {VERSION}", head.vestibule_store);
            }
            if !store.knows_mark(&head.mark) {
                bail!(
                    "the export was sealed under another secret_key ({}); give that one, or add it to the older ones",
                    head.key
                );
            }
        } else if let Ok(end) = serde_json::from_str::<Foot>(&text) {
            foot = Some(end);
        } else {
            let parcel: Parcel = parsed(&text, number)?;
            store.inspect(&parcel).map_err(|unfit| anyhow::anyhow!("line {number} ({}) {unfit}", parcel.key))?;
        }
        text.clear();
    }
    match foot {
        Some(Foot { records }) if records + 2 == number => Ok(records),
        Some(Foot { records }) => bail!("the export says {records} records and holds {}", number - 2),
        None => bail!("the export ends in the middle; export again, an interrupted one goes on where it was"),
    }
}

fn parsed<T: DeserializeOwned>(text: &str, number: u64) -> anyhow::Result<T> {
    serde_json::from_str(text).with_context(|| format!("line {number} is not what an export holds"))
}

/// How many parcels had which end.
#[derive(Default)]
struct Tally {
    written: u64,
    same: u64,
    kept: u64,
    expired: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { written, same, kept, expired } = self;
        write!(f, "{written} records imported, {same} were there already, {expired} have expired meanwhile")?;
        if *kept > 0 {
            write!(f, ", {kept} stay as this store had them (it was in use before)")?;
        }
        Ok(())
    }
}

async fn import(store: &Store, file: &Path, records: u64) -> anyhow::Result<Tally> {
    let bar = bar(Some(records));
    let lines = BufReader::new(File::open(file)?).lines().skip(1).take(usize::try_from(records)?);
    let parcels = stream::iter(lines.map(|line| Ok::<Parcel, anyhow::Error>(serde_json::from_str(&line?)?)));
    let admitted = parcels.map(|parcel| async { Ok::<_, anyhow::Error>(store.admit(&parcel?).await?) });
    let count = async |mut tally: Tally, admitted| {
        bar.inc(1);
        match admitted {
            Admitted::Written => tally.written += 1,
            Admitted::Same => tally.same += 1,
            Admitted::Kept => tally.kept += 1,
            Admitted::Expired => tally.expired += 1,
        }
        Ok(tally)
    };
    let tally = admitted.buffer_unordered(ABREAST).try_fold(Tally::default(), count).await;
    let tally = tally.context("the import stopped half way; begin it again, what is there stays")?;
    store.flush().await?;
    bar.finish_and_clear();
    Ok(tally)
}

/// On stderr, and only where that is a terminal.
fn bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {pos}/{len} records, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} records"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
