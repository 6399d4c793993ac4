//! Each class of mistake, as the operator reads it.

use proptest::prelude::*;
use vestibule::config;

use super::{KEY, but, load, mistakes, small};

#[test]
fn the_small_file_is_sound_and_its_defaults_are_safe() {
    let settings = load(&small(), &[], &[]).unwrap();
    assert_eq!(settings.public_url.trimmed(), "https://mcp.example.com");
    assert_eq!(settings.token.issuer, "https://mcp.example.com");
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.admin_listen.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(settings.oauth.consent, vestibule::oauth::ConsentMode::Remember);
    assert_eq!(settings.oauth.code_life.as_secs(), 60);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let resource = &settings.resources[0];
    assert_eq!(resource.uri.as_str(), "https://mcp.example.com/notes");
    assert_eq!(resource.upstream.as_str(), "github", "the only upstream need not be named");
    assert_eq!(resource.scopes.to_string(), "mcp");
    assert!(resource.is_default, "PRM-11: the sole resource");
    assert_eq!(settings.upstreams[0].callback.to_string(), "https://mcp.example.com/callback/github");
}

#[test]
fn d9_d11_d15_what_has_no_default_is_named_all_at_once() {
    insta::assert_snapshot!(mistakes("[[resource]]\n"), @r#"
the configuration has 6 mistakes:

vestibule.toml:1: resource[0].path: is missing
    remedy: write path = "/notes"

vestibule.toml:1: resource[0].target: is missing
    remedy: write target = "http://127.0.0.1:3000/mcp"

vestibule.toml:1: resource[0].allow: is missing: who may enter this server?
    remedy: say it, there is no default: allow = { emails = ["*@example.com"] }, or "anyone"

public_url: is missing
    remedy: write public_url = "https://mcp.example.com"

secret_key: is missing: without it a restart would log everyone out
    remedy: make one with `vestibule secret new`, keep it in a file and write secret_key = "file:/path"

upstream: there is no provider where people log in
    remedy: write [upstream.google] with provider, client_id and client_secret
"#);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_line_and_remedy() {
    let text = r#"public_url = "https://mcp.example.com/path"
public_uri = "typo"
listen = "8080"
secret_key = "too-short"
[store]
kind = "mysql"
[upstream.goggle]
provider = "goggle"
client_id = 7
client_secret = "env:NOT_SET"
[upstream.Bad]
[[resource]]
path = "/token"
target = "htp://nowhere"
upstream = "gogle"
inject = "token"
[[resource]]
path = "/a"
target = "http://10.0.0.1/mcp"
alow = "anyone"
[tokens]
algorithm = "none"
access_life = "1y"
[consent]
mode = "off"
[limits]
requests_per_minute = -1
[telemetry]
log = "vestibule=loud"
"#;
    insta::assert_snapshot!(mistakes(text), @r#"
the configuration has 22 mistakes:

vestibule.toml:1: public_url: "https://mcp.example.com/path": must not hold a path; the path of a server goes into [[resource]] path
    remedy: write public_url = "https://mcp.example.com"

vestibule.toml:2: public_uri: is not a setting
    remedy: did you mean `public_url`?

vestibule.toml:3: listen: "8080": expected an IP address and a port
    remedy: write listen = "0.0.0.0:8080"

vestibule.toml:4: secret_key: expected 32 random bytes in base64
    remedy: make one with `vestibule secret new`, keep it in a file and write secret_key = "file:/path"

vestibule.toml:6: store.kind: "mysql": expected sled (one process, one folder), redis or postgres (any number of processes) or memory (forgets everything)
    remedy: write kind = "sled"

vestibule.toml:8: upstream.goggle.provider: "goggle": is not a provider known here; did you mean "google"?
    remedy: write provider = "google", or "oidc" with issuer

vestibule.toml:9: upstream.goggle.client_id: expected a string, found a number
    remedy: write client_id = "the id that the provider gave our app"

vestibule.toml:10: upstream.goggle.client_secret: the environment variable "NOT_SET" is not set
    remedy: set it, or point to a file with file:/path

vestibule.toml:11: upstream.Bad: an upstream's name has 1 to 32 characters out of a-z, 0-9, '-' and '_', and is not "client"
    remedy: rename the section

vestibule.toml:12: resource[0].allow: is missing: who may enter this server?
    remedy: say it, there is no default: allow = { emails = ["*@example.com"] }, or "anyone"

vestibule.toml:13: resource[0].path: "/token": /token is an address of Vestibule itself; choose another path
    remedy: write path = "/notes"

vestibule.toml:14: resource[0].target: "htp://nowhere": must be https (or http on loopback)
    remedy: write target = "http://127.0.0.1:3000/mcp"

vestibule.toml:15: resource[0].upstream: "gogle": there is no [upstream.gogle]; there is goggle
    remedy: write upstream = "goggle"

vestibule.toml:16: resource[0].inject: "token" is not an injection
    remedy: write "upstream_token", "identity", "none", or { header = "X-Api-Key", value = "env:KEY" }

vestibule.toml:17: resource[1].allow: is missing: who may enter this server?
    remedy: say it, there is no default: allow = { emails = ["*@example.com"] }, or "anyone"

vestibule.toml:19: resource[1].target: "http://10.0.0.1/mcp": plain http is only accepted on loopback (set dangerous_allow_http = true to allow it elsewhere)
    remedy: write target = "http://127.0.0.1:3000/mcp"

vestibule.toml:20: resource[1].alow: is not a setting
    remedy: did you mean `allow`?

vestibule.toml:22: tokens.algorithm: "none": expected ES256, EdDSA, RS256 or HS256
    remedy: write algorithm = "ES256"

vestibule.toml:23: tokens.access_life: "1y": expected a time from 1s to 24h, as a number and one of ms, s, m, h, d
    remedy: write access_life = "1h"

vestibule.toml:25: consent.mode: "off": without consent any website can log people in unseen; spell it "dangerous_off" if you must
    remedy: write mode = "remember", or "always"

vestibule.toml:27: limits.requests_per_minute: expected a whole number from 0 to 1000000
    remedy: write requests_per_minute = 600

vestibule.toml:29: telemetry.log: "vestibule=loud": `vestibule=loud` is not a log filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
    remedy: write log = "info", or "vestibule=debug,info"
"#);
}

#[test]
fn syntax_errors_are_told_beside_the_rest_and_show_no_secret() {
    let text = but("client_secret = \"hush-hush\"", "client_secret = \"hush-hush");
    let told = mistakes(&text);
    assert!(told.contains("vestibule.toml:6: this is not TOML"), "{told}");
    assert!(!told.contains("hush-hush"), "{told}");
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    for (from, to, near) in [
        ("target =", "tagret =", "`target`"),
        ("path =", "pth =", "`path`"),
        ("client_id =", "clientid =", "`client_id`"),
        ("public_url =", "publicurl =", "`public_url`"),
        ("[[resource]]", "[[resources]]", "`resource`"),
        ("[upstream.github]", "[upstreams.github]", "`upstream`"),
    ] {
        let told = mistakes(&but(from, to));
        assert!(told.contains(&format!("did you mean {near}?")), "{to}: {told}");
    }
}

#[test]
fn an_unknown_variable_of_the_environment_is_a_mistake_too() {
    let told = load(&small(), &[("VESTIBULE__PUBLIC_ULR", "https://x.example")], &[]).err().unwrap();
    insta::assert_snapshot!(told, @r#"
the configuration has one mistake:

environment VESTIBULE__PUBLIC_ULR: public_ulr: is not a setting
    remedy: did you mean `public_url`?
"#);
}

#[test]
fn resources_that_collide_are_refused() {
    let two = |a: &str, b: &str| {
        let more = format!("[[resource]]\npath = \"{b}\"\ntarget = \"http://127.0.0.1:1\"\nallow = \"anyone\"\n");
        but("\"/notes\"", &format!("\"{a}\"")) + &more
    };
    assert!(load(&two("/a", "/b"), &[], &[]).is_ok());
    assert!(load(&two("/a", "/a/b"), &[], &[]).is_ok());
    assert!(mistakes(&two("/a", "/a/")).contains("resource[0] has this path already"));
    assert!(mistakes(&two("/a", "/callback/x")).contains("is an address of Vestibule itself"));
    assert!(mistakes(&two("/a", "/.well-known/x")).contains("is an address of Vestibule itself"));
    for odd in ["notes", "/a//b", "/a/../b", "/a%2fb", "/a?b", "/a#b", "/a b", "/ä", "//", "/a/./b"] {
        assert!(mistakes(&two("/a", odd)).contains("a path begins with /"), "{odd}");
    }
}

#[test]
fn prm_11_only_one_resource_is_the_default() {
    let three = |defaults: [&str; 3]| {
        let mut text = small();
        text.truncate(text.find("[[resource]]").unwrap());
        for (path, default) in ["/", "/a", "/b"].iter().zip(defaults) {
            text += &format!(
                "[[resource]]\npath = \"{path}\"\ntarget = \"http://127.0.0.1:1\"\nallow = \"anyone\"\n{default}\n"
            );
        }
        text
    };
    let defaults =
        |text: &str| load(text, &[], &[]).unwrap().resources.iter().map(|r| r.is_default).collect::<Vec<_>>();
    assert_eq!(defaults(&three(["", "", ""])), [true, false, false], "the root resource");
    assert_eq!(defaults(&three(["", "default = true", ""])), [false, true, false], "the marked one");
    let told = mistakes(&three(["", "default = true", "default = true"]));
    assert!(told.contains("resource[2].default: resource[1] is the default already"), "{told}");
}

#[test]
fn d15_allow_lets_in_only_whom_it_names() {
    let allow = |rule: &str| but("allow = \"anyone\"", &format!("allow = {rule}"));
    assert!(
        load(&allow(r#"{ emails = ["*@example.com", "Ann@Example.org"], subjects = ["github:1"] }"#), &[], &[]).is_ok()
    );
    // The provider of the small file tells no groups unless it is said where.
    let groups = allow(r#"{ groups = ["staff"] }"#);
    assert!(mistakes(&groups).contains("names groups, and the upstream tells none"), "{}", mistakes(&groups));
    assert!(mistakes(&groups).contains("groups = \"/groups\""));
    let told = groups.replace("provider = ", "groups = \"/groups\"\nprovider = ");
    assert!(load(&told, &[], &[]).is_ok());
    assert!(mistakes(&told.replace("\"staff\"", "\" \"")).contains("resource[0].allow.groups[0]"));
    assert!(mistakes(&allow("{}")).contains("lets nobody in"));
    assert!(mistakes(&allow("{ emails = [] }")).contains("lets nobody in"));
    assert!(mistakes(&allow("true")).contains("expected rules, found true or false"));
    assert!(mistakes(&allow("\"everyone\"")).contains("is not a rule"));
    assert!(mistakes(&allow(r#"{ emails = ["*"] }"#)).contains("allow = \"anyone\""));
    assert!(mistakes(&allow(r#"{ emails = ["*@*"] }"#)).contains("resource[0].allow.emails[0]"));
    assert!(mistakes(&allow(r#"{ email = ["*@example.com"] }"#)).contains("did you mean `emails`?"));
}

#[test]
fn sc_3_step_up_rules_are_read_or_refused() {
    let steps = |more: &str| small() + more;
    let rule = "[[resource.require]]\nmethods = [\"tools/call\"]\nscopes = [\"w\"]\n";
    assert!(load(&steps(&format!("read_body = \"64KiB\"\n{rule}")), &[], &[]).is_ok());
    assert!(load(&steps(&format!("read_body = \"off\"\n[resource.implies]\na = [\"w\"]\n{rule}")), &[], &[]).is_ok());
    for (more, problem) in [
        (rule.to_owned(), "read_body: is missing"),
        ("read_body = \"1KiB\"\n".to_owned(), "reads messages for no rule"),
        (format!("read_body = \"1GiB\"\n{rule}"), "expected \"off\", or a size from 1KiB to 4MiB"),
        (
            format!("read_body = \"off\"\n{}", rule.replace("tools/call", "*")),
            "expected a name, or the begin of one and a *",
        ),
        (format!("read_body = \"off\"\n{}", rule.replace("methods", "method")), "did you mean `methods`?"),
        ("read_body = \"off\"\n[[resource.require]]\nscopes = [\"w\"]".to_owned(), "require[0].methods: is missing"),
        ("read_body = \"off\"\n[[resource.require]]\nmethods = [\"a\"]".to_owned(), "require[0].scopes: is missing"),
        ("[resource.implies]\na = \"b\"\n".to_owned(), "expected the scopes that it contains"),
        ("[resource.implies]\n\"a b\" = [\"b\"]\n".to_owned(), "one scope per string"),
    ] {
        let told = mistakes(&steps(&more));
        assert!(told.contains(problem), "{more}: {told}");
    }
}

#[test]
fn injections_are_read_or_refused() {
    let inject = |what: &str| small() + "inject = " + what;
    for (what, shown) in [
        ("\"upstream_token\"", "\"upstream_token\""),
        ("\"none\"", "\"none\""),
        ("[\"upstream_token\", \"identity\"]", "\"upstream_token\", \"identity\""),
        ("{ header = \"X-Api-Key\", value = \"s3cret\" }", "{ header = \"x-api-key\", value = *** }"),
    ] {
        let settings = load(&inject(what), &[], &[]).unwrap();
        assert!(super::resolved(&settings, "resource[0].inject").starts_with(shown), "{what}");
        assert!(settings.resolved.iter().all(|r| !r.value.contains("s3cret")));
    }
    for (what, problem) in [
        ("[\"upstream_token\", \"none\"]", "\"none\" stands alone"),
        ("\"passthrough\"", "is not an injection"),
        ("3", "expected an injection, found a number"),
        ("{ header = \"Host\", value = \"x\" }", "belongs to the transport"),
        ("{ header = \"a b\", value = \"x\" }", "is not a header's name"),
        ("{ header = \"X-A\", value = \"a\\nb\" }", "does not fit into a header"),
        ("{ header = \"X-A\" }", "inject.value: is missing"),
        ("[\"upstream_token\", { header = \"Authorization\", value = \"x\" }]", "set the same header"),
    ] {
        assert!(mistakes(&inject(what)).contains(problem), "{what}: {}", mistakes(&inject(what)));
    }
}

#[test]
fn tok_7_no_upstream_is_called_client() {
    assert!(mistakes(&but("[upstream.github]", "[upstream.client]")).contains("and is not \"client\""));
}

#[test]
fn plain_http_away_from_loopback_needs_to_be_spelt() {
    let open = but("http://127.0.0.1:3000/mcp", "http://10.0.0.1/mcp");
    assert!(mistakes(&open).contains("dangerous_allow_http = true"));
    let settings = load(&format!("dangerous_allow_http = true\n{open}"), &[], &[]).unwrap();
    assert!(settings.warnings.iter().any(|w| w.starts_with("dangerous_allow_http")));
    assert!(load(&but("https://mcp.example.com", "http://127.0.0.1:8080"), &[], &[]).is_ok());
}

#[test]
fn dangerous_choices_are_allowed_and_warned_of() {
    let text = small()
        + "[consent]\nmode = \"dangerous_off\"\n[limits]\ntrusted_proxies = [\"0.0.0.0/0\"]\n[store]\nkind = \"memory\"\n[tokens]\naccess_life = \"5s\"";
    let warnings = load(&text, &[], &[]).unwrap().warnings.join("\n");
    for word in ["consent.mode", "trusted_proxies", "store.kind", "tokens.access_life"] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
}

#[test]
fn rfc7518_3_2_a_shared_secret_is_as_long_as_its_hash() {
    let tokens = |text: &str| small() + "[tokens]\n" + text;
    assert!(load(&tokens(&format!("algorithm = \"HS256\"\nshared_secret = \"{KEY}\"")), &[], &[]).is_ok());
    assert!(mistakes(&tokens("algorithm = \"HS256\"")).contains("is missing for HS256"));
    assert!(mistakes(&tokens("algorithm = \"HS256\"\nshared_secret = \"short\"")).contains("shorter than 32 bytes"));
    assert!(mistakes(&tokens("shared_secret = \"x\"")).contains("only HS256 has one"));
}

#[test]
fn asm_13_a_rotation_leaves_time_for_the_next_key_to_become_known() {
    let rotate = |line: &str| load(&format!("{}[tokens]\n{line}\n", small()), &[], &[]).map(|s| s.token.rotate);
    let days = |n: u64| Some(std::time::Duration::from_secs(n * 86_400));
    assert_eq!(rotate(""), Ok(days(90)));
    assert_eq!(rotate("rotate_keys = \"30d\""), Ok(days(30)));
    assert_eq!(rotate("rotate_keys = \"never\""), Ok(None));
    assert_eq!(rotate("rotate_keys = \"0\""), Ok(None));
    let told = rotate("rotate_keys = \"1h\"").unwrap_err();
    assert!(
        told.contains("tokens.rotate_keys") && told.contains("from 2d to 3650d") && told.contains("never"),
        "{told}"
    );
}

#[test]
fn an_admin_token_is_long_masked_and_may_come_from_a_file() {
    let with = |line: &str| load(&format!("{}[admin]\n{line}\n", small()), &[], &[]);
    assert!(with("").unwrap().admin.token.is_none());
    let told = with("token = \"too-short-to-be-one\"").err().unwrap();
    assert!(
        told.contains("admin.token") && told.contains("32 bytes") && told.contains("vestibule secret new"),
        "{told}"
    );
    assert!(!told.contains("too-short-to-be-one"), "{told}");
    let variable = [("VESTIBULE__ADMIN__TOKEN", "0123456789-0123456789-0123456789")];
    let settings = load(&small(), &variable, &[]).unwrap();
    assert_eq!(super::resolved(&settings, "admin.token"), "*** # environment VESTIBULE__ADMIN__TOKEN");
    let missing = load(&small(), &[("VESTIBULE__ADMIN__TOKEN_FILE", "/nowhere")], &[]).err().unwrap();
    assert!(missing.contains("/nowhere"), "{missing}");
}

#[test]
fn what_only_an_upstream_can_know_is_told_at_its_place() {
    let auth0 = but("provider = \"github\"", "provider = \"auth0\"");
    let told = mistakes(&auth0);
    assert!(told.contains("upstream.github.variables.domain"), "{told}");
    let plain = but("provider = \"github\"", "provider = \"auth0\"\ndomain = \"t.eu.auth0.com\"");
    let settings = load(&plain, &[], &[]).unwrap();
    assert_eq!(settings.upstreams[0].provider.issuer.as_deref(), Some("https://t.eu.auth0.com/"));
    assert!(
        mistakes(&but("client_secret = \"hush-hush\"\n", "")).contains("upstream.github.client_secret: is missing")
    );
    assert!(mistakes(&but("provider = \"github\"", "provider = \"gitub\"")).contains("did you mean \"github\"?"));
}

#[test]
fn dp_1_proofs_are_allowed_until_the_operator_says_otherwise() {
    use vestibule::token::Dpop;
    assert_eq!(load(&small(), &[], &[]).unwrap().token.dpop, Dpop::Allowed);
    let dpop = |value| load(&format!("{}[tokens]\ndpop = {value:?}\n", small()), &[], &[]);
    assert_eq!(dpop("nonce").unwrap().token.dpop, Dpop::Nonce);
    assert_eq!(dpop("off").unwrap().token.dpop, Dpop::Off);
    assert!(dpop("on").err().unwrap().contains("tokens.dpop: \"on\": expected allowed"));
    let demanding = but("allow = \"anyone\"", "allow = \"anyone\"\ndpop = \"required\"");
    assert!(load(&demanding, &[], &[]).unwrap().resources[0].demands_proof);
    let told = mistakes(&format!("{demanding}[tokens]\ndpop = \"off\"\n"));
    assert!(told.contains("tokens.dpop") && told.contains("could get no token"), "{told}");
    assert!(mistakes(&demanding.replace("required", "yes")).contains("expected allowed, or required"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = config::from_toml(&text);
    }

    #[test]
    fn arbitrary_values_at_known_places_never_panic(
        key in prop::sample::select(vec![
            "public_url", "listen", "secret_key", "store", "upstream", "resource", "client", "hosts", "tokens", "limits",
            "resource.allow", "upstream.github", "upstream.github.endpoints", "store.cache", "limits.drain", "extra_ca",
            "upstream.github.provider_file",
        ]),
        value in prop::sample::select(vec![
            "1", "-9223372036854775808", "1.5", "true", "\"\"", "\"\u{202e}x\"", "[]", "[[]]", "{}", "{ a = { a = 1 } }",
            "1979-05-27", "[1, \"a\", {}]", "\"file:/dev/zero\"", "\"/dev/zero\"", "\"file:/\"", "\"env:\"", "\"99999999999999999999d\"",
        ]),
        rest in any::<bool>(),
    ) {
        let text = format!("{key} = {value}\n{}", if rest { small() } else { String::new() });
        let _ = config::from_toml(&text);
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0usize..260, byte in 0x20u8..0x7f) {
        let mut text = small().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let _ = config::from_toml(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn arbitrary_variables_never_panic(name in "(VESTIBULE__)?[A-Z0-9_]{0,40}", value in "\\PC{0,30}") {
        let _ = load(&small(), &[(&name, &value)], &[]);
    }
}
