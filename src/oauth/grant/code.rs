//! `grant_type=authorization_code`: a code becomes an access token, once (RFC 6749 §4.1.3, RFC 7636 §4.5).
//!
//! What happens to the Grant:
//!
//! | the code is | and | Grant |
//! |---|---|---|
//! | forged | | untouched, the store is not asked (S11) |
//! | current | client, redirect URI or verifier are wrong | removed: the code is in strange hands |
//! | current | `resource` is another one (S5) | untouched: whose code it is was proven |
//! | current | a proof is demanded, and there is none | untouched, for the same reason |
//! | current | bound to a key (`dpop_jkt`) that was not proven | removed: the verifier is in strange hands, too |
//! | current | all is well | `Issued` → `Active`, for one winner |
//! | spent | within 10 s | untouched: a double submit (AZ-6) |
//! | spent | later | removed: everything it bought is revoked |

use std::time::Duration;

use super::{AuthorizationServer, Error, ErrorCode, Given, TokenResponse, holder};
use crate::{
    crypto::hash,
    domain::{AuthorizationCode, Client, Grant, GrantId, GrantStage, Secret, Thumbprint, grant::SecretHash},
    oauth::machine::{CodeTerms, Redeem, RedeemAsked, RedeemQuestion},
    store::{Change, Seen},
    token::is_holder,
};

/// Within this time a spent code is a double submit and no theft (AZ-6).
const DOUBLE_SUBMIT: Duration = Duration::from_secs(10);

/// The parameters of RFC 6749 §4.1.3 and RFC 7636 §4.5; the client is read elsewhere.
pub(super) struct CodeRequest<'a> {
    code: &'a str,
    redirect_uri: Option<&'a str>,
    verifier: Option<&'a str>,
    resources: Vec<&'a str>,
}

impl<'a> CodeRequest<'a> {
    pub(super) fn read(given: Given<'a>) -> Result<Self, Error> {
        Ok(Self {
            code: given.first("code").ok_or_else(|| Error::new(ErrorCode::InvalidRequest, "code is missing"))?,
            redirect_uri: given.first("redirect_uri"),
            verifier: given.first("code_verifier"),
            resources: given.all("resource").collect(),
        })
    }
}

/// What the deciding step shall do with a Grant whose current code this is.
#[derive(Clone, Copy)]
enum Intent {
    /// Whoever holds it proved that the code is theirs; the refresh tokens are bound to this key.
    Activate(Option<Thumbprint>),
    /// They did not.
    Burn,
}

/// What the deciding step did.
enum Settled {
    /// This request is the winner; the Grant as it is from now on, and its first refresh token.
    Activated(Box<Grant>, Option<Secret<String>>),
    /// The code was spent a moment ago.
    Twice,
    /// Nothing is left, or never was: unknown, expired, burnt, replayed.
    Gone,
}

impl AuthorizationServer {
    /// Drives the machine; the swap in `settle` decides.
    pub(super) async fn redeem(
        &self,
        client: &Client,
        request: &CodeRequest<'_>,
        proof: holder::Shown,
    ) -> Result<TokenResponse, Error> {
        let (id, spent) = self.named_by(request.code)?;
        let key = self.spend(proof).await?;
        let asked =
            RedeemAsked { client, code: request.code, redirect_uri: request.redirect_uri, verifier: request.verifier };
        let (mut machine, mut question) = Redeem::begin(&asked);
        let (mut issued, mut response) = (None::<Seen<Grant>>, None);
        loop {
            question = match question {
                RedeemQuestion::Authenticate => machine.authenticated(),
                RedeemQuestion::Recover => {
                    let seen = issued.insert(self.issued_grant(id, &spent).await?);
                    machine.recovered(seen.record().and_then(|grant| terms(grant, client)).as_ref())
                }
                RedeemQuestion::Issue => {
                    let seen = issued.take().ok_or_else(unknown)?;
                    let grant = seen.record().ok_or_else(unknown)?;
                    check_resource(grant, &request.resources)?;
                    self.check_demand(&grant.resource, key.as_ref())?;
                    let intent = match is_bound_to(grant, key.as_ref()) {
                        true => Intent::Activate(holder::of_refresh_tokens(client, key)),
                        false => Intent::Burn,
                    };
                    let Settled::Activated(grant, refresh_token) = self.settle(id, seen, &spent, intent).await? else {
                        return Err(unknown());
                    };
                    response = Some(self.respond(&grant, refresh_token, key).await?);
                    self.parts.mint.expect_call(&grant, client.title());
                    machine.issued()
                }
                RedeemQuestion::Settled => {
                    return response.ok_or_else(|| Error::new(ErrorCode::ServerError, "the code could not be judged"));
                }
                RedeemQuestion::Refused(code, why) => {
                    if code == ErrorCode::InvalidGrant {
                        let seen = self.parts.store.look(&id.to_string()).await?;
                        self.settle(id, seen, &spent, Intent::Burn).await?;
                    }
                    return Err(Error::new(code, why));
                }
            };
        }
    }

    /// S11: a forged code dies here, before the store is asked.
    fn named_by(&self, code: &str) -> Result<(GrantId, SecretHash), Error> {
        let code = hash::authenticate::<AuthorizationCode>(&self.parts.keyring, code).map_err(|_| unknown())?;
        Ok((GrantId::from_bytes(*code.id()), hash::secret_hash(&code)))
    }

    /// The Grant whose current code this is. A spent code is settled here, also where nothing is left of its Grant: that it
    /// is gone has to be as durable as this answer.
    async fn issued_grant(&self, id: GrantId, spent: &SecretHash) -> Result<Seen<Grant>, Error> {
        let seen = self.parts.store.look::<Grant>(&id.to_string()).await?;
        if seen.record().is_some_and(|grant| matches!(grant.stage, GrantStage::Issued { .. })) {
            return Ok(seen);
        }
        match self.settle(id, seen, spent, Intent::Burn).await? {
            Settled::Twice => Err(Error::new(ErrorCode::InvalidGrant, "the code was used a moment ago")),
            Settled::Activated(..) | Settled::Gone => Err(unknown()),
        }
    }

    /// The deciding step, the table above: of many who hold the code, one gets the Grant. It begins with what was seen.
    async fn settle(
        &self,
        id: GrantId,
        seen: Seen<Grant>,
        spent: &SecretHash,
        intent: Intent,
    ) -> Result<Settled, Error> {
        let now = self.parts.clock.now();
        let decide = |grant: Option<Grant>| {
            let Some(grant) = grant else { return (Change::Keep, Settled::Gone) };
            match &grant.stage {
                GrantStage::Issued { code, may_refresh, .. } if is_same(code, spent) && now < grant.expires => {
                    match intent {
                        Intent::Burn => (Change::Remove, Settled::Gone),
                        Intent::Activate(holder) => {
                            let (refresh, token) = may_refresh.then(|| self.first_refresh(id, holder)).unzip();
                            let stage = GrantStage::Active { code: Some(*spent), redeemed: now, refresh };
                            let active = Grant { stage, expires: self.grant_end(grant.created, now), ..grant };
                            (Change::Put(active.clone()), Settled::Activated(Box::new(active), token))
                        }
                    }
                }
                GrantStage::Active { code: Some(code), redeemed, .. } if is_same(code, spent) => {
                    let is_double = now.since(*redeemed) <= DOUBLE_SUBMIT;
                    if is_double { (Change::Keep, Settled::Twice) } else { (Change::Remove, Settled::Gone) }
                }
                GrantStage::Issued { .. } | GrantStage::Active { .. } => (Change::Keep, Settled::Gone),
            }
        };
        let settled = self.parts.store.update_seen(&id.to_string(), seen, decide).await?;
        if matches!(settled, Settled::Gone) {
            tracing::warn!(grant = %id, "an authentic code was presented that is spent, expired or not the presenter's");
        }
        Ok(settled)
    }

    /// RFC 6749 §5.1. A Grant for which no token can be made is not kept.
    pub(super) async fn respond(
        &self,
        grant: &Grant,
        refresh_token: Option<Secret<String>>,
        key: Option<Thumbprint>,
    ) -> Result<TokenResponse, Error> {
        match self.parts.mint.mint_bound(grant, &grant.scope, key).await {
            Ok(minted) => Ok(TokenResponse::new(minted, grant.scope.clone(), refresh_token)),
            Err(failed) => {
                self.parts.store.remove::<Grant>(&grant.id.to_string()).await?;
                Err(failed.into())
            }
        }
    }
}

/// To whom the code was issued. Where the client left `redirect_uri` out at `/authorize`, it may still name its only one.
fn terms<'a>(grant: &'a Grant, client: &'a Client) -> Option<CodeTerms<'a>> {
    let GrantStage::Issued { redirect, challenge, .. } = &grant.stage else { return None };
    let only = || match client.redirect_uris.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    };
    Some(CodeTerms {
        client_id: grant.client.as_str(),
        redirect: redirect.as_deref().or_else(only),
        challenge,
        scope: &grant.scope,
    })
}

/// S5: the token request may only repeat the Resource that the person agreed to (RI-3).
fn check_resource(grant: &Grant, requested: &[&str]) -> Result<(), Error> {
    if requested.iter().all(|asked| grant.resource.is_meant_by(asked)) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidTarget, "resource is not the one that was authorized"))
}

/// RFC 9449 §10: whether the code may be redeemed by who proved to hold that key.
fn is_bound_to(grant: &Grant, key: Option<&Thumbprint>) -> bool {
    let GrantStage::Issued { holder, .. } = &grant.stage else { return false };
    is_holder(holder.as_ref(), key)
}

fn is_same(kept: &SecretHash, presented: &SecretHash) -> bool {
    hash::same(kept.as_bytes(), presented.as_bytes())
}

fn unknown() -> Error {
    Error::new(ErrorCode::InvalidGrant, "the code is unknown, used or expired")
}
