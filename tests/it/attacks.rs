//! The attacks of the field, each by its number and each on the whole house over HTTP: refused, with nothing lost and
//! nothing learnt. (S1 to S35 are rows of the project's list of advisories; the link names where it happened.)

mod surface;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::world::{
    browser::Browser,
    town::{CALLBACK, JsonBody as _, McpClient, Town, VERIFIER, decide, http, parameter, post_form},
};

/// A client whose redirect leads to an https site, as hosted clients have it.
async fn hosted_client(town: &Town, name: &str, redirect: &str) -> McpClient {
    let document = json!({ "client_name": name, "redirect_uris": [redirect], "token_endpoint_auth_method": "none" });
    McpClient::register(town, document).await
}

/// https://github.com/PrefectHQ/fastmcp/issues/2056: the provider would let the victim through without a word.
#[tokio::test]
async fn s1_no_code_leaves_without_a_consent_naming_client_and_host() {
    let town = Town::new().await;
    let (victim, friend) = (Browser::new(), town.client().await);
    friend.approve(&town, &victim, &friend.authorize_url(&town, "/notes", &[])).await;
    let before = town.provider.received().len();

    let thief = hosted_client(&town, "Helpful Notes", "https://thief.example/cb").await;
    let page = victim.get(&thief.authorize_url(&town, "/notes", &[])).await;

    assert_eq!(page.status, 200, "a page, not a redirect");
    assert!(page.body.contains("Helpful Notes") && page.body.contains("thief.example"), "{}", page.body);
    assert_eq!(town.provider.received().len(), before, "the provider was not asked");
}

/// https://github.com/advisories/GHSA-rww4-4w9c-7733
#[tokio::test]
async fn s2_a_callback_in_another_browser_is_refused_and_burns_nothing() {
    let town = Town::new().await;
    let (client, attacker, victim) = (town.client().await, Browser::new(), Browser::new());
    let page = attacker.get(&client.authorize_url(&town, "/notes", &[])).await;
    let to_provider = decide(&town, &attacker, &page, "approve").await.location().expect("to the provider");
    let callback = attacker.get(&to_provider).await.location().expect("the callback");
    assert!(callback.starts_with(&town.base), "{callback}");

    let exchanges = town.provider.received_at("/token").len();
    let refused = victim.get(&callback).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(town.provider.received_at("/token").len(), exchanges, "no exchange with the provider");

    let own = attacker.get(&callback).await;
    assert!(own.location().is_some_and(|l| l.starts_with(CALLBACK) && parameter(&l, "code").is_some()), "{own:?}");
}

/// https://github.com/advisories/GHSA-6x8h-498w-gv8c
#[tokio::test]
async fn s3_a_cross_site_navigation_shows_the_page_although_consent_is_remembered() {
    let town = Town::new().await;
    let client = hosted_client(&town, "Hosted", "https://hosted.example/cb").await;
    let mut human = Browser::new();
    let url = client.authorize_url(&town, "/notes", &[]);
    client.approve(&town, &human, &url).await;

    for site in ["none", "same-origin", "same-site"] {
        human.fetch_site = Some(site);
        assert!(human.get(&url).await.location().is_some(), "remembered for {site}");
    }
    for site in [Some("cross-site"), None, Some("nonsense")] {
        human.fetch_site = site;
        let page = human.get(&url).await;
        assert_eq!(page.status, 200, "asked again for {site:?}");
        assert!(page.field("request").is_some());
    }
}

/// https://github.com/advisories/GHSA-5h2m-4q8j-pqpj
#[tokio::test]
async fn s4_a_token_of_one_path_opens_no_other_and_a_foreign_resource_is_refused() {
    let town = Town::new().await;
    let login = town.login().await;
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    assert_eq!(town.call("/other", Some(&login.access_token)).await.status(), 401);

    let client = town.client().await;
    let url = client.authorize_url(&town, "/notes", &[]).replace("%2Fnotes", "%2Felsewhere");
    let location = Browser::new().get(&url).await.location().expect("an error redirect");
    assert!(location.starts_with(CALLBACK));
    assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_target"));
    assert_eq!(parameter(&location, "state").as_deref(), Some("client-state-0123456789"));
    assert_eq!(parameter(&location, "iss").as_deref(), Some(town.base.as_str()));
}

/// https://github.com/advisories/GHSA-p2fr-6hmx-4528
#[tokio::test]
async fn s5_the_resource_at_the_token_endpoint_is_the_authorized_one() {
    let town = Town::new().await;
    for foreign in ["/other", "/unknown"] {
        let (client, human) = (town.client().await, Browser::new());
        let answer = client.approve(&town, &human, &client.authorize_url(&town, "/notes", &[])).await;
        let code = parameter(&answer, "code").expect("a code");
        let resource = format!("{}{foreign}", town.base);
        let (status, body) = client.redeem(&town, &code, &[("resource", &resource)]).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_target")), "{body}");
    }
    let (client, human) = (town.client().await, Browser::new());
    let answer = client.approve(&town, &human, &client.authorize_url(&town, "/notes", &[])).await;
    let code = parameter(&answer, "code").expect("a code");
    let (status, body) = client.redeem(&town, &code, &[("resource", &format!("{}/notes", town.base))]).await;
    assert_eq!(status, 200, "{body}");
}

/// https://github.com/cloudflare/workers-oauth-provider/issues/27
#[tokio::test]
async fn s6_pkce_cannot_be_downgraded() {
    let town = Town::new().await;
    let client = town.client().await;
    let good = client.authorize_url(&town, "/notes", &[]);
    let human = Browser::new();
    for (bad, from, to) in [
        ("plain", "code_challenge_method=S256", "code_challenge_method=plain"),
        ("unknown", "code_challenge_method=S256", "code_challenge_method=S512"),
        ("no method", "&code_challenge_method=S256", ""),
        ("no challenge", "code_challenge=", "x="),
    ] {
        let location =
            human.get(&good.replace(from, to)).await.location().unwrap_or_else(|| panic!("{bad}: a redirect"));
        assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_request"), "{bad}: {location}");
    }
    for verifier in ["", "x", &VERIFIER.replace('d', "e"), &"a".repeat(200)] {
        let answer = client.approve(&town, &Browser::new(), &good).await;
        let code = parameter(&answer, "code").expect("a code");
        let (status, body) = client.redeem(&town, &code, &[("code_verifier", verifier)]).await;
        assert_eq!(status, 400, "{verifier:?}");
        let error = body["error"].as_str().unwrap_or("");
        assert!(["invalid_grant", "invalid_request"].contains(&error), "{verifier:?}: {body}");
        assert!(body.get("access_token").is_none());
    }
}

/// https://github.com/cloudflare/workers-oauth-provider/issues/97, https://github.com/advisories/GHSA-q9xg-f2v2-695g
#[tokio::test]
async fn s7_s8_hostile_redirect_uris_are_refused_and_never_followed() {
    let town = Town::new().await;
    for uri in [
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "blob:https://a/b",
        "file:///etc/passwd",
        "http://evil.example/cb",
        "https://a@b.example/cb",
        "https://a.example/cb#f",
        "https://a.example\\@b.example/",
        "https://a.example/..;/cb",
        "https://a.example/%2e%2e/x",
        "https://*.example.com/cb",
        "//a.example/cb",
        "",
        "about:blank",
        "https://",
        "http://localhost.evil.example/cb",
        "http://127.0.0.1.evil.example/",
        "http://localhost:99999/cb",
        "https://exämple.org/cb",
    ] {
        let document = json!({ "redirect_uris": ["https://fine.example/cb", uri] });
        let response =
            http().post(format!("{}/register", town.base)).json_body(&document).send().await.expect("answer");
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.expect("body")).expect("JSON");
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_redirect_uri")), "{uri:?}: {body}");
    }
    let client = hosted_client(&town, "Hosted", "https://hosted.example/cb?keep=1").await;
    let human = Browser::new();
    for uri in [
        "https://hosted.example/cb",
        "https://hosted.example/cb?keep=1&more=2",
        "https://HOSTED.example/cb?keep=1",
        "https://hosted.example/cb/?keep=1",
        "https://hosted.example:443/cb?keep=1",
        "https://hosted.example/x/../cb?keep=1",
        "https://hosted.example/cb?keep=1#x",
        "javascript:alert(1)",
        "https://evil.example/cb?keep=1",
    ] {
        let mut asked = McpClient { registration: Value::Null, id: client.id.clone(), redirect: uri.to_owned() };
        uri.clone_into(&mut asked.redirect);
        let page = human.get(&asked.authorize_url(&town, "/notes", &[])).await;
        assert_eq!(page.status, 400, "{uri}");
        assert!(page.header("location").is_none(), "{uri} was followed");
    }
}

/// https://github.com/punkpeye/fastmcp/issues/262
#[tokio::test]
async fn s9_the_provider_app_is_told_to_nobody() {
    let town = Town::new().await;
    let client = town.client().await;
    let page = Browser::new().get(&client.authorize_url(&town, "/notes", &[])).await;
    let metadata = Browser::new().get(&format!("{}/.well-known/oauth-authorization-server", town.base)).await;
    for text in [client.registration.to_string(), page.body, metadata.body] {
        assert!(!text.contains("vestibule@provider") && !text.contains("pass:word"), "{text}");
    }
}

/// https://github.com/sooperset/mcp-atlassian/issues/1533
#[tokio::test]
async fn s10_our_own_callback_is_nobodys_redirect() {
    let town = Town::new().await;
    for path in ["/callback/idp", "/callback/", "/callback/idp?x=1", "/callback/other"] {
        let document = json!({ "redirect_uris": [format!("{}{path}", town.base)] });
        let response =
            http().post(format!("{}/register", town.base)).json_body(&document).send().await.expect("answer");
        assert_eq!(response.status(), 400, "{path}");
    }
}

/// https://github.com/cloudflare/workers-oauth-provider/issues/225
#[tokio::test]
async fn s11_a_forged_code_touches_nothing_and_a_true_replay_revokes() {
    let town = Town::new().await;
    let (client, human) = (town.client().await, Browser::new());
    let answer = client.approve(&town, &human, &client.authorize_url(&town, "/notes", &[])).await;
    let code = parameter(&answer, "code").expect("a code");

    let raw = URL_SAFE_NO_PAD.decode(&code[3..]).expect("base64url after the prefix");
    for byte in [17, 25, raw.len() - 1] {
        let mut forged = raw.clone();
        forged[byte] ^= 1;
        let forged = format!("{}{}", &code[..3], URL_SAFE_NO_PAD.encode(forged));
        let (status, body) = client.redeem(&town, &forged, &[]).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")), "{body}");
    }
    let (status, tokens) = client.redeem(&town, &code, &[]).await;
    assert_eq!(status, 200, "the real one still works: {tokens}");
    let token = tokens["access_token"].as_str().expect("a token").to_owned();

    let (status, _) = client.redeem(&town, &code, &[]).await;
    assert_eq!(status, 400, "a double submit is refused");
    assert_eq!(town.call("/notes", Some(&token)).await.status(), 200, "… and forgiven within ten seconds");

    town.clock.advance(Duration::from_secs(11));
    let (status, body) = client.redeem(&town, &code, &[]).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(town.call("/notes", Some(&token)).await.status(), 401, "a replay ends what the code bought");
}

/// https://github.com/sigbit/mcp-auth-proxy/issues/27
#[tokio::test]
async fn s12_state_is_random_and_works_once() {
    let town = Town::new().await;
    let (client, human) = (town.client().await, Browser::new());
    let mut states = Vec::new();
    let mut callbacks = Vec::new();
    for _ in 0..2 {
        let page = human.get(&client.authorize_url(&town, "/notes", &[])).await;
        let to_provider = decide(&town, &human, &page, "approve").await.location().expect("to the provider");
        states.push(parameter(&to_provider, "state").expect("a state"));
        callbacks.push(human.get(&to_provider).await.location().expect("the callback"));
    }
    assert_ne!(states[0], states[1]);

    let forged = callbacks[0].replace(&states[0], "vs_AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(human.get(&forged).await.status, 400);
    let swapped = callbacks[0].replace(&states[0], &states[1]);
    let exchanges = town.provider.received_at("/token").len();
    let first = human.get(&callbacks[0]).await;
    assert!(first.location().is_some_and(|l| parameter(&l, "code").is_some()), "{first:?}");
    let again = human.get(&callbacks[0]).await;
    assert!(again.header("location").is_none() && (400..500).contains(&again.status), "{again:?}");
    assert_eq!(town.provider.received_at("/token").len(), exchanges + 1, "the second never reached the provider");
    drop(swapped);
}

/// https://github.com/advisories/GHSA-vjrc-mh2v-45x6
#[tokio::test]
async fn s14_spoofed_identity_headers_never_reach_the_backend() {
    let town = Town::new().await;
    let login = town.login().await;
    let response = http()
        .post(format!("{}/notes", town.base))
        .bearer_auth(&login.access_token)
        .header("X_Forwarded_Email", "root@evil.example")
        .header("x-forwarded-email", "root@evil.example")
        .header("X-FORWARDED-EMAIL", "admin@evil.example")
        .header("x-forwarded-user", "root")
        .header("x_forwarded_groups", "admins")
        .header("x-forwarded-access-token", "stolen")
        .header("connection", "close, X-Forwarded-User, X-Forwarded-Email")
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let seen = town.mcp.last();
    let dump = format!("{seen:?}");
    assert!(
        !dump.contains("evil.example")
            && !dump.contains("\"root\"")
            && !dump.contains("admins")
            && !dump.contains("stolen"),
        "{dump}"
    );
    assert!(dump.contains("@example.com"), "the true identity is there: {dump}");
}

/// https://github.com/advisories/GHSA-7x63-xv5r-3p2x; behaviour 5.
#[tokio::test]
async fn s15_behaviour_5_forged_forwarding_headers_change_no_url() {
    let town = Town::new().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/notes",
    ] {
        let url = format!("{}{path}", town.base);
        let honest = http().get(&url).send().await.expect("answer").text().await.expect("text");
        let forged = http()
            .get(&url)
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("forwarded", "host=evil.example;proto=https")
            .header("x-forwarded-uri", "/evil")
            .header("x-original-url", "/evil");
        assert_eq!(forged.send().await.expect("answer").text().await.expect("text"), honest, "{path}");
        let host = http().get(&url).header("host", "evil.example").send().await.expect("answer").text().await;
        assert!(!host.expect("text").contains("evil.example"), "{path}");
    }
    let challenged = http().post(format!("{}/notes", town.base)).header("x-forwarded-host", "evil.example");
    let challenged = challenged.send().await.expect("answer");
    let challenge = challenged.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.contains(&town.base) && !challenge.contains("evil"), "{challenge}");
}

/// https://github.com/agentic-community/mcp-gateway-registry/issues/1237; behaviour 26.
#[tokio::test]
async fn s26_behaviour_26_neither_side_sees_the_others_token() {
    let town = Town::new().await;
    let login = town.login().await;
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    let seen = format!("{:?}", town.mcp.seen());
    assert!(!seen.contains(&login.access_token), "our token reached the backend");
    let upstream = upstream_token(&town);
    assert!(town.provider.knows_access(&upstream), "what reached the backend is not the provider's token");
    for text in [login.tokens.to_string(), login.answer] {
        assert!(!text.contains(&upstream), "the provider's token reached the client: {text}");
    }
    let payload = URL_SAFE_NO_PAD.decode(login.access_token.split('.').nth(1).expect("a JWT")).expect("base64url");
    assert!(!String::from_utf8_lossy(&payload).contains(&upstream), "readable inside the JWT");
}

/// https://github.com/cosmicstack-labs/mercury-agent/issues/81
#[tokio::test]
async fn s28_the_request_target_cannot_change_the_backend() {
    let town = Town::new().await;
    let login = town.login().await;
    let address = town.base.trim_start_matches("http://");
    for target in
        ["http://evil.example/notes", "//evil.example/notes", "/notes/..//evil.example/", "/notes@evil.example/"]
    {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
            login.access_token
        );
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{target}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{target}: {answer}");
    }
    let seen = format!("{:?}", town.mcp.seen());
    assert!(!seen.contains("evil.example\""), "a Host or authority of the attacker's was believed: {seen}");
}

/// The provider's words and a client's name are strangers' text.
#[tokio::test]
async fn s29_strangers_text_is_neither_reflected_nor_run() {
    let town = Town::new().await;
    let name = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let client = hosted_client(&town, name, "https://hosted.example/cb?x=<b>").await;
    drop(client);
    let client = hosted_client(&town, name, "https://hosted.example/cb").await;
    let human = Browser::new();
    let page = human.get(&client.authorize_url(&town, "/notes", &[("ui_locales", "<script>")])).await;
    assert!(!page.body.contains("<script") && !page.body.contains("<img src=x"), "{}", page.body);
    let csp = page.header("content-security-policy").expect("a CSP");
    assert!(
        csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'")
    );
    assert!(!csp.contains("script-src") && !csp.contains("form-action") && !csp.contains("unsafe"), "{csp}");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));

    let to_provider = decide(&town, &human, &page, "approve").await.location().expect("to the provider");
    let state = parameter(&to_provider, "state").expect("a state");
    let words = "injected-words-of-the-provider";
    let callback = format!("{}/callback/idp?state={state}&error=access_denied&error_description={words}", town.base);
    let iss = url::form_urlencoded::byte_serialize(town.provider.issuer().as_bytes()).collect::<String>();
    let back = human.get(&format!("{callback}&iss={iss}")).await;
    let location = back.location().unwrap_or_else(|| panic!("an error redirect, not {back:?}"));
    assert_eq!(parameter(&location, "error").as_deref(), Some("access_denied"));
    assert!(!location.contains(words) && !back.body.contains(words), "{location}");
}

/// https://github.com/smart-mcp-proxy/mcpproxy-go/issues/1181: a whole flow at trace level, then a search of all that
/// was said.
#[tokio::test]
async fn s31_no_secret_is_in_any_output() {
    let town = Town::spawned("[telemetry]\nlog = \"trace\"").await;
    let login = town.login().await;
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    let upstream = upstream_token(&town);
    let confidential = json!({ "client_name": "Confidential", "redirect_uris": ["https://c.example/cb"] });
    let confidential = McpClient::register(&town, confidential).await;
    let client_secret = confidential.registration["client_secret"].as_str().expect("a secret").to_owned();
    // What goes wrong is said too, and must not say too much.
    let (status, _) = login.client.redeem(&town, &login.code, &[]).await;
    assert_eq!(status, 400);
    assert_eq!(town.call("/other", Some(&login.access_token)).await.status(), 401);
    let tampered = format!("{}x", login.access_token);
    assert_eq!(town.call("/notes", Some(&tampered)).await.status(), 401);
    let (status, _) =
        login.client.redeem(&town, &format!("{}x", login.code), &[("client_secret", &client_secret)]).await;
    assert!((400..=401).contains(&status));

    let exchange = town.provider.received_at("/token").pop().expect("an exchange");
    let field = |name: &str| parameter(&format!("?{}", exchange.body), name).unwrap_or_else(|| panic!("no {name}"));
    let begun = town.provider.received_at("/authorize").pop().expect("a login");
    let of_query = |name: &str| parameter(&format!("?{}", begun.query), name).unwrap_or_else(|| panic!("no {name}"));
    let mut secrets = vec![
        ("code", login.code.clone()),
        ("access token", login.access_token.clone()),
        ("its signature", login.access_token.rsplit('.').next().unwrap_or_default().to_owned()),
        ("client secret", client_secret),
        ("verifier", VERIFIER.to_owned()),
        ("upstream token", upstream),
        ("upstream code", field("code")),
        ("upstream verifier", field("code_verifier")),
        ("upstream state", of_query("state")),
        ("nonce", of_query("nonce")),
        ("upstream client secret", "pass:word".to_owned()),
        ("the same, encoded", "pass%3Aword".to_owned()),
        ("master key", town.secret_key.clone()),
    ];
    for cookie in login.human.cookies("127.0.0.1").split("; ") {
        secrets.push(("cookie", cookie.split_once('=').map_or(cookie, |(_, value)| value).to_owned()));
    }
    let metrics =
        http().get(format!("{}/readyz", town.admin)).send().await.expect("answer").text().await.expect("text");
    let output = format!("{}{metrics}", town.end().await);
    assert!(output.contains("TRACE") || output.contains("trace"), "it spoke at trace level: {output}");
    assert!(output.contains("code issued"), "and of the flow: {output}");
    for (what, secret) in secrets {
        assert!(secret.len() >= 8, "{what} was not seen: {secret:?}");
        if let Some(at) = output.find(&secret) {
            panic!("{what} in the output: …{}…", &output[at.saturating_sub(300)..(at + 40).min(output.len())]);
        }
    }
}

/// Algorithm and type confusion at the gate.
#[tokio::test]
async fn s35_no_confused_token_opens_the_gate() {
    let town = Town::new().await;
    let login = town.login().await;
    let mut parts: Vec<&str> = login.access_token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let header = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let good: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).expect("b64")).expect("JSON");
    let jwks = http().get(format!("{}/jwks", town.base)).send().await.expect("answer").text().await.expect("text");
    let mut tries = Vec::new();
    for (alg, signature) in [("none", String::new()), ("None", String::new()), ("ES384", parts[2].to_owned())] {
        tries.push(format!(
            "{}.{}.{signature}",
            header(json!({"alg": alg, "typ": "at+jwt", "kid": good["kid"]})),
            parts[1]
        ));
    }
    let hs_header = header(json!({"alg": "HS256", "typ": "at+jwt", "kid": good["kid"]}));
    let signed = format!("{hs_header}.{}", parts[1]);
    let key = jsonwebtoken::EncodingKey::from_secret(jwks.as_bytes());
    let mac = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).expect("an HMAC");
    tries.push(format!("{signed}.{mac}"));
    for (member, value) in [("kid", json!("another")), ("typ", json!("JWT")), ("crit", json!(["x"]))] {
        let mut changed = good.clone();
        changed[member] = value;
        tries.push(format!("{}.{}.{}", header(changed), parts[1], parts[2]));
    }
    let flipped = parts[2].replace('A', "B").replace('-', "_");
    if flipped != parts[2] {
        parts[2] = &flipped;
        tries.push(parts.join("."));
    }
    tries.push(login.code.clone());
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200);
    tries.push(upstream_token(&town));
    tries.push("a".repeat(7000));
    for token in tries {
        let response = town.call("/notes", Some(&token)).await;
        assert_eq!(response.status(), 401, "{token}");
        let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(town.call("/notes", Some(&login.access_token)).await.status(), 200, "the true one still does");
}

/// One forged token endpoint call must not be answered with a secret, whatever is missing.
#[tokio::test]
async fn malformed_token_requests_get_precise_errors() {
    let town = Town::new().await;
    let url = format!("{}/token", town.base);
    let client = town.client().await;
    for (form, expected) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", "password"), ("client_id", &client.id)], "unsupported_grant_type"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", "nobody")], "invalid_client"),
        (vec![("grant_type", "authorization_code"), ("grant_type", "authorization_code")], "invalid_request"),
        (vec![("grant_type", "authorization_code"), ("code", "x"), ("client_id", "nobody")], "invalid_client"),
    ] {
        let (status, body) = post_form(&url, &form).await;
        assert_eq!(body["error"].as_str(), Some(expected), "{form:?}: {body}");
        assert!((400..=401).contains(&status), "{form:?}");
    }
}

/// The bearer token that the MCP server saw last.
fn upstream_token(town: &Town) -> String {
    let seen = town.mcp.last();
    seen.header("authorization").and_then(|v| v.strip_prefix("Bearer ")).expect("a bearer token").to_owned()
}

async fn raw(address: &str, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}
