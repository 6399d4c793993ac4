//! `[issuer.X]` and those whom a resource lets in on its word (EMA-1, WIF-1).

use vestibule::{
    crypto::jwt::{Alg, SigningKey},
    oauth::{KeySource, SpeaksFor},
};

use super::{but, load, mistakes};

/// A file with two issuers, whose resource lets in what `allow` says.
fn with(issuers: &str, allow: &str) -> String {
    let resource = format!("inject = \"identity\"\nallow = {allow}");
    format!("{}\n{issuers}", but("allow = \"anyone\"", &resource))
}

const BOTH: &str = r#"[issuer.corp]
issuer = "https://login.corp.example"
jwks_uri = "https://login.corp.example/jwks.json"
vouches_for_emails = true
groups = "/groups"
[issuer.cluster]
issuer = "https://kubernetes.default.svc"
jwks_uri = "https://kubernetes.default.svc/openid/v1/jwks"
speaks_for = "workloads"
"#;
const ALLOW: &str =
    r#"{ emails = ["*@corp.example"], issuers = ["corp"], workloads = ["cluster:system:serviceaccount:ci:*"] }"#;

#[test]
fn ema_1_wif_1_issuers_are_read_and_named_by_resources() {
    let settings = load(&with(BOTH, ALLOW), &[], &[]).unwrap();
    let [cluster, corp] = &settings.oauth.issuers[..] else { panic!("two") };
    assert_eq!((corp.name.as_str(), corp.issuer.as_str()), ("corp", "https://login.corp.example"));
    assert!(matches!(&corp.keys, KeySource::Configured(url) if url.to_string().ends_with("/jwks.json")));
    let SpeaksFor::People(introduction) = &corp.speaks_for else { panic!("people, by default") };
    assert!(introduction.vouches_for_emails && introduction.rules.groups.as_deref() == Some("/groups"));
    assert_eq!(introduction.people_of.as_str(), "corp", "nobody else, unless it is written");
    assert!(matches!(cluster.speaks_for, SpeaksFor::Workloads));
    let trusts = &settings.resources[0].trusts;
    assert_eq!(trusts.issuers.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["corp"]);
    assert_eq!(trusts.workloads[0].issuer(), "cluster");

    let linked = BOTH.replace("groups = \"/groups\"", "upstream = \"github\"");
    let settings = load(&with(&linked, ALLOW), &[], &[]).unwrap();
    let SpeaksFor::People(introduction) = &settings.oauth.issuers[1].speaks_for else { panic!() };
    assert_eq!(introduction.people_of.as_str(), "github");
    assert!(!load(&super::small(), &[], &[]).unwrap().oauth.issuers.iter().any(|_| true), "nobody by default");

    // Only workloads, and nobody else.
    let alone = with(BOTH, r#"{ workloads = ["cluster:x"] }"#);
    assert_eq!(load(&alone, &[], &[]).unwrap().resources[0].trusts.workloads.len(), 1);
}

#[test]
fn ema_1_keys_may_stand_in_the_file() {
    let key = SigningKey::generate(Alg::Es256, "k").unwrap();
    let set = serde_json::json!({ "keys": [key.public_jwk().unwrap()] }).to_string();
    let inline = BOTH.replace(r#"jwks_uri = "https://login.corp.example/jwks.json""#, r#"jwks = "env:CORP_JWKS""#);
    let settings = load(&with(&inline, ALLOW), &[("CORP_JWKS", &set)], &[]).unwrap();
    assert!(matches!(settings.oauth.issuers[1].keys, KeySource::Inline(_)));
    let private = format!("{{\"keys\":[{}]}}", key.to_private_jwk().expose());
    let told = load(&with(&inline, ALLOW), &[("CORP_JWKS", &private)], &[]).err().unwrap();
    assert!(told.contains("issuer.corp.jwks: holds private or symmetric key material"), "{told}");
    assert!(!told.contains("\"d\""), "{told}");
}

#[test]
fn ema_1_wif_1_mistakes_about_issuers_are_told() {
    for (from, to, told) in [
        ("issuer = \"https://login.corp.example\"\n", "", "issuer.corp.issuer: is missing"),
        ("https://login.corp.example\"\n", "\"\n", "issuer.corp.issuer: \"\": must not be empty"),
        (
            "https://kubernetes.default.svc\"\n",
            "https://login.corp.example\"\n",
            "issuer.corp.issuer: another [issuer] has it",
        ),
        ("[issuer.corp]", "[issuer.client]", "issuer.client: is not a name for an issuer"),
        ("[issuer.corp]", "[issuer.Corp]", "issuer.Corp: is not a name for an issuer"),
        ("[issuer.corp]", "[issuer.github]", "issuer.github: there is an [upstream.github] already"),
        ("\"workloads\"", "\"robots\"", "issuer.cluster.speaks_for: \"robots\": expected people or workloads"),
        ("groups = \"/groups\"", "groups = \"groups\"", "issuer.corp.groups: \"groups\": expected a JSON pointer"),
        (
            "groups = \"/groups\"",
            "upstream = \"gitlab\"",
            "issuer.corp.upstream: \"gitlab\": there is no [upstream.gitlab]",
        ),
        ("groups = \"/groups\"", "jwks = \"{}\"", "issuer.corp.jwks_uri: an issuer's public keys are in one place"),
        ("jwks_uri = \"https://login.corp.example/jwks.json\"\n", "", "issuer.corp.jwks_uri: an issuer's public keys"),
        ("https://login.corp.example/jwks.json", "http://login.corp.example/jwks", "issuer.corp.jwks_uri: "),
        (
            "speaks_for = \"workloads\"",
            "speaks_for = \"workloads\"\ngroups = \"/g\"",
            "issuer.cluster.groups: is about people",
        ),
        ("groups = \"/groups\"", "audience = \"x\"", "issuer.corp.audience: is not a setting"),
    ] {
        assert!(BOTH.contains(from), "{from}");
        let told_all = mistakes(&with(&BOTH.replacen(from, to, 1), "\"anyone\""));
        assert!(told_all.contains(told), "{told}\n---\n{told_all}");
    }
    assert!(mistakes(&with("issuer = 7\n", "\"anyone\"")).contains("issuer"));
}

#[test]
fn ema_1_wif_1_mistakes_about_whom_they_let_in_are_told() {
    for (allow, told) in [
        (
            r#"{ anyone = true, issuers = ["nobody"] }"#,
            "\"nobody\": there is no [issuer] of this name that speaks for people",
        ),
        (r#"{ anyone = true, issuers = ["cluster"] }"#, "\"cluster\": there is no [issuer]"),
        (r#"{ workloads = ["corp:x"] }"#, "begins with the name of no [issuer] that speaks for workloads"),
        (r#"{ workloads = ["*"] }"#, "expected an issuer's name, a colon and a subject"),
        (r#"{ workloads = ["clu*:x"] }"#, "expected an issuer's name"),
        (r#"{ issuers = ["corp"] }"#, "lets nobody in"),
    ] {
        let told_all = mistakes(&with(BOTH, allow));
        assert!(told_all.contains(told), "{told}\n---\n{told_all}");
    }
    // Nobody who comes without a login has a token of the provider's to be handed on.
    let handed_on = with(BOTH, ALLOW).replace("inject = \"identity\"\n", "");
    assert!(mistakes(&handed_on).contains("names issuers, but inject hands on the provider's token"));
}

#[test]
fn tx_1_a_client_exchanges_the_tokens_of_those_it_names() {
    let issuers = BOTH.replace("groups = \"/groups\"", "audiences = [\"https://old.example\"]");
    let with_client = |client: &str| {
        let head = "[[client]]\nid = \"agent\"\nsecret = \"hush\"\n";
        with(&format!("{issuers}{head}{client}\n"), "\"anyone\"")
    };
    const GRANTS: &str = "grants = [\"token_exchange\"]\n";
    let text = with_client(&format!("{GRANTS}exchange = [\"github\", \"corp\"]\nexchange_access_tokens = true"));
    let settings = load(&text, &[], &[]).unwrap();
    let exchange = &settings.oauth.clients[0].exchange;
    assert_eq!(exchange.from.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["github", "corp"]);
    assert!(exchange.access_tokens);
    let settings = load(&with_client(&format!("{GRANTS}exchange = [\"github\"]")), &[], &[]).unwrap();
    assert!(!settings.oauth.clients[0].exchange.access_tokens, "only where it is written");
    for (client, told) in [
        (GRANTS.to_owned(), "client[0].exchange: is missing: whose tokens may this client exchange?"),
        (format!("{GRANTS}exchange = [\"cluster\"]"), "[issuer.cluster] does not speak for people"),
        (format!("{GRANTS}exchange = [\"nobody\"]"), "there is neither an [upstream.nobody] nor an [issuer.nobody]"),
        (
            "redirect_uris = [\"http://127.0.0.1/c\"]\nexchange = [\"github\"]".to_owned(),
            "client[0].exchange: is given, but grants does not hold token_exchange",
        ),
        (
            format!("{GRANTS}auth_method = \"none\"\nexchange = [\"github\"]"),
            "holds token_exchange, but the client proves itself by nothing",
        ),
    ] {
        let told_all = mistakes(&with_client(&client));
        assert!(told_all.contains(told), "{told}\n---\n{told_all}");
    }
    let silent =
        with_client(&format!("{GRANTS}exchange = [\"corp\"]")).replace("audiences = [\"https://old.example\"]\n", "");
    assert!(mistakes(&silent).contains("write audiences in [issuer.corp]"));
    let of_programs = with(&BOTH.replace("\"workloads\"", "\"workloads\"\naudiences = [\"x\"]"), "\"anyone\"");
    assert!(mistakes(&of_programs).contains("issuer.cluster.audiences: is about people"));
}
