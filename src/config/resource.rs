//! `[[resource]]`: the protected MCP servers.

use super::{
    desk::shown,
    section::{Section, scope_token},
    server::demands_proof,
    step_up,
    tree::{Node, Origin, Value},
};
use crate::{
    domain::{
        Allow, ClientId, HttpsUrl, Injection, Resource, ResourceUri, Scope, Secret, Trusts, UpstreamName, WorkloadRule,
        resource::EmailRule, scope::OFFLINE_ACCESS,
    },
    oauth::{SpeaksFor, TrustedIssuer},
};

/// First segments that the door keeps for itself, or will.
const OURS: [&str; 16] = [
    ".well-known",
    "authorize",
    "callback",
    "consent",
    "device",
    "device_authorization",
    "favicon.ico",
    "healthz",
    "icon.svg",
    "introspect",
    "jwks",
    "oauth",
    "readyz",
    "register",
    "revoke",
    "token",
];

/// Headers that carry the transport and may not be chosen.
const NOT_INJECTED: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const ALLOW: &str = r#"{ emails = ["*@example.com"] }, or "anyone""#;
const INJECT: &str = r#""upstream_token", "identity", "none", or { header = "X-Api-Key", value = "env:KEY" }"#;

/// What a resource leans on.
pub(super) struct Around<'a> {
    pub(super) public_url: Option<&'a HttpsUrl>,
    /// Every `[upstream.X]`, sound or not: a broken upstream is one mistake, not two.
    pub(super) upstreams: &'a [UpstreamName],
    /// The upstreams whose answers name no groups.
    pub(super) without_groups: &'a [UpstreamName],
    /// The clients that may act for themselves.
    pub(super) machines: &'a [ClientId],
    /// Those whose word may stand in for a login.
    pub(super) issuers: &'a [TrustedIssuer],
    pub(super) dangerous_allow_http: bool,
}

/// Reads all of them and compares them with one another.
pub(super) fn read(sections: Vec<Section<'_>>, around: &Around<'_>) -> Vec<Resource> {
    let count = sections.len();
    let mut paths: Vec<(String, String)> = Vec::new();
    let mut marked: Option<(String, String)> = None;
    let mut resources = Vec::new();
    for mut section in sections {
        let place = section.place("path");
        let path = section.required("path", "\"/notes\"", path);
        if let Some(path) = &path {
            if let Some((_, other)) = paths.iter().find(|(own, _)| own == path) {
                let at = section.at("path");
                section.desk.mistake(&at, &place, format!("{other} has this path already"), "give each its own path");
            }
            paths.push((path.clone(), section.path.clone()));
        }
        // Written, not derived: only then can two of them be at odds (PRM-11).
        let (is_written, place) = (section.has("default"), section.place("default"));
        let is_default = section.yes_or("default", count == 1 || path.as_deref() == Some(""));
        if is_written && is_default {
            if let Some((other, _)) = &marked {
                let at = section.at("default");
                section.desk.mistake(&at, &place, format!("{other} is the default already"), "mark only one");
            }
            marked = Some((section.path.clone(), path.clone().unwrap_or_default()));
        }
        resources.extend(one(section, path, is_default, around));
    }
    // A marked one takes the root documents over from the one that lies at the root.
    if let Some((_, path)) = marked {
        resources.iter_mut().for_each(|resource: &mut Resource| resource.is_default &= resource.path == path);
    }
    resources
}

fn one(mut section: Section<'_>, path: Option<String>, is_default: bool, around: &Around<'_>) -> Option<Resource> {
    let url = |text: &str| HttpsUrl::parse(text, around.dangerous_allow_http);
    let target = section.required("target", "\"http://127.0.0.1:3000/mcp\"", url);
    let title = section.parsed("title", "\"Notes\"", |text| match text.trim() {
        "" => Err("must not be empty"),
        title => Ok(title.to_owned()),
    });
    let upstream = upstream(&mut section, around);
    let upstream_scopes = section.each("scopes", r#"["repo"]"#, scope_token);
    let scopes = scopes(&mut section);
    let (step_up, hierarchy) = (step_up::rules(&mut section), step_up::hierarchy(&mut section));
    let inject = inject(&mut section);
    // Of an upstream that has mistakes of its own nothing is said here.
    let tells_groups = upstream.as_ref().is_none_or(|name| !around.without_groups.contains(name));
    let place = section.place("allow");
    let allow = allow(&mut section, tells_groups, around);
    let hands_on = |injections: &Vec<Injection>| injections.iter().any(|i| matches!(i, Injection::UpstreamToken));
    if let Some(key) = allow.as_ref().and_then(Admitted::without_login)
        && inject.as_ref().is_some_and(hands_on)
    {
        let problem = format!("names {key}, but inject hands on the provider's token, which only a login brings");
        let remedy = "choose inject = \"identity\" or a header, or give them a [[resource]] of their own";
        section.desk.mistake(&section.at(&format!("allow.{key}")), &place, problem, remedy);
    }
    let demands_proof = demands_proof(&mut section);
    section.finish();
    let (path, target, Admitted { people, clients, trusts }) = (path?, target?, allow?);
    let title = title.unwrap_or_else(|| match path.rsplit('/').next() {
        Some("") | None => target.as_url().host_str().unwrap_or("MCP server").to_owned(),
        Some(segment) => segment.to_owned(),
    });
    Some(Resource {
        uri: ResourceUri::under(around.public_url?, &path),
        path,
        title,
        target,
        upstream: upstream?,
        scopes: scopes?,
        upstream_scopes,
        inject: inject?,
        allow: people,
        clients,
        trusts,
        step_up,
        hierarchy,
        demands_proof,
        is_default,
    })
}

/// The path of a resource: whole segments that no client, cache or proxy reads in two ways.
fn path(text: &str) -> Result<String, String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let sound = |s: &str| {
        !s.is_empty()
            && s != "."
            && s != ".."
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    let Some(segments) = trimmed.strip_prefix('/').filter(|rest| rest.split('/').all(sound)) else {
        return Err("a path begins with / and has segments out of letters, digits, '-', '_', '.' and '~'".to_owned());
    };
    let first = segments.split('/').next().unwrap_or_default();
    // Clients also append well-known addresses to a resource's path.
    if segments.split('/').any(|segment| segment == ".well-known") {
        return Err("/.well-known is an address of Vestibule itself; choose another path".to_owned());
    }
    if OURS.contains(&first) {
        return Err(format!("/{first} is an address of Vestibule itself; choose another path"));
    }
    if trimmed.len() > 200 {
        return Err("a path has at most 200 characters".to_owned());
    }
    Ok(trimmed.to_owned())
}

fn upstream(section: &mut Section<'_>, around: &Around<'_>) -> Option<UpstreamName> {
    let names: Vec<&str> = around.upstreams.iter().map(UpstreamName::as_str).collect();
    let example = format!("{:?}", names.first().copied().unwrap_or("github"));
    if !section.has("upstream") {
        if let [only] = around.upstreams {
            let path = section.at("upstream");
            section.desk.resolved(path, format!("{:?}", only.as_str()), Origin::Default);
            return Some(only.clone());
        }
        // Without any upstream the one mistake about that is enough.
        if names.is_empty() {
            return None;
        }
    }
    section.required("upstream", &example, |text| match around.upstreams.iter().find(|name| name.as_str() == text) {
        Some(name) => Ok(name.clone()),
        None if names.is_empty() => Err("there is no [upstream] at all".to_owned()),
        None => Err(format!("there is no [upstream.{text}]; there is {}", names.join(", "))),
    })
}

/// The scopes that MCP clients see.
fn scopes(section: &mut Section<'_>) -> Option<Scope> {
    let path = section.at("mcp_scopes");
    if !section.has("mcp_scopes") {
        section.desk.resolved(path, "[\"mcp\"]", Origin::Default);
        return Some(Scope::parse("mcp"));
    }
    let place = section.place("mcp_scopes");
    let tokens = section.each("mcp_scopes", r#"["mcp"]"#, scope_token);
    let problem = match tokens.as_slice() {
        // Kiro refuses metadata without scopes (PRM-7).
        [] => "must not be empty",
        // SEP-2207: it asks for a refresh token and is never a permission.
        tokens if tokens.iter().any(|token| token == OFFLINE_ACCESS) => {
            "offline_access is understood always and never listed"
        }
        _ => return Some(tokens.iter().map(String::as_str).collect()),
    };
    section.desk.mistake(&path, &place, problem, r#"write mcp_scopes = ["mcp"]"#);
    None
}

fn inject(section: &mut Section<'_>) -> Option<Vec<Injection>> {
    let path = section.at("inject");
    let Some(node) = section.take("inject") else {
        section.desk.resolved(path, "\"upstream_token\"", Origin::Default);
        return Some(vec![Injection::UpstreamToken]);
    };
    let origin = node.origin.clone();
    let items: Vec<(String, Node)> = match node.value {
        Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| (format!("{path}[{i}]"), item)).collect(),
        Value::Text(text) if text.contains(',') && !matches!(origin, Origin::File { .. }) => text
            .split(',')
            .map(|part| Node { value: Value::Text(part.trim().to_owned()), origin: origin.clone() })
            .map(|item| (path.clone(), item))
            .collect(),
        value if is_none(&value) => {
            section.desk.resolved(path, "\"none\"", origin);
            return Some(Vec::new());
        }
        value => vec![(path.clone(), Node { value, origin: origin.clone() })],
    };
    let injections: Option<Vec<Injection>> =
        items.into_iter().map(|(path, node)| injection(section, path, node)).collect::<Vec<_>>().into_iter().collect();
    let injections = injections?;
    // Two values of one header would leave the choice to the target.
    let mut headers: Vec<&str> = injections.iter().filter_map(header_of).collect();
    headers.sort_unstable();
    if headers.windows(2).any(|pair| pair[0] == pair[1]) {
        section.desk.mistake(&path, &origin, "two of these set the same header", "keep one of them");
        return None;
    }
    section.desk.resolved(path, described(&injections), origin);
    Some(injections)
}

fn is_none(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text == "none")
}

fn header_of(injection: &Injection) -> Option<&str> {
    match injection {
        Injection::UpstreamToken => Some("authorization"),
        Injection::Header { name, .. } => Some(name),
        Injection::Identity => Some("x-forwarded-user"),
    }
}

fn described(injections: &[Injection]) -> String {
    let one = |injection: &Injection| match injection {
        Injection::UpstreamToken => "\"upstream_token\"".to_owned(),
        Injection::Identity => "\"identity\"".to_owned(),
        Injection::Header { name, .. } => format!("{{ header = {name:?}, value = *** }}"),
    };
    injections.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn injection(section: &Section<'_>, path: String, node: Node) -> Option<Injection> {
    match node.value {
        Value::Table(table) => header(Section::new(section.desk, path, node.origin, table)),
        Value::Text(text) => match text.as_str() {
            "upstream_token" => Some(Injection::UpstreamToken),
            "identity" => Some(Injection::Identity),
            "none" => {
                section.desk.mistake(&path, &node.origin, "\"none\" stands alone", "write inject = \"none\"");
                None
            }
            _ => {
                let problem = format!("{} is not an injection", shown(&text));
                section.desk.mistake(&path, &node.origin, problem, format!("write {INJECT}"));
                None
            }
        },
        other => {
            let problem = format!("expected an injection, found {}", other.shape());
            section.desk.mistake(&path, &node.origin, problem, format!("write {INJECT}"));
            None
        }
    }
}

fn header(mut section: Section<'_>) -> Option<Injection> {
    let name = section.required("header", "\"X-Api-Key\"", |text| {
        let name = http::HeaderName::try_from(text).map_err(|_| "is not a header's name")?;
        match name.as_str() {
            name if NOT_INJECTED.contains(&name) => Err("belongs to the transport and cannot be set"),
            name => Ok(name.to_owned()),
        }
    });
    if !section.has("value") {
        section.wrong("value", "is missing", "write value = \"env:NAME\", or \"file:/path\"");
    }
    let (path, place) = (section.at("value"), section.place("value"));
    let value: Option<Secret<String>> = section.secret("value").filter(|value| {
        let fits = http::HeaderValue::from_str(value.expose()).is_ok();
        if !fits {
            section.desk.mistake(&path, &place, "does not fit into a header", "printable characters on one line only");
        }
        fits
    });
    section.finish();
    Some(Injection::Header { name: name?, value: value? })
}

/// Who may enter.
struct Admitted {
    people: Allow,
    clients: Vec<ClientId>,
    trusts: Trusts,
}

impl Admitted {
    /// The first list of those who come without a login here.
    fn without_login(&self) -> Option<&'static str> {
        let lists = [
            ("clients", self.clients.is_empty()),
            ("issuers", self.trusts.issuers.is_empty()),
            ("workloads", self.trusts.workloads.is_empty()),
        ];
        lists.into_iter().find(|(_, is_empty)| !is_empty).map(|(key, _)| key)
    }
}

/// Who may enter (D15). A rule on groups that no answer of the provider could meet is a mistake (S19).
fn allow(section: &mut Section<'_>, tells_groups: bool, around: &Around<'_>) -> Option<Admitted> {
    let path = section.at("allow");
    let Some(node) = section.take("allow") else {
        let remedy = format!("say it, there is no default: allow = {ALLOW}");
        section.desk.mistake(&path, &section.origin, "is missing: who may enter this server?", remedy);
        return None;
    };
    match node.value {
        Value::Text(text) if text == "anyone" => {
            section.desk.resolved(path, "\"anyone\"", node.origin);
            Some(Admitted { people: Allow::Anyone, clients: Vec::new(), trusts: Trusts::default() })
        }
        Value::Table(table) => only(Section::new(section.desk, path, node.origin, table), tells_groups, around),
        Value::Text(text) => {
            let problem = format!("{} is not a rule", shown(&text));
            section.desk.mistake(&path, &node.origin, problem, format!("write allow = {ALLOW}"));
            None
        }
        other => {
            let problem = format!("expected rules, found {}", other.shape());
            section.desk.mistake(&path, &node.origin, problem, format!("write allow = {ALLOW}"));
            None
        }
    }
}

fn only(mut section: Section<'_>, tells_groups: bool, around: &Around<'_>) -> Option<Admitted> {
    let before = section.desk.found.borrow().mistakes.len();
    let emails = section.each("emails", r#"["*@example.com", "ann@example.org"]"#, |text| match text {
        "*" => Err("admits nobody in particular; to let everyone in write allow = \"anyone\"".to_owned()),
        text => EmailRule::parse(text).map_err(|e| e.to_string()),
    });
    let subjects = section.each("subjects", r#"["google:1234567890"]"#, |text| match text.trim() {
        "" => Err("must not be empty"),
        subject => Ok(subject.to_owned()),
    });
    let groups = section.each("groups", r#"["staff"]"#, |text| match text.trim() {
        "" => Err("must not be empty"),
        group => Ok(group.to_owned()),
    });
    // People are meant by nothing else, and all of them only where it is written.
    let is_anyone = section.has("anyone") && section.yes_or("anyone", false);
    let clients = section.each("clients", r#"["build-server"]"#, |text| {
        let machine = around.machines.iter().find(|client| client.as_str() == text).cloned();
        machine.ok_or("there is no [[client]] of this id whose grants hold client_credentials")
    });
    let trusts = trusts(&mut section, around.issuers);
    let is_sound = section.desk.found.borrow().mistakes.len() == before;
    if is_sound && !groups.is_empty() && !tells_groups {
        let remedy = "say where its answers hold them: groups = \"/groups\" in the section of the upstream";
        section.wrong("groups", "names groups, and the upstream tells none", remedy);
    }
    if is_anyone {
        section.finish();
        return Some(Admitted { people: Allow::Anyone, clients, trusts });
    }
    let has_people = !(emails.is_empty() && subjects.is_empty() && groups.is_empty());
    if is_sound && !has_people && clients.is_empty() && trusts.workloads.is_empty() {
        let remedy = format!("write allow = {ALLOW}");
        section.desk.mistake(&section.path, &section.origin, "lets nobody in", remedy);
    }
    section.finish();
    Some(Admitted { people: Allow::Only { emails, subjects, groups }, clients, trusts })
}

/// Whose word counts here, and for whom.
fn trusts(section: &mut Section<'_>, issuers: &[TrustedIssuer]) -> Trusts {
    let named = |name: &str, wants_people: bool| {
        let is_fit = |i: &&TrustedIssuer| matches!(i.speaks_for, SpeaksFor::People(_)) == wants_people;
        issuers.iter().find(|issuer| issuer.name.as_str() == name).filter(is_fit)
    };
    let people = section.each("issuers", r#"["corp"]"#, |text| {
        let found = named(text, true).map(|issuer| issuer.name.clone());
        found.ok_or("there is no [issuer] of this name that speaks for people")
    });
    let workloads = section.each("workloads", r#"["cluster:system:serviceaccount:ci:*"]"#, |text| {
        let rule = WorkloadRule::parse(text)?;
        let is_known = named(rule.issuer(), false).is_some();
        is_known.then_some(rule).ok_or("begins with the name of no [issuer] that speaks for workloads")
    });
    Trusts { issuers: people, workloads }
}

/// For those who look for a key that has no section.
pub(super) fn none_at_all() -> (&'static str, String) {
    let remedy = format!("write [[resource]] with path, target and allow = {ALLOW}");
    ("there is no MCP server to protect", remedy)
}
