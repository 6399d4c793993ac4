//! How a family stands: alive, dead, or of uncertain fate.

use super::{DOUBLE_SUBMIT, Death, Ledger, SOMEWHERE, Scene, may_be_beyond};
use crate::sim::plan::{LATE, Millis, SLACK};

impl Ledger {
    /// Whether a request under way may end the family as a replay, or has done so and not yet said it.
    pub(super) fn is_being_replayed(&self, scene: &Scene<'_>, family: usize) -> bool {
        self.open.iter().any(|attempt| {
            match (self.refreshes.get(&attempt.credential), self.codes.get(&attempt.credential)) {
                (Some(refresh), _) if refresh.family == family => {
                    may_be_beyond(refresh.first_sent, scene.plan.grace, scene.now)
                }
                (_, Some(code)) if code.bought.is_some_and(|(bought, _)| bought == family) => {
                    may_be_beyond(code.first_sent, DOUBLE_SUBMIT, scene.now)
                }
                _ => false,
            }
        })
    }

    /// Why a family may be dead; `None`: it must live.
    pub(super) fn excuse(&self, scene: &Scene<'_>, number: usize) -> Option<&'static str> {
        let family = &self.families[number];
        let ends = (family.turned.0 + scene.plan.grant_life).min(family.created.0 + scene.plan.absolute_life);
        let is_old = (scene.now + SLACK > ends).then_some("its days are over");
        let dead = family.death.map(|death| death.why);
        let limbo = family.limbo.map(|(_, why)| why);
        let replayed = self.is_being_replayed(scene, number).then_some("an old token of it is on its way");
        let login = &scene.provider.logins[family.login];
        dead.or(limbo).or(is_old).or(replayed).or_else(|| login.excuse(scene.plan, scene.now))
    }

    /// How the family of a refresh token stands: `Ok(true)` it must live, `Ok(false)` it must be dead, `Err` nobody can
    /// say.
    pub(in crate::sim) fn standing(&self, scene: &Scene<'_>, token: &str) -> Result<bool, &'static str> {
        let known = &self.refreshes[token];
        if self.families[known.family].death.is_some() {
            return Ok(false);
        }
        match self.excuse(scene, known.family) {
            Some(why) => Err(why),
            None if may_be_beyond(known.first_sent, scene.plan.grace, scene.now) => Err("its client came too late"),
            None => Ok(true),
        }
    }

    pub(in crate::sim) fn is_dead(&self, credential: &str) -> bool {
        self.family_of(credential).is_some_and(|family| self.families[family].death.is_some())
    }

    /// Any refresh token that was ever given, for those who steal them.
    pub(in crate::sim) fn refresh_tokens(&self) -> Vec<String> {
        self.refreshes.keys().cloned().collect()
    }

    pub(in crate::sim) fn codes(&self) -> Vec<String> {
        self.codes.keys().cloned().collect()
    }

    /// The client that a credential was given to.
    pub(in crate::sim) fn client_of(&self, credential: &str) -> Option<String> {
        if let Some(code) = self.codes.get(credential) {
            return Some(code.terms.client.clone());
        }
        self.family_of(credential).map(|family| self.families[family].terms.client.clone())
    }

    pub(in crate::sim) fn login_of(&self, credential: &str) -> Option<usize> {
        self.family_of(credential).map(|family| self.families[family].login)
    }

    /// The number of the family of an access token, to name it by: the token itself is never the same twice.
    pub(in crate::sim) fn name_of(&self, access: &str) -> String {
        let family = self.family_of(access).map_or_else(String::new, |family| family.to_string());
        format!("an access token of family {family}")
    }

    pub(super) fn family_of(&self, credential: &str) -> Option<usize> {
        let refresh = self.refreshes.get(credential).map(|refresh| refresh.family);
        refresh.or_else(|| self.accesses.get(credential).map(|access| access.family))
    }

    /// By a replay. Where something else may have ended it before, nobody knows which server did.
    pub(super) fn die(&mut self, family: usize, at: Millis, server: usize, why: &'static str) {
        let family = &mut self.families[family];
        let server = if family.limbo.is_some() { SOMEWHERE } else { server };
        family.death.get_or_insert(Death { at, server, why });
    }

    pub(super) fn doubt(&mut self, family: usize, now: Millis, why: &'static str) {
        let until = now + LATE;
        let family = &mut self.families[family];
        let limbo = family.limbo.get_or_insert((until, why));
        limbo.0 = limbo.0.max(until);
    }
}
