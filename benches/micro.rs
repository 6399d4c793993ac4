//! What the single steps cost, one thread, nothing else running: `cargo bench --bench micro`.
//!
//! Speed is never asserted; the ratios between two lines of one run are what counts.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{hint::black_box, sync::Arc, time::Duration};

use divan::Bencher;
use vestibule::{
    crypto::{Keyring, MasterKey, Os, Random, hash, jwt},
    domain::{
        ClientId, Clock, Grant, GrantId, GrantStage, HttpsUrl, Identity, Instant, RefreshToken, ResourceUri, Scope,
        Secret, Subject, UpstreamLogin, UpstreamName, UpstreamTokens, grant::SecretHash,
    },
    store::{Store, memory::Memory},
    token::{Algorithm, Dpop, IdentityClaim, Mint, Minted, Settings},
};

fn main() {
    divan::main();
}

const NOON: Instant = Instant::from_secs(1_793_620_800);
const EVERY_ALGORITHM: [&str; 4] = ["ES256", "EdDSA", "RS256", "HS256"];

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        NOON
    }
}

/// A mint over a memory store in which one Grant lies.
struct Bench {
    runtime: tokio::runtime::Runtime,
    keyring: Arc<Keyring>,
    mint: Mint,
    grant: Grant,
}

impl Bench {
    fn new(algorithm: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keyring = Arc::new(Keyring::new(MasterKey::generate(&Os), vec![]));
        let store = Store::new(Arc::new(Memory::new()), keyring.clone(), Arc::new(Stopped), Arc::new(Os));
        let algorithm = match algorithm {
            "ES256" => Algorithm::Es256,
            "EdDSA" => Algorithm::EdDsa,
            "RS256" => Algorithm::Rs256,
            _ => Algorithm::Hs256(Secret::new(vec![7; 32])),
        };
        let settings = Settings {
            issuer: "https://mcp.example.com".to_owned(),
            algorithm,
            life: Duration::from_secs(3600),
            rotate: None,
            claims: vec![IdentityClaim::Email, IdentityClaim::Name],
            dpop: Dpop::default(),
        };
        let grant = grant();
        let open = Mint::open(settings, store.clone(), keyring.clone(), Arc::new(Stopped), Arc::new(Os));
        let mint = runtime.block_on(open).unwrap();
        runtime.block_on(store.put(&grant)).unwrap();
        Self { runtime, keyring, mint, grant }
    }

    fn minted(&self) -> Minted {
        self.runtime.block_on(self.mint.mint(&self.grant, &self.grant.scope)).unwrap()
    }

    fn token(&self) -> String {
        self.minted().token.expose().clone()
    }
}

fn grant() -> Grant {
    let upstream = UpstreamName::parse("google").unwrap();
    let public = HttpsUrl::parse("https://mcp.example.com", false).unwrap();
    Grant {
        id: GrantId::from_bytes([7; 16]),
        client: ClientId::new("c".repeat(200)),
        identity: Identity {
            subject: Subject::new(&upstream, "110169484474386276334"),
            email: Some("alice@example.com".to_owned()),
            email_verified: true,
            name: Some("Alice Example".to_owned()),
            username: None,
            groups: vec![],
        },
        resource: ResourceUri::under(&public, "/notes"),
        scope: Scope::parse("mcp"),
        login: Some(UpstreamLogin {
            upstream,
            tokens: UpstreamTokens { access: Secret::new("y".repeat(220)), refresh: None, expires: None, scope: None },
        }),
        actor: None,
        created: NOON,
        expires: NOON + Duration::from_secs(86_400),
        stage: GrantStage::Active { code: Some(SecretHash::from_bytes([1; 32])), redeemed: NOON, refresh: None },
    }
}

#[divan::bench(args = EVERY_ALGORITHM)]
fn mint(bencher: Bencher<'_, '_>, algorithm: &str) {
    let bench = Bench::new(algorithm);
    bencher.bench_local(|| bench.minted());
}

#[divan::bench(args = EVERY_ALGORITHM)]
fn verify_first_sight(bencher: Bencher<'_, '_>, algorithm: &str) {
    let bench = Bench::new(algorithm);
    let verify = |token: String| bench.runtime.block_on(bench.mint.verify(&token, &bench.grant.resource)).unwrap();
    bencher.with_inputs(|| bench.token()).bench_local_values(verify);
}

#[divan::bench]
fn verify_seen_before(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("ES256");
    let token = bench.token();
    bencher
        .bench_local(|| bench.runtime.block_on(bench.mint.verify(black_box(&token), &bench.grant.resource)).unwrap());
}

#[divan::bench]
fn verify_refused_before(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("ES256");
    let mut token = bench.token();
    let last = if token.pop() == Some('A') { 'Q' } else { 'A' };
    token.push(last);
    bencher.bench_local(|| {
        bench.runtime.block_on(bench.mint.verify(black_box(&token), &bench.grant.resource)).unwrap_err()
    });
}

#[divan::bench]
fn block_on_nothing(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("HS256");
    bencher.bench_local(|| bench.runtime.block_on(async { black_box(1) }));
}

#[divan::bench(args = [100, 1024, 8192])]
fn seal(bencher: Bencher<'_, '_>, length: usize) {
    let bench = Bench::new("HS256");
    let plain = vec![7; length];
    bencher.bench_local(|| bench.keyring.seal("store/grant", b"grant/some-id", black_box(&plain), &Os));
}

#[divan::bench(args = [100, 1024, 8192])]
fn seal_synthetic(bencher: Bencher<'_, '_>, length: usize) {
    let bench = Bench::new("HS256");
    let plain = vec![7; length];
    bencher.bench_local(|| bench.keyring.seal_synthetic("client", b"", black_box(&plain)));
}

#[divan::bench(args = [100, 1024, 8192])]
fn open(bencher: Bencher<'_, '_>, length: usize) {
    let bench = Bench::new("HS256");
    let sealed = bench.keyring.seal("store/grant", b"grant/some-id", &vec![7; length], &Os);
    bencher.bench_local(|| bench.keyring.open("store/grant", b"grant/some-id", black_box(&sealed)).unwrap());
}

#[divan::bench]
fn jwe_encrypt(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("HS256");
    let keys = bench.keyring.resource_keys(&bench.grant.resource);
    bencher.bench_local(|| jwt::encrypt(&keys[0], "the-jti", bench.grant.resource.as_str(), &[7; 220]).unwrap());
}

#[divan::bench]
fn credential_issue(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("HS256");
    bencher.bench_local(|| hash::issue::<RefreshToken>(&bench.keyring, [7; 16], 1, &Os));
}

#[divan::bench]
fn credential_authenticate(bencher: Bencher<'_, '_>) {
    let bench = Bench::new("HS256");
    let (_, text) = hash::issue::<RefreshToken>(&bench.keyring, [7; 16], 1, &Os);
    bencher.bench_local(|| hash::authenticate::<RefreshToken>(&bench.keyring, black_box(text.expose())).unwrap());
}

#[divan::bench]
fn chance_32_bytes() -> [u8; 32] {
    let random: &dyn Random = &Os;
    random.bytes()
}
