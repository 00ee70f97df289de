//! The hosts of the stack's Ingresses, and requests to them.

use http::Method;
use http::header::LOCATION;

use crate::load::{Connection, Target};
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
    Err(trial.failed(
        CauseClass::NoIngress,
        "an Ingress with a host",
        "the stack has none: it is not reached by name, and not over HTTPS",
    ))
}

/// The plain way in to `host`.
pub fn plain(trial: &Trial, host: &IngressHost) -> Door {
    Door { target: trial.engine().front_door().http, host: host.name() }
}

/// The way in over TLS to `host`.
pub fn secure(trial: &Trial, host: &IngressHost) -> Door {
    let name = host.name();
    let target = Target { tls: Some(name.clone()), ..trial.engine().front_door().https };
    Door { target, host: name }
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
    let door = plain(trial, host);
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
        return Err(trial.failed_at(
            CauseClass::NoRedirect,
            &host.ingress,
            "spec.tls",
            expected,
            seen,
        ));
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
    let door = secure(trial, host);
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
