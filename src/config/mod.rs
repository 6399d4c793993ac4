//! # What the operator wrote, turned into what the rooms need
//!
//! **Purpose.** Parse, don't validate: one TOML file, the environment and a few flags become one [`Settings`], or one
//! list of [`Mistakes`], all at once, each with its place, what is wrong and how to mend it. Precedence: flag, then
//! environment, then file, then default; every resolved value keeps its [`Origin`], so that `vestibule check` can say
//! who said so.
//!
//! The road: `file` reads TOML into a tree whose values know their line; `env` writes the environment over it;
//! `section` is the checked reader that takes known keys out of it and notes what is missing, unfit or left over.
//! `server`, `upstream`, `resource`, `client`, `issuer`, `register` and `cimd` know the keys, one file per part of the format. Nothing is read twice,
//! and after this room nobody looks at a setting with doubt.
//!
//! Safe defaults, and no default where only the operator can know: `public_url` (D9), `secret_key` (D11) and each
//! resource's `allow` (D15) have to be written. What is unwise but allowed is spelt `dangerous_…`, and told in
//! [`Settings::warnings`].
//!
//! **Neighbours.** Fills the `Settings` types that the rooms below own; only [`cli`](crate::cli) reads them out of here.
//!
//! **Nevers.** No other room reads the environment or the file. Nothing is opened or fetched here except the files that
//! the settings name. No secret appears in a mistake, a warning or a resolved value.

mod cimd;
mod client;
mod desk;
mod disk;
mod env;
mod file;
mod issuer;
mod mistake;
mod published;
mod quantity;
mod register;
mod resource;
mod secret;
mod section;
mod server;
mod step_up;
mod store;
mod tree;
mod upstream;

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use desk::Resolved;
use desk::{Desk, Found};
pub use env::Environment;
pub use mistake::{Mistake, Mistakes};
use section::Section;
pub use tree::Origin;
use tree::{Node, Value};

use crate::{
    admin,
    crypto::MasterKey,
    domain::{GrantType, HttpsUrl, Resource},
    oauth, proxy, store as store_room, telemetry, token, upstream as upstream_room, web,
};

/// Everything that the house is built from, checked: whoever holds one needs no further look at it.
#[derive(Clone)]
pub struct Settings {
    /// The public origin (D9).
    pub public_url: HttpsUrl,
    /// Where the public door listens.
    pub listen: SocketAddr,
    /// Where health and the operator's desk answer, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// The operator's desk.
    pub admin: admin::Settings,
    /// The key that seals (D11).
    pub secret_key: MasterKey,
    /// Older keys that still open.
    pub older_keys: Vec<MasterKey>,
    /// The memory.
    pub store: store_room::Settings,
    /// How the house goes out to providers.
    pub http: upstream_room::http::HttpSettings,
    /// `[upstream.X]`.
    pub upstreams: Vec<upstream_room::Settings>,
    /// `[[resource]]`.
    pub resources: Vec<Resource>,
    /// Granting.
    pub oauth: oauth::Settings,
    /// Minting.
    pub token: token::Settings,
    /// Spending.
    pub proxy: proxy::Settings,
    /// The door.
    pub web: web::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
    /// What is allowed but unwise, for the start-up log and `check`.
    pub warnings: Vec<String>,
    /// Every setting with its value (secrets masked) and who said so, in the order of the sections.
    pub resolved: Vec<Resolved>,
}

/// The file as it lies on disk.
#[derive(Clone)]
pub struct File {
    /// How mistakes call it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where its relative paths start.
    pub folder: PathBuf,
}

impl File {
    /// Reads it. More than 4 MiB is not a configuration.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { name: path.display().to_string(), text: disk::read_text(path, 4 << 20)?, folder })
    }
}

/// A value from the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag as one types it.
    pub name: &'static str,
    /// The setting that it sets.
    pub path: &'static [&'static str],
    /// Its value.
    pub value: String,
}

/// All that an operator may say.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file, if there is one: one resource can do without.
    pub file: Option<File>,
    /// The environment.
    pub environment: Environment,
    /// Flags, which win.
    pub flags: Vec<Flag>,
}

/// Reads one TOML text, for `dev` and tests: no environment, no flags; relative paths start in the working directory.
///
/// # Errors
/// [`Mistakes`].
pub fn from_toml(text: &str) -> Result<Settings, Mistakes> {
    let file = File { name: "vestibule.toml".to_owned(), text: text.to_owned(), folder: PathBuf::new() };
    load(&Sources { file: Some(file), ..Sources::default() })
}

/// Turns what was written into what is needed.
///
/// # Errors
/// [`Mistakes`]: all of them.
pub fn load(sources: &Sources) -> Result<Settings, Mistakes> {
    let (mut tree, mut mistakes) = match &sources.file {
        Some(file) => file::read(&file.name, &file.text),
        None => Default::default(),
    };
    env::overlay(&mut tree, &sources.environment, &mut mistakes);
    for flag in &sources.flags {
        let keys: Vec<String> = flag.path.iter().map(|key| (*key).to_owned()).collect();
        let node = Node { value: Value::Text(flag.value.clone()), origin: Origin::Flag(flag.name) };
        if let Err(problem) = env::set(&mut tree, &keys, node) {
            let (path, origin) = (flag.path.join("."), Origin::Flag(flag.name));
            mistakes.push(Mistake { path, origin, problem, remedy: "mend the file".to_owned() });
        }
    }
    let desk = Desk {
        environment: &sources.environment,
        folder: sources.file.as_ref().map(|file| file.folder.clone()).unwrap_or_default(),
        found: RefCell::new(Found { mistakes, ..Found::default() }),
    };
    let settings = settings(Section::new(&desk, String::new(), Origin::Default, tree));
    let found = desk.found.into_inner();
    match settings {
        Some(settings) if found.mistakes.is_empty() => {
            Ok(Settings { warnings: found.warnings, resolved: found.resolved, ..settings })
        }
        _ => Err(in_order(found.mistakes)),
    }
}

/// In the order of the file, so that the operator can go through it once.
fn in_order(mut mistakes: Vec<Mistake>) -> Mistakes {
    mistakes.sort_by_key(|mistake| match mistake.origin {
        Origin::File { line, .. } => line,
        _ => usize::MAX,
    });
    Mistakes(mistakes)
}

fn settings(mut top: Section<'_>) -> Option<Settings> {
    let http_is_allowed = top.yes_or("dangerous_allow_http", false);
    if http_is_allowed {
        top.desk.warn("dangerous_allow_http: tokens may travel readable over the network".to_owned());
    }
    let public_url = server::public_url(&mut top, http_is_allowed);
    let listen = top.parsed_or("listen", "0.0.0.0:8080", "\"0.0.0.0:8080\"", server::address);
    let admin = server::admin(&mut top);
    let keys = server::secret_key(&mut top);
    let store = store::read(&mut top);
    let (hosts, origins) = (server::hosts(&mut top), server::origins(&mut top));
    let extra_ca = server::extra_ca(&mut top);
    let upstreams = top.section("upstream");
    let (names, upstreams) = upstream::read(upstreams, public_url.as_ref(), http_is_allowed);
    let sections = top.sections("resource");
    if sections.is_empty() {
        let (problem, remedy) = resource::none_at_all();
        top.desk.mistake("resource", &Origin::Default, problem, remedy);
    }
    let mute = upstreams.iter().filter(|upstream| upstream.provider.identity.groups.is_none());
    let without_groups: Vec<_> = mute.map(|upstream| upstream.name.clone()).collect();
    let device = server::device(&mut top);
    let issuers = issuer::read(top.section("issuer"), &names, http_is_allowed);
    let offers = client::Offers {
        device: device.as_ref().is_some_and(|device| device.settings.is_some()),
        upstreams: &names,
        issuers: &issuers,
    };
    let clients = client::read(top.sections("client"), offers);
    let machines = clients.iter().map(|known| &known.client).filter(|client| client.may(GrantType::ClientCredentials));
    let machines: Vec<_> = machines.map(|client| client.id.clone()).collect();
    let around = resource::Around {
        machines: &machines,
        issuers: &issuers,
        public_url: public_url.as_ref(),
        upstreams: &names,
        without_groups: &without_groups,
        dangerous_allow_http: http_is_allowed,
    };
    let resources = resource::read(sections, &around);
    let tokens = server::tokens(&mut top);
    let demand =
        resources.iter().any(|resource| resource.demands_proof) || clients.iter().any(|c| c.client.always_proves);
    if demand && tokens.as_ref().is_some_and(|tokens| tokens.dpop == token::Dpop::Off) {
        let problem = "is \"off\", but a [[resource]] or [[client]] has dpop = \"required\": it could get no token";
        top.desk.mistake("tokens.dpop", &Origin::Default, problem, "write dpop = \"allowed\", or \"nonce\"");
    }
    let asking = server::asking(&mut top);
    let registration = register::read(&mut top);
    let cimd = cimd::read(&mut top, public_url.as_ref());
    let limits = server::limits(&mut top);
    let telemetry = server::telemetry(&mut top);
    top.finish();

    let (public_url, tokens, asking, limits, device) = (public_url?, tokens?, asking?, limits?, device?);
    let (admin_listen, admin_token) = admin?;
    let mut keys = keys?.into_iter();
    let on_loopback = public_url.is_loopback() && listen?.ip().is_loopback();
    Some(Settings {
        listen: listen?,
        admin_listen,
        admin: admin::Settings {
            token: admin_token,
            clients: clients.iter().map(|known| known.client.id.clone()).collect(),
        },
        secret_key: keys.next()?,
        older_keys: keys.collect(),
        store: store?,
        http: upstream_room::http::HttpSettings {
            timeout: limits.provider_timeout,
            extra_ca: extra_ca.clone(),
            loopback: on_loopback,
        },
        upstreams,
        resources,
        oauth: granting(
            &public_url,
            (&tokens, &asking, &limits),
            registration?,
            (device.settings, cimd?),
            (clients, issuers),
        ),
        proxy: spending(&public_url, &limits, (hosts, origins), extra_ca),
        web: web::Settings {
            public_url: public_url.clone(),
            requests_per_minute: limits.requests_per_minute,
            codes_per_minute: device.codes_per_minute,
            trusted_proxies: limits.trusted_proxies,
            drain: limits.drain,
        },
        token: token::Settings {
            issuer: public_url.trimmed().to_owned(),
            algorithm: tokens.algorithm,
            life: tokens.access_life,
            rotate: tokens.rotate_keys,
            claims: tokens.claims,
            dpop: tokens.dpop,
        },
        telemetry: telemetry?,
        public_url,
        warnings: Vec::new(),
        resolved: Vec::new(),
    })
}

fn granting(
    public_url: &HttpsUrl,
    (tokens, asking, limits): (&server::Tokens, &server::Asking, &server::Limits),
    registration: oauth::Registration,
    (device, cimd): (Option<oauth::DeviceSettings>, oauth::CimdSettings),
    (clients, issuers): (Vec<oauth::StaticClient>, Vec<oauth::TrustedIssuer>),
) -> oauth::Settings {
    oauth::Settings {
        public_url: public_url.clone(),
        consent: asking.mode,
        registration,
        cimd,
        clients,
        issuers,
        named_resource: tokens.named_resource,
        secret_by: tokens.secret_by,
        pace: limits.pace,
        code_life: tokens.code_life,
        request_life: limits.login_life,
        grant_life: tokens.grant_life,
        absolute_life: tokens.absolute_life,
        refresh_grace: tokens.refresh_grace,
        consent_life: asking.life,
        device,
    }
}

fn spending(
    public_url: &HttpsUrl,
    limits: &server::Limits,
    (hosts, origins): (Vec<String>, Vec<String>),
    extra_ca: Option<Vec<u8>>,
) -> proxy::Settings {
    proxy::Settings {
        public_url: public_url.clone(),
        hosts,
        origins,
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        extra_ca,
    }
}
