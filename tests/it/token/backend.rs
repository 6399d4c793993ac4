//! `examples/backend-python`: another language, another library, only the published keys and the one key it was given.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule::{
    crypto::ResourceKey,
    domain::{Clock as _, Grant, Instant},
    token::Algorithm,
};

use super::kit::{Bench, ISSUER, grant, resource};
use crate::world::keyring;

/// A Python that can import jwcrypto, or `None`, aloud.
#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("VESTIBULE_PYTHON").map(PathBuf::from);
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testbed/venv/bin/python");
    let found = named.into_iter().chain([venv]).find(|python| {
        let tried = Command::new(python).args(["-c", "import jwcrypto"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no Python with jwcrypto, and CI is set");
        eprintln!("SKIPPED: no Python with jwcrypto (VESTIBULE_PYTHON, or tests/run makes target/testbed/venv)");
    }
    found
}

/// The example on a loopback port; ended when dropped.
struct Backend {
    process: Child,
    address: String,
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Backend {
    fn start(python: &Path, folder: &Path, audience: &str, jwks: &[u8], keys: &[ResourceKey]) -> Self {
        std::fs::write(folder.join("jwks.json"), jwks).unwrap();
        std::fs::write(folder.join("own.json"), key_document(keys)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backend-python/backend.py");
        let mut command = Command::new(python);
        command.arg(script).args(["--issuer", ISSUER, "--audience", audience, "--port", "0"]);
        command.arg("--jwks").arg(folder.join("jwks.json")).arg("--key").arg(folder.join("own.json"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { process, address }
    }

    fn ask(&self, authorization: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET / HTTP/1.0\r\nAuthorization: {authorization}\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(reply.split("\r\n\r\n").nth(1).unwrap()).unwrap())
    }
}

/// As `vestibule key show --json` writes it: one JWK, or a set.
fn key_document(keys: &[ResourceKey]) -> String {
    let jwk = |key: &ResourceKey| json!({"kty": "oct", "use": "enc", "alg": "dir", "kid": key.kid, "k": URL_SAFE_NO_PAD.encode(key.key.expose())});
    match keys {
        [one] => jwk(one).to_string(),
        several => json!({"keys": several.iter().map(jwk).collect::<Vec<_>>()}).to_string(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the backend is a process of its own and reads the real clock")]
fn real_now() -> Instant {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Instant::from_secs(since.as_secs())
}

fn lasting(mut grant: Grant, bench: &Bench) -> Grant {
    grant.expires = bench.clock.now() + Duration::from_secs(86_400);
    grant
}

#[tokio::test]
async fn d4_a_backend_in_python_verifies_the_token_and_opens_the_upstream_token() {
    let Some(python) = python() else { return };
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let bench = Bench::new();
        bench.clock.set(real_now());
        let mint = bench.mint(algorithm).await;
        let grant = lasting(grant(1), &bench);
        let folder = tempfile::tempdir().unwrap();
        let keys = keyring().resource_keys(&grant.resource);
        let backend = Backend::start(&python, folder.path(), grant.resource.as_str(), &mint.jwks(), &keys);
        let token = mint.mint(&grant, &grant.scope).await.unwrap().token;
        let (status, told) = backend.ask(&format!("Bearer {}", token.expose()));
        assert_eq!(status, 200, "{}: {told}", mint.algorithm());
        assert_eq!((&told["sub"], &told["scope"]), (&json!("github:42"), &json!("read write")));
        assert_eq!(told["upstream_token"], "gho_… (12 characters)");
    }
}

#[tokio::test]
async fn s4_s35_the_backend_refuses_what_is_not_for_it() {
    let Some(python) = python() else { return };
    let bench = Bench::new();
    bench.clock.set(real_now());
    let mint = bench.mint(Algorithm::Es256).await;
    let ours = lasting(grant(1), &bench);
    let folder = tempfile::tempdir().unwrap();
    let keys = keyring().resource_keys(&ours.resource);
    let backend = Backend::start(&python, folder.path(), ours.resource.as_str(), &mint.jwks(), &keys);
    let token = async |grant: &Grant| mint.mint(grant, &grant.scope).await.unwrap().token.expose().clone();
    let good = token(&ours).await;
    let foreign = token(&Grant { resource: resource("/files"), ..ours.clone() }).await;
    let elsewhere = Bench::new();
    elsewhere.clock.set(real_now());
    let stranger = elsewhere.mint(Algorithm::Es256).await.mint(&ours, &ours.scope).await.unwrap().token;
    bench.clock.set(real_now() - Duration::from_secs(3601));
    let expired = token(&ours).await;
    let (body, signature) = good.rsplit_once('.').unwrap();
    let unsigned =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#), good.split('.').nth(1).unwrap());
    let flipped = format!("{body}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    for bad in
        [foreign, stranger.expose().clone(), expired, unsigned, flipped, body.to_owned(), "x".to_owned(), String::new()]
    {
        let (status, told) = backend.ask(&format!("Bearer {bad}"));
        assert_eq!((status, &told["error"]), (401, &json!("invalid_token")), "{bad:.40}");
    }
    assert_eq!(backend.ask("Basic eDp5").0, 401);
    assert_eq!(backend.ask(&format!("bearer {good}")).0, 200);
}

#[tokio::test]
async fn d4_after_a_rotation_the_backend_opens_by_the_set_and_not_by_a_strangers_key() {
    let Some(python) = python() else { return };
    let bench = Bench::new();
    bench.clock.set(real_now());
    let mint = bench.mint(Algorithm::Es256).await;
    let grant = lasting(grant(1), &bench);
    let token = mint.mint(&grant, &grant.scope).await.unwrap().token;
    let own = keyring().resource_keys(&grant.resource);
    let newer = crate::world::keyring_of(8).resource_keys(&grant.resource);
    for (keys, status) in [([newer.clone(), own].concat(), 200), (newer, 401)] {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::start(&python, folder.path(), grant.resource.as_str(), &mint.jwks(), &keys);
        assert_eq!(backend.ask(&format!("Bearer {}", token.expose())).0, status);
    }
}
