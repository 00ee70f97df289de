//! Paths: which page of the app a load asks for.

use std::fmt;

use http::Method;
use http::header::LOCATION;
use url::Url;

use crate::load::Connection;

use super::http::{Door, Reply};
use super::routes::Routes;
use super::target::{Front, Program};
use super::trial::Trial;

/// Static files of WordPress, cheapest first, and the front page.
const CHEAP_PATHS: [&str; 4] =
    ["/wp-includes/images/blank.gif", "/readme.html", "/license.txt", "/"];
/// Redirects that are followed: more are a loop.
const MAX_REDIRECTS: usize = 4;
/// What only pages of the controller itself say; it hides the version that nginx adds elsewhere.
const CONTROLLERS_PAGES: [&str; 2] = [PROXYS_PAGE, "default backend - 404"];
const PROXYS_PAGE: &str = "<center>nginx</center>";

/// What a path was answered.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    location: Option<String>,
    /// Whether the app said so, as far as one can tell.
    is_apps: bool,
    /// Whether a proxy in front says that nobody listens.
    is_proxys: bool,
}

/// What was answered where no path is known to serve.
#[derive(Clone, Debug, Default)]
pub(super) struct Unserved {
    seen: Vec<String>,
    /// Whether the app answered every request, without an error of its own.
    pub is_up: bool,
    /// Whether a request was redirected from plain HTTP to the same host over HTTPS.
    pub leads_to_https: bool,
    /// Whether the app answered with an error of its own.
    pub is_erring: bool,
    /// Requests that nobody took: refused, or 502 of a proxy in front.
    n_refused: usize,
}

impl Unserved {
    /// Whether nobody took any request.
    pub(super) fn is_refused(&self) -> bool {
        !self.seen.is_empty() && self.n_refused == self.seen.len()
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.seen.join("; "))
    }
}

/// Paths that lead to the front and may be answered with 200, the best first. `probed` is one that
/// its probe asks for.
pub(super) fn candidates(front: &Front, probed: Option<String>) -> Vec<String> {
    let routes = &front.routes;
    if front.program == Program::WordPress {
        return CHEAP_PATHS.iter().filter_map(|path| routes.below(path)).collect();
    }
    let base = routes.base().to_owned();
    let mut candidates = vec![base];
    candidates.extend(routes.below("/"));
    candidates.extend(probed.filter(|path| routes.lead_to_front(path)));
    let mut known: Vec<String> = Vec::new();
    candidates.retain(|path| {
        let is_new = !known.contains(path);
        known.push(path.clone());
        is_new
    });
    candidates
}

impl Trial {
    /// A path of the app that is answered with 200 through `door`: the first of `candidates`, else
    /// where one of them redirects to.
    ///
    /// # Errors
    /// What was answered instead.
    pub(super) async fn served_path(
        &self,
        door: &Door,
        candidates: &[String],
    ) -> Result<String, Unserved> {
        let ask = async |path: String| {
            let template = door.template(Method::GET, &path)?;
            let reply = self.send(&template, Connection::Fresh).await?;
            let location = reply.header(&LOCATION).map(str::to_owned);
            let is_proxys = reply.status == 502 && reply.text().contains(PROXYS_PAGE);
            Ok(Answer {
                status: reply.status,
                location,
                is_apps: !reply.is_controllers(),
                is_proxys,
            })
        };
        served(candidates, door, &self.target().front.routes, ask).await
    }
}

impl Reply {
    /// Whether the Ingress controller answered in the app's place.
    pub fn is_controllers(&self) -> bool {
        let text = self.text();
        self.backend.is_none() && CONTROLLERS_PAGES.iter().any(|page| text.contains(page))
    }
}

async fn served(
    candidates: &[String],
    door: &Door,
    routes: &Routes,
    ask: impl AsyncFn(String) -> Result<Answer, String>,
) -> Result<String, Unserved> {
    let mut unserved = Unserved { is_up: true, ..Unserved::default() };
    let mut redirects = Vec::new();
    for path in candidates {
        let answer = note(&mut unserved, path, ask(path.clone()).await);
        match answer {
            Some(answer) if answer.status == 200 => return Ok(path.clone()),
            Some(answer) => {
                unserved.leads_to_https |= is_to_https(door, path, &answer);
                redirects.extend(within(door, routes, path, &answer));
            }
            None => {}
        }
    }
    for mut path in redirects {
        for _ in 0..MAX_REDIRECTS {
            let answer = note(&mut unserved, &path, ask(path.clone()).await);
            match answer {
                Some(answer) if answer.status == 200 => return Ok(path),
                Some(answer) => match within(door, routes, &path, &answer) {
                    Some(next) => path = next,
                    None => break,
                },
                None => break,
            }
        }
    }
    Err(unserved)
}

fn note(unserved: &mut Unserved, path: &str, answer: Result<Answer, String>) -> Option<Answer> {
    match answer {
        Ok(answer) => {
            let to = answer.location.as_ref().map_or(String::new(), |to| format!(" to {to}"));
            unserved.seen.push(format!("GET {path}: {}{to}", answer.status));
            unserved.is_up &= answer.is_apps && answer.status < 500;
            unserved.is_erring |= answer.is_apps && !answer.is_proxys && answer.status >= 500;
            unserved.n_refused += usize::from(answer.is_proxys);
            Some(answer)
        }
        Err(error) => {
            unserved.n_refused += usize::from(error.ends_with(": Refused"));
            unserved.seen.push(error);
            unserved.is_up = false;
            None
        }
    }
}

/// Whether `answer` leads from plain HTTP to the HTTPS of the same host.
fn is_to_https(door: &Door, path: &str, answer: &Answer) -> bool {
    let (Ok(asked), Some(to)) = (Url::parse(&door.url(path)), &answer.location) else {
        return false;
    };
    let Ok(next) = asked.join(to) else { return false };
    (300..400).contains(&answer.status)
        && asked.scheme() == "http"
        && next.scheme() == "https"
        && next.host() == asked.host()
        && next.port().is_none()
}

/// The path that `answer` for `path` redirects to, if it is the app's as well.
fn within(door: &Door, routes: &Routes, path: &str, answer: &Answer) -> Option<String> {
    if !(300..400).contains(&answer.status) {
        return None;
    }
    let asked = Url::parse(&door.url(path)).ok()?;
    let next = asked.join(answer.location.as_deref()?).ok()?;
    let query = next.query().map_or(String::new(), |query| format!("?{query}"));
    let path = format!("{}{query}", next.path());
    (next.origin() == asked.origin() && routes.lead_to_front(&path)).then_some(path)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::load::Target;
    use crate::suite::routes::{Destination, Route};

    fn door() -> Door {
        let target = Target { host: "10.0.0.1".into(), port: 80, tls: None };
        Door { target, host: "shop.example.com".into() }
    }

    fn routes(paths: &[&str]) -> Routes {
        let route = |path: &&str| {
            let service = (*path).to_owned();
            Route::new(path, "Prefix", Destination { namespace: "a".into(), service, port: None })
        };
        Routes::new(paths.iter().map(route).collect(), 0)
    }

    fn found(pages: &[(&str, u16, &str)], candidates: &[&str]) -> Result<String, Unserved> {
        let ask = async |path: String| {
            let page = pages.iter().find(|(known, ..)| *known == path);
            let (_, status, location) = page.ok_or_else(|| format!("GET {path}: refused"))?;
            let location = (!location.is_empty()).then(|| (*location).to_owned());
            Ok(Answer { status: *status, location, is_apps: true, is_proxys: false })
        };
        let candidates: Vec<String> = candidates.iter().map(|path| (*path).to_owned()).collect();
        block_on(served(&candidates, &door(), &routes(&["/", "/api"]), ask))
    }

    #[test]
    fn a_page_behind_a_redirect_of_the_app_is_found() {
        let pages = [("/", 302, "/login?next=%2F"), ("/login?next=%2F", 200, "")];
        assert_eq!(found(&pages, &["/"]).expect("a page"), "/login?next=%2F");
        let better = [("/", 302, "/login"), ("/health", 200, ""), ("/login", 200, "")];
        assert_eq!(found(&better, &["/", "/health"]).expect("a page"), "/health");
        let absolute = [("/", 301, "http://shop.example.com/en/"), ("/en/", 200, "")];
        assert_eq!(found(&absolute, &["/"]).expect("a page"), "/en/");
        let relative = [("/a/b", 302, "c"), ("/a/c", 200, "")];
        assert_eq!(found(&relative, &["/a/b"]).expect("a page"), "/a/c");
    }

    #[test]
    fn a_redirect_to_the_https_of_the_host_is_told_from_others() {
        let leads =
            |to: &str| found(&[("/", 308, to)], &["/"]).expect_err("no page").leads_to_https;
        assert!(leads("https://shop.example.com") && leads("https://shop.example.com/"));
        assert!(!leads("https://sso.example.org/") && !leads("http://shop.example.com/x"));
        assert!(!leads("https://shop.example.com:8443/") && !leads("/login"));
    }

    #[test]
    fn what_was_answered_is_said_where_nothing_serves() {
        let elsewhere = [("/", 302, "https://sso.example.org/"), ("/x", 401, "")];
        let unserved = found(&elsewhere, &["/", "/x"]).expect_err("no page");
        assert_eq!(unserved.to_string(), "GET /: 302 to https://sso.example.org/; GET /x: 401");
        assert!(unserved.is_up);
        let other_program = found(&[("/", 302, "/api/x"), ("/api/x", 200, "")], &["/"]);
        assert_eq!(other_program.expect_err("another's page").to_string(), "GET /: 302 to /api/x");
        assert!(found(&[("/", 302, "/")], &["/"]).expect_err("a loop").is_up);
        assert!(!found(&[("/", 503, "")], &["/"]).expect_err("an error").is_up);
        assert!(!found(&[], &["/"]).expect_err("nobody").is_up);
    }
}
