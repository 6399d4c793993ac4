//! Records on their way from one store to another, sealed as they are: nothing is opened, so nothing lies open in between.
//!
//! One JSON document a line: a [`Head`] with a mark that only the same key ring opens, a [`Parcel`] for each record, and a [`Foot`] that says that this is all of it. A record is **never overwritten**: what the other store holds by
//! then was written there, later. So an import that was interrupted is simply begun again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Key, Life, Place, Store, Unavailable, envelope};
use crate::domain::Instant;

/// What this program writes and reads.
pub const VERSION: u32 = 1;
/// Kinds that stay where they are: the mark of the store itself, and who does what just now.
const LEFT: [&str; 2] = ["house/", "lease/"];

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub vestibule_store: u32,
    /// The name of the key that seals (`key` in the start-up line), for people.
    pub key: String,
    /// Opens with the ring under which the records were sealed.
    #[serde(with = "base64_text")]
    pub mark: Bytes,
}

/// One record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    /// `kind/id`.
    pub key: String,
    /// The envelope.
    #[serde(with = "base64_text")]
    pub value: Bytes,
    /// When it ends, in milliseconds since 1970; as in the envelope, for people.
    pub expires: u64,
}

/// The last line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foot {
    /// How many parcels came before.
    pub records: u64,
}

/// What became of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It lies there now.
    Written,
    /// It lay there already, to the byte.
    Same,
    /// Another value lies there, and stays.
    Kept,
    /// Its life is over.
    Expired,
}

/// A line that is no sound parcel of this ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not an envelope of ours, or its end is not the one that the line says.
    #[error("is not a sealed record, or was changed")]
    Shape,
    /// Sealed under a key that is not in the ring.
    #[error("was sealed under a key that is not in secret_key; give the older keys, too")]
    OtherKey,
}

impl Store {
    /// The first line of an export.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn head(&self) -> Result<Head, Unavailable> {
        Ok(Head { vestibule_store: VERSION, key: self.0.keyring.id(), mark: self.mark()? })
    }

    /// What lies here, up to `limit` looked at, and where to go on (`None`: that was all). What has expired, what is no envelope, and what belongs to this store alone is left out.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn parcels(
        &self,
        from: Option<&Place>,
        limit: usize,
    ) -> Result<(Vec<Parcel>, Option<Place>), Unavailable> {
        let page = self.0.backend.scan("", from, limit).await?;
        let now = self.0.clock.now();
        let parcel = |(key, value): (Key, Bytes)| {
            let expires = envelope::expiry(&value).filter(|expires| *expires > now)?;
            let is_left = LEFT.iter().any(|kind| key.as_str().starts_with(kind));
            (!is_left).then(|| Parcel { key: key.as_str().to_owned(), value, expires: expires.millis() })
        };
        Ok((page.pairs.into_iter().filter_map(parcel).collect(), page.next))
    }

    /// Whether the parcel is an envelope that our ring may open.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn inspect(&self, parcel: &Parcel) -> Result<(), Unfit> {
        if envelope::expiry(&parcel.value).map(Instant::millis) != Some(parcel.expires) || !parcel.key.contains('/') {
            return Err(Unfit::Shape);
        }
        let sealed = envelope::sealed(&parcel.value).ok_or(Unfit::Shape)?;
        let id = self.0.keyring.id_of(sealed).ok_or(Unfit::Shape)?;
        if self.0.keyring.ids().contains(&id) { Ok(()) } else { Err(Unfit::OtherKey) }
    }

    /// Lays the parcel down, unless something lives there. Best effort: [`Store::flush`] comes at the end.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn admit(&self, parcel: &Parcel) -> Result<Admitted, Unavailable> {
        let expires = Instant::from_millis(parcel.expires);
        if expires <= self.0.clock.now() {
            return Ok(Admitted::Expired);
        }
        let (key, life) = (Key::from_text(parcel.key.clone()), Life { expires, durable: false });
        let mut old = None;
        while !self.0.backend.swap(&key, old.as_ref(), Some(parcel.value.clone()), life).await? {
            old = self.0.backend.get(&key).await?;
            match &old {
                Some(found) if *found == parcel.value => return Ok(Admitted::Same),
                Some(found) if envelope::expiry(found).is_none_or(|end| end > self.0.clock.now()) => {
                    return Ok(Admitted::Kept);
                }
                _ => {}
            }
        }
        self.0.watchers.trip(&key);
        Ok(Admitted::Written)
    }
}

mod base64_text {
    use std::borrow::Cow;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(|_| D::Error::custom("not base64"))
    }
}
