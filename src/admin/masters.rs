//! What still rests on which master key, so that an older one is dropped neither too early nor never.
//!
//! Three things rest on a master key: records sealed under it (they move when they are written, or by
//! [`reseal`](Admin::reseal)), refresh tokens whose MAC it made (they are replaced at each refresh), and client ids that
//! are sealed under it. The last ones lie with the clients and never change (D2): without the key such a client is
//! unknown and has to register again, which most do only when a person makes them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{Admin, Failed, Operator};
use crate::{
    domain::{ApprovedClient, ClientId, Grant, GrantStage, Instant},
    store::{Record as _, Resealed, Seal},
};

/// What lies longer than this lies for good.
const FOR_GOOD: Instant = Instant::from_secs(4_102_444_800);

/// One master key and what rests on it.
#[derive(Debug, Default, Serialize)]
pub struct MasterView {
    /// Its short name, as the server logs it at its start.
    pub key: String,
    /// `current`, `older`, or `missing`: not in the ring, so what rests on it is lost.
    pub role: &'static str,
    /// Records that are sealed under it.
    pub records: u64,
    /// When the last of them ends by itself; `null` where there is none, or one that never ends.
    pub records_until: Option<String>,
    /// Clients in use whose ids are sealed under it.
    pub clients: u64,
    /// Logins that rest on it by their refresh token or by their client's id.
    pub logins: u64,
    /// When the last of these logins ends if it is not refreshed.
    pub logins_until: Option<String>,
    /// `yes`, `after` (then see `after`), `no`; `null` for the current one.
    pub may_be_dropped: Option<&'static str>,
    /// From when on, if nothing else is done.
    pub after: Option<String>,
    /// In words.
    pub because: String,
}

#[derive(Default)]
struct Count {
    records: (u64, Option<Instant>),
    clients: u64,
    logins: (u64, Option<Instant>),
    logins_of_clients: u64,
}

fn count(place: &mut (u64, Option<Instant>), until: Instant) {
    *place = (place.0 + 1, place.1.max(Some(until)));
}

impl Admin {
    /// Every master key that is in the ring or named by a record. Looks at all records, some thousands at a time.
    ///
    /// # Errors
    /// [`Failed::Store`].
    pub async fn master_keys(&self) -> Result<Vec<MasterView>, Failed> {
        let ring = self.parts.keyring.ids();
        let mut counts: BTreeMap<String, Count> = ring.iter().map(|id| (id.clone(), Count::default())).collect();
        let mut from = None;
        loop {
            let (seals, next) = self.parts.store.seals(from.as_ref()).await?;
            for seal in seals {
                self.attribute(seal, &mut counts).await?;
            }
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        let place = |id: &str| ring.iter().position(|own| own == id);
        let mut views: Vec<MasterView> = counts.into_iter().map(|(id, count)| view(id, &ring, &count)).collect();
        views.sort_by_key(|view| place(&view.key).unwrap_or(usize::MAX));
        Ok(views)
    }

    async fn attribute(&self, seal: Seal, counts: &mut BTreeMap<String, Count>) -> Result<(), Failed> {
        let store = &self.parts.store;
        if seal.kind == Grant::KIND
            && let Some(grant) = store.get::<Grant>(&seal.id).await?
        {
            let refresh = match &grant.stage {
                GrantStage::Active { refresh, .. } => refresh.as_ref(),
                GrantStage::Issued { .. } => None,
            };
            // A chain of an older version does not say; its record was written together with it.
            let token = refresh.map(|chain| chain.key.clone().unwrap_or_else(|| seal.key.clone()));
            let client = self.sealed_under(&grant.client);
            if let Some(key) = &client {
                counts.entry(key.clone()).or_default().logins_of_clients += 1;
            }
            let keys: std::collections::BTreeSet<String> = token.into_iter().chain(client).collect();
            for key in keys {
                count(&mut counts.entry(key).or_default().logins, grant.expires);
            }
        } else if seal.kind == ApprovedClient::KIND
            && let Some(client) = store.get::<ApprovedClient>(&seal.id).await?
            && !client.blocked
            && let Some(key) = self.sealed_under(&client.id)
        {
            counts.entry(key).or_default().clients += 1;
        }
        count(&mut counts.entry(seal.key).or_default().records, seal.expires);
        Ok(())
    }

    fn sealed_under(&self, id: &ClientId) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(id.as_str().strip_prefix(ClientId::SEALED)?).ok()?;
        self.parts.keyring.id_of(&bytes)
    }

    /// Seals all records under the current master key.
    ///
    /// # Errors
    /// [`Failed::Store`]; what was done until then is done.
    pub async fn reseal(&self, who: Operator) -> Result<Resealed, Failed> {
        let done = self.parts.store.reseal().await?;
        let Resealed { resealed, unreadable } = done;
        tracing::warn!(operator = who.as_str(), resealed, unreadable, "records resealed");
        Ok(done)
    }
}

fn view(key: String, ring: &[String], counted: &Count) -> MasterView {
    let role = match ring.iter().position(|id| *id == key) {
        Some(0) => "current",
        Some(_) => "older",
        None => "missing",
    };
    let end = |until: Option<Instant>| until.filter(|until| *until < FOR_GOOD).map(Instant::to_rfc3339);
    let mut view = MasterView {
        key,
        role,
        records: counted.records.0,
        records_until: end(counted.records.1),
        clients: counted.clients,
        logins: counted.logins.0,
        logins_until: end(counted.logins.1),
        ..MasterView::default()
    };
    let (verdict, after, because) = judge(role, counted);
    (view.may_be_dropped, view.after, view.because) = (verdict, after.map(Instant::to_rfc3339), because);
    view
}

/// What dropping it would cost.
fn judge(role: &str, counted: &Count) -> (Option<&'static str>, Option<Instant>, String) {
    let Count { records, clients, logins, logins_of_clients } = counted;
    let last = records.1.max(logins.1);
    match role {
        "current" => (None, None, "it seals everything that is written".to_owned()),
        "missing" => (None, None, "it is not in the ring: what rests on it is lost".to_owned()),
        _ if *clients > 0 || *logins_of_clients > 0 => {
            let because = format!(
                "{clients} clients in use are registered under it; without it they are unknown and have to register \
                 again, and their people to log in again"
            );
            (Some("no"), None, because)
        }
        _ => match last {
            None => (Some("yes"), None, "nothing rests on it".to_owned()),
            Some(last) if last >= FOR_GOOD => (
                Some("no"),
                None,
                "records that never end are sealed under it: `vestibule key master --reseal`".to_owned(),
            ),
            Some(last) => {
                let because =
                    format!("{} records and {} logins rest on it until then at the latest", records.0, logins.0);
                (Some("after"), Some(last), because)
            }
        },
    }
}
