//! S22: what a stranger's address can not make us do.

use std::{io::Write as _, sync::Arc, time::Duration};

use serde_json::json;
use tokio::net::TcpListener;
use vestibule::store::memory::Memory;

use super::{APP, but, document, host, house, house_with, is_asked, quick, told};
use crate::{
    oauth::house::{CLAUDE, House, Human, asking},
    world::documents::{DocumentHost, Page, at},
};

/// A house as it stands on the Internet: nobody may name loopback.
async fn on_the_internet(host: &DocumentHost) -> House {
    House::reaching(host.http_with(false), Arc::new(Memory::new()), |settings, _| settings.cimd = quick()).await
}

#[tokio::test]
async fn s22_cimd_6_a_private_address_is_not_reached_in_any_notation() {
    let host = host().await;
    let house = on_the_internet(&host).await;
    let port = host.address.port();
    for ip in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "168.63.129.16",
        "[::1]",
        "[::]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[::7f00:1]",
    ] {
        let words = told(&house, &format!("https://{ip}:{port}/c")).await;
        assert!(words.starts_with("invalid_client"), "trying again is of no use: {ip}: {words}");
        assert!(!words.contains("public"), "what is inside is told to nobody: {words}");
    }
    // Other notations of these are no addresses of documents at all (CIMD-2).
    for odd in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "127.0.0.1."] {
        let step = Human::new(&house).visit(&house, &asking(&format!("https://{odd}:{port}/c"), CLAUDE)).await;
        assert!(matches!(step, vestibule::oauth::Step::Refuse(_)), "{odd}");
    }
    assert_eq!(host.count(), 0);
}

#[tokio::test]
async fn s22_cimd_6_a_name_that_leads_inside_is_not_followed() {
    let host = host().await;
    let house = on_the_internet(&host).await;
    let public = at("93.184.215.14");
    for (nth, inside) in
        ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1"].into_iter().enumerate()
    {
        // One private address among public ones is an attempt already.
        for answers in [vec![at(inside)], vec![public, at(inside)]] {
            let name = format!("n{nth}-{}.example", answers.len());
            host.book.leads(&name, &[&answers]);
            assert!(told(&house, &format!("https://{name}/c")).await.starts_with("temporarily_unavailable"));
            assert_eq!(host.book.looks(&name), 1);
        }
    }
    host.book.leads("nowhere.example", &[&[]]);
    assert!(told(&house, "https://nowhere.example/c").await.starts_with("temporarily_unavailable"));
    assert_eq!(host.count(), 0);
}

#[tokio::test]
async fn s22_cimd_6_what_was_looked_at_is_what_is_dialled_so_a_name_cannot_change_its_mind_in_between() {
    let host = host().await;
    // The second look would lead to a listener of somebody else's.
    let inside = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let forbidden = inside.local_addr().unwrap();
    host.book.leads("app.example", &[&[host.address], &[forbidden]]);
    let house = house(&host).await;
    assert!(is_asked(&house, APP).await);
    assert_eq!(host.book.looks("app.example"), 1, "one look for one fetch");
    // Every fetch is looked at anew: no connection of an earlier look is used again.
    let outside = on_the_internet(&host).await;
    host.book.leads("app.example", &[&[at("10.0.0.1")]]);
    assert!(told(&outside, APP).await.starts_with("temporarily_unavailable"));
    house.wait(301);
    host.book.leads("app.example", &[&[at("10.0.0.1")]]);
    assert!(is_asked(&house, APP).await, "the copy stands in");
    assert_eq!(host.count(), 1);
    let nobody = tokio::time::timeout(Duration::from_millis(50), inside.accept()).await;
    assert!(nobody.is_err(), "nobody came to the other address");
}

#[tokio::test]
async fn s22_cimd_5_a_redirect_to_the_inside_is_not_followed() {
    let host = host().await;
    let house = house(&host).await;
    for status in [301, 302, 303, 307, 308] {
        for target in
            ["https://keys.example/secret", "http://169.254.169.254/latest/meta-data", "//keys.example/secret"]
        {
            host.show(APP, Page::json(&document(APP)).status(status).header("location", target));
            house.wait(120);
            assert!(told(&house, APP).await.starts_with("temporarily_unavailable"));
        }
    }
    assert_eq!(host.fetches("https://keys.example/secret").len(), 0);
    assert_eq!(host.book.looks("keys.example"), 0);
}

#[tokio::test]
async fn s22_cimd_7_a_body_is_cut_off_in_size_and_in_time() {
    let host = host().await;
    let house = house(&host).await;
    let sound = || Page::json(&document(APP));
    for (page, code) in [
        (sound().body(vec![b' '; 2 << 20]), "invalid_client"),
        (sound().body(vec![b' '; 4096]).endless(), "invalid_client"),
        (sound().silent(), "temporarily_unavailable"),
        (sound().slow(Duration::from_millis(100)), "temporarily_unavailable"),
    ] {
        host.show(APP, page);
        house.wait(120);
        let words = tokio::time::timeout(Duration::from_secs(20), told(&house, APP)).await.expect("an end");
        assert!(words.starts_with(code), "{words}");
    }
}

#[tokio::test]
async fn s22_a_small_answer_does_not_grow() {
    let host = host().await;
    let house = house(&host).await;
    // A megabyte of spaces around a sound document, a kilobyte on the wire.
    let mut bomb = tempfile::NamedTempFile::new().unwrap();
    bomb.write_all(format!("{}{}", document(APP), " ".repeat(1 << 20)).as_bytes()).unwrap();
    let packed = std::process::Command::new("gzip").arg("-c").arg(bomb.path()).output().unwrap().stdout;
    assert!(packed.len() < 5 * 1024, "{}", packed.len());
    host.show(APP, Page::json(&document(APP)).body(packed).header("content-encoding", "gzip"));
    assert!(told(&house, APP).await.contains("served compressed"));
    assert!(!host.fetches(APP)[0].headers.contains_key("accept-encoding"), "none was asked for");
    host.show(APP, Page::json(&document(APP)).header("content-encoding", "identity"));
    house.wait(120);
    assert!(is_asked(&house, APP).await);
}

#[tokio::test]
async fn s22_a_certificate_for_another_name_is_none() {
    let host = host().await;
    let house = house(&host).await;
    host.book.leads("other.example", &[&[host.address]]);
    host.show("https://other.example/c", Page::json(&document("https://other.example/c")));
    assert!(told(&house, "https://other.example/c").await.starts_with("temporarily_unavailable"));
    assert_eq!(host.count(), 0);
}

#[tokio::test]
async fn cimd_7_one_host_is_not_asked_without_end_and_trusted_ones_are() {
    let host = host().await;
    let house = house(&host).await;
    let mut codes = Vec::new();
    for n in 0..40 {
        codes.push(told(&house, &format!("https://app.example/{n}")).await);
    }
    assert_eq!(host.count(), 30);
    assert!(codes[..30].iter().all(|words| words.contains("there is no such document")), "{codes:?}");
    assert!(codes[30..].iter().all(|words| words.starts_with("temporarily_unavailable")), "{codes:?}");
    // Another host is not its neighbour's keeper.
    host.show("https://keys.example/c", Page::json(&document("https://keys.example/c")));
    assert!(is_asked(&house, "https://keys.example/c").await);

    let trusting = house_with(&host, |settings, _| {
        settings.cimd.trusted_hosts = vec![vestibule::domain::HostPattern::parse("app.example").unwrap()];
    })
    .await;
    for n in 0..40 {
        assert!(told(&trusting, &format!("https://app.example/{n}")).await.contains("there is no such document"));
    }
}

#[tokio::test]
async fn d2_a_strangers_wish_writes_nothing() {
    let host = host().await;
    let house = house(&host).await;
    for n in 0..20 {
        let url = format!("https://app.example/{n}");
        host.show(&url, Page::json(&but(document(&url), json!({ "client_name": format!("App {n}") }))));
        assert!(is_asked(&house, &url).await);
    }
    assert_eq!(house.records().await, 0);
    house.code(APP).await;
    assert_eq!(house.records_of("metadata").await, 1);
}
