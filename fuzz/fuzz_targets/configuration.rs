//! TOML of any kind becomes settings or mistakes, and mistakes never repeat a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::config;

/// As the seeds have it.
const SECRET: &str = "hunter2-hunter2-hunter2";

fuzz_target!(|text: &str| {
    // Secrets may be told to lie in files: none of this machine's are read.
    if text.contains("file") || text.contains('/') && text.contains("_ca") {
        return;
    }
    if let Err(mistakes) = config::from_toml(text) {
        let told = mistakes.to_string();
        assert!(!told.is_empty());
        // Where it stands as the value of a secret it is never shown. Elsewhere it is nobody's secret.
        if text.contains(&format!("client_secret = \"{SECRET}\"")) && text.matches(SECRET).count() == 1 {
            assert!(!told.contains(SECRET), "{told}");
        }
    }
});
