//! A whole deployment on loopback: our house as `serve` builds it, a provider on one side, an MCP server on the other,
//! and actors who come to the door.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::oneshot};
use url::Url;
use vestibule::{
    cli::{House, SystemClock},
    config,
    domain::Clock,
};

use super::{
    FakeMcp, FakeProvider, ManualClock,
    browser::{Browser, Page},
    provider::{CLIENT_ID, CLIENT_SECRET, Profile},
    random,
};

/// The redirect URI of the test's clients.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:7777/callback";
/// 43 characters that no other test uses as anything else.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The town: two servers of strangers and our house between them.
pub(crate) struct Town {
    /// Our public origin, without a trailing slash.
    pub(crate) base: String,
    /// The admin listener's origin.
    pub(crate) admin: String,
    /// The identity provider.
    pub(crate) provider: FakeProvider,
    /// The MCP server at `/notes`.
    pub(crate) mcp: FakeMcp,
    /// Its clock.
    pub(crate) clock: Arc<ManualClock>,
    /// `secret_key`, as it is in the file.
    pub(crate) secret_key: String,
    spawned: Vec<Spawned>,
    /// The house stops when this is dropped.
    _stop: Option<oneshot::Sender<()>>,
}

impl Town {
    /// A town with an OIDC provider, the Resources `/notes` and `/other`, and the memory store.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The same, with further top-level TOML lines put first; in them `{target}` is the MCP server and `{issuer}` the provider.
    pub(crate) async fn with(head: &str) -> Self {
        let clock = ManualClock::new();
        let provider = FakeProvider::start(Profile::Oidc, clock.clone() as Arc<dyn Clock>).await;
        let mcp = FakeMcp::start().await;
        let public = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let admin = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", public.local_addr().expect("an address"));
        let toml = Self::toml(head, &base, &provider.issuer(), &mcp.url());
        let settings = config::from_toml(&toml).unwrap_or_else(|e| panic!("{e:?}\n{toml}"));
        let house =
            House::build(settings, clock.clone() as Arc<dyn Clock>, random()).await.expect("the house is built");
        let (stop, stopped) = oneshot::channel::<()>();
        let admin_base = format!("http://{}", admin.local_addr().expect("an address"));
        tokio::spawn(house.serve(public, Some(admin), async move {
            let _ = stopped.await;
        }));
        let (admin, secret_key) = (admin_base, secret_key());
        Self { base, admin, provider, mcp, clock, secret_key, spawned: Vec::new(), _stop: Some(stop) }
    }

    /// The same town around the real binary, started with `serve`; everything that it says is kept.
    pub(crate) async fn spawned(head: &str) -> Self {
        Self::around(1, head, "kind = \"memory\"").await
    }

    /// The same town around `count` real binaries over one store, with a dumb round-robin by connection in front.
    pub(crate) async fn around(count: usize, head: &str, store: &str) -> Self {
        let provider = FakeProvider::start(Profile::Oidc, Arc::new(SystemClock)).await;
        let mcp = FakeMcp::start().await;
        let front = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", front.local_addr().expect("an address"));
        let toml = Self::toml(head, &base, &provider.issuer(), &mcp.url());
        let toml = toml.replace("kind = \"memory\"", store);
        let spawned: Vec<Spawned> = (0..count).map(|_| Spawned::start(&toml)).collect();
        tokio::spawn(round_robin(front, spawned.iter().map(|one| one.listen).collect()));
        let admin = format!("http://{}", spawned[0].admin);
        let (clock, secret_key) = (ManualClock::new(), secret_key());
        let town = Self { base, admin, provider, mcp, clock, secret_key, spawned, _stop: None };
        for at in 0..count {
            town.until_ready(at).await;
        }
        town
    }

    async fn until_ready(&self, at: usize) {
        let spawned = &self.spawned[at];
        let (http, begun) = (http(), Instant::now());
        while begun.elapsed() < Duration::from_secs(20) {
            let ready = http.get(format!("http://{}/readyz", spawned.admin)).send().await;
            if ready.is_ok_and(|response| response.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never ready: {}", std::fs::read_to_string(&spawned.log).unwrap_or_default())
    }

    /// The configuration of one binary.
    pub(crate) fn file(&self, at: usize) -> std::path::PathBuf {
        self.spawned[at].folder.path().join("vestibule.toml")
    }

    /// The door of one binary, past the round-robin.
    pub(crate) fn door(&self, at: usize) -> String {
        format!("http://{}", self.spawned[at].listen)
    }

    /// A rolling restart of one binary: SIGTERM, drain, start anew on the same address.
    pub(crate) async fn restart(&mut self, at: usize) {
        self.spawned[at].terminate().await;
        self.spawned[at].run();
        self.until_ready(at).await;
    }

    /// Stops one binary in good order; its folder, with `vestibule.toml` in it.
    pub(crate) async fn stop(&mut self, at: usize) -> std::path::PathBuf {
        self.spawned[at].terminate().await;
        self.folder(at)
    }

    /// The folder of one binary.
    pub(crate) fn folder(&self, at: usize) -> std::path::PathBuf {
        self.spawned[at].folder.path().to_owned()
    }

    /// Starts it again, with what now stands in its folder.
    pub(crate) async fn start(&mut self, at: usize) {
        self.spawned[at].run();
        self.until_ready(at).await;
    }

    /// `kill -9` of one binary, and a start over what it left behind; how long until the first answer.
    pub(crate) async fn kill_and_restart(&mut self, at: usize) -> Duration {
        self.spawned[at].kill();
        let begun = Instant::now();
        self.spawned[at].run();
        self.until_ready(at).await;
        begun.elapsed()
    }

    /// Ends the binaries and returns everything that they said.
    pub(crate) async fn end(mut self) -> String {
        let mut said = String::new();
        for mut one in std::mem::take(&mut self.spawned) {
            one.terminate().await;
            said.push_str(&std::fs::read_to_string(&one.log).expect("its output"));
        }
        said
    }

    fn toml(head: &str, base: &str, issuer: &str, target: &str) -> String {
        let resource = |path: &str| {
            format!(
                "[[resource]]\npath = \"{path}\"\ntarget = \"{target}\"\nupstream = \"idp\"\n\
                 inject = [\"upstream_token\", \"identity\"]\nallow = {{ emails = [\"*@example.com\"] }}\n"
            )
        };
        let head = head.replace("{target}", target).replace("{issuer}", issuer);
        format!(
            "public_url = \"{base}\"\nlisten = \"127.0.0.1:0\"\nsecret_key = \"{}\"\n{head}\n\
             [store]\nkind = \"memory\"\n[upstream.idp]\nprovider = \"oidc\"\nissuer = \"{issuer}\"\n\
             client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n{}{}",
            secret_key(),
            resource("/notes"),
            resource("/other"),
        )
    }

    /// A client that has registered itself with [`CALLBACK`].
    pub(crate) async fn client(&self) -> McpClient {
        self.client_named("Test client").await
    }

    /// The same under another name, so that it is another one.
    pub(crate) async fn client_named(&self, name: &str) -> McpClient {
        McpClient::register(
            self,
            json!({ "client_name": name, "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none" }),
        )
        .await
    }

    /// A whole login at `/notes` by a fresh client and a fresh human.
    pub(crate) async fn login(&self) -> Login {
        self.login_at("/notes").await
    }

    /// A whole login at the Resource at `path`.
    pub(crate) async fn login_at(&self, path: &str) -> Login {
        let client = self.client().await;
        let human = Browser::new();
        let answer = client.approve(self, &human, &client.authorize_url(self, path, &[])).await;
        let code = parameter(&answer, "code").unwrap_or_else(|| panic!("no code in {answer}"));
        let (status, tokens) = client.redeem(self, &code, &[]).await;
        assert_eq!(status, 200, "{tokens}");
        let access_token = tokens["access_token"].as_str().expect("an access token").to_owned();
        Login { client, human, answer, code, tokens, access_token }
    }

    /// A POST to `/notes` (or another path) with a bearer token.
    pub(crate) async fn call(&self, path: &str, token: Option<&str>) -> reqwest::Response {
        let mut request = http().post(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        request.header("content-type", "application/json").body(body).send().await.expect("an answer")
    }
}

/// A child process with its folder.
struct Spawned {
    child: Option<std::process::Child>,
    listen: SocketAddr,
    admin: SocketAddr,
    log: std::path::PathBuf,
    folder: tempfile::TempDir,
}

impl Spawned {
    /// `serve` with this file, on addresses of its own.
    fn start(toml: &str) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let toml = toml.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{listen}\""));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("vestibule.toml");
        std::fs::write(&file, format!("{toml}[admin]\nlisten = \"{admin}\"\n")).expect("a file");
        let log = folder.path().join("output");
        let mut spawned = Self { child: None, listen, admin, log, folder };
        spawned.run();
        spawned
    }

    fn run(&mut self) {
        let output = std::fs::File::options().create(true).append(true).open(&self.log).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(["serve", "--config"]).arg(self.folder.path().join("vestibule.toml"));
        command.current_dir(self.folder.path());
        command.stdout(output.try_clone().expect("a handle")).stderr(output);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and the end that follows it.
    async fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        for _ in 0..400 {
            if let Some(status) = child.try_wait().expect("a status") {
                assert!(status.success(), "a clean end, not {status}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = child.kill();
        panic!("still there after 20 s");
    }
}

/// Connection after connection to the next address in turn; one that is down is passed over.
async fn round_robin(front: TcpListener, back: Vec<SocketAddr>) {
    let mut turn = 0;
    while let Ok((mut caller, _)) = front.accept().await {
        turn += 1;
        let order: Vec<SocketAddr> = back.iter().cycle().skip(turn).take(back.len()).copied().collect();
        tokio::spawn(async move {
            for address in order {
                if let Ok(mut server) = tokio::net::TcpStream::connect(address).await {
                    let _ = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
                    return;
                }
            }
        });
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The master key of the town.
fn secret_key() -> String {
    base64::engine::general_purpose::STANDARD.encode([7_u8; 32])
}

/// An address on loopback that was free a moment ago.
fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// Everything that one login brought forth.
pub(crate) struct Login {
    /// Who asked.
    pub(crate) client: McpClient,
    /// Who agreed.
    pub(crate) human: Browser,
    /// The redirect to the client, whole.
    pub(crate) answer: String,
    /// The code in it.
    pub(crate) code: String,
    /// The token answer.
    pub(crate) tokens: Value,
    /// The access token in it.
    pub(crate) access_token: String,
}

/// An MCP client: registered, able to ask and to redeem.
pub(crate) struct McpClient {
    /// The 201 document.
    pub(crate) registration: Value,
    /// Its id.
    pub(crate) id: String,
    /// Its redirect URI.
    pub(crate) redirect: String,
}

impl McpClient {
    /// Registers with the given document.
    pub(crate) async fn register(town: &Town, document: Value) -> Self {
        let redirect = document["redirect_uris"][0].as_str().expect("a redirect URI").to_owned();
        let response =
            http().post(format!("{}/register", town.base)).json_body(&document).send().await.expect("answer");
        assert_eq!(response.status(), 201);
        let registration: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
        let id = registration["client_id"].as_str().expect("a client id").to_owned();
        Self { registration, id, redirect }
    }

    /// The URL it opens in the human's browser; `extra` comes last.
    pub(crate) fn authorize_url(&self, town: &Town, path: &str, extra: &[(&str, &str)]) -> String {
        let mut url = Url::parse(&format!("{}/authorize", town.base)).expect("a URL");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("state", "client-state-0123456789")
            .append_pair("code_challenge", &challenge(VERIFIER))
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &format!("{}{path}", town.base))
            .extend_pairs(extra);
        url.into()
    }

    /// Opens `url`, says yes, logs in at the provider; the address to which the client's answer went.
    pub(crate) async fn approve(&self, town: &Town, human: &Browser, url: &str) -> String {
        let page = human.get(url).await;
        let page = decide(town, human, &page, "approve").await;
        human.follow(page, &self.redirect).await.unwrap_or_else(|page| panic!("stranded at {page:#?}"))
    }

    /// Sends a code to `/token`; status and JSON.
    pub(crate) async fn redeem(&self, town: &Town, code: &str, extra: &[(&str, &str)]) -> (u16, Value) {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("client_id", &self.id),
        ];
        if !extra.iter().any(|(name, _)| *name == "code_verifier") {
            form.push(("code_verifier", VERIFIER));
        }
        form.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
        post_form(&format!("{}/token", town.base), &form).await
    }
}

/// Presses a button of the consent page (`approve` or `deny`).
pub(crate) async fn decide(town: &Town, human: &Browser, page: &Page, decision: &str) -> Page {
    assert_eq!(page.status, 200, "a consent page, not {page:#?}");
    let request = page.field("request").expect("the sealed request");
    human.post(&format!("{}/consent", town.base), &[("request", &request), ("decision", decision)]).await
}

/// A form POST by a program; status and JSON (null where it is none).
pub(crate) async fn post_form(url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = http().post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// A plain program's HTTP client: no cookies, no redirects.
pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.build().expect("an HTTP client")
}

/// A query parameter of a URL, of whatever scheme.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

/// RFC 7636 §4.2.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// JSON bodies without reqwest's `json` feature.
pub(crate) trait JsonBody {
    /// Sets body and content type.
    fn json_body(self, value: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }
}
