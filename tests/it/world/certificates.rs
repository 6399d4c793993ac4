//! Certificates by an authority of the operator's own, made with the `openssl` program.

use std::{path::Path, process::Command};

/// Runs `openssl` in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("the openssl program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate for 127.0.0.1 by an authority of its own: `ca.pem`, `leaf.pem`, `leaf.key`.
pub(crate) fn make(folder: &Path) {
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(folder, &format!("req -x509 {curve} -keyout ca.key -out ca.pem -subj /CN=test-authority -days 2"));
    openssl(folder, &format!("req {curve} -keyout leaf.key -out leaf.csr -subj /CN=mcp"));
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem",
    );
}
