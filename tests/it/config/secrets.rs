//! Secrets: literal, from the environment, from a file; never shown.

use std::{fs, path::Path};

use vestibule::config::{self, Environment, File, Settings, Sources};

use super::{KEY, but, load, mistakes, resolved};

fn in_folder(folder: &Path, toml: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let file = File { name: "vestibule.toml".into(), text: toml.into(), folder: folder.into() };
    let environment: Environment = variables.iter().copied().collect();
    config::load(&Sources { file: Some(file), environment, flags: Vec::new() }).map_err(|m| m.to_string())
}

fn secret(settings: &Settings) -> &str {
    settings.upstreams[0].client_secret.as_ref().unwrap().expose()
}

#[cfg(unix)]
fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_comes_from_a_variable() {
    let text = but("\"hush-hush\"", "\"env:GITHUB_SECRET\"");
    let settings = load(&text, &[("GITHUB_SECRET", "from-env")], &[]).unwrap();
    assert_eq!(secret(&settings), "from-env");
    assert_eq!(resolved(&settings, "upstream.github.client_secret"), "*** (env:GITHUB_SECRET) # vestibule.toml:6");
    assert!(mistakes(&text).contains("the environment variable \"GITHUB_SECRET\" is not set"));
}

#[test]
fn a_secret_comes_from_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let text = but("\"hush-hush\"", "\"file:github.secret\"");
    assert!(in_folder(folder.path(), &text, &[]).err().unwrap().contains("cannot be read"));
    write(&folder.path().join("github.secret"), "from-file\n", 0o600);
    let settings = in_folder(folder.path(), &text, &[]).unwrap();
    assert_eq!(secret(&settings), "from-file", "the line break is nobody's secret");
    assert!(settings.warnings.is_empty());
    write(&folder.path().join("github.secret"), "from-file\n", 0o644);
    let warnings = in_folder(folder.path(), &text, &[]).unwrap().warnings;
    assert!(warnings[0].contains("everyone on this machine can read"), "{warnings:?}");
}

#[test]
fn the_file_twin_of_a_variable_names_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    write(&path, KEY, 0o600);
    let text = but(&format!("secret_key = \"{KEY}\"\n"), "");
    let variables = [("VESTIBULE__SECRET_KEY_FILE", path.to_str().unwrap())];
    assert!(in_folder(folder.path(), &text, &variables).is_ok());
    let both = [("VESTIBULE__SECRET_KEY", KEY), variables[0]];
    assert!(in_folder(folder.path(), &text, &both).err().unwrap().contains("keep one"));
}

#[test]
fn a_key_ring_has_a_current_and_older_keys() {
    let older = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
    let settings = load(&but(&format!("\"{KEY}\""), &format!("[\"{KEY}\", \"{older}\"]")), &[], &[]).unwrap();
    assert_eq!(settings.secret_key.to_text().expose().trim_end_matches('='), KEY.trim_end_matches('='));
    assert_eq!(settings.older_keys.len(), 1);
    let told = mistakes(&but(&format!("\"{KEY}\""), &format!("[\"{KEY}\", \"short\"]")));
    assert!(told.contains("secret_key[1]") && told.contains("vestibule secret new"), "{told}");
    assert!(!told.contains("short"), "a wrong secret may be a right one elsewhere: {told}");
}

#[test]
fn s31_no_resolved_value_and_no_mistake_shows_a_secret() {
    let text = but("path = \"/notes\"", "path = 3")
        + "inject = { header = \"X-Api-Key\", value = \"api-key-secret\" }\n[[client]]\nid = \"c\"\nsecret = \"client-secret\"\n[tokens]\nshared_secret = \"shared-secret\"\n";
    let told = mistakes(&text);
    let sound = text.replace("path = 3", "path = \"/n\"").replace("id = \"c\"", "id = \"c\"\nredirect_uris = []");
    let sound = sound.replace("[tokens]\n", "").replace("shared_secret = \"shared-secret\"\n", "");
    let settings = load(&sound, &[], &[]).unwrap();
    let shown: String = settings.resolved.iter().map(|r| format!("{} {}\n", r.path, r.value)).collect();
    for secret in ["hush-hush", "api-key-secret", "client-secret", "shared-secret", KEY] {
        assert!(!told.contains(secret), "{secret}: {told}");
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

/// Found by fuzzing: in `[tokens]` it is a choice between two words, and what stood there was shown as neither.
#[test]
fn s31_a_secret_in_the_wrong_section_is_not_shown() {
    let told = mistakes(&but("[[resource]]", "[tokens]\nclient_secret = \"hunter2\"\n[[resource]]"));
    assert!(told.contains("tokens.client_secret: what is written: expected registered"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
