//! Whether documents can be fetched from here at all: what is announced must work (CIMD, `advertise = "auto"`).
//!
//! A client that finds the announcement sends its document's address and nothing else. Where outbound https is closed that
//! login would wait for a timeout and fail, while registration would have worked. So `auto` announces only what was seen to
//! work: the hosts of well-known clients' documents are asked, in the background, whether they answer at all. The
//! provider's own answer proves nothing, since it may live in the same network.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use http::Request;

use super::{Advertise, Room};
use crate::domain::DocumentUrl;

/// Asked where the operator names nobody: documents that people's clients send us to.
pub(super) const WELL_KNOWN: [&str; 3] = [
    "https://claude.ai/oauth/mcp-oauth-client-metadata",
    "https://chatgpt.com/oauth/client.json",
    "https://vscode.dev/oauth/client-metadata.json",
];
/// Between two rounds while all is well, and while nobody answers.
pub(super) const ROUND: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(60));
/// So many rounds without an answer end the announcement: one lost packet does not.
const PATIENCE: u32 = 3;

/// What is known of the way out.
pub(super) struct Reach {
    advertise: Advertise,
    is_open: AtomicBool,
    misses: AtomicU32,
}

impl Reach {
    pub(super) const fn new(advertise: Advertise) -> Self {
        Self { advertise, is_open: AtomicBool::new(false), misses: AtomicU32::new(0) }
    }

    /// Whether the announcement stands now.
    pub(super) fn is_announced(&self) -> bool {
        match self.advertise {
            Advertise::On => true,
            Advertise::Off => false,
            Advertise::Auto => self.is_open.load(Ordering::Relaxed),
        }
    }

    /// A document came: there is no better proof.
    pub(super) fn saw_an_answer(&self) {
        self.misses.store(0, Ordering::Relaxed);
        if !self.is_open.swap(true, Ordering::Relaxed) && self.advertise == Advertise::Auto {
            tracing::info!("documents can be fetched from here: Client ID Metadata Documents are announced");
        }
    }

    fn saw_none(&self) {
        let misses = self.misses.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if misses >= PATIENCE && self.is_open.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "no host of clients' documents answers: Client ID Metadata Documents are no longer announced"
            );
        } else if misses == 1 {
            tracing::info!("no host of clients' documents answers: see [cimd] probe and advertise");
        }
    }

    /// Asks each host in turn until one answers, whatever it answers. How long to rest afterwards.
    pub(super) async fn round(&self, room: &Room, hosts: &[DocumentUrl]) -> Duration {
        for url in hosts {
            let Ok(request) = Request::head(url.as_str()).body(Vec::new()) else { continue };
            match room.http.public(request, room.cap).await {
                Ok(_) => {
                    self.saw_an_answer();
                    return ROUND.0;
                }
                Err(cause) => {
                    tracing::debug!(host = url.host(), %cause, "a host of clients' documents does not answer");
                }
            }
        }
        self.saw_none();
        ROUND.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_packet_does_not_end_the_announcement_and_a_closed_way_out_does() {
        let reach = Reach::new(Advertise::Auto);
        assert!(!reach.is_announced(), "what was not seen to work is not announced");
        reach.saw_an_answer();
        for _ in 1..PATIENCE {
            reach.saw_none();
            assert!(reach.is_announced());
        }
        reach.saw_an_answer();
        for _ in 0..PATIENCE {
            reach.saw_none();
        }
        assert!(!reach.is_announced());
        reach.saw_an_answer();
        assert!(reach.is_announced());
    }

    #[test]
    fn what_the_operator_decides_is_not_for_the_network_to_change() {
        let (on, off) = (Reach::new(Advertise::On), Reach::new(Advertise::Off));
        for _ in 0..PATIENCE {
            on.saw_none();
        }
        off.saw_an_answer();
        assert!(on.is_announced() && !off.is_announced());
    }

    #[test]
    fn the_well_known_documents_have_addresses() {
        assert!(WELL_KNOWN.iter().all(|url| DocumentUrl::parse(url).is_ok()));
    }
}
