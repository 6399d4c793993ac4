//! `[store] kind = "postgres"`.

use vestibule::store::{PostgresSettings, Settings, Tls};

use super::{load, mistakes, resolved, small};

fn with(store: &str) -> String {
    format!("{}[store]\nkind = \"postgres\"\n{store}\n", small())
}

fn read(store: &str) -> (PostgresSettings, Vec<String>) {
    let settings = load(&with(store), &[], &[]).unwrap();
    let Settings::Postgres(postgres) = settings.store else { panic!("another store") };
    (postgres, settings.warnings)
}

#[test]
fn a_server_is_described_and_its_password_is_not_shown() {
    let text = with("url = \"postgres://db.internal:5433/doors\"\nusername = \"door\"\nschema = \"house\"");
    let settings = load(&text, &[("VESTIBULE__STORE__PASSWORD", "top-secret")], &[]).unwrap();
    assert_eq!(resolved(&settings, "store.url"), "\"postgres://db.internal:5433/doors\" # vestibule.toml:13");
    assert_eq!(resolved(&settings, "store.table"), "\"vestibule\" # default");
    assert_eq!(resolved(&settings, "store.connections"), "8 # default");
    assert!(resolved(&settings, "store.password").starts_with("***"));
    let Settings::Postgres(postgres) = &settings.store else { panic!("another store") };
    assert_eq!(postgres.password.as_ref().unwrap().expose(), "top-secret");
    assert_eq!((postgres.username.as_deref(), postgres.schema.as_deref()), (Some("door"), Some("house")));
    assert!(!format!("{:?} {:?}", settings.store, settings.resolved).contains("top-secret"));
}

#[test]
fn tls_is_checked_unless_the_server_is_near_or_danger_is_written_out() {
    let checked = Tls::Checked { authorities: None };
    for (url, tls) in [
        ("postgres://db.internal/d", &checked),
        ("postgresql://db.internal/d?sslmode=require", &checked),
        ("postgres://db.internal/d?sslmode=verify-full", &checked),
        ("postgres://10.0.0.7/d", &checked),
        ("postgres://localhost.example.com/d", &checked),
        ("postgres://localhost/d?sslmode=verify-full", &checked),
        ("postgres://localhost/d", &Tls::Off),
        ("postgres://127.0.0.1:5433/d", &Tls::Off),
        ("postgres://[::1]/d?sslmode=disable", &Tls::Off),
        ("postgres://%2Frun%2Fpostgresql/d", &Tls::Off),
    ] {
        let (postgres, warnings) = read(&format!("url = \"{url}\""));
        assert_eq!(&postgres.tls, tls, "{url}");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(postgres.url.query().is_none(), "{url}");
    }
    let away = "url = \"postgres://db.internal/d?sslmode=disable\"";
    let told = mistakes(&with(away));
    assert!(told.contains("store.url: sslmode=disable away from this machine"), "{told}");
    let (postgres, warnings) = read(&format!("{away}\ntls = \"dangerous_off\""));
    assert_eq!(postgres.tls, Tls::Off);
    assert!(warnings.join("").contains("dangerous_off"), "{warnings:?}");
    assert!(mistakes(&with("url = \"postgres://h/d\"\ntls = \"off\"")).contains("dangerous_off"));
}

#[test]
fn mistakes_about_the_server_are_told_without_its_password() {
    let told = mistakes(&with("url = \"postgres://door:top-secret@db.internal/d\""));
    assert!(told.contains("store.url: must not hold credentials") && !told.contains("top-secret"), "{told}");
    assert!(mistakes(&with("")).contains("store.url: is missing"));
    for (url, problem) in [
        ("mysql://db.internal/d", "expected postgres://"),
        ("db.internal:5432", "expected postgres://"),
        ("host=db.internal dbname=d", "expected a URL"),
        ("postgres://db.internal", "names no database"),
        ("postgres:///d", "names no host"),
        ("postgres://one,two/d", "one host"),
        ("postgres://db.internal/d/e", "one database"),
        ("postgres://db.internal/d#x", "nothing beyond"),
        ("postgres://db.internal/d?options=-cfsync%3Doff", "nothing beyond"),
        ("postgres://db.internal/d?sslmode=prefer", "sslmode must be disable or verify-full"),
        ("postgres://%2Frun%2Fpostgresql/d?sslmode=require", "a Unix socket has no TLS"),
    ] {
        let told = mistakes(&with(&format!("url = \"{url}\"")));
        assert!(told.contains(problem), "{url}: {told}");
    }
    let text = "url = \"postgres://localhost/d\"\ntable = \"My Table\"\nschema = \"1st\"\nconnections = 0\nprefix = \"x\"\n\
                ca_file = \"/nowhere.pem\"";
    let told = mistakes(&with(text));
    for problem in [
        "store.table: \"My Table\"",
        "store.schema: \"1st\"",
        "store.connections: expected",
        "store.prefix: is not a setting",
        "store.ca_file: is of no use without TLS",
    ] {
        assert!(told.contains(problem), "{problem}: {told}");
    }
}
