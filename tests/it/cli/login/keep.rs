//! The file that a login is kept in.

use std::os::unix::fs::PermissionsExt;

use super::{kit::Home, stranger::Stranger};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_reads_the_file_and_a_looser_one_is_refused() {
    let (stranger, home) = (Stranger::honest().await, Home::new());
    let url = stranger.url();
    home.log_in(&url, &[]).await.ok();
    assert_eq!((mode(&home.record()), mode(&home.logins())), (0o600, 0o700));
    let names: Vec<_> = std::fs::read_dir(home.logins()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "a record, a lock, no left-over: {names:?}");
    home.run(&[&url, "--refresh"]).await.ok();
    assert_eq!(mode(&home.record()), 0o600);

    for loose in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(home.record(), PermissionsExt::from_mode(loose)).unwrap();
        for asked in ["--print-token", "--refresh"] {
            let ended = home.run(&[&url, asked]).await;
            assert_eq!(ended.code, 1);
            assert!(ended.stderr.contains("chmod 600") && ended.stdout.is_empty(), "{ended:?}");
        }
    }
    assert_eq!(stranger.seen("/token").len(), 2, "its token was not used");
    // It cannot be revoked without being read; it is gone all the same.
    assert_eq!(home.run(&[&url, "--logout"]).await.code, 1);
    assert!(home.run(&[&url, "--print-token"]).await.stderr.contains("there is no login"));
}

#[tokio::test]
async fn a_file_of_ones_own_holds_one_login_and_gives_it_to_nobody_else() {
    let (stranger, other, home) = (Stranger::honest().await, Stranger::honest().await, Home::new());
    home.log_in(&stranger.url(), &["--token-file", "deep/in/login.json"]).await.ok();
    assert_eq!(mode(&home.path().join("deep/in/login.json")), 0o600);
    assert!(!home.logins().exists());
    let of = async |url: &str| home.run(&[url, "--print-token", "--token-file", "deep/in/login.json"]).await;
    assert_eq!(of(&stranger.url()).await.ok().stdout, "access-secret-1\n");
    let ended = of(&other.url()).await;
    assert!(ended.code == 1 && ended.stderr.contains("holds the login at") && ended.stdout.is_empty(), "{ended:?}");
    assert!(other.all().is_empty());
}

#[tokio::test]
async fn sep_2352_a_client_of_one_issuer_is_not_shown_to_another() {
    let (stranger, other, home) = (Stranger::honest().await, Stranger::honest().await, Home::new());
    home.log_in(&stranger.url(), &[]).await.ok();
    let issuer = other.base().to_owned();
    stranger.bend(|_, script| script.prm()["authorization_servers"] = serde_json::json!([issuer]));
    home.log_in(&stranger.url(), &[]).await.ok();
    assert_eq!(other.seen("/register").len(), 1);
    assert_eq!(home.kept()["issuer"], other.base());
}
