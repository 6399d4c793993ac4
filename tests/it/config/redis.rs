//! `[store] kind = "redis"`.

use super::{load, mistakes, resolved, small};

fn with(store: &str) -> String {
    format!("{}[store]\nkind = \"redis\"\n{store}\n", small())
}

#[test]
fn a_server_is_described_and_its_password_is_not_shown() {
    let text = with("url = \"rediss://redis.internal:6380/2\"\nusername = \"door\"");
    let settings = load(&text, &[("VESTIBULE__STORE__PASSWORD", "top-secret")], &[]).unwrap();
    assert_eq!(resolved(&settings, "store.url"), "\"rediss://redis.internal:6380/2\" # vestibule.toml:13");
    assert_eq!(resolved(&settings, "store.prefix"), "\"vestibule:\" # default");
    assert!(resolved(&settings, "store.password").starts_with("***"));
    let vestibule::store::Settings::Redis(redis) = &settings.store else { panic!("another store") };
    assert_eq!(redis.password.as_ref().unwrap().expose(), "top-secret");
    assert_eq!(redis.username.as_deref(), Some("door"));
    assert!(!format!("{:?} {:?}", settings.store, settings.resolved).contains("top-secret"));
}

#[test]
fn mistakes_about_the_server_are_told_without_its_password() {
    let told = mistakes(&with("url = \"redis://door:top-secret@redis.internal\""));
    assert!(told.contains("store.url: must not hold credentials") && !told.contains("top-secret"), "{told}");
    assert!(mistakes(&with("")).contains("store.url: is missing"));
    for (url, problem) in [
        ("http://redis.internal", "expected redis:// or rediss://"),
        ("redis.internal:6379", "expected redis:// or rediss://"),
        ("unix:///run/redis.sock", "expected redis:// or rediss://"),
        ("rediss://redis.internal/#insecure", "nothing beyond host, port and database"),
        ("redis://redis.internal/?protocol=resp3", "nothing beyond host, port and database"),
        ("redis://redis.internal/zero", "the database's number"),
        ("redis://", "names no host"),
    ] {
        let told = mistakes(&with(&format!("url = \"{url}\"")));
        assert!(told.contains(problem), "{url}: {told}");
    }
    let told = mistakes(&with("url = \"redis://h\"\nusername = \"door\"\npath = \"/var\"\nprefix = \"a b\""));
    for problem in ["store.password: is missing", "store.path: is not a setting", "store.prefix: \"a b\""] {
        assert!(told.contains(problem), "{problem}: {told}");
    }
}

#[test]
fn an_authority_of_ones_own_needs_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let with = |scheme: &str| with(&format!("url = \"{scheme}://h\"\nca_file = \"{}\"", file.display()));
    let settings = load(&with("rediss"), &[], &[]).unwrap();
    let vestibule::store::Settings::Redis(redis) = &settings.store else { panic!("another store") };
    assert!(redis.authorities.is_some());
    assert!(mistakes(&with("redis")).contains("store.ca_file: is of no use without TLS"));
    std::fs::write(&file, "nothing of the kind").unwrap();
    assert!(mistakes(&with("rediss")).contains("holds no PEM certificate"));
}
