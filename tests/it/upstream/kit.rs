//! One login of ours at a fake, step by step.

use std::sync::Arc;

use url::Url;
use vestibule::{
    domain::{Identity, Secret, UpstreamTokens},
    upstream::{
        self, Account, Begin, Failed, Finish, Upstream, Upstreams,
        http::{Http, HttpSettings},
    },
};

use crate::world::{
    FakeProvider, ManualClock,
    provider::{Fault, Profile, Received},
};

/// The verifier of RFC 7636 appendix B, so that its challenge is known.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const STATE: &str = "vs_state";
pub(super) const NONCE: &str = "our-nonce";

/// One fake and our upstream toward it.
pub(super) struct Bench {
    pub(super) clock: Arc<ManualClock>,
    pub(super) fake: FakeProvider,
    pub(super) upstream: Arc<Upstream>,
}

/// What a callback carried.
pub(super) struct Returned {
    pub(super) code: String,
    pub(super) iss: Option<String>,
}

impl Bench {
    pub(super) async fn new(profile: Profile) -> Self {
        Self::with(profile, |_| {}).await
    }

    /// With settings changed beforehand.
    pub(super) async fn with(profile: Profile, change: impl FnOnce(&mut upstream::Settings)) -> Self {
        let clock = ManualClock::new();
        let fake = FakeProvider::start(profile, clock.clone()).await;
        let mut settings = fake.settings("idp", "https://mcp.example.com/callback/idp");
        change(&mut settings);
        let upstream = of(settings, clock.clone());
        Self { clock, fake, upstream }
    }

    /// The same fake, spoken to with less patience.
    pub(super) fn hasty(self) -> Self {
        let settings = self.fake.settings("idp", "https://mcp.example.com/callback/idp");
        let http = HttpSettings { timeout: std::time::Duration::from_millis(300), ..HttpSettings::default() };
        Self { upstream: with_http(settings, self.clock.clone(), &http), ..self }
    }

    pub(super) async fn begin(&self) -> Result<Url, Failed> {
        begin(&self.upstream, &[]).await
    }

    /// To the provider and back.
    pub(super) async fn go(&self) -> Returned {
        let callback = self.fake.log_in(&self.begin().await.expect("begins")).await;
        let get = |name: &str| callback.query_pairs().find(|(k, _)| k == name).map(|(_, v)| v.into_owned());
        assert_eq!(get("state").as_deref(), Some(STATE));
        Returned { code: get("code").expect("a code"), iss: get("iss") }
    }

    pub(super) async fn finish(&self, returned: &Returned) -> Result<(UpstreamTokens, Identity), Failed> {
        let verifier = Secret::from(VERIFIER);
        let finish = Finish { code: &returned.code, iss: returned.iss.as_deref(), verifier: &verifier, nonce: NONCE };
        self.upstream.finish(&finish).await
    }

    /// A whole login.
    pub(super) async fn log_in(&self) -> Result<(UpstreamTokens, Identity), Failed> {
        let returned = self.go().await;
        self.finish(&returned).await
    }

    /// A whole login under one fault.
    pub(super) async fn log_in_with(profile: Profile, fault: Fault) -> Failed {
        let bench = Self::new(profile).await;
        bench.fake.set_fault(fault);
        bench.log_in().await.expect_err("a fault is refused")
    }

    /// The one request to the token endpoint, as a transcript.
    pub(super) fn token_request(&self) -> String {
        let requests = self.fake.received_at("/token");
        let [one] = requests.as_slice() else { panic!("{} token requests", requests.len()) };
        transcript(one)
    }
}

pub(super) fn of(settings: upstream::Settings, clock: Arc<ManualClock>) -> Arc<Upstream> {
    with_http(settings, clock, &HttpSettings::default())
}

fn with_http(settings: upstream::Settings, clock: Arc<ManualClock>, http: &HttpSettings) -> Arc<Upstream> {
    let name = settings.name.clone();
    let http = Http::new(http).expect("builds");
    Arc::clone(Upstreams::new(vec![settings], http, clock).get(&name).expect("named"))
}

pub(super) async fn begin(upstream: &Upstream, scopes: &[String]) -> Result<Url, Failed> {
    let verifier = Secret::from(VERIFIER);
    upstream.begin(&Begin { state: STATE, nonce: NONCE, verifier: &verifier, scopes, account: Account::Any }).await
}

/// An authorize URL, a parameter a line.
pub(super) fn lines(url: &Url) -> String {
    let query = url.query().unwrap_or_default().replace('&', "\n");
    format!("{}\n{query}", url.as_str().split('?').next().unwrap_or_default())
}

/// A request as it arrived: everything but what the connection itself brings.
pub(super) fn transcript(request: &Received) -> String {
    let mut text = format!("{} {}\n", request.method, request.path);
    for (name, value) in request.headers.iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()))
    {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&request.body.replace('&', "\n"));
    text
}
