//! Whose `Mcp-Session-Id` is it? The older wires' sessions are bound to the person who opened them (SES-2, S24).
//!
//! A session id never authenticates (SES-1): each request carries its own token. This only stops a second person, who
//! has a token of their own, from entering the first one's session at a target that does not look.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use http::{HeaderMap, HeaderName, StatusCode};
use moka::sync::Cache;

use crate::domain::Subject;

/// The header's name; names are case-insensitive, values are not.
pub(super) const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Sessions that are remembered at once, in this process.
const MOST: u64 = 100_000;
/// A session nobody uses is forgotten; at its next use it is bound anew.
const IDLE: Duration = Duration::from_secs(48 * 3600);

/// Session → person, both as keyed 64-bit hashes: bounded, and nothing to steal.
#[derive(Debug)]
pub(super) struct Sessions {
    bound: Cache<u64, u64, RandomState>,
    keys: RandomState,
}

/// The session that one request named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    session: Option<u64>,
    subject: u64,
    is_bound: bool,
}

impl Named {
    /// Whether the request named a session at all.
    pub(super) const fn is_some(self) -> bool {
        self.session.is_some()
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            bound: Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build_with_hasher(RandomState::new()),
            keys: RandomState::new(),
        }
    }

    /// The session that the request names, unless it is another person's (then `None`: say 404, as if unknown).
    pub(super) fn enter(&self, headers: &HeaderMap, resource: &str, subject: &Subject) -> Option<Named> {
        let mut values = headers.get_all(MCP_SESSION_ID).iter();
        let Some(id) = values.next() else {
            return Some(Named { session: None, subject: 0, is_bound: false });
        };
        if values.next().is_some() {
            // Two ids: the target could pick the one that we did not look at.
            return None;
        }
        let session = self.keys.hash_one((resource, id.as_bytes()));
        let subject = self.keys.hash_one(subject.as_str());
        match self.bound.get(&session) {
            Some(owner) if owner != subject => None,
            owner => Some(Named { session: Some(session), subject, is_bound: owner.is_some() }),
        }
    }

    /// Learns from the target's answer: a session it issued is the caller's; one it ended is forgotten. A session that
    /// we do not know (issued before a restart, or through another replica) is bound to the first person whom the
    /// target lets use it.
    pub(super) fn learn(&self, named: Named, is_delete: bool, answer: &Answer<'_>) {
        if let Some(session) = named.session {
            if answer.status == StatusCode::NOT_FOUND || (is_delete && answer.status.is_success()) {
                self.bound.invalidate(&session);
                return;
            }
            if !named.is_bound && answer.status.is_success() {
                self.bound.insert(session, named.subject);
            }
        }
        if let Some(id) = answer.headers.get(MCP_SESSION_ID).filter(|_| answer.status.is_success()) {
            let session = self.keys.hash_one((answer.resource, id.as_bytes()));
            if named.session != Some(session) {
                self.bound.insert(session, self.keys.hash_one(answer.subject.as_str()));
            }
        }
    }
}

/// What [`Sessions::learn`] looks at.
pub(super) struct Answer<'a> {
    /// The Resource, since two targets may issue equal ids.
    pub(super) resource: &'a str,
    /// Who asked.
    pub(super) subject: &'a Subject,
    /// The target's status.
    pub(super) status: StatusCode,
    /// The target's headers.
    pub(super) headers: &'a HeaderMap,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::domain::UpstreamName;

    fn person(name: &str) -> Subject {
        Subject::new(&UpstreamName::parse("idp").unwrap(), name)
    }

    fn naming(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(MCP_SESSION_ID, HeaderValue::from_str(id).unwrap())])
    }

    fn answered(sessions: &Sessions, asked: &HeaderMap, who: &str, status: u16, headers: &HeaderMap, delete: bool) {
        let subject = person(who);
        let named = sessions.enter(asked, "r", &subject).expect("admitted");
        let status = StatusCode::from_u16(status).unwrap();
        sessions.learn(named, delete, &Answer { resource: "r", subject: &subject, status, headers });
    }

    #[test]
    fn ses_2_a_session_is_its_openers_and_forgotten_when_it_ends() {
        let (sessions, none, s1) = (Sessions::new(), HeaderMap::new(), naming("s1"));
        answered(&sessions, &none, "ann", 200, &s1, false);
        assert!(sessions.enter(&s1, "r", &person("ann")).is_some());
        assert!(sessions.enter(&s1, "r", &person("bob")).is_none());
        assert!(sessions.enter(&s1, "other", &person("bob")).is_some(), "another server's session of the same name");
        // A failed DELETE ends nothing; a 404 and a successful DELETE do.
        answered(&sessions, &s1, "ann", 405, &none, true);
        assert!(sessions.enter(&s1, "r", &person("bob")).is_none());
        answered(&sessions, &s1, "ann", 200, &none, true);
        assert!(sessions.enter(&s1, "r", &person("bob")).is_some());
    }

    #[test]
    fn ses_2_an_unknown_session_is_bound_at_its_first_good_use() {
        let (sessions, none, s1) = (Sessions::new(), HeaderMap::new(), naming("s1"));
        answered(&sessions, &s1, "bob", 404, &none, false);
        assert!(sessions.enter(&s1, "r", &person("ann")).is_some(), "a 404 binds nothing");
        answered(&sessions, &s1, "ann", 200, &none, false);
        assert!(sessions.enter(&s1, "r", &person("bob")).is_none());
        let mut two = s1.clone();
        two.append(MCP_SESSION_ID, HeaderValue::from_static("s2"));
        assert!(sessions.enter(&two, "r", &person("ann")).is_none(), "two ids are nobody's");
    }
}
