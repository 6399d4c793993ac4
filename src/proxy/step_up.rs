//! Whether the token permits this very operation (SC-3, CH-4 to CH-6): the one place that looks into a request's body,
//! where the operator asked for it, and never further than he said.

use bytes::{Bytes, BytesMut};
use http::{Method, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError};

use super::{
    BoxError,
    challenge::Refusal,
    operation::{self, Mismatch},
    replay::Replay,
};
use crate::domain::{Resource, Scope, step_up::StepUp};

/// The judgement on one request.
pub(super) enum Judgement<B> {
    /// It may go on, with this body.
    Permitted(Replay<B>),
    /// The token lacks something; what a token would need that can go on as before and do this too.
    Needs(Scope),
}

impl From<Mismatch> for Refusal {
    fn from(_: Mismatch) -> Self {
        Self::HeaderMismatch
    }
}

/// Judges a request by the Resource's rules. Only `POST` carries operations.
pub(super) async fn judge<B>(resource: &Resource, held: &Scope, head: &Parts, body: B) -> Result<Judgement<B>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    let rules = &resource.step_up;
    if rules.is_empty() || head.method != Method::POST {
        return Ok(Judgement::Permitted(Replay::untouched(body)));
    }
    let (needed, body) = needed(rules, head, body).await?;
    let has = resource.hierarchy.widened(held);
    if needed.is_within(&has) {
        return Ok(Judgement::Permitted(body));
    }
    // The client asks for just this next time, so what it holds already must not be lost by it (SC-2).
    Ok(Judgement::Needs(held.joined_with(&needed)))
}

async fn needed<B>(rules: &StepUp, head: &Parts, body: B) -> Result<(Scope, Replay<B>), Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    let told = operation::in_headers(&head.headers)?;
    let is_encoded = head.headers.contains_key(header::CONTENT_ENCODING);
    let (read, body) = match rules.read_body {
        Some(limit) if !is_encoded => read(body, limit).await?,
        _ => (None, Replay::untouched(body)),
    };
    let needed = match (read, told) {
        (Some(bytes), told) => {
            let operations = operation::in_body(&bytes).map_err(|_| Refusal::AmbiguousMessage)?;
            if let Some(told) = told {
                operation::agree(&told, &operations)?;
            }
            rules.needs(&operations)
        }
        // A server of this revision refuses a message that its headers do not mirror. Where the body was to be read and
        // could not be, the headers alone are not believed.
        (None, Some(told)) if rules.read_body.is_none() => rules.needs(&[told]),
        (None, _) => rules.needs_of_all(),
    };
    Ok((needed, body))
}

/// The whole body, if it is no longer than `limit`, and a body that says it again. What is longer is read no further.
async fn read<B>(mut body: B, limit: usize) -> Result<(Option<Bytes>, Replay<B>), Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > limit as u64 {
        return Ok((None, Replay::untouched(body)));
    }
    let mut seen = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refusal_of(error.into()))?;
        // Trailers mean nothing to JSON-RPC, and are not passed on.
        let Ok(data) = frame.into_data() else { break };
        seen.extend_from_slice(&data);
        if seen.len() > limit {
            return Ok((None, Replay::of(seen.freeze(), Some(body))));
        }
    }
    let whole = seen.freeze();
    Ok((Some(whole.clone()), Replay::of(whole, None)))
}

fn refusal_of(error: BoxError) -> Refusal {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(this) = cause {
        if this.is::<LengthLimitError>() {
            return Refusal::TooLarge;
        }
        cause = this.source();
    }
    Refusal::AmbiguousMessage
}
