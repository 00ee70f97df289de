//! The hosts of the stack's Ingresses, and requests to them.

use http::Method;
use http::header::LOCATION;

use crate::load::Connection;
use crate::observe::CauseClass;
use crate::suite::{Door, IngressHost, Reply, Stop, Trial, WayIn};

/// A path that a redirect must keep, below one of the host's.
const DEEP: &str = "/seatrial/deep";
/// A query that it must keep.
const QUERY: &str = "?first=1&second=two";
/// The app wants to know who asks, or to be asked otherwise: it serves.
const REFUSALS: [u16; 3] = [401, 403, 405];
/// Permanent redirects: the method is kept with 308, browsers accept both.
const PERMANENT: [u16; 2] = [301, 308];

/// The hosts, at least one.
///
/// # Errors
/// The stack has no Ingress with a host.
pub fn hosts(trial: &Trial) -> Result<&[IngressHost], Stop> {
    let hosts = &trial.target().hosts;
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    if let Some(unknown) = trial.left_to_others() {
        return Err(unknown);
    }
    Err(trial.failed(
        CauseClass::NoIngress,
        "an Ingress with a host",
        "the stack has none: it is not reached by name, and not over HTTPS",
    ))
}

/// GET of `path` through `door`.
///
/// # Errors
/// It was not answered.
pub async fn get(trial: &Trial, door: &Door, path: &str) -> Result<Reply, Stop> {
    let template = door.template(Method::GET, path).map_err(Stop::errored)?;
    let reply = trial.send(&template, Connection::Fresh).await;
    reply.map_err(|unanswered| {
        let expected = format!("{} answers", door.url(path));
        match unanswered.was_sent {
            true => trial.failed(CauseClass::NotServed, expected, unanswered.said),
            false => Stop::inconclusive(expected, unanswered.said),
        }
    })
}

/// Judges that plain HTTP answers with a permanent redirect that keeps host, path and query.
///
/// # Errors
/// It does not.
pub async fn redirects(trial: &Trial, host: &IngressHost) -> Result<(), Stop> {
    let door = trial.plain_door(host);
    let asked = match host.is_prefix {
        true => format!("{}{DEEP}{QUERY}", host.path.trim_end_matches('/')),
        false => format!("{}{QUERY}", host.path),
    };
    let reply = get(trial, &door, &asked).await?;
    let wanted = format!("https://{}{asked}", door.host);
    let expected = format!("{} is redirected for good to {wanted}", door.url(&asked));
    let location = reply.header(&LOCATION).unwrap_or("nowhere").to_owned();
    if !PERMANENT.contains(&reply.status) {
        let seen = format!("{} (to {location})", reply.status);
        // With TLS it is on unless somebody turned it off.
        let field = match host.secret.is_some() {
            true => "metadata.annotations.nginx.ingress.kubernetes.io/ssl-redirect",
            false => "spec.tls",
        };
        let stop = trial.failed_at(CauseClass::NoRedirect, &host.ingress, field, expected, seen);
        return Err(match host.secret.is_some() {
            true => stop.advising(
                "let nothing turn ssl-redirect off, here or in the controller's ConfigMap",
            ),
            false => stop,
        });
    }
    if location != wanted {
        let class = CauseClass::WrongRedirect;
        return Err(trial.failed_at(
            class,
            &host.ingress,
            "metadata.annotations",
            expected,
            location,
        ));
    }
    Ok(())
}

/// Judges that HTTPS serves the app at `path`.
///
/// # Errors
/// It does not.
pub async fn serves(trial: &Trial, host: &IngressHost, path: &str) -> Result<(), Stop> {
    let door = trial.secure_door(host);
    let reply = get(trial, &door, path).await?;
    if reply.status < 400 || REFUSALS.contains(&reply.status) {
        return Ok(());
    }
    if reply.status == 404 && !reply.is_controllers() {
        let seen = "404, as the app would say as well where it has no such page";
        return Err(Stop::inconclusive(format!("{} is served", door.url(path)), seen));
    }
    Err(trial.failed_at(
        CauseClass::NotServed,
        &host.ingress,
        "spec.rules",
        format!("{} is served", door.url(path)),
        reply.status.to_string(),
    ))
}

/// A path of `host` to ask for: the one known to be answered, where it is the front's host.
pub fn page<'a>(trial: &'a Trial, host: &'a IngressHost) -> &'a str {
    match &trial.target().front.way_in {
        WayIn::Ingress(Some(fronts)) if fronts.host == host.host => trial.page_path(),
        _ => &host.path,
    }
}

/// The host that leads to the front: the one users are told.
///
/// # Errors
/// The stack has no Ingress with a host.
pub fn first(trial: &Trial) -> Result<&IngressHost, Stop> {
    if let WayIn::Ingress(Some(host)) = &trial.target().front.way_in {
        return Ok(host);
    }
    hosts(trial)?.first().ok_or_else(|| Stop::errored("a list that is not empty has no first host"))
}
