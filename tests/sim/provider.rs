//! Two identity providers with memories of their own, and the network that leads to them.
//!
//! A provider is strict: a code or a rotating refresh token that is spent a second time ends the login, and it is also
//! told to the ledger. Only one excuse counts: that what the first spending bought was lost on its way (a cut
//! connection, a hang, a crash of the server before its store had it), for then nobody could know. A request that is still
//! under way when its sender has died is lost in the same way, also if it arrives after the one of the sender's next life:
//! on a disk the lease of a renewal may die with its holder. What either of them gets is lost to the other, lease or no
//! lease, so a restart does not wait for it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use vestibule::{
    domain::{Grant, HttpsUrl, Secret, UpstreamName},
    upstream::{
        self,
        http::{Answer, Network, NoAnswer, Request},
        provider::{Overrides, Provider as Preset},
    },
};

use super::{
    chance::Chance,
    plan::{Kind, Millis, Plan, Refreshing, Upstream},
    world::{Life, World},
};

pub(super) const NAMES: [&str; 2] = ["one", "two"];
pub(super) const PUBLIC_URL: &str = "https://mcp.example.com";

/// The settings of the house for provider `at`.
pub(super) fn settings(at: usize, plan: &Plan) -> upstream::Settings {
    let host = format!("https://{}.example", NAMES[at]);
    let revoke = if plan.upstreams[at].revokes { format!("revoke = \"{host}/revoke\"") } else { String::new() };
    let text = format!(
        "name = \"{name}\"\ntitle = \"{name}\"\nprotocol = \"oauth\"\n[endpoints]\nauthorize = \"{host}/authorize\"\n\
         token = \"{host}/token\"\nuserinfo = \"{host}/userinfo\"\n{revoke}\n[token]\nclient_auth = \"post\"\n\
         [identity]\nsource = \"userinfo\"\nsubject = \"/id\"\n",
        name = NAMES[at]
    );
    upstream::Settings {
        name: UpstreamName::parse(NAMES[at]).unwrap(),
        provider: Preset::from_toml(&text).unwrap().fill(&Overrides::default()).unwrap(),
        client_id: "vestibule".to_owned(),
        client_secret: Some(Secret::from("s3cret")),
        callback: HttpsUrl::parse(&format!("{PUBLIC_URL}/callback/{}", NAMES[at]), false).unwrap(),
    }
}

/// Where the newest tokens of a login are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// The answer that bears them is under way to this server.
    OnTheWay(Life),
    /// This server has them, its store may not.
    Received(Life),
    Kept,
    Lost,
}

/// Who asks a provider.
#[derive(Clone, Copy)]
struct Sender {
    life: Life,
    /// It died while its request was under way, and its leases may have died with it.
    is_orphan: bool,
}

/// One login at a provider.
pub(super) struct Login {
    provider: usize,
    person: usize,
    /// How often its refresh token was changed; the current one bears this number.
    rotations: u64,
    whereabouts: Whereabouts,
    /// Why it is over.
    pub(super) ended: Option<&'static str>,
    /// When the last of its access tokens ends.
    pub(super) access_until: Option<Millis>,
}

impl Login {
    /// Whether the house may rightly believe, now or soon, that this login has ended.
    pub(super) fn excuse(&self, plan: &Plan, now: Millis) -> Option<&'static str> {
        let spent = |until: Millis| now + 2 * super::plan::SLACK > until;
        let has_no_refresh = plan.upstreams[self.provider].refreshing == Refreshing::Absent;
        let is_spent = has_no_refresh && self.access_until.is_some_and(spent);
        self.ended.or_else(|| is_spent.then_some("the provider's only token has expired"))
    }
}

pub(super) struct Provider {
    upstreams: [Upstream; 2],
    pub(super) logins: Vec<Login>,
    /// Codes that a person brought home: whose, where, and which login they began.
    codes: BTreeMap<String, (usize, usize, Option<usize>)>,
    pub(super) outage_until: Millis,
    /// What the house must never do.
    crime: Option<String>,
}

impl Provider {
    pub(super) fn new(upstreams: [Upstream; 2]) -> Self {
        Self { upstreams, logins: Vec::new(), codes: BTreeMap::new(), outage_until: 0, crime: None }
    }

    /// A person logs in with a browser: the code.
    pub(super) fn log_in(&mut self, provider: usize, person: usize) -> String {
        let code = format!("code-{}", self.codes.len());
        self.codes.insert(code.clone(), (provider, person, None));
        code
    }

    /// The login that a code began.
    pub(super) fn login_of(&self, code: &str) -> Option<usize> {
        self.codes.get(code).and_then(|(_, _, login)| *login)
    }

    pub(super) fn end(&mut self, login: usize, why: &'static str) {
        self.logins[login].ended.get_or_insert(why);
    }

    /// A server dies with what it had not kept.
    pub(super) fn lose(&mut self, life: Life) {
        for login in &mut self.logins {
            if matches!(login.whereabouts, Whereabouts::OnTheWay(l) | Whereabouts::Received(l) if l == life) {
                login.whereabouts = Whereabouts::Lost;
            }
        }
    }

    /// So much time has gone by at once that everybody gave up waiting.
    pub(super) fn lose_all(&mut self) {
        for login in &mut self.logins {
            if login.whereabouts != Whereabouts::Kept {
                login.whereabouts = Whereabouts::Lost;
            }
        }
    }

    pub(super) fn waits_for(&self, life: Life) -> bool {
        self.logins.iter().any(|login| login.whereabouts == Whereabouts::Received(life))
    }

    /// The store has acknowledged this Grant.
    pub(super) fn note_kept(&mut self, grant: &Grant) {
        let spent = grant.tokens().and_then(|tokens| numbers(tokens.access.expose(), "at-"));
        let Some((login, rotation)) = spent else { return };
        let login = &mut self.logins[login];
        if matches!(login.whereabouts, Whereabouts::Received(_)) && login.rotations == rotation {
            login.whereabouts = Whereabouts::Kept;
        }
    }

    /// What the house has done wrong, once.
    pub(super) fn take_crime(&mut self) -> Option<String> {
        self.crime.take()
    }

    fn answer(&mut self, at: usize, path: &str, request: &Request, sender: Sender, now: Millis) -> (u16, String) {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(request.body()).into_owned().collect();
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        match (path, field("grant_type").as_str()) {
            ("/token", "authorization_code") => self.exchange(at, &field("code"), sender.life, now),
            ("/token", "refresh_token") => self.refresh(&field("refresh_token"), sender, now),
            ("/userinfo", _) => {
                let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
                match numbers(token, "at-") {
                    Some((login, _)) => {
                        (200, json!({ "id": format!("person-{}", self.logins[login].person) }).to_string())
                    }
                    None => (401, "{}".to_owned()),
                }
            }
            ("/revoke", _) => {
                let token = field("token");
                if let Some((given, _)) = numbers(&token, "rt-").or_else(|| numbers(&token, "at-")) {
                    let (provider, person) = (self.logins[given].provider, self.logins[given].person);
                    for login in self.logins.iter_mut().filter(|l| (l.provider, l.person) == (provider, person)) {
                        login.ended.get_or_insert("given back at the provider");
                    }
                }
                (200, String::new())
            }
            _ => (404, String::new()),
        }
    }

    fn exchange(&mut self, at: usize, code: &str, life: Life, now: Millis) -> (u16, String) {
        let refused = (400, json!({ "error": "invalid_grant" }).to_string());
        match self.codes.get(code).copied() {
            Some((provider, person, None)) if provider == at => {
                let login = self.logins.len();
                self.logins.push(Login {
                    provider,
                    person,
                    rotations: 0,
                    whereabouts: Whereabouts::OnTheWay(life),
                    ended: None,
                    access_until: None,
                });
                self.codes.insert(code.to_owned(), (provider, person, Some(login)));
                (200, self.tokens(login, now))
            }
            Some((_, _, Some(_))) => {
                self.crime.get_or_insert(format!("the provider's {code} was spent twice"));
                refused
            }
            _ => refused,
        }
    }

    fn refresh(&mut self, token: &str, sender: Sender, now: Millis) -> (u16, String) {
        let refused = (400, json!({ "error": "invalid_grant" }).to_string());
        let Some((number, rotation)) = numbers(token, "rt-") else { return refused };
        let rotating = self.upstreams[self.logins[number].provider].refreshing == Refreshing::Rotating;
        let login = &mut self.logins[number];
        if login.ended.is_some() {
            return refused;
        }
        if rotating && rotation != login.rotations {
            if login.whereabouts != Whereabouts::Lost && !sender.is_orphan {
                let what = format!("{token} was spent twice at the provider, and {:?}", login.whereabouts);
                self.crime.get_or_insert(what);
            }
            login.ended = Some("its refresh token was used twice at the provider");
            return refused;
        }
        if rotating {
            (login.rotations, login.whereabouts) = (login.rotations + 1, Whereabouts::OnTheWay(sender.life));
        }
        (200, self.tokens(number, now))
    }

    fn tokens(&mut self, number: usize, now: Millis) -> String {
        let login = &mut self.logins[number];
        let upstream = self.upstreams[login.provider];
        let mut answer =
            json!({ "access_token": format!("at-{number}-{}", login.rotations), "token_type": "bearer", "scope": "x" });
        if let Some(life) = upstream.life {
            login.access_until = login.access_until.max(Some(now + life));
            answer["expires_in"] = (life / 1000).into();
        }
        if upstream.refreshing != Refreshing::Absent {
            answer["refresh_token"] = format!("rt-{number}-{}", login.rotations).into();
        }
        answer.to_string()
    }
}

/// Login and rotation in the name of a token.
pub(super) fn numbers(token: &str, prefix: &str) -> Option<(usize, u64)> {
    let (login, rotation) = token.strip_prefix(prefix)?.split_once('-')?;
    Some((login.parse().ok()?, rotation.parse().ok()?))
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Cut { after: bool },
    Hang { after: bool },
    Error500 { after: bool },
    Page,
}

/// The network of one life of one server.
pub(super) struct Line {
    pub(super) world: Arc<World>,
    pub(super) life: Life,
}

impl Line {
    fn fate(&self) -> (Millis, Millis, Fault) {
        let (now, rate) = (self.world.now(), self.world.plan.rates.provider);
        let mut state = self.world.state();
        let state = &mut *state;
        let chance = &mut state.chance;
        let mut delay = || match chance.below(20) {
            0..17 => chance.within(1..80),
            17..19 => chance.within(80..1500),
            _ => chance.within(1500..3500),
        };
        let (there, back) = (delay(), delay());
        let faulty = !state.is_healed && (chance.permille(rate) || now < state.provider.outage_until);
        if !faulty {
            return (there, back, Fault::None);
        }
        state.tally.provider_faults += 1;
        let rarely = chance.permille(250);
        let fault = match chance.below(5) {
            0 => Fault::Cut { after: rarely },
            1 => Fault::Hang { after: rarely },
            2 | 3 => Fault::Error500 { after: rarely },
            _ => Fault::Page,
        };
        (there, back, fault)
    }
}

#[async_trait::async_trait]
impl Network for Line {
    async fn carry(&self, request: Request) -> Result<Answer, NoAnswer> {
        let at = NAMES.iter().position(|name| request.uri().host() == Some(&format!("{name}.example"))).unwrap();
        let path = request.uri().path().to_owned();
        let (there, back, fault) = self.fate();
        self.world.say(|| format!("  {} asks {} {path}: {fault:?}", self.life.server, NAMES[at]));
        self.world.pause(there).await;
        let mut way = Way { line: self, login: None };
        match fault {
            Fault::Cut { after: false } => return Err(NoAnswer("cut".into())),
            Fault::Hang { after: false } => std::future::pending().await,
            Fault::Error500 { after: false } => return Ok(answer(500, "down", "text/plain")),
            Fault::Page => return Ok(answer(200, "<html>maintenance</html>", "text/html")),
            _ => {}
        }
        // Of the dead, some requests are under way already.
        if !self.world.is_alive(self.life) && self.world.chance(Chance::coin) {
            std::future::pending::<()>().await;
        }
        let (status, body) = self.arrive(at, &path, &request, &mut way);
        match fault {
            Fault::Cut { .. } => return Err(NoAnswer("cut".into())),
            Fault::Hang { .. } => std::future::pending().await,
            Fault::Error500 { .. } => return Ok(answer(500, "down", "text/plain")),
            _ => {}
        }
        self.world.pause(back).await;
        if !self.world.is_alive(self.life) {
            std::future::pending::<()>().await;
        }
        way.came_back();
        Ok(answer(status, &body, "application/json"))
    }
}

impl Line {
    fn arrive(&self, at: usize, path: &str, request: &Request, way: &mut Way<'_>) -> (u16, String) {
        let now = self.world.now();
        let (reply, crime) = {
            let mut state = self.world.state();
            let vital = &state.vitals[self.life.server];
            let is_dead = !vital.is_up || vital.life != self.life;
            let sender = Sender { life: self.life, is_orphan: is_dead && self.world.plan.kind == Kind::Disk };
            let reply = state.provider.answer(at, path, request, sender, now);
            if is_dead {
                // It was sent by one who will never hear the answer.
                state.provider.lose(self.life);
            }
            state.tally.renewals +=
                u64::from(reply.0 == 200 && request.body().starts_with(b"grant_type=refresh_token"));
            let on_the_way = |login: &Login| login.whereabouts == Whereabouts::OnTheWay(self.life);
            if path == "/token" && reply.0 == 200 {
                way.login = serde_json::from_str::<serde_json::Value>(&reply.1)
                    .ok()
                    .and_then(|answer| numbers(answer["access_token"].as_str()?, "at-"))
                    .filter(|(login, _)| on_the_way(&state.provider.logins[*login]));
            }
            (reply, state.provider.take_crime())
        };
        self.world.say(|| format!("  provider {}: {path} -> {} {}", NAMES[at], reply.0, reply.1));
        if let Some(crime) = crime {
            self.world.violate(crime);
        }
        reply
    }
}

/// The way back of an answer with new tokens. Dropped half-way, they are lost.
struct Way<'a> {
    line: &'a Line,
    login: Option<(usize, u64)>,
}

impl Way<'_> {
    fn came_back(&mut self) {
        let Some((number, rotation)) = self.login.take() else { return };
        let mut state = self.line.world.state();
        let login = &mut state.provider.logins[number];
        if login.rotations == rotation && login.whereabouts == Whereabouts::OnTheWay(self.line.life) {
            login.whereabouts = Whereabouts::Received(self.line.life);
        }
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        let Some((number, rotation)) = self.login.take() else { return };
        let mut state = self.line.world.state();
        let login = &mut state.provider.logins[number];
        if login.rotations == rotation {
            login.whereabouts = Whereabouts::Lost;
        }
    }
}

fn answer(status: u16, body: &str, kind: &'static str) -> Answer {
    let mut answer = Answer::new(body.as_bytes().to_vec());
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    answer
}
