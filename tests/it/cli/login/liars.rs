//! Servers that say what they must not: each is refused at its step, by its clause, before anything is given to it.

use serde_json::json;

use super::{
    kit::Home,
    stranger::{Authorize, Script, Stranger},
};

/// The end of a login at a stranger who bends the truth so.
async fn at(bend: impl FnOnce(&str, &mut Script)) -> (Stranger, super::kit::Ended) {
    with(&[], bend).await
}

async fn with(arguments: &[&str], bend: impl FnOnce(&str, &mut Script)) -> (Stranger, super::kit::Ended) {
    let stranger = Stranger::bent(bend).await;
    let ended = Home::new().log_in(&stranger.url(), arguments).await;
    (stranger, ended)
}

/// Nothing was given away: neither a registration nor a code.
fn nothing_given(stranger: &Stranger) {
    for path in ["/register", "/authorize", "/token"] {
        assert!(stranger.seen(path).is_empty(), "{path}");
    }
}

#[tokio::test]
async fn an_honest_stranger_is_logged_in_to_without_a_deviation() {
    let (stranger, ended) = with(&["--strict"], |_, _| {}).await;
    let ended = ended.ok();
    assert!(ended.stdout.contains("Stranger 7 offers 3 tools."), "{}", ended.stdout);
    let registration: serde_json::Value = serde_json::from_slice(&stranger.seen("/register")[0].body).unwrap();
    assert_eq!(registration["application_type"], "native", "MCP 2026-07-28, SEP-837");
    assert_eq!(registration["token_endpoint_auth_method"], "none");
    let authorize = &stranger.seen("/authorize")[0].parameters;
    let token = &stranger.seen("/token")[0].parameters;
    for parameters in [authorize, token] {
        assert_eq!(parameters["resource"], stranger.url(), "RFC 8707 §2");
    }
    assert_eq!((&*authorize["scope"], &*authorize["code_challenge_method"]), ("read", "S256"));
    assert_eq!(authorize["redirect_uri"], registration["redirect_uris"][0].as_str().unwrap());
    let sessions = stranger.seen("/mcp").iter().filter(|seen| seen.method == "DELETE").count();
    assert_eq!(sessions, 1, "no session is left behind");
}

#[tokio::test]
async fn rfc9728_3_3_metadata_about_another_resource_is_refused() {
    let (stranger, ended) = at(|_, script| script.prm()["resource"] = "https://victim.example/mcp".into()).await;
    let ended = ended.failed_at("resource metadata");
    assert!(ended.stderr.contains("RFC 9728 §3.3") && ended.stderr.contains("remedy"), "{}", ended.stderr);
    nothing_given(&stranger);
}

#[tokio::test]
async fn rfc9728_3_3_metadata_about_the_whole_origin_is_a_deviation() {
    let bend = |base: &str, script: &mut Script| script.prm()["resource"] = base.into();
    let (stranger, ended) = at(bend).await;
    assert!(ended.ok().stdout.contains("1 deviations"));
    assert_eq!(stranger.seen("/authorize")[0].parameters["resource"], stranger.base());
    with(&["--strict"], bend).await.1.failed_at("resource metadata");
}

#[tokio::test]
async fn rfc8414_3_3_metadata_by_another_issuer_is_refused() {
    for other in ["https://other.example", "SLASH"] {
        let bend = |base: &str, script: &mut Script| {
            script.metadata()["issuer"] = other.replace("SLASH", &format!("{base}/")).into();
        };
        let (stranger, ended) = at(bend).await;
        assert!(ended.failed_at("server metadata").stderr.contains("RFC 8414 §3.3"));
        nothing_given(&stranger);
    }
}

#[tokio::test]
async fn rfc7636_a_server_without_s256_is_refused() {
    for methods in [json!(null), json!(["plain"])] {
        let (stranger, ended) =
            at(|_, script| script.metadata()["code_challenge_methods_supported"] = methods.clone()).await;
        ended.failed_at("server metadata");
        nothing_given(&stranger);
    }
}

#[tokio::test]
async fn rfc8414_2_an_endpoint_without_tls_is_refused() {
    let plain = "http://as.example/token";
    let (stranger, ended) = at(|_, script| script.metadata()["token_endpoint"] = plain.into()).await;
    assert!(ended.failed_at("server metadata").stderr.contains(plain));
    nothing_given(&stranger);
    at(|_, script| script.prm()["authorization_servers"] = json!(["http://as.example"]))
        .await
        .1
        .failed_at("server metadata");
}

#[tokio::test]
async fn rfc6749_10_12_an_answer_with_another_state_is_not_believed() {
    let (stranger, ended) = at(|_, script| script.authorize = Authorize::OtherState).await;
    ended.failed_at("authorization");
    assert!(stranger.seen("/token").is_empty(), "its code is not redeemed");
}

#[tokio::test]
async fn rfc9207_2_4_an_answer_by_another_issuer_is_not_believed() {
    for (authorize, clause) in [(Authorize::OtherIss, "`iss` is the issuer"), (Authorize::NoIss, "a promised `iss`")] {
        let (stranger, ended) = at(|_, script| script.authorize = authorize).await;
        assert!(ended.failed_at("authorization").stderr.contains(clause));
        assert!(stranger.seen("/token").is_empty());
    }
    let unpromised = |_: &str, script: &mut Script| {
        script.authorize = Authorize::NoIss;
        script.metadata()["authorization_response_iss_parameter_supported"] = false.into();
    };
    at(unpromised).await.1.ok();
}

#[tokio::test]
async fn a_denial_is_told_and_cannot_write_to_the_terminal() {
    let (_, ended) = at(|_, script| script.authorize = Authorize::Denied).await;
    let ended = ended.failed_at("authorization");
    assert!(ended.stderr.contains("access_denied") && !ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_registers_nobody_is_told_what_to_do() {
    let bend = |_: &str, script: &mut Script| script.metadata()["registration_endpoint"] = json!(null);
    let (stranger, ended) = at(bend).await;
    assert!(ended.failed_at("client").stderr.contains("--client-id"));
    assert!(stranger.seen("/authorize").is_empty());
    let (stranger, ended) = with(&["--client-id", "by-hand"], bend).await;
    ended.ok();
    assert_eq!(stranger.seen("/authorize")[0].parameters["client_id"], "by-hand");
    let refusal = json!({ "error": "invalid_redirect_uri", "error_description": "https only" });
    let (_, ended) = at(|_, script| script.register = Some((400, refusal))).await;
    assert!(ended.failed_at("client").stderr.contains("invalid_redirect_uri: https only"));
}

#[tokio::test]
async fn rfc6749_2_3_1_a_secret_goes_where_the_server_wants_it() {
    for (method, in_header) in [("client_secret_basic", true), ("client_secret_post", false)] {
        let bend = |_: &str, script: &mut Script| {
            script.metadata()["token_endpoint_auth_methods_supported"] = json!([method]);
            let good = json!({ "client_id": "c l", "client_secret": "s:1", "token_endpoint_auth_method": method });
            script.register = Some((201, good));
        };
        let (stranger, ended) = at(bend).await;
        ended.ok();
        let token = &stranger.seen("/token")[0];
        let basic = token.headers.get("authorization").map(|value| value.to_str().unwrap());
        // c+l:s%3A1
        assert_eq!(basic, in_header.then_some("Basic YytsOnMlM0Ex"));
        assert_eq!(token.parameters.get("client_secret").map(|s| &**s), (!in_header).then_some("s:1"));
    }
}

#[tokio::test]
async fn client_id_metadata_documents_are_read_as_the_server_would_read_them() {
    let document = "/client.json";
    let bend = |base: &str, script: &mut Script| {
        script.metadata()["client_id_metadata_document_supported"] = true.into();
        let redirects = json!(["app://x", "http://127.0.0.1/cb"]);
        let client = json!({ "client_id": format!("{base}{document}"), "redirect_uris": redirects });
        script.documents.insert(document.into(), client);
    };
    let stranger = Stranger::bent(bend).await;
    let id = format!("{}{document}", stranger.base());
    Home::new().log_in(&stranger.url(), &["--client-id-metadata", &id]).await.ok();
    let asked = &stranger.seen("/authorize")[0].parameters;
    assert!(asked["client_id"] == id && asked["redirect_uri"].ends_with("/cb"), "{asked:?}");
    assert!(stranger.seen("/register").is_empty());
    stranger
        .bend(|_, script| script.documents.get_mut(document).unwrap()["client_id"] = "https://other.example/c".into());
    Home::new().log_in(&stranger.url(), &["--client-id-metadata", &id]).await.failed_at("client");
    stranger.bend(|_, script| script.metadata()["client_id_metadata_document_supported"] = false.into());
    Home::new().log_in(&stranger.url(), &["--client-id-metadata", &id]).await.failed_at("client");
}

#[tokio::test]
async fn rfc9728_3_1_the_well_known_places_are_tried_without_a_pointer() {
    let (stranger, ended) = at(|_, script| script.challenge = "Bearer".into()).await;
    assert!(ended.ok().stdout.contains("1 deviations"));
    assert_eq!(stranger.seen("/.well-known/oauth-protected-resource/mcp").len(), 1);
    // At the root alone, and without any challenge.
    let root = |base: &str, script: &mut Script| {
        script.challenge.clear();
        let mut prm = script.documents.remove("/.well-known/oauth-protected-resource/mcp").unwrap();
        prm["resource"] = base.into();
        script.documents.insert("/.well-known/oauth-protected-resource".into(), prm);
    };
    at(root).await.1.ok();
    // Nowhere: the server of 2025-03-26 is its own authorization server.
    let legacy = |_: &str, script: &mut Script| {
        script.challenge.clear();
        script.documents.remove("/.well-known/oauth-protected-resource/mcp");
    };
    let (stranger, ended) = at(legacy).await;
    ended.ok();
    assert_eq!(stranger.seen("/authorize")[0].parameters["resource"], stranger.url(), "RI-1");
}

#[tokio::test]
async fn rfc8414_3_1_the_places_of_openid_connect_are_tried_as_well() {
    for place in ["/.well-known/openid-configuration/t", "/t/.well-known/openid-configuration"] {
        let bend = |base: &str, script: &mut Script| {
            script.prm()["authorization_servers"] = json!([format!("{base}/t")]);
            let mut metadata = script.documents.remove("/.well-known/oauth-authorization-server").unwrap();
            metadata["issuer"] = format!("{base}/t").into();
            metadata["authorization_response_iss_parameter_supported"] = false.into();
            script.documents.insert(place.into(), metadata);
            script.authorize = Authorize::NoIss;
        };
        at(bend).await.1.ok();
    }
}

#[tokio::test]
async fn a_token_answer_is_held_to_the_standard() {
    let (_, ended) = at(|_, script| script.token = json!({ "token_type": "mac" })).await;
    ended.failed_at("token");
    let (_, ended) = at(|_, script| script.token = json!({ "access_token": "a\u{1b}[2Jb" })).await;
    ended.failed_at("token");
    let bend = |_: &str, script: &mut Script| {
        script.no_store = false;
        // aud https://other.example
        script.token =
            json!({ "token_type": null, "access_token": "e30.eyJhdWQiOiJodHRwczovL290aGVyLmV4YW1wbGUifQ.x" });
    };
    let (_, ended) = with(&["--explain"], bend).await;
    let ended = ended.ok();
    for rule in ["`token_type` is Bearer", "no cache may keep", "the token is for this server alone"] {
        assert!(ended.stdout.contains(&format!("DEVIATES  {rule}")), "{rule}\n{}", ended.stdout);
    }
    let quoting = json!({ "error": "invalid_grant", "error_description": "the-code is no code" });
    let (_, ended) = at(|_, script| script.token_error = Some((400, quoting))).await;
    let ended = ended.failed_at("token");
    assert!(ended.stderr.contains("invalid_grant: *** is no code"), "S29: {}", ended.stderr);
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_kept_and_told() {
    let refuses = |status: u16, challenge: &str| {
        let challenge = challenge.to_owned();
        move |_: &str, script: &mut Script| script.refuses = Some((status, challenge))
    };
    let stranger =
        Stranger::bent(refuses(401, "Bearer error=\"invalid_token\", error_description=\"wrong aud\"")).await;
    let home = Home::new();
    let ended = home.log_in(&stranger.url(), &[]).await.failed_at("call");
    assert!(ended.stderr.contains("wrong aud"), "{}", ended.stderr);
    assert!(home.kept()["tokens"].is_object(), "a refresh token is not thrown away for an MCP server's fault");
    let (_, ended) = at(refuses(403, "Bearer error=\"insufficient_scope\", scope=\"write\"")).await;
    assert!(ended.failed_at("call").stderr.contains("scope \"write\""));
}

#[tokio::test]
async fn both_wires_of_mcp_and_open_servers_are_understood() {
    at(|_, script| script.streams = true).await.1.ok();
    let (stranger, ended) = at(|_, script| script.stateless = true).await;
    assert!(ended.ok().stdout.contains("offers 3 tools"));
    assert!(stranger.seen("/mcp").iter().all(|seen| seen.method == "POST"));
    let open = |_: &str, script: &mut Script| {
        script.is_open = true;
        script.documents.clear();
    };
    let (stranger, ended) = at(open).await;
    assert!(ended.ok().stdout.contains("asks for no login. Stranger 7 offers 3 tools."));
    nothing_given(&stranger);
}

#[tokio::test]
async fn what_is_no_mcp_server_is_told_so() {
    let home = Home::new();
    let ended = home.run(&["http://mcp.example.com/", "--explain"]).await;
    assert!(ended.code == 1 && ended.stderr.contains("plain http"), "{}", ended.stderr);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    home.run(&[&format!("http://{nobody}/mcp")]).await.failed_at("probe");
    let stranger = Stranger::honest().await;
    let ended = home.run(&[&format!("{}/elsewhere", stranger.base())]).await.failed_at("resource metadata");
    assert!(ended.stderr.contains("404"), "{}", ended.stderr);
}

#[tokio::test]
async fn nobody_at_the_browser_is_waited_for_no_longer_than_asked() {
    let stranger = Stranger::honest().await;
    let ended = Home::new().run(&[&stranger.url(), "--no-browser", "--timeout", "1"]).await;
    ended.failed_at("authorization");
}
