//! How long a document counts (CIMD-8, RFC 9111).

use std::{sync::Arc, time::Duration};

use serde_json::json;
use vestibule::{
    oauth::RefusalPage,
    store::{Backend, memory::Memory},
};

use super::{APP, but, document, host, house, house_with, is_asked, quick, told};
use crate::{
    oauth::house::{CLAUDE, House, Human, asked, asking, but as but_parameters, refused},
    world::documents::{DocumentHost, Page},
};

const DAY: u64 = 86_400;

fn page() -> Page {
    Page::json(&document(APP))
}

/// Comes again after so many seconds: whether the host was asked.
async fn asks_after(host: &DocumentHost, house: &House, seconds: u64) -> bool {
    let before = host.count();
    house.wait(seconds);
    assert!(is_asked(house, APP).await);
    host.count() > before
}

#[tokio::test]
async fn cimd_8_what_the_host_says_of_caching_counts_between_floor_and_ceiling() {
    let host = host().await;
    for (headers, life) in [
        (&[("cache-control", "max-age=3600")][..], 3600),
        (&[("cache-control", "public, Max-Age=3600, must-revalidate")], 3600),
        (&[("cache-control", "max-age=10, s-maxage=7200")], 7200),
        (&[("cache-control", "max-age=3600"), ("age", "1800")], 1800),
        // The ceiling.
        (&[("cache-control", "max-age=31536000, immutable")], DAY),
        // The floor: one login is one fetch.
        (&[], 300),
        (&[("cache-control", "max-age=0")], 300),
        (&[("cache-control", "no-cache")], 300),
        (&[("cache-control", "no-store")], 300),
        (&[("cache-control", "private, max-age=3600")], 300),
        (&[("cache-control", "max-age=3600"), ("set-cookie", "a=b")], 300),
        (&[("cache-control", "max-age=3600"), ("vary", "*")], 300),
        (&[("pragma", "no-cache")], 300),
        (&[("expires", "0")], 300),
        // Nonsense harms nobody.
        (&[("cache-control", "max-age=99999999999999999999")], 300),
        (&[("cache-control", "max-age=3600"), ("age", "18446744073709551615")], 3600),
        (&[("cache-control", "max-age=18446744073709551615")], DAY),
        (&[("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("expires", "Fri, 31 Dec 9999 23:59:59 GMT")], DAY),
        (&[("expires", "Mon, 02 Nov 2026 10:00:00 GMT"), ("date", "Mon, 02 Nov 2026 09:00:00 GMT")], 3600),
    ] {
        let house = house(&host).await;
        host.show(APP, headers.iter().fold(page(), |page, (name, value)| page.header(name, value)));
        assert!(asks_after(&host, &house, 0).await);
        assert!(!asks_after(&host, &house, life - 1).await, "{headers:?} is fresh");
        assert!(asks_after(&host, &house, 2).await, "{headers:?} is stale");
    }
}

#[tokio::test]
async fn rfc9110_13_a_stale_document_is_asked_for_by_its_validator_and_a_304_renews_it() {
    let host = host().await;
    for (validator, condition) in [("etag", "if-none-match"), ("last-modified", "if-modified-since")] {
        let value = if validator == "etag" { "\"v1\"" } else { "Sun, 01 Nov 2026 09:00:00 GMT" };
        let house = house(&host).await;
        host.show(APP, page().header(validator, value).header("cache-control", "max-age=600"));
        house.code(APP).await;
        let before = host.count();
        assert!(asks_after(&host, &house, 601).await);
        assert_eq!(host.fetches(APP)[before].headers[condition], value);
        assert!(!asks_after(&host, &house, 599).await, "the 304 said 600 s more");
        // And it moved the week.
        host.show(APP, page().status(503));
        assert!(asks_after(&host, &house, 7 * DAY - 600).await);
    }
}

#[tokio::test]
async fn rfc9111_4_3_4_a_304_for_another_document_is_not_believed() {
    let host = host().await;
    let house = house(&host).await;
    host.show(APP, page().header("etag", "\"v1\""));
    assert!(is_asked(&house, APP).await);
    // A host that answers 304 to everything, and means a document that we do not have: asked for it, it says so again.
    host.show(APP, page().status(304).header("etag", "\"v2\""));
    assert!(asks_after(&host, &house, 301).await);
    let fetches = host.fetches(APP);
    assert_eq!(fetches.len(), 3);
    assert!(fetches[1].headers.contains_key("if-none-match") && !fetches[2].headers.contains_key("if-none-match"));
}

#[tokio::test]
async fn behaviour_13_cimd_8_the_last_valid_copy_stands_in_for_seven_days_and_not_a_moment_longer() {
    let host = host().await;
    for broken in [page().status(500), page().status(403), page().silent(), Page::text("{}"), page().status(302)] {
        let house = house(&host).await;
        host.show(APP, page());
        assert!(is_asked(&house, APP).await);
        host.show(APP, broken.clone());
        house.clock.advance(Duration::from_secs(7 * DAY));
        assert!(is_asked(&house, APP).await, "seven days to the second");
        house.clock.advance(Duration::from_millis(1));
        told(&house, APP).await;
        // Whoever is back is believed at once.
        host.show(APP, page());
        house.wait(120);
        assert!(is_asked(&house, APP).await);
    }
}

#[tokio::test]
async fn cimd_8_a_host_that_says_there_is_none_is_believed() {
    let host = host().await;
    let house = house(&host).await;
    assert!(is_asked(&house, APP).await);
    host.show(APP, page().status(404));
    house.wait(301);
    assert!(told(&house, APP).await.contains("there is no such document"));
}

#[tokio::test]
async fn cimd_8_a_failure_is_a_pause_and_no_document() {
    let host = host().await;
    let house = house(&host).await;
    host.show(APP, page().status(500));
    told(&house, APP).await;
    told(&house, APP).await;
    assert_eq!(host.count(), 1, "the host is left alone for a moment");
    house.wait(2);
    told(&house, APP).await;
    assert_eq!(host.count(), 2);
    house.wait(2);
    told(&house, APP).await;
    assert_eq!(host.count(), 2, "and for longer each time");
    host.show(APP, page());
    house.wait(2);
    assert!(is_asked(&house, APP).await);
    // An outage later begins with a short pause again.
    host.show(APP, page().status(500));
    assert!(asks_after(&host, &house, 301).await);
    assert!(asks_after(&host, &house, 3).await);
}

#[tokio::test]
async fn cimd_7_of_fifty_who_come_at_once_one_fetches() {
    let host = host().await;
    host.show(APP, page().slow(Duration::from_millis(1)));
    let house = house_with(&host, |settings, _| settings.cimd.cap.time = Duration::from_secs(5)).await;
    let house = Arc::new(house);
    let all: Vec<_> = (0..50)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { is_asked(&house, APP).await })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(host.count(), 1);
    // Also when nothing comes of it.
    host.show(APP, page().status(500).slow(Duration::from_millis(1)));
    house.clock.advance(Duration::from_secs(8 * DAY));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { told(&house, APP).await })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(host.count(), 2);
}

#[tokio::test]
async fn a_fresh_document_asks_neither_host_nor_store() {
    let host = host().await;
    let house = house(&host).await;
    house.code(APP).await;
    let (fetches, visits) = (host.count(), house.visits());
    for _ in 0..20 {
        assert!(is_asked(&house, APP).await);
    }
    // Whether it is blocked, and the consent: two reads each, as for any other client.
    assert_eq!((host.count() - fetches, house.visits() - visits), (0, 40));
}

#[tokio::test]
async fn a_document_outlives_the_process_once_somebody_agreed_to_it() {
    let host = host().await;
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let open = || House::reaching(host.http(), Arc::clone(&backend), |settings, _| settings.cimd = quick());
    let first = open().await;
    host.show(APP, page().header("etag", "\"v1\"").header("cache-control", "max-age=3600"));
    first.code(APP).await;
    let second = open().await;
    assert!(is_asked(&second, APP).await);
    assert_eq!(host.count(), 1, "it is written down");
    // Stale: asked for by its validator, and what comes is written down again.
    second.wait(3601);
    host.show(APP, Page::json(&but(document(APP), json!({ "client_name": "New" }))).header("etag", "\"v2\""));
    assert!(is_asked(&second, APP).await);
    assert_eq!(host.fetches(APP)[1].headers["if-none-match"], "\"v1\"");
    host.show(APP, page().status(500));
    let third = open().await;
    third.wait(3601 + 100);
    let again = but_parameters(asking(APP, CLAUDE), "prompt", Some("consent"));
    assert_eq!(asked(Human::new(&third).visit(&third, &again).await).client, "New");
}

#[tokio::test]
async fn rfc9111_5_2_2_5_what_may_not_be_stored_is_not_written_down() {
    let host = host().await;
    let house = house(&host).await;
    host.show(APP, page().header("cache-control", "no-store"));
    house.code(APP).await;
    assert_eq!(house.records_of("metadata").await, 0);
}

#[tokio::test]
async fn a_store_that_does_not_answer_does_not_stop_a_fetch() {
    let host = host().await;
    let house = house(&host).await;
    house.bar(true);
    let step = Human::new(&house).visit(&house, &asking(APP, "http://evil.example/")).await;
    assert!(matches!(refused(step).0, RefusalPage::BadRedirect { .. }));
}
