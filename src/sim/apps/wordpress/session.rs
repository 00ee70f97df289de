//! Who is logged in: cookies signed with the salts, and nonces (`wp-includes/pluggable.php`).

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use sha2::{Digest as _, Sha256};

use super::entrypoint::salt;
use super::message::cookie;
use crate::base::SimTime;
use crate::sim::apps::model::AppCx;

/// A cookie without "remember me" is valid for two days.
const COOKIE_SECONDS: u64 = 2 * 86_400;
/// A nonce lives two ticks of half a day (`nonce_life`).
const NONCE_TICK_SECONDS: u64 = 43_200;

/// A session that its cookie proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub user: String,
    pub token: String,
}

/// Hex of SHA-256 over the parts.
fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `COOKIEHASH`: tells the cookies of two sites apart.
fn cookie_hash(site_url: &str) -> String {
    digest(&[site_url])[..32].to_owned()
}

fn signature(session: &Session, expires: &str, cx: &AppCx<'_>) -> String {
    let secret = [salt("LOGGED_IN_KEY", cx), salt("LOGGED_IN_SALT", cx)].concat();
    digest(&[&secret, &session.user, expires, &session.token])
}

/// Sets the cookies of a login.
pub(super) fn set_cookies(
    response: &mut Response<Bytes>,
    session: &Session,
    site_url: &str,
    cx: &AppCx<'_>,
) {
    let expires = (cx.now.whole_seconds() + COOKIE_SECONDS).to_string();
    let signature = signature(session, &expires, cx);
    let Session { user, token } = session;
    let value = format!("{user}%7C{expires}%7C{token}%7C{signature}");
    let hash = cookie_hash(site_url);
    let secure = if site_url.starts_with("https") { "; secure" } else { "" };
    for (name, path) in [("wordpress", "/wp-admin"), ("wordpress_logged_in", "/")] {
        let text = format!("{name}_{hash}={value}; path={path}{secure}; HttpOnly");
        if let Ok(text) = HeaderValue::try_from(text) {
            response.headers_mut().append(header::SET_COOKIE, text);
        }
    }
}

/// The session whose cookie the request carries, if it was signed with the salts of this copy.
pub(super) fn of(request: &Request<Bytes>, site_url: &str, cx: &AppCx<'_>) -> Option<Session> {
    let value = cookie(request, &format!("wordpress_logged_in_{}", cookie_hash(site_url)))?;
    let [user, expires, token, signed] = value.split('|').collect::<Vec<_>>().try_into().ok()?;
    let session = Session { user: user.to_owned(), token: token.to_owned() };
    let valid = expires.parse::<u64>().is_ok_and(|at| at > cx.now.whole_seconds())
        && signature(&session, expires, cx) == signed;
    valid.then_some(session)
}

/// The nonce of `session` for the REST API at this instant.
pub(super) fn nonce(session: &Session, cx: &AppCx<'_>) -> String {
    nonce_at(session, tick(cx.now), cx)
}

/// Whether `nonce` was made in this tick or the one before.
pub(super) fn is_nonce(nonce: &str, session: &Session, cx: &AppCx<'_>) -> bool {
    let now = tick(cx.now);
    [now, now.saturating_sub(1)].iter().any(|tick| nonce_at(session, *tick, cx) == nonce)
}

fn tick(now: SimTime) -> u64 {
    now.whole_seconds().div_ceil(NONCE_TICK_SECONDS) + 1
}

fn nonce_at(session: &Session, tick: u64, cx: &AppCx<'_>) -> String {
    let secret = [salt("NONCE_KEY", cx), salt("NONCE_SALT", cx)].concat();
    let Session { user, token } = session;
    digest(&[&secret, &tick.to_string(), "wp_rest", user, token])[..10].to_owned()
}
