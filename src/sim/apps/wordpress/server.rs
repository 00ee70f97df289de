//! Apache and PHP: which part answers a request, and what it costs.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::database::{Config, DbError, error_page};
use super::entrypoint::{self, CONFIG, INDEX, ROOT};
use super::message::{html, query_value, redirect, scheme};
use super::opcache::Opcache;
use super::pages::{Site, static_file};
use super::unmodelled::{self, OTHER_SCRIPTS};
use super::{forms, rest};
use crate::base::millis;
use crate::sim::apps::access_log::AccessLog;
use crate::sim::apps::generic::is_known;
use crate::sim::apps::model::{App, AppCx, Launch, Shutdown, Work};
use crate::sim::apps::script::{self, Command, Programs};
use crate::sim::apps::wire;
use crate::sim::machines::Mount;

/// CPU time of a page that is compiled (measured runs: 27 to 45 ms).
const PAGE_CPU: Duration = millis(30);
/// CPU time of a static file.
const STATIC_CPU: Duration = Duration::from_micros(500);
/// What a file on a file server takes longer (measured runs on CephFS).
const SERVED_FILE_WAIT: Duration = millis(4);
/// Memory of a process that serves a page and of one that serves a file, beyond what all share, in
/// bytes (measured runs: 2.5 to 4.5 MB and some 0.8 MB).
const PAGE_MEMORY: u64 = 4 << 20;
const STATIC_MEMORY: u64 = 1 << 20;
/// The image's own programs.
const OWN: &[&str] = &["apache2-foreground", "apache2"];
/// Apache ends this long after its last request.
const EXIT: Duration = millis(100);

/// The WordPress image, Apache variant.
#[derive(Debug, Default)]
pub(in crate::sim::apps) struct WordPress {
    database: Config,
    site: Option<Site>,
    opcache: Opcache,
    log: AccessLog,
    is_serving: bool,
}

/// One request that PHP serves.
pub(super) struct Visit<'a> {
    /// The database.
    pub database: &'a Config,
    /// Time spent waiting for it.
    pub wait: Duration,
    /// CPU time beyond that of a page that is compiled.
    pub cpu: Duration,
    site: &'a mut Option<Site>,
}

impl Visit<'_> {
    /// Loads options and newest posts, unless they are at the revision known already.
    pub(super) fn site(&mut self, cx: &mut AppCx<'_>) -> Result<(), DbError> {
        let known = self.site.as_ref().map_or("", |site| site.revision.as_str());
        let answer = self.database.send(&["view", known], &mut self.wait, cx)?;
        match wire::split(&answer).as_slice() {
            ["S"] => Ok(()),
            ["O", fields @ ..] => {
                let fields: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
                *self.site = Site::read(&fields);
                Ok(())
            }
            ["E", "1146", ..] => Err(DbError::NotInstalled),
            _ => Err(DbError::Unavailable),
        }
    }

    /// The site's URL as seen over the request's scheme.
    pub(super) fn url(&self, request: &Request<Bytes>) -> String {
        self.site.as_ref().map_or_else(String::new, |site| site.url_for(scheme(request)))
    }

    /// The site's URL as it was saved: cookies carry its hash whatever the scheme.
    pub(super) fn saved_url(&self) -> String {
        self.site.as_ref().map_or_else(String::new, |site| site.url.clone())
    }

    /// What a page answers when it cannot load the site.
    pub(super) fn failed(&self, error: &DbError, request: &Request<Bytes>) -> Response<Bytes> {
        match error {
            DbError::NotInstalled => {
                let host = super::message::host(request);
                redirect(&format!("{}://{host}/wp-admin/install.php", scheme(request)))
            }
            DbError::Unavailable => error_page(),
            DbError::Refused(_) => html(
                StatusCode::INTERNAL_SERVER_ERROR,
                "<p>There has been a critical error on this website.</p>",
            ),
        }
    }

    fn page(&mut self, request: &Request<Bytes>, cx: &mut AppCx<'_>) -> Response<Bytes> {
        if let Err(error) = self.site(cx) {
            return self.failed(&error, request);
        }
        let is_home = matches!(request.uri().path(), "/" | "/index.php");
        let id = query_value(request, "p");
        let post = match &id {
            Some(id) => self.database.run(&["get", id], &mut self.wait, cx),
            None => Ok(Vec::new()),
        };
        let Some(site) = self.site.as_mut() else {
            return error_page();
        };
        match (is_home, id, post) {
            (true, None, _) => site.front(scheme(request)),
            (true, Some(id), Ok(row)) if row.len() > 3 && row[1] == "post" => {
                site.post(&id, &row[2], &row[3], scheme(request))
            }
            (_, _, Err(error @ (DbError::Unavailable | DbError::NotInstalled))) => {
                self.failed(&error, request)
            }
            _ => site.not_found(scheme(request)),
        }
    }

    /// `/wp-admin/`: the dashboard, or the way to the login.
    fn admin(&mut self, request: &Request<Bytes>, cx: &mut AppCx<'_>) -> Response<Bytes> {
        if let Err(error) = self.site(cx) {
            return self.failed(&error, request);
        }
        let url = self.url(request);
        match rest::logged_in(self, request, cx) {
            Ok(Some(_)) => html(StatusCode::OK, "<!DOCTYPE html>\n<h1>Dashboard</h1>\n"),
            Ok(None) => {
                redirect(&format!("{url}/wp-login.php?redirect_to={url}/wp-admin/&reauth=1"))
            }
            Err(error) => self.failed(&error, request),
        }
    }
}

impl WordPress {
    fn php(
        &mut self,
        request: &Request<Bytes>,
        cx: &mut AppCx<'_>,
    ) -> (Response<Bytes>, [Duration; 2]) {
        let mut visit = Visit {
            database: &self.database,
            wait: Duration::ZERO,
            cpu: self.opcache.cpu(cx.now, cx.start.cpu_limit_milli, has_served_root(cx)),
            site: &mut self.site,
        };
        let path = request.uri().path();
        if OTHER_SCRIPTS.contains(&path) {
            cx.notes.push(format!("{path} of WordPress"));
        }
        let rest_route = query_value(request, "rest_route");
        let response = match path {
            "/wp-admin/install.php" => forms::install(&mut visit, request, cx),
            "/wp-login.php" => forms::login(&mut visit, request, cx),
            "/wp-comments-post.php" => forms::comment(&mut visit, request, cx),
            "/xmlrpc.php" => forms::xmlrpc(&mut visit, request, cx),
            "/wp-admin/admin-ajax.php" => rest::ajax(&mut visit, request, cx),
            "/wp-admin" | "/wp-admin/" | "/wp-admin/index.php" => visit.admin(request, cx),
            _ => match (path.strip_prefix("/wp-json"), rest_route) {
                (Some(route), _) => rest::serve(route, &mut visit, request, cx),
                (None, Some(route)) => rest::serve(&route, &mut visit, request, cx),
                (None, None) => visit.page(request, cx),
            },
        };
        (response, [visit.cpu, visit.wait])
    }
}

/// Whether WordPress itself lies on a file server.
fn has_served_root(cx: &AppCx<'_>) -> bool {
    let is_root = |mount: &&Mount| Path::new(&mount.path) == Path::new(ROOT);
    cx.start.mounts.iter().find(is_root).is_some_and(Mount::is_served)
}

impl App for WordPress {
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch {
        match script::command(cx, &Programs { own: OWN, takes_options: false, app: self }) {
            Command::Main(main) => {
                self.is_serving = true;
                self.database = Config::read(cx.start);
                unmodelled::note(cx);
                entrypoint::run(main, cx)
            }
            other => script::launch(other),
        }
    }

    fn http(&mut self, _port: u16, request: &Request<Bytes>, cx: &mut AppCx<'_>) -> Work {
        let jitter = 0.8 + 0.4 * cx.rng.unit("wordpress-cpu");
        let served = static_file(request.uri().path(), cx);
        let is_static = served.is_some();
        let round_trips = if has_served_root(cx) { SERVED_FILE_WAIT } else { Duration::ZERO };
        let (response, [extra, wait]) = match served {
            Some(response) => (response, [Duration::ZERO, round_trips]),
            None if cx.files.read(INDEX).is_none() => {
                let body = Bytes::from_static(b"<h1>Forbidden</h1>");
                let response = super::message::plain(StatusCode::FORBIDDEN, "text/html", body);
                (response, [Duration::ZERO; 2])
            }
            None if cx.files.read(CONFIG).is_none() => {
                (redirect("/wp-admin/setup-config.php"), [Duration::ZERO; 2])
            }
            None => self.php(request, cx),
        };
        let (cpu, memory_bytes) =
            if is_static { (STATIC_CPU, STATIC_MEMORY) } else { (PAGE_CPU + extra, PAGE_MEMORY) };
        let (status, n_bytes) = (response.status().as_u16(), response.body().len());
        Work {
            cpu: cpu.mul_f64(jitter),
            wait,
            memory_bytes,
            log: Some(self.log.line(cx.now, request, status, n_bytes)),
            response: Some(response),
        }
    }

    /// STOPSIGNAL SIGWINCH: Apache's graceful stop.
    fn shutdown(&mut self) -> Shutdown {
        Shutdown {
            stops_listening: Duration::ZERO,
            drains: true,
            exits_after: EXIT,
            exit_code: 0,
            ignores: !self.is_serving,
        }
    }

    fn stop_signals(&self) -> &'static [&'static str] {
        // `STOPSIGNAL SIGWINCH` of the image; SIGTERM cuts requests.
        &["WINCH"]
    }

    fn has_binary(&self, name: &str) -> Option<bool> {
        is_known(name, &["php", "apache2ctl", "apachectl", "curl", "bash"])
    }
}
