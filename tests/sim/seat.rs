//! Clients and their people, who behave as real ones do: they try again when no answer comes, keep the newest token that
//! they were given, and log in anew when they are told to.

use std::{collections::HashMap, sync::Arc};

use url::Url;
use vestibule::{
    oauth::{Browser, ErrorCode, Navigation, Parameters, Step, TokenResponse},
    token::Refused,
};

use super::{
    deployment::{Deployment, Node, resource_uri},
    ledger::{Attempt, Ledger, Returned, Scene, Terms, short},
    provider::NAMES,
    world::{State, World},
};

const REDIRECT: &str = "https://claude.ai/api/mcp/auth_callback";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// One client with one person at one Resource.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) client: String,
    pub(super) person: usize,
    /// The number of the Resource, and of its provider.
    pub(super) at: usize,
    pub(super) browser: Option<Browser>,
    /// What the client holds.
    pub(super) hand: Option<Hand>,
    /// A login is under way.
    pub(super) is_busy: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hand {
    pub(super) refresh: String,
    pub(super) access: String,
    pub(super) code: String,
}

impl World {
    /// Enters something in the ledger; what is not allowed ends the simulation.
    pub(super) fn enter<T>(&self, entry: impl FnOnce(&mut Ledger, &mut Scene<'_>) -> Result<T, String>) -> Option<T> {
        let now = self.now();
        let entered = {
            let mut state = self.state();
            let State { ledger, provider, tally, .. } = &mut *state;
            entry(ledger, &mut Scene { plan: &self.plan, provider, tally, now })
        };
        entered.map_err(|what| self.violate(what)).ok()
    }
}

/// An attempt that was entered, until its end is: a future that is dropped half-way leaves that nobody knows.
struct Entered {
    world: Arc<World>,
    attempt: Attempt,
    is_told: bool,
}

impl Entered {
    fn new(node: &Node, world: &Arc<World>, credential: &str) -> Self {
        let now = world.now();
        let attempt = world.state().ledger.attempt(credential, node.life.server, now);
        Self { world: Arc::clone(world), attempt, is_told: false }
    }

    fn tell(mut self, entry: impl FnOnce(&mut Ledger, &mut Scene<'_>, &Attempt) -> Result<(), String>) {
        self.is_told = true;
        self.world.enter(|ledger, scene| entry(ledger, scene, &self.attempt));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.is_told {
            self.world.enter(|ledger, scene| {
                ledger.unknown(scene, &self.attempt);
                Ok(())
            });
        }
    }
}

/// What `/token` said.
type Token = Result<Arc<TokenResponse>, ErrorCode>;

impl Deployment {
    pub(super) fn seat(&self, at: usize) -> Seat {
        self.seats.lock().unwrap()[at].clone()
    }

    pub(super) fn hand(&self, at: usize) -> Option<Hand> {
        self.seat(at).hand
    }

    fn set_hand(&self, at: usize, hand: Option<Hand>) {
        self.seats.lock().unwrap()[at].hand = hand;
    }

    /// From nothing to tokens; gives up after some tries, as people do.
    pub(super) async fn log_in(self: &Arc<Self>, at: usize) {
        if std::mem::replace(&mut self.seats.lock().unwrap()[at].is_busy, true) {
            return;
        }
        for _ in 0..6 {
            if let Some(code) = self.reach_code(at).await
                && let Some(response) = self.redeem(at, &code).await
            {
                let refresh = response.refresh_token.as_ref().map(|token| token.expose().clone()).unwrap_or_default();
                let access = response.access_token.expose().clone();
                self.set_hand(at, Some(Hand { refresh, access, code }));
                break;
            }
            self.world.rest(200..2000).await;
        }
        self.seats.lock().unwrap()[at].is_busy = false;
    }

    /// `/authorize`, consent, the provider, the callback; each step at any server.
    async fn reach_code(self: &Arc<Self>, at: usize) -> Option<String> {
        let seat = self.seat(at);
        let browser = match seat.browser.clone() {
            Some(browser) => browser,
            None => {
                let met = self.ask(self.any_server(), |node| Box::pin(async move { node.server.meet(None) })).await?;
                self.seats.lock().unwrap()[at].browser = Some(met.clone());
                met
            }
        };
        let asked = Arc::new(asking(&seat));
        let guest = browser.clone();
        let step = self
            .ask(self.any_server(), move |node| {
                let (asked, guest) = (Arc::clone(&asked), guest.clone());
                Box::pin(async move { node.server.authorize(&asked, &guest, Navigation::Local).await })
            })
            .await?;
        let step = match step {
            Step::AskConsent(page) => {
                let form = [("request", page.sealed_request.expose().as_str()), ("decision", "approve")];
                let (form, guest) = (Arc::new(parameters(&form)), browser.clone());
                self.ask(self.any_server(), move |node| {
                    let (form, guest) = (Arc::clone(&form), guest.clone());
                    Box::pin(async move { node.server.decide(&form, &guest).await })
                })
                .await?
            }
            step => step,
        };
        let Step::GoUpstream { url, state_cookie } = step else { return None };
        let state = Url::parse(&url).ok()?.query_pairs().find(|(name, _)| name == "state")?.1.into_owned();
        let upstream_code = self.world.state().provider.log_in(seat.at, seat.person);
        let cookies = Arc::new(HashMap::from([(state_cookie.suffix, state_cookie.value.expose().clone())]));
        let returned = Arc::new(parameters(&[("code", &upstream_code), ("state", &state)]));
        let world = Arc::clone(&self.world);
        let server = self.any_server();
        self.world.say(|| format!("seat {at} comes back from the provider with {upstream_code}"));
        self.ask(server, move |node| {
            let (world, returned, cookies) = (Arc::clone(&world), Arc::clone(&returned), Arc::clone(&cookies));
            let (browser, seat) = (browser.clone(), seat.clone());
            let (state, upstream_code) = (state.clone(), upstream_code.clone());
            Box::pin(async move {
                let begun = world.now();
                let cookie = |suffix: &str| cookies.get(suffix).cloned();
                let step = node.server.callback(NAMES[seat.at], &returned, Some(&browser), &cookie).await;
                let code = code_in(step)?;
                world.say(|| format!("a code for seat {at}: {}", short(&code)));
                let login = world.state().provider.login_of(&upstream_code).unwrap_or(usize::MAX);
                let terms = Terms {
                    client: seat.client.clone(),
                    person: seat.person,
                    resource: resource_uri(seat.at).to_string(),
                    provider: seat.at,
                };
                let returned = Returned { state, begun, terms };
                world.enter(|ledger, scene| ledger.code_issued(scene, &returned, &code, login));
                Some(code)
            })
        })
        .await
        .flatten()
    }

    /// The code is tried twice if no answer comes; then it is given up.
    async fn redeem(self: &Arc<Self>, at: usize, code: &str) -> Option<Arc<TokenResponse>> {
        for _ in 0..2 {
            match self.present_code(code).await {
                Some(Ok(response)) => {
                    self.world.say(|| format!("seat {at} is logged in"));
                    return Some(response);
                }
                Some(Err(ErrorCode::InvalidGrant)) => return None,
                _ => self.world.rest(100..900).await,
            }
        }
        None
    }

    pub(super) async fn present_code(self: &Arc<Self>, code: &str) -> Option<Token> {
        let client = self.world.state().ledger.client_of(code)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &client),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let (form, code, world) = (Arc::new(parameters(&form)), code.to_owned(), Arc::clone(&self.world));
        self.ask(self.any_server(), move |node| {
            let (form, code, world) = (Arc::clone(&form), code.clone(), Arc::clone(&world));
            Box::pin(async move {
                let entered = Entered::new(&node, &world, &code);
                let answer = node.server.token(&form, None).await.map(Arc::new).map_err(|error| error.code);
                world.say(|| format!("code {} at {} -> {}", short(&code), node.life.server, said(&answer)));
                entered.tell(|ledger, scene, attempt| {
                    ledger.redeemed(scene, attempt, answer.as_ref().map(|response| &**response).map_err(|code| *code))
                });
                answer
            })
        })
        .await
    }

    /// The client refreshes with what it holds until it gets an answer that says something.
    pub(super) async fn refresh(self: &Arc<Self>, at: usize) {
        let Some(hand) = self.hand(at) else { return };
        for _ in 0..12 {
            let answer = self.present_refresh(&hand.refresh, self.any_server()).await;
            // Another of its tasks has been given newer ones meanwhile.
            if self.hand(at).is_none_or(|now| now.refresh != hand.refresh) || self.world.is_violated() {
                return;
            }
            match answer {
                Some(Ok(response)) => {
                    let refresh =
                        response.refresh_token.as_ref().map(|token| token.expose().clone()).unwrap_or_default();
                    let access = response.access_token.expose().clone();
                    self.set_hand(at, Some(Hand { refresh, access, code: hand.code }));
                    return;
                }
                Some(Err(ErrorCode::InvalidGrant)) => return self.set_hand(at, None),
                _ => self.world.rest(200..3000).await,
            }
        }
    }

    pub(super) async fn present_refresh(self: &Arc<Self>, token: &str, server: usize) -> Option<Token> {
        let client = self.world.state().ledger.client_of(token)?;
        let form = [("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", token)];
        let (form, token, world) = (Arc::new(parameters(&form)), token.to_owned(), Arc::clone(&self.world));
        self.ask(server, move |node| {
            let (form, token, world) = (Arc::clone(&form), token.clone(), Arc::clone(&world));
            Box::pin(async move {
                let entered = Entered::new(&node, &world, &token);
                let answer = node.server.token(&form, None).await.map(Arc::new).map_err(|error| error.code);
                world.say(|| format!("refresh {} at {} -> {}", short(&token), node.life.server, said(&answer)));
                entered.tell(|ledger, scene, attempt| {
                    ledger.refreshed(scene, attempt, answer.as_ref().map(|response| &**response).map_err(|code| *code))
                });
                answer
            })
        })
        .await
    }

    /// A call with the access token in hand, at a Resource. When the MCP server behind refuses what is injected, the
    /// Grant is marked stale.
    pub(super) async fn call(self: &Arc<Self>, access: &str, resource: usize, server: usize, is_refused: bool) -> bool {
        let (access, world) = (access.to_owned(), Arc::clone(&self.world));
        let answer = self.ask(server, move |node| {
            let (access, world) = (access.clone(), Arc::clone(&world));
            Box::pin(async move {
                let begun = world.now();
                let uri = resource_uri(resource);
                let attempt = Attempt { number: 0, credential: access.clone(), server: node.life.server, begun };
                let name = world.state().ledger.name_of(&access);
                let verified = node.mint.verify(&access, &uri).await;
                world.say(|| {
                    let said = verified.as_ref().map_or_else(ToString::to_string, |_| "through".to_owned());
                    format!("call with {name} at {} -> {said}", node.life.server)
                });
                let entry = verified.as_deref();
                world.enter(|ledger, scene| ledger.called(scene, &attempt, uri.as_str(), entry));
                if let (Ok(caller), true) = (&verified, is_refused) {
                    world.enter(|ledger, scene| {
                        ledger.refused_by_target(scene, &access);
                        Ok(())
                    });
                    let _ = node.mint.mark_stale(caller).await;
                }
                !matches!(verified, Err(Refused::Unavailable(_)))
            })
        });
        answer.await.unwrap_or(false)
    }

    /// Gives back any token of a family, until it is acknowledged.
    pub(super) async fn revoke(self: &Arc<Self>, token: &str) -> bool {
        let Some(client) = self.world.state().ledger.client_of(token) else { return false };
        let form = Arc::new(parameters(&[("client_id", &client), ("token", token)]));
        for _ in 0..5 {
            let (form, token, world) = (Arc::clone(&form), token.to_owned(), Arc::clone(&self.world));
            let acknowledged = self
                .ask(self.any_server(), move |node| {
                    let (form, token, world) = (Arc::clone(&form), token.clone(), Arc::clone(&world));
                    Box::pin(async move {
                        let now = world.now();
                        let was_sound = world.state().ledger.revoking(&token, now);
                        let answer = node.server.revoke(&form, None).await;
                        world.say(|| format!("revoke {} at {} -> {}", short(&token), node.life.server, answer.is_ok()));
                        if answer.is_ok() {
                            world.enter(|ledger, scene| {
                                ledger.revoked(scene, &token, node.life.server, was_sound);
                                Ok(())
                            });
                        }
                        answer.is_ok()
                    })
                })
                .await;
            if acknowledged == Some(true) {
                return true;
            }
            self.world.rest(200..2000).await;
        }
        false
    }
}

fn said(answer: &Token) -> String {
    match answer {
        Ok(response) => response.refresh_token.as_ref().map_or_else(String::new, |token| short(token.expose())),
        Err(code) => code.as_str().to_owned(),
    }
}

fn code_in(step: Step) -> Option<String> {
    let Step::Answer(answer) = step else { return None };
    let url = Url::parse(&answer.url).ok()?;
    url.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned())
}

fn asking(seat: &Seat) -> Parameters {
    let resource = resource_uri(seat.at).to_string();
    parameters(&[
        ("response_type", "code"),
        ("client_id", &seat.client),
        ("redirect_uri", REDIRECT),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", &resource),
    ])
}

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The body of a registration.
pub(super) fn registration(number: usize) -> String {
    serde_json::json!({
        "client_name": format!("client {number}"), "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    })
    .to_string()
}
