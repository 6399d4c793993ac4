//! Flag over environment over file over default; who said so is kept.

use vestibule::config::{self, Flag, Sources};

use super::{KEY, load, resolved, small};

const LISTEN: &str = "VESTIBULE__LISTEN";

fn flag(value: &str) -> Flag {
    Flag { name: "--listen", path: &["listen"], value: value.into() }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\n".to_owned() + &small();
    let origin = |file: &str, variables: &[(&str, &str)], flags: &[Flag]| {
        resolved(&load(file, variables, flags).unwrap(), "listen")
    };
    assert_eq!(origin(&small(), &[], &[]), "\"0.0.0.0:8080\" # default");
    assert_eq!(origin(&file, &[], &[]), "\"127.0.0.1:1\" # vestibule.toml:1");
    assert_eq!(origin(&file, &[(LISTEN, "127.0.0.1:2")], &[]), "\"127.0.0.1:2\" # environment VESTIBULE__LISTEN");
    assert_eq!(origin(&file, &[(LISTEN, "127.0.0.1:2")], &[flag("127.0.0.1:3")]), "\"127.0.0.1:3\" # flag --listen");
    assert_eq!(
        origin(&file, &[(LISTEN, "")], &[]),
        "\"127.0.0.1:1\" # vestibule.toml:1",
        "an empty variable is absent"
    );
}

#[test]
fn a_mistake_names_the_variable_or_flag_that_made_it() {
    let told = load(&small(), &[(LISTEN, "nonsense")], &[]).err().unwrap();
    assert!(told.contains("environment VESTIBULE__LISTEN: listen: \"nonsense\""), "{told}");
    let told = load(&small(), &[], &[flag("nonsense")]).err().unwrap();
    assert!(told.contains("flag --listen: listen: \"nonsense\""), "{told}");
}

#[test]
fn one_resource_starts_from_the_environment_alone() {
    let variables = [
        ("VESTIBULE__PUBLIC_URL", "https://mcp.example.com"),
        ("VESTIBULE__SECRET_KEY", KEY),
        ("VESTIBULE__STORE__KIND", "memory"),
        ("VESTIBULE__UPSTREAM__GITHUB__PROVIDER", "github"),
        ("VESTIBULE__UPSTREAM__GITHUB__CLIENT_ID", "Ov23"),
        ("VESTIBULE__UPSTREAM__GITHUB__CLIENT_SECRET", "hush-hush"),
        ("VESTIBULE__RESOURCE__PATH", "/notes"),
        ("VESTIBULE__RESOURCE__TARGET", "http://127.0.0.1:3000/mcp"),
        ("VESTIBULE__RESOURCE__ALLOW__EMAILS", "*@example.com,ann@example.org"),
        ("VESTIBULE__RESOURCE__SCOPES", "repo,gist"),
        ("VESTIBULE__RESOURCE__INJECT", "upstream_token,identity"),
        ("VESTIBULE__REGISTER__ENABLED", "false"),
        ("VESTIBULE__LIMITS__REQUESTS_PER_MINUTE", "60"),
    ];
    let sources = Sources { environment: variables.into_iter().collect(), ..Sources::default() };
    let settings = config::load(&sources).unwrap();
    assert_eq!(settings.resources[0].upstream_scopes, ["repo", "gist"]);
    assert_eq!(settings.resources[0].inject.len(), 2);
    assert!(matches!(settings.oauth.registration.gate, vestibule::oauth::Gate::Closed));
    assert_eq!(settings.web.requests_per_minute, 60);
    assert_eq!(
        resolved(&settings, "resource[0].allow.emails"),
        "[\"*@example.com\", \"ann@example.org\"] # environment VESTIBULE__RESOURCE__ALLOW__EMAILS"
    );
}

#[test]
fn several_resources_are_told_apart_by_number() {
    let two = small() + "[[resource]]\npath = \"/b\"\ntarget = \"http://127.0.0.1:1\"\nallow = \"anyone\"\n";
    let settings = load(&two, &[("VESTIBULE__RESOURCE__1__PATH", "/c")], &[]).unwrap();
    assert_eq!(settings.resources[1].path, "/c");
    let told = load(&two, &[("VESTIBULE__RESOURCE__PATH", "/c")], &[]).err().unwrap();
    assert!(told.contains("put a number behind its name"), "{told}");
}
