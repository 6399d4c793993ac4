//! `providers/*.toml`, compiled in, in name order.

/// Name and text of each.
const PRESETS: [(&str, &str); 5] = [
    ("auth0", include_str!("../../providers/auth0.toml")),
    ("cognito", include_str!("../../providers/cognito.toml")),
    ("github", include_str!("../../providers/github.toml")),
    ("google", include_str!("../../providers/google.toml")),
    ("oidc", include_str!("../../providers/oidc.toml")),
];

/// The names that `provider = "…"` knows, in name order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The text of one preset.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Provider;

    #[test]
    fn every_preset_parses_and_bears_its_files_name() {
        for name in names() {
            let preset = Provider::from_toml(text(name).unwrap()).unwrap();
            assert_eq!(preset.name, name);
        }
        assert!(names().is_sorted());
    }

    #[test]
    fn no_file_of_the_folder_is_forgotten() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/providers");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".toml", ""))
            .collect();
        files.sort();
        assert_eq!(files, names().collect::<Vec<_>>());
    }
}
