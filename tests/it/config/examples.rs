//! Every example is sound as it stands, once its secrets are given.

use std::{fs, path::Path};

use vestibule::config::{self, Environment, File, Sources};

use super::KEY;

/// Variables that a text asks for by `env:NAME`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("\"env:").skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_setting_is_in_the_example_of_every_setting() {
    let text = include_str!("../../../examples/every-setting.toml");
    let settings = super::load(text, &variables(text).map(|name| (name, KEY)).collect::<Vec<_>>(), &[]).unwrap();
    let left: Vec<&str> =
        settings.resolved.iter().filter(|r| r.origin == config::Origin::Default).map(|r| r.path.as_str()).collect();
    assert!(left.is_empty(), "not in the example: {left:?}");
}

#[test]
fn every_example_can_be_served() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let Ok(entries) = fs::read_dir(&folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let environment: Environment = variables(&text)
            .map(|name| {
                (name.to_owned(), if name.contains("KEY") { KEY } else { "hush-hush-hush-hush-hush-hush-hush" })
            })
            // Files of a container's secrets are not there when tests run.
            .chain([("VESTIBULE__SECRET_KEY".to_owned(), KEY)])
            .collect();
        let file = File { name: name.clone(), text, folder: folder.clone() };
        if let Err(mistakes) = config::load(&Sources { file: Some(file), environment, flags: Vec::new() }) {
            panic!("{name}: {mistakes}");
        }
    }
}
