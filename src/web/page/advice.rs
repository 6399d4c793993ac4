//! What pages for people in trouble say: what happened, what to do, and whether their app needs more than that.

use crate::oauth::{ErrorCode, Refusal, RefusalPage};

/// What a page for people in trouble says.
pub(super) struct Advice<'a> {
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) next: &'static str,
    /// What the client asked for, where that is the trouble.
    pub(super) address: Option<&'a str>,
    /// What it had named before, where that differs.
    pub(super) registered: &'a [String],
    /// Which steps of the person's app are shown.
    pub(super) help: Help,
    /// Where to go on here: address and words.
    pub(super) way: Option<(&'static str, &'static str)>,
}

/// Where an app has to be taken by the hand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Help {
    /// Nothing is to be done in the app.
    None,
    /// How to connect again.
    Again,
    /// How to make it forget its registration, and connect again.
    Reset,
}

pub(super) const TOO_MANY: Advice<'static> = Advice::plain(
    "Too many requests from your network",
    "More came from your network in a minute than this server answers. You may share it with many others.",
    "Wait a minute, then go back to your app and connect again.",
);

pub(super) const NOTHING_HERE: Advice<'static> = Advice {
    way: Some(("/", "See the servers that there are")),
    ..Advice::plain(
        "There is nothing at this address",
        "No MCP server and no page of this door lives here.",
        "Check the address for a typing mistake, or begin at the front page.",
    )
};

const DEVICE_PAGE: (&str, &str) = ("/device", "Enter the code");

impl<'a> Advice<'a> {
    const fn plain(title: &'static str, what: &'static str, next: &'static str) -> Self {
        Self { title, what, next, address: None, registered: &[], help: Help::None, way: None }
    }

    pub(super) fn of(refusal: &'a Refusal) -> Self {
        let plain = Self::plain;
        let again = |title, what, next| Advice { help: Help::Again, ..plain(title, what, next) };
        match (&refusal.page, refusal.error.code) {
            (RefusalPage::UnknownClient, _) => Advice {
                title: "Your app has to introduce itself again",
                what: "It came with a registration that this server did not issue, or issued with a key it no longer \
                       has. Most apps keep an old registration until you remove it.",
                next: "Remove the old registration in your app, then connect again:",
                address: None,
                registered: &[],
                help: Help::Reset,
                way: None,
            },
            (RefusalPage::BlockedClient, _) => plain(
                "This app is not let in",
                "The operator of this server has blocked it, or its registration was deleted. Nothing was granted.",
                "If you deleted it, add the server to your app anew. Otherwise ask the operator of this server.",
            ),
            (RefusalPage::BadRedirect { requested, registered }, _) => Advice {
                title: "The answer would go to the wrong address",
                what: "Your app asked for the answer at an address that it did not register. Nothing was sent there.",
                next: "If you trust the app, make it register again:",
                address: Some(requested),
                registered,
                help: Help::Reset,
                way: None,
            },
            (RefusalPage::RedirectNotLet { requested }, _) => Advice {
                title: "This app is not let in",
                what: "The operator of this server decides to which addresses answers may go, and the one of your app is \
                       not among them. Nothing was sent there.",
                next: "Connect with another app, or send the operator of this server the address above.",
                address: Some(requested),
                registered: &[],
                help: Help::None,
                way: None,
            },
            (RefusalPage::NoDocument { url }, _) => Advice {
                title: "Your app could not be looked up",
                what: "It introduces itself by the address below, and what should be there is missing, out of order or \
                       not accepted by this server. Nothing was granted.",
                next: "Wait a minute, then connect again from your app. If it stays like this, tell the maker of the \
                       app, or the operator of this server.",
                address: Some(url),
                registered: &[],
                help: Help::None,
                way: None,
            },
            (RefusalPage::Expired, _) => again(
                "This login has expired",
                "It was left open for too long. Nothing was granted.",
                "Go back to your app and connect again. That makes a fresh login.",
            ),
            (RefusalPage::AlreadyDone, _) => again(
                "This login is finished already",
                "It was used once, and once is all it is good for.",
                "If your app is connected, close this window. If not, go back to the app and connect again.",
            ),
            (RefusalPage::OtherBrowser, _) => again(
                "This login began in another browser",
                "It can only be finished where it began: otherwise someone could log in with a link made for you. \
                 Nothing was granted.",
                "Go back to your app and connect again, and stay in the browser that opens. Private windows and \
                 blocked cookies look like another browser.",
            ),
            (RefusalPage::DeviceWaits, _) => Advice {
                way: Some(DEVICE_PAGE),
                ..plain(
                    "The login did not come through",
                    "Nothing was granted. Your device still waits, if its code is not older than some minutes.",
                    "Enter the code once more, in this browser. If it happens every time, tell the operator of this \
                     server.",
                )
            },
            (RefusalPage::TooManyCodes, _) => Advice {
                way: Some(DEVICE_PAGE),
                ..plain(
                    "Too many codes",
                    "More codes were tried from your network than a person types.",
                    "Wait a minute, then enter the code that your device shows now.",
                )
            },
            (_, ErrorCode::AccessDenied) => plain(
                "You have no access here",
                "The login worked, but this account may not use this server.",
                "Connect again with another account, or ask the operator of this server to let this one in.",
            ),
            (RefusalPage::Unavailable, _) | (_, ErrorCode::ServerError | ErrorCode::TemporarilyUnavailable) => again(
                "Something is out of order on our side",
                "Your login could not be finished. Nothing was granted and nothing is lost.",
                "Wait a minute, then connect again from your app. If it stays like this, tell the operator.",
            ),
            (RefusalPage::ProviderFailed, _) => again(
                "The login did not come through",
                "The identity provider did not confirm who you are. Nothing was granted.",
                "Go back to your app and connect again. If it happens every time, tell the operator of this server.",
            ),
            (RefusalPage::BadRequest, _) => again(
                "This login link is not valid",
                "Something in it is missing or wrong. Nothing was granted.",
                "Go back to your app and connect again. If it happens every time, update the app.",
            ),
        }
    }
}
