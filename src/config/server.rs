//! The house itself: where it listens, its keys, its lives and limits.

use std::{net::SocketAddr, time::Duration};

use super::{
    desk::{Desk, Said},
    disk,
    quantity::duration,
    secret,
    section::Section,
    tree::{Node, Origin, Value},
};
use crate::{
    crypto::MasterKey,
    domain::{HttpsUrl, Secret},
    oauth::{ConsentMode, DeviceSettings, NamedResource, Pace, SecretBy},
    telemetry,
    token::{Algorithm, Dpop, IdentityClaim},
};

/// Claude refreshes up to five minutes before the end (TOK-6).
const SENSIBLE_LIFE: Duration = Duration::from_secs(600);
const NEW_SECRET: &str =
    "make one with `vestibule secret new`, keep it in a file and write secret_key = \"file:/path\"";

/// The public origin (D9): the issuer, so without a path.
pub(super) fn public_url(top: &mut Section<'_>, dangerous_allow_http: bool) -> Option<HttpsUrl> {
    top.required("public_url", "\"https://mcp.example.com\"", |text| {
        let url = HttpsUrl::parse(text, dangerous_allow_http).map_err(|e| e.to_string())?;
        match url.as_url() {
            u if u.query().is_some() => Err("must not hold a query (?…)".to_owned()),
            u if u.path() != "/" => {
                Err("must not hold a path; the path of a server goes into [[resource]] path".to_owned())
            }
            _ => Ok(url),
        }
    })
}

pub(super) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port")
}

/// Where health and the operator's desk answer, `"off"` for nowhere; and the desk's token.
pub(super) fn admin(top: &mut Section<'_>) -> Option<(Option<SocketAddr>, Option<Secret<String>>)> {
    let mut admin = top.section("admin");
    let listen = admin.parsed_or("listen", "127.0.0.1:9090", "\"127.0.0.1:9090\", or \"off\"", |text| match text {
        "off" => Ok(None),
        _ => address(text).map(Some),
    });
    let (path, place) = (admin.at("token"), admin.place("token"));
    let token = admin.secret("token");
    if token.as_ref().is_some_and(|token| token.expose().len() < 32) {
        let problem = "is shorter than 32 bytes: it lets its holder end every login";
        admin.desk.mistake(&path, &place, problem, "make one with `vestibule secret new`");
    }
    admin.finish();
    Some((listen?, token))
}

/// The key that seals and the older ones that still open (D11).
pub(super) fn secret_key(top: &mut Section<'_>) -> Option<Vec<MasterKey>> {
    let path = top.at("secret_key");
    let Some(Node { value, origin }) = top.take("secret_key") else {
        top.desk.mistake(
            &path,
            &Origin::Default,
            "is missing: without it a restart would log everyone out",
            NEW_SECRET,
        );
        return None;
    };
    let texts: Vec<(String, Option<String>, Origin)> = match value {
        Value::Text(text) if matches!(origin, Origin::Environment(_)) => {
            text.split(',').map(|part| (path.clone(), Some(part.trim().to_owned()), origin.clone())).collect()
        }
        Value::Text(text) => vec![(path.clone(), Some(text), origin.clone())],
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(i, item)| match item.value {
                Value::Text(text) => (format!("{path}[{i}]"), Some(text), item.origin),
                _ => (format!("{path}[{i}]"), None, item.origin),
            })
            .collect(),
        _ => vec![(path.clone(), None, origin.clone())],
    };
    if texts.is_empty() {
        top.desk.mistake(&path, &origin, "is an empty list", NEW_SECRET);
    }
    let keys: Vec<Option<MasterKey>> = texts
        .into_iter()
        .map(|(path, text, origin)| {
            let Some(text) = text else {
                top.desk.mistake(&path, &origin, "expected a string", NEW_SECRET);
                return None;
            };
            let secret = secret::open(top.desk, Said { text, path: path.clone(), origin: origin.clone() })?;
            match MasterKey::parse(secret.expose().trim()) {
                Ok(key) => Some(key),
                Err(_) => {
                    top.desk.mistake(&path, &origin, "expected 32 random bytes in base64", NEW_SECRET);
                    None
                }
            }
        })
        .collect();
    keys.into_iter().collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

/// `[tokens]`.
pub(super) struct Tokens {
    pub(super) algorithm: Algorithm,
    pub(super) access_life: Duration,
    pub(super) code_life: Duration,
    pub(super) grant_life: Duration,
    pub(super) absolute_life: Duration,
    pub(super) refresh_grace: Duration,
    pub(super) rotate_keys: Option<Duration>,
    pub(super) claims: Vec<IdentityClaim>,
    pub(super) named_resource: NamedResource,
    pub(super) secret_by: SecretBy,
    pub(super) dpop: Dpop,
}

pub(super) fn tokens(top: &mut Section<'_>) -> Option<Tokens> {
    let mut section = top.section("tokens");
    let algorithm = algorithm(&mut section);
    let access_life = section.parsed_or("access_life", "1h", "\"1h\"", duration("1s", "24h"));
    if access_life.is_some_and(|life| life < SENSIBLE_LIFE) {
        let text =
            "tokens.access_life is below 10m: clients that refresh some minutes ahead will do so before every call";
        section.desk.warn(text.to_owned());
    }
    // RFC 6749 §4.1.2: at most ten minutes.
    let code_life = section.parsed_or("code_life", "60s", "\"60s\"", duration("5s", "10m"));
    let grant_life = section.parsed_or("grant_life", "30d", "\"30d\"", duration("1m", "365d"));
    let absolute_life = section.parsed_or("absolute_life", "90d", "\"90d\"", duration("1m", "3650d"));
    let refresh_grace = section.parsed_or("refresh_grace", "60s", "\"60s\"", duration("0s", "10m"));
    let rotate_keys = section.parsed_or("rotate_keys", "90d", "\"90d\", or \"never\"", |text| match text {
        "never" | "0" => Ok(None),
        // The next key is published for a day before it signs.
        time => duration("2d", "3650d")(time).map(Some).map_err(|expected| format!("{expected}, or never")),
    });
    let claims = section.each("claims", r#"["email", "name"]"#, |text| match text {
        "email" => Ok(IdentityClaim::Email),
        "name" => Ok(IdentityClaim::Name),
        "username" | "preferred_username" => Ok(IdentityClaim::Username),
        "groups" => Ok(IdentityClaim::Groups),
        _ => Err("expected email, name, username or groups"),
    });
    let named_resource =
        section.parsed_or("resource", "optional", "\"optional\", or \"required\"", |text| match text {
            "optional" => Ok(NamedResource::Optional),
            "required" => Ok(NamedResource::Required),
            _ => Err("expected optional (without it the default server is meant) or required"),
        });
    let secret_by =
        section.parsed_or("client_secret", "registered", "\"registered\", or \"either\"", |text| match text {
            "registered" => Ok(SecretBy::Registered),
            "either" => Ok(SecretBy::Either),
            _ => Err("expected registered (header or form, as the client registered) or either"),
        });
    let dpop = section.parsed_or("dpop", "allowed", "\"allowed\", \"nonce\", or \"off\"", |text| match text {
        "off" => Ok(Dpop::Off),
        "allowed" => Ok(Dpop::Allowed),
        "nonce" => Ok(Dpop::Nonce),
        _ => Err("expected allowed (whoever brings a proof gets bound tokens), nonce (the same, with nonces) or off"),
    });
    section.finish();
    Some(Tokens {
        named_resource: named_resource?,
        secret_by: secret_by?,
        algorithm: algorithm?,
        access_life: access_life?,
        code_life: code_life?,
        grant_life: grant_life?,
        absolute_life: absolute_life?,
        refresh_grace: refresh_grace?,
        rotate_keys: rotate_keys?,
        claims,
        dpop: dpop?,
    })
}

/// `dpop` of a resource or a client: whether it does without proofs.
pub(super) fn demands_proof(section: &mut Section<'_>) -> bool {
    let demands = section.parsed_or("dpop", "allowed", "\"allowed\", or \"required\"", |text| match text {
        "allowed" => Ok(false),
        "required" => Ok(true),
        _ => Err("expected allowed, or required (only tokens that are bound to a key)"),
    });
    demands.unwrap_or_default()
}

fn algorithm(section: &mut Section<'_>) -> Option<Algorithm> {
    let name = section.parsed_or("algorithm", "ES256", "\"ES256\"", |text| match text {
        "ES256" | "EdDSA" | "RS256" | "HS256" => Ok(text.to_owned()),
        _ => Err("expected ES256, EdDSA, RS256 or HS256"),
    })?;
    let (path, place) = (section.at("shared_secret"), section.place("shared_secret"));
    if name != "HS256" && section.has("shared_secret") {
        section.wrong("shared_secret", "only HS256 has one", "take it out, or write algorithm = \"HS256\"");
    }
    if name == "HS256" && !section.has("shared_secret") {
        section.wrong("shared_secret", "is missing for HS256", "write shared_secret = \"env:NAME\", or \"file:/path\"");
    }
    let shared = section.secret("shared_secret");
    match name.as_str() {
        "ES256" => Some(Algorithm::Es256),
        "EdDSA" => Some(Algorithm::EdDsa),
        "RS256" => Some(Algorithm::Rs256),
        _ => {
            let shared = shared?;
            // RFC 7518 §3.2: at least as long as the hash.
            if shared.expose().len() < 32 {
                section.desk.mistake(&path, &place, "is shorter than 32 bytes", "make one with `vestibule secret new`");
                return None;
            }
            Some(Algorithm::Hs256(Secret::new(shared.expose().clone().into_bytes())))
        }
    }
}

/// `[consent]`.
pub(super) struct Asking {
    pub(super) mode: ConsentMode,
    pub(super) life: Duration,
}

pub(super) fn asking(top: &mut Section<'_>) -> Option<Asking> {
    let mut consent = top.section("consent");
    let mode = consent.parsed_or("mode", "remember", "\"remember\", or \"always\"", |text| match text {
        "remember" => Ok(ConsentMode::Remember),
        "always" => Ok(ConsentMode::Always),
        "dangerous_off" => Ok(ConsentMode::Off),
        "off" => Err("without consent any website can log people in unseen; spell it \"dangerous_off\" if you must"),
        _ => Err("expected remember, always or dangerous_off"),
    });
    if mode == Some(ConsentMode::Off) {
        let text = "consent.mode = \"dangerous_off\": a malicious client gets a code from whoever is logged in at the provider";
        consent.desk.warn(text.to_owned());
    }
    let life = consent.parsed_or("life", "90d", "\"90d\"", duration("1m", "365d"));
    consent.finish();
    Some(Asking { mode: mode?, life: life? })
}

/// `[device]`.
pub(super) struct Devices {
    pub(super) settings: Option<DeviceSettings>,
    pub(super) codes_per_minute: u32,
}

pub(super) fn device(top: &mut Section<'_>) -> Option<Devices> {
    let mut section = top.section("device");
    let is_on = section.yes_or("enabled", false);
    let life = section.parsed_or("life", "10m", "\"10m\"", duration("1m", "30m"));
    let codes_per_minute = section.number_or("codes_per_minute", 10, 1..=600);
    section.finish();
    let settings = DeviceSettings { life: life? };
    Some(Devices { settings: is_on.then_some(settings), codes_per_minute })
}

/// `[limits]`.
pub(super) struct Limits {
    pub(super) requests_per_minute: u32,
    pub(super) pace: Pace,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) login_life: Duration,
    pub(super) header_timeout: Option<Duration>,
    pub(super) idle_timeout: Duration,
    pub(super) drain: Duration,
    pub(super) provider_timeout: Duration,
}

pub(super) fn limits(top: &mut Section<'_>) -> Option<Limits> {
    let mut section = top.section("limits");
    let requests_per_minute = section.number_or("requests_per_minute", 600, 0..=1_000_000);
    let pace = Pace {
        client_per_minute: section.number_or("client_requests_per_minute", 6000, 0..=1_000_000),
        subject_per_minute: section.number_or("person_requests_per_minute", 600, 0..=1_000_000),
    };
    let trusted_proxies = section.each("trusted_proxies", r#"["10.0.0.0/8"]"#, network);
    if trusted_proxies.iter().any(|network| network.ends_with("/0")) {
        let text = "limits.trusted_proxies admits everyone: any client can then choose the address it is counted under";
        section.desk.warn(text.to_owned());
    }
    let login_life = section.parsed_or("login_life", "10m", "\"10m\"", duration("1m", "1h"));
    let header_timeout = section.parsed("header_timeout", "\"300s\"", duration("1s", "1d"));
    let idle_timeout = section.parsed_or("idle_timeout", "1h", "\"1h\"", duration("1s", "30d"));
    let drain = section.parsed_or("drain", "30s", "\"30s\"", duration("0s", "1h"));
    // Behaviour 21: `/token` answers within 10 s, so the provider has less.
    let provider_timeout = section.parsed_or("provider_timeout", "8s", "\"8s\"", duration("1s", "8s"));
    section.finish();
    Some(Limits {
        requests_per_minute,
        pace,
        trusted_proxies,
        login_life: login_life?,
        header_timeout,
        idle_timeout: idle_timeout?,
        drain: drain?,
        provider_timeout: provider_timeout?,
    })
}

/// An address or a CIDR network.
fn network(text: &str) -> Result<String, &'static str> {
    let is_network = text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    if is_network { Ok(text.to_owned()) } else { Err("expected an address or a network such as 10.0.0.0/8") }
}

/// `[telemetry]`.
pub(super) fn telemetry(top: &mut Section<'_>) -> Option<telemetry::Settings> {
    let mut section = top.section("telemetry");
    let log = section.parsed_or("log", "info", "\"info\", or \"vestibule=debug,info\"", |text| {
        telemetry::check(text).map(|()| text.to_owned())
    });
    let format = section.parsed_or("format", "json", "\"json\", or \"text\"", |text| match text {
        "json" => Ok(telemetry::Format::Json),
        "text" => Ok(telemetry::Format::Text),
        _ => Err("expected json or text"),
    });
    section.finish();
    Some(telemetry::Settings { log: log?, format: format? })
}

/// `hosts`: further names under which the door is known (S23).
pub(super) fn hosts(top: &mut Section<'_>) -> Vec<String> {
    top.each("hosts", r#"["mcp.internal:8080"]"#, |text| match text.parse::<http::uri::Authority>() {
        Ok(host) if !text.contains('@') && !text.contains('*') => Ok(host.as_str().to_ascii_lowercase()),
        _ => Err("expected host, or host:port"),
    })
}

/// `origins`: browsers' origins that may call the MCP servers, beside our own.
pub(super) fn origins(top: &mut Section<'_>) -> Vec<String> {
    top.each("origins", r#"["https://app.example.com"]"#, |text| {
        if text == "*" {
            return Ok(text.to_owned());
        }
        match url::Url::parse(text) {
            Ok(url) if url.origin().is_tuple() && url.origin().ascii_serialization() == text.trim_end_matches('/') => {
                Ok(url.origin().ascii_serialization())
            }
            _ => Err("expected an origin such as https://app.example.com, or \"*\""),
        }
    })
}

/// `extra_ca`: PEM of further certificate authorities.
pub(super) fn extra_ca(top: &mut Section<'_>) -> Option<Vec<u8>> {
    top.parsed("extra_ca", "\"/etc/ssl/our-ca.pem\"", certificates(top.desk))
}

/// Reads a PEM file with certificates in it.
pub(super) fn certificates(desk: &Desk<'_>) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    let folder = desk.folder.clone();
    move |text| {
        let pem = disk::read(&folder.join(text), 4 << 20).map_err(|e| e.to_string())?;
        let marker = b"-----BEGIN CERTIFICATE-----";
        if pem.windows(marker.len()).any(|w| w == marker) {
            Ok(pem)
        } else {
            Err("holds no PEM certificate".to_owned())
        }
    }
}
