//! The ID token, verified (OIDC Core §3.1.3.7; UP-4): signature by an allowed algorithm under the provider's own key,
//! `iss`, `aud`, `azp`, `exp`, `iat`, `nonce`, and `at_hash` when present.

use std::{error::Error as _, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::TokenResponse as _;
use openidconnect::{
    AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, Nonce, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm as Alg},
};
use serde_json::Value;

use super::{
    Failed, Upstream,
    exchange::{Tokens, id_token},
    metadata::{Known, cut, refused},
};
use crate::domain::Instant;

/// Asymmetric ones only: `none` is nobody's signature, and with HS256 the client secret would become a signing key.
const ALLOWED: [Alg; 9] = [
    Alg::RsaSsaPkcs1V15Sha256,
    Alg::RsaSsaPkcs1V15Sha384,
    Alg::RsaSsaPkcs1V15Sha512,
    Alg::RsaSsaPssSha256,
    Alg::RsaSsaPssSha384,
    Alg::RsaSsaPssSha512,
    Alg::EcdsaP256Sha256,
    Alg::EcdsaP384Sha384,
    Alg::EdDsa,
];

/// How far two honest clocks may stand apart.
const SKEW: Duration = Duration::from_secs(60);

impl Upstream {
    /// The claims of the answer's ID token, once everything about it is proven.
    pub(super) async fn verified_claims(&self, known: &Known, answer: &Tokens, nonce: &str) -> Result<Value, Failed> {
        let text = id_token(answer).ok_or_else(|| refused("it gave no ID token", None))?;
        let token = CoreIdToken::from_str(text).map_err(|_| refused("its ID token cannot be read", None))?;
        self.prove(known, &token, Some(nonce), Some(answer)).await?;
        claims(text).ok_or_else(|| refused("its ID token cannot be read", None))
    }

    /// The claims of an ID token that was made for our app there and that somebody else brings, once everything about it
    /// is proven but the `nonce`: it was not we who asked for it.
    pub(super) async fn claims_brought(&self, known: &Known, text: &str) -> Result<Value, Failed> {
        let token = CoreIdToken::from_str(text).map_err(|_| refused("its ID token cannot be read", None))?;
        self.prove(known, &token, None, None).await?;
        claims(text).ok_or_else(|| refused("its ID token cannot be read", None))
    }

    async fn prove(
        &self,
        known: &Known,
        token: &CoreIdToken,
        nonce: Option<&str>,
        answer: Option<&Tokens>,
    ) -> Result<(), Failed> {
        let keys = self.key_set(known).await?;
        let mut outcome = self.verify(token, &keys, answer, nonce);
        if matches!(
            outcome,
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey))
        ) && let Some(keys) = self.key_set_again(known).await?
        {
            outcome = self.verify(token, &keys, answer, nonce);
        }
        outcome.map_err(|e| refused("its ID token is not valid", Some(words(&e))))
    }

    fn verify(
        &self,
        token: &CoreIdToken,
        keys: &CoreJsonWebKeySet,
        answer: Option<&Tokens>,
        nonce: Option<&str>,
    ) -> Result<(), ClaimsVerificationError> {
        let issuer = self.settings.provider.issuer.clone().unwrap_or_default();
        let issuer = IssuerUrl::new(issuer).map_err(|e| ClaimsVerificationError::InvalidIssuer(e.to_string()))?;
        let now = self.clock.now();
        let verifier = CoreIdTokenVerifier::new_public_client(
            ClientId::new(self.settings.client_id.clone()),
            issuer,
            keys.clone(),
        )
        .set_allowed_algs(ALLOWED)
        .set_time_fn(move || date(now - SKEW))
        .set_issue_time_verifier_fn(move |issued| {
            if issued <= date(now + SKEW) { Ok(()) } else { Err("the ID token comes from the future".into()) }
        });
        let claims = match nonce {
            Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.to_owned()))?,
            None => token.claims(&verifier, |_: Option<&Nonce>| Ok(()))?,
        };
        // The crate leaves `azp` to us: whoever it names must be us (§3.1.3.7 no. 5), whatever `aud` lists beside.
        if claims.authorized_party().is_some_and(|party| party.as_str() != self.settings.client_id) {
            return Err(ClaimsVerificationError::InvalidAudience("azp names another app".into()));
        }
        if let (Some(answer), Some(hash)) = (answer, claims.access_token_hash()) {
            let key = token.signing_key(&verifier).map_err(ClaimsVerificationError::SignatureVerification)?;
            let alg = token.signing_alg().map_err(ClaimsVerificationError::SignatureVerification)?;
            // §3.1.3.6: stops an ID token from one answer beside an access token from another.
            let ours = AccessTokenHash::from_token(answer.access_token(), alg, key)
                .map_err(|e| ClaimsVerificationError::Other(format!("at_hash: {e}")))?;
            if ours != *hash {
                return Err(ClaimsVerificationError::Other("at_hash belongs to another access token".into()));
            }
        }
        Ok(())
    }
}

/// Which check failed, for the log. Claims may be quoted, the token is not.
fn words(error: &ClaimsVerificationError) -> String {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    cut(&format!("{error}{cause}"))
}

fn date(at: Instant) -> chrono::DateTime<chrono::Utc> {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp_millis(millis).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
}

/// All claims of a token that was verified, the provider's own among them, for the preset's pointers.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
