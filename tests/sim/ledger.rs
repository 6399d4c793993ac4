//! The model: what was promised, by whom and when, and what may therefore happen. It knows the protocol's promises and
//! nothing of how they are kept. Every answer of every server is entered here, also those that get lost on their way to
//! the client, and each is either allowed or the end of the simulation.
//!
//! Times are true times. Servers' clocks are skewed, and an answer was decided at some moment between `begun` and now;
//! so between "surely within" and "surely beyond" lies a span in which both answers are right ([`SLACK`]).

mod standing;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use vestibule::{
    oauth::{ErrorCode, TokenResponse},
    token::{Caller, Refused},
};

use super::{
    plan::{LATE, MINUTE, Millis, Plan, Refreshing, SECOND, SLACK},
    provider::{Provider, numbers},
    world::Tally,
};

/// Within this time a spent code is a double submit (AZ-6).
const DOUBLE_SUBMIT: Millis = 10 * SECOND;
/// A revocation elsewhere counts here within this time (D14).
const ELSEWHERE: Millis = 5 * SECOND;

/// No server in particular.
const SOMEWHERE: usize = usize::MAX;

/// Who stands behind a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) client: String,
    /// The number of the person.
    pub(super) person: usize,
    pub(super) resource: String,
    /// The number of the provider.
    pub(super) provider: usize,
}

/// A person comes back from the provider.
pub(super) struct Returned {
    pub(super) state: String,
    pub(super) begun: Millis,
    pub(super) terms: Terms,
}

struct Code {
    terms: Terms,
    login: usize,
    /// At the earliest and at the latest.
    issued: (Millis, Millis),
    first_sent: Option<Millis>,
    attempts: u32,
    /// The family that it bought, and when at the latest.
    bought: Option<(usize, Millis)>,
}

#[derive(Debug, Clone)]
struct Refresh {
    family: usize,
    first_sent: Option<Millis>,
    /// What it yielded, and when at the latest.
    successor: Option<(String, Millis)>,
}

struct Access {
    family: usize,
    ends: Millis,
}

/// An end of a family that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Death {
    at: Millis,
    server: usize,
    why: &'static str,
}

struct Family {
    terms: Terms,
    login: usize,
    grant: String,
    /// When the person agreed, at the earliest and at the latest.
    created: (Millis, Millis),
    /// When the chain was last turned: at the earliest (by an answer), at the latest (by an attempt).
    turned: (Millis, Millis),
    death: Option<Death>,
    /// Something was tried that may have ended it, and until when it may have.
    limbo: Option<(Millis, &'static str)>,
}

/// One request under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Tells it from others with the same credential.
    pub(super) number: u64,
    pub(super) credential: String,
    pub(super) server: usize,
    pub(super) begun: Millis,
}

#[derive(Default)]
pub(super) struct Ledger {
    codes: BTreeMap<String, Code>,
    refreshes: BTreeMap<String, Refresh>,
    accesses: BTreeMap<String, Access>,
    families: Vec<Family>,
    /// For each `state` at a provider, the code it led to.
    answered: BTreeMap<String, String>,
    /// Requests to `/token` of which nothing is known yet.
    open: Vec<Attempt>,
    attempts: u64,
}

/// What of an access token the client's MCP server would look at.
#[derive(Deserialize)]
struct Claims {
    aud: String,
    sub: String,
    client_id: String,
    gid: String,
    exp: u64,
}

/// What is entered: the rest of the world, as far as the ledger looks at it.
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) provider: &'a Provider,
    pub(super) tally: &'a mut Tally,
    pub(super) now: Millis,
}

type Verdict<T = ()> = Result<T, String>;

impl Ledger {
    /// A callback was answered with a code: for each login at the provider there is one.
    pub(super) fn code_issued(&mut self, scene: &Scene<'_>, returned: &Returned, code: &str, login: usize) -> Verdict {
        let (state, terms) = (&returned.state, returned.terms.clone());
        if let Some(other) = self.answered.insert(state.clone(), code.to_owned()) {
            return Err(format!("one callback gave two codes, {} and {}", short(&other), short(code)));
        }
        let issued =
            Code { terms, login, issued: (returned.begun, scene.now), first_sent: None, attempts: 0, bought: None };
        self.codes.insert(code.to_owned(), issued);
        Ok(())
    }

    /// A code or a refresh token is presented.
    pub(super) fn attempt(&mut self, credential: &str, server: usize, now: Millis) -> Attempt {
        if let Some(code) = self.codes.get_mut(credential) {
            code.first_sent.get_or_insert(now);
            code.attempts += 1;
        }
        if let Some(refresh) = self.refreshes.get_mut(credential) {
            refresh.first_sent.get_or_insert(now);
        }
        self.attempts += 1;
        let attempt = Attempt { number: self.attempts, credential: credential.to_owned(), server, begun: now };
        self.open.push(attempt.clone());
        attempt
    }

    /// It is over, however it ended.
    pub(super) fn close(&mut self, attempt: &Attempt) {
        self.open.retain(|open| open != attempt);
    }

    /// Nobody will ever know what came of it: it was dropped, or the store or the provider did not answer.
    pub(super) fn unknown(&mut self, scene: &Scene<'_>, attempt: &Attempt) {
        self.close(attempt);
        if let Some(refresh) = self.refreshes.get(&attempt.credential).cloned() {
            self.families[refresh.family].turned.1 = scene.now + LATE;
            if may_be_beyond(refresh.first_sent, scene.plan.grace, scene.now) {
                self.doubt(refresh.family, scene.now, "an old refresh token may have been judged a replay");
            }
        }
        if let Some(code) = self.codes.get(&attempt.credential)
            && let Some((family, _)) = code.bought
            && may_be_beyond(code.first_sent, DOUBLE_SUBMIT, scene.now)
        {
            self.doubt(family, scene.now, "a spent code may have been judged a replay");
        }
    }

    /// A server answered a code.
    pub(super) fn redeemed(
        &mut self,
        scene: &mut Scene<'_>,
        attempt: &Attempt,
        answer: Result<&TokenResponse, ErrorCode>,
    ) -> Verdict {
        let now = scene.now;
        self.close(attempt);
        let code = self.codes.get_mut(&attempt.credential).ok_or("a code of nobody")?;
        match answer {
            Ok(_) if code.bought.is_some() => Err(format!("{} bought two families", short(&attempt.credential))),
            Ok(_) if attempt.begun > code.issued.1 + MINUTE + SLACK => {
                Err("a code was good after its minute".to_owned())
            }
            Ok(response) => {
                let family = self.families.len();
                code.bought = Some((family, now));
                scene.tally.families += 1;
                let claims = claims(response)?;
                if self.families.iter().any(|other| other.grant == claims.gid) {
                    return Err("two families rest on one Grant".to_owned());
                }
                self.families.push(Family {
                    terms: code.terms.clone(),
                    login: code.login,
                    grant: claims.gid,
                    created: code.issued,
                    turned: (attempt.begun, now),
                    death: None,
                    limbo: None,
                });
                let token = response.refresh_token.as_ref().ok_or("no refresh token was given")?;
                let first = Refresh { family, first_sent: None, successor: None };
                if self.refreshes.insert(token.expose().clone(), first).is_some() {
                    return Err("the first refresh token of a family is another's".to_owned());
                }
                self.note_access(scene, family, response)
            }
            Err(ErrorCode::InvalidGrant) => match code.bought {
                Some((family, at)) if attempt.begun > at + DOUBLE_SUBMIT + SLACK => {
                    scene.tally.replays += 1;
                    self.die(family, now, attempt.server, "its code was replayed");
                    Ok(())
                }
                None if code.attempts == 1 && now + SLACK < code.issued.0 + MINUTE => {
                    Err(format!("{} was refused at its first use", short(&attempt.credential)))
                }
                _ => {
                    self.unknown(scene, attempt);
                    Ok(())
                }
            },
            Err(ErrorCode::TemporarilyUnavailable) => {
                self.unknown(scene, attempt);
                Ok(())
            }
            Err(code) => Err(format!("{} was answered {}", short(&attempt.credential), code.as_str())),
        }
    }

    /// A server answered a refresh token. The family is told, if the answer was a good one.
    pub(super) fn refreshed(
        &mut self,
        scene: &mut Scene<'_>,
        attempt: &Attempt,
        answer: Result<&TokenResponse, ErrorCode>,
    ) -> Verdict {
        let (now, name) = (scene.now, short(&attempt.credential));
        let known = self.refreshes.get(&attempt.credential).ok_or("a refresh token of nobody")?.clone();
        self.close(attempt);
        let family = &mut self.families[known.family];
        let is_beyond = known.successor.as_ref().is_some_and(|(_, at)| attempt.begun > at + scene.plan.grace + SLACK);
        let is_over = attempt.begun > family.turned.1 + scene.plan.grant_life + SLACK
            || attempt.begun > family.created.1 + scene.plan.absolute_life + SLACK;
        match answer {
            Ok(_) if family.death.is_some_and(|death| death.at < attempt.begun) => {
                Err(format!("{name} was refreshed although its family is dead: {}", family.death.unwrap().why))
            }
            Ok(_) if is_beyond => Err(format!("{name} was good beyond its grace")),
            Ok(_) if is_over => Err(format!("{name} was good beyond the life of its family")),
            Ok(response) => {
                scene.tally.refreshes += 1;
                if family.limbo.is_some_and(|(until, _)| until < attempt.begun) {
                    family.limbo = None;
                }
                let successor = response.refresh_token.as_ref().ok_or("no refresh token was given")?.expose().clone();
                match known.successor {
                    Some((same, _)) if same == successor => scene.tally.same_successors += 1,
                    Some((other, _)) => {
                        return Err(format!("{name} yielded {} and then {}", short(&other), short(&successor)));
                    }
                    None if self.refreshes.contains_key(&successor) => {
                        return Err(format!("{name} yielded {}, which was given before", short(&successor)));
                    }
                    None => {
                        // The turn itself may have been an earlier attempt's.
                        let first = known.first_sent.unwrap_or(attempt.begun);
                        family.turned = (family.turned.0.max(first), family.turned.1.max(now));
                        let next = Refresh { family: known.family, first_sent: None, successor: None };
                        self.refreshes.insert(successor.clone(), next);
                        self.refreshes.get_mut(&attempt.credential).unwrap().successor = Some((successor, now));
                    }
                }
                self.note_access(scene, known.family, response)
            }
            Err(ErrorCode::InvalidGrant) if is_beyond => {
                scene.tally.replays += 1;
                self.die(known.family, now, attempt.server, "an old refresh token was replayed");
                Ok(())
            }
            Err(ErrorCode::InvalidGrant) if may_be_beyond(known.first_sent, scene.plan.grace, now) => {
                self.doubt(known.family, now, "an old refresh token may have been judged a replay");
                Ok(())
            }
            Err(ErrorCode::InvalidGrant) => match self.excuse(scene, known.family) {
                Some(_) => Ok(()),
                None => Err(format!("{name} was refused without any reason: its client is logged out")),
            },
            Err(ErrorCode::TemporarilyUnavailable) => {
                self.unknown(scene, attempt);
                Ok(())
            }
            Err(code) => Err(format!("{name} was answered {}", code.as_str())),
        }
    }

    /// A client gives back what it has. From here on it may have ended. Whether that is the first thing that may have
    /// ended it.
    pub(super) fn revoking(&mut self, credential: &str, now: Millis) -> bool {
        let Some(family) = self.family_of(credential) else { return false };
        let was_sound = self.families[family].limbo.is_none();
        // Until the answer is there, and whatever is late then.
        self.doubt(family, now + MINUTE, "its client is giving it back");
        was_sound
    }

    /// And was told that it has.
    pub(super) fn revoked(&mut self, scene: &mut Scene<'_>, credential: &str, server: usize, was_sound: bool) {
        if let Some(family) = self.family_of(credential) {
            scene.tally.revocations += 1;
            let server = if was_sound { server } else { SOMEWHERE };
            self.families[family].death.get_or_insert(Death { at: scene.now, server, why: "its client gave it back" });
        }
    }

    /// A server let an access token through, or did not.
    pub(super) fn called(
        &mut self,
        scene: &mut Scene<'_>,
        attempt: &Attempt,
        resource: &str,
        answer: Result<&Caller, &Refused>,
    ) -> Verdict {
        scene.tally.calls += 1;
        let access = self.accesses.get(&attempt.credential).ok_or("an access token of nobody")?;
        let family = &self.families[access.family];
        match answer {
            Ok(caller) => {
                let spent = caller.upstream_token.as_ref().and_then(|token| numbers(token.expose(), "at-"));
                let login = spent.map(|(login, _)| login);
                let is_right = caller.grant.to_string() == family.grant
                    && caller.client.as_str() == family.terms.client
                    && caller.resource.as_str() == family.terms.resource
                    && caller.resource.as_str() == resource
                    && caller.identity.subject.as_str() == subject(&family.terms)
                    && login == Some(family.login);
                let is_back = family.death.is_some_and(|death| {
                    let here = if death.server == attempt.server { 0 } else { ELSEWHERE };
                    attempt.begun > death.at + here
                });
                if !is_right {
                    Err("an access token stands for another person, client, server or login".to_owned())
                } else if is_back {
                    Err(format!("an access token works although its family is dead: {}", family.death.unwrap().why))
                } else if attempt.begun > access.ends + SLACK {
                    Err("an access token works after its end".to_owned())
                } else {
                    Ok(())
                }
            }
            Err(Refused::WrongAudience) if resource != family.terms.resource => Ok(()),
            // Long after its end the key is gone as well by which it could be told from any other text.
            Err(Refused::Expired | Refused::Invalid) if scene.now + SLACK >= access.ends => Ok(()),
            Err(Refused::Unavailable(_)) => Ok(()),
            Err(Refused::Revoked) if self.excuse(scene, access.family).is_some() => Ok(()),
            Err(refused) => Err(format!("an access token was refused without any reason: {refused}")),
        }
    }

    /// The MCP server refuses what the provider gave. Where that cannot be renewed, the family ends with it.
    pub(super) fn refused_by_target(&mut self, scene: &Scene<'_>, access: &str) {
        let Some(access) = self.accesses.get(access) else { return };
        let family = &mut self.families[access.family];
        if scene.plan.upstreams[family.terms.provider].refreshing == Refreshing::Absent {
            family.limbo = Some((Millis::MAX, "its MCP server refused the provider's only token"));
        }
    }

    /// D5, RFC 9068: the token says what it must, and does not outlive what it spends.
    fn note_access(&mut self, scene: &Scene<'_>, number: usize, response: &TokenResponse) -> Verdict {
        let (claims, family) = (claims(response)?, &self.families[number]);
        let is_right = claims.aud == family.terms.resource
            && claims.sub == subject(&family.terms)
            && claims.client_id == family.terms.client
            && claims.gid == family.grant;
        if !is_right {
            return Err("an access token says another audience, person, client or Grant".to_owned());
        }
        let dawn = crate::world::clock::DAWN.millis();
        let ends = (claims.exp * 1000).saturating_sub(dawn);
        if scene.provider.logins[family.login].access_until.is_some_and(|until| ends > until + SLACK) {
            return Err("an access token outlives the upstream token".to_owned());
        }
        self.accesses.insert(response.access_token.expose().clone(), Access { family: number, ends });
        Ok(())
    }
}

/// Whether `span` may have gone by since it was first used.
fn may_be_beyond(first_sent: Option<Millis>, span: Millis, now: Millis) -> bool {
    first_sent.is_some_and(|at| now + SLACK > at + span)
}

fn subject(terms: &Terms) -> String {
    format!("{}:person-{}", super::provider::NAMES[terms.provider], terms.person)
}

fn claims(response: &TokenResponse) -> Verdict<Claims> {
    let payload = response.access_token.expose().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).ok_or_else(|| "not a JWT of ours".to_owned())
}

/// The end of a token, for people to tell it from others.
pub(super) fn short(token: &str) -> String {
    let at = token.len().saturating_sub(6);
    format!("{}…{}", &token[..token.len().min(3)], &token[at..])
}
