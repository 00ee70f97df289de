//! Servers without a story of their own: configured ones, nginx, and programs that only wait.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};

use super::access_log::AccessLog;
use super::model::{App, AppCx, Files, GenericApp, Launch, Shutdown, Work};
use super::script::{self, Command, Main, Programs};
use crate::base::millis;
use crate::sim::machines::ContainerStart;

/// Requests a server handles at once: an event loop takes what comes.
const N_WORKERS: usize = 1_024;
/// Memory a request holds, in bytes.
const REQUEST_MEMORY: u64 = 64 << 10;
/// The document root of the official nginx image, and the pages in it.
const ROOT: &str = "/usr/share/nginx/html";
const PAGES: [&str; 2] = ["/index.html", "/50x.html"];
/// Where its configuration lies.
const CONFIG: &str = "/etc/nginx";
const DEFAULT_CONFIG: &str = "/etc/nginx/nginx.conf";
/// Exit code of a process that SIGTERM ended: 128 + 15.
const TERMINATED: i32 = 143;

/// An HTTP server.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    start: Duration,
    cpu: Duration,
    memory_bytes: u64,
    statuses: BTreeMap<String, u16>,
    drains: bool,
    keep_alive: HeaderValue,
    /// What it asks of `listen(2)`, if that is known.
    listen_backlog: Option<usize>,
    /// Whether it serves the files below [`ROOT`].
    is_nginx: bool,
    own: Vec<&'static str>,
    /// Whether the image has a shell and the usual tools; `None` where that is not known.
    has_shell: Option<bool>,
    has_bash: Option<bool>,
    probes: Vec<String>,
    /// Whether the image's program runs, not a command in its place.
    is_serving: bool,
    /// Whether the process ends on SIGTERM.
    heeds: bool,
    log: AccessLog,
}

impl Server {
    /// The server that `seatrial.toml` describes.
    pub(super) fn configured(app: &GenericApp) -> Self {
        Server {
            port: app.port,
            start: app.start,
            cpu: app.cpu_per_request,
            memory_bytes: app.memory_bytes,
            statuses: app.statuses.clone(),
            drains: app.drains,
            keep_alive: HeaderValue::from_static("timeout=75"),
            listen_backlog: None,
            is_nginx: false,
            own: Vec::new(),
            has_shell: app.has_shell,
            has_bash: None,
            probes: app.probes.clone(),
            is_serving: true,
            heeds: true,
            log: AccessLog::default(),
        }
    }

    /// The official nginx image: its welcome page, 404 for anything else; STOPSIGNAL SIGQUIT drains.
    pub(super) fn nginx(tag: &str) -> Self {
        Server {
            port: 80,
            start: millis(150),
            cpu: Duration::from_micros(200),
            memory_bytes: 8 << 20,
            statuses: BTreeMap::new(),
            drains: true,
            keep_alive: HeaderValue::from_static("timeout=65"),
            listen_backlog: Some(511),
            is_nginx: true,
            own: vec!["nginx", "nginx-debug"],
            has_shell: Some(true),
            has_bash: Some(!tag.contains("alpine")),
            probes: Vec::new(),
            is_serving: true,
            heeds: true,
            log: AccessLog::default(),
        }
    }

    fn status_of(&self, path: &str, start: &ContainerStart, files: &dyn Files) -> StatusCode {
        if self.is_nginx {
            return page(path, start, files);
        }
        let matching = self.statuses.iter().filter(|(prefix, _)| path.starts_with(*prefix));
        let longest = matching.max_by_key(|(prefix, _)| prefix.len());
        longest.and_then(|(_, status)| StatusCode::from_u16(*status).ok()).unwrap_or(StatusCode::OK)
    }
}

/// The status of a page of the default site (`default.conf` of docker-nginx: root and index).
fn page(path: &str, start: &ContainerStart, files: &dyn Files) -> StatusCode {
    let is_folder = path.ends_with('/');
    let page = if is_folder { format!("{path}index.html") } else { path.to_owned() };
    let file = format!("{ROOT}{page}");
    let is_mounted = start.mounts.iter().any(|mount| Path::new(&file).starts_with(&mount.path));
    let exists =
        if is_mounted { files.read(&file).is_some() } else { PAGES.contains(&page.as_str()) };
    match exists {
        true => StatusCode::OK,
        // A folder without an index is not listed; only the root is known to be one.
        false if path == "/" => StatusCode::FORBIDDEN,
        false => StatusCode::NOT_FOUND,
    }
}

/// nginx goes into the background unless it is told otherwise, and its container ends with the first
/// process (`docker-nginx` has `CMD ["nginx", "-g", "daemon off;"]`). Other options are not followed
/// (`nginx.c:ngx_get_options`).
fn with_options(command: Command, cx: &mut AppCx<'_>) -> Command {
    let Command::Main(main) = command else { return command };
    let Some((_, options)) = main.words.split_first() else { return Command::Main(main) };
    let text = options.join(" ").replace(';', " ; ");
    let mut words = text.split_whitespace().filter(|word| *word != ";").peekable();
    let (mut is_followed, mut stays) = (true, false);
    while let Some(word) = words.next() {
        match (word, words.peek()) {
            ("-g", Some(&"daemon")) => {
                words.next();
                stays = words.next() == Some("off");
            }
            ("-c", Some(&DEFAULT_CONFIG)) => {
                words.next();
            }
            _ => is_followed = false,
        }
    }
    if !is_followed {
        cx.notes.push(main.words.join(" "));
    }
    // They test the configuration, tell the version, or signal another process.
    let ends = options.iter().any(|word| matches!(word.as_str(), "-t" | "-T" | "-v" | "-V" | "-s"));
    match stays && !ends {
        true => Command::Main(main),
        false => Command::Ends { after: main.after + millis(50), code: 0, log: main.log },
    }
}

impl App for Server {
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch {
        let command = if self.own.is_empty() {
            // A configured model stands for whatever command the stack runs.
            Command::Main(Main::default())
        } else {
            script::command(cx, &Programs { own: &self.own, takes_options: false, app: self })
        };
        let command = if self.is_nginx { with_options(command, cx) } else { command };
        let Command::Main(Main { after, log, .. }) = command else {
            (self.is_serving, self.heeds) = (false, false);
            return script::launch(command);
        };
        (self.is_serving, self.heeds) = (true, true);
        if self.is_nginx {
            let configured =
                cx.start.mounts.iter().filter(|mount| Path::new(&mount.path).starts_with(CONFIG));
            cx.notes.extend(configured.map(|mount| format!("nginx with {} mounted", mount.path)));
        }
        // Start-up varies by a tenth around the figure.
        let low = self.start.mul_f64(0.9);
        let drawn = cx.rng.between("generic-start", low, self.start.mul_f64(1.1));
        Launch {
            listens: vec![(self.port, after + drawn)],
            cpu: drawn / 4,
            memory_bytes: self.memory_bytes,
            n_workers: N_WORKERS,
            log,
            listen_backlog: self.listen_backlog.unwrap_or(Launch::default().listen_backlog),
            ..Launch::default()
        }
    }

    fn http(&mut self, _port: u16, request: &http::Request<Bytes>, cx: &mut AppCx<'_>) -> Work {
        let status = self.status_of(request.uri().path(), cx.start, cx.files);
        let mut response = Response::new(Bytes::from(format!("{}\n", cx.start.pod)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(HeaderName::from_static("keep-alive"), self.keep_alive.clone());
        let n_bytes = response.body().len();
        let log = self.log.line(cx.now, request, status.as_u16(), n_bytes);
        Work {
            cpu: cx.rng.between("generic-cpu", self.cpu.mul_f64(0.8), self.cpu.mul_f64(1.2)),
            wait: Duration::ZERO,
            memory_bytes: REQUEST_MEMORY,
            response: Some(response),
            log: Some(log),
        }
    }

    fn shutdown(&mut self) -> Shutdown {
        Shutdown {
            stops_listening: Duration::ZERO,
            drains: self.drains,
            exits_after: millis(10),
            exit_code: if self.drains { 0 } else { TERMINATED },
            ignores: !self.heeds,
        }
    }

    fn stop_signals(&self) -> &'static [&'static str] {
        // SIGTERM is nginx's fast shutdown (`nginx.org/en/docs/control.html`).
        if self.is_nginx { &["QUIT"] } else { &["TERM"] }
    }

    fn status(&self, path: &str, start: &ContainerStart, files: &dyn Files) -> Option<u16> {
        self.is_serving.then(|| self.status_of(path, start, files).as_u16())
    }

    fn has_binary(&self, name: &str) -> Option<bool> {
        match self.has_shell {
            Some(true) if name == "bash" => self.has_bash,
            Some(true) => is_known(name, &self.own),
            other => other,
        }
    }

    fn is_probe(&self, name: &str) -> bool {
        self.probes.iter().any(|probe| probe == name)
    }
}

/// A program that listens to nothing: busybox with its command, or pause.
#[derive(Debug)]
pub(super) struct Idle {
    heeds: bool,
    is_shell: bool,
}

impl Idle {
    /// busybox: its command is `sh`, which ends at once without a terminal.
    pub(super) fn shell() -> Self {
        Idle { heeds: false, is_shell: true }
    }

    /// pause: waits, and ends at once on SIGTERM (`build/pause/linux/pause.c`).
    pub(super) fn pause() -> Self {
        Idle { heeds: true, is_shell: false }
    }
}

impl App for Idle {
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch {
        if !self.is_shell {
            return script::launch(Command::Runs { log: Vec::new() });
        }
        let bare = cx.start.command.is_empty() && cx.start.args.is_empty();
        let command = if bare {
            Command::Ends { after: millis(5), code: 0, log: Vec::new() }
        } else {
            script::command(cx, &Programs { own: &[], takes_options: false, app: self })
        };
        script::launch(command)
    }

    fn http(&mut self, _port: u16, _request: &http::Request<Bytes>, _cx: &mut AppCx<'_>) -> Work {
        Work {
            cpu: Duration::ZERO,
            wait: Duration::ZERO,
            memory_bytes: 0,
            response: None,
            log: None,
        }
    }

    fn shutdown(&mut self) -> Shutdown {
        // The kernel drops SIGTERM for a PID 1 without a handler (`pid_namespaces(7)`).
        Shutdown {
            stops_listening: Duration::ZERO,
            drains: false,
            exits_after: millis(1),
            exit_code: 0,
            ignores: !self.heeds,
        }
    }

    fn stop_signals(&self) -> &'static [&'static str] {
        &["TERM", "QUIT", "WINCH"]
    }

    fn has_binary(&self, name: &str) -> Option<bool> {
        if self.is_shell && name != "bash" {
            is_known(name, &["ash", "wget", "nc"])
        } else {
            Some(false)
        }
    }
}

/// That an image holds a program which any base has, or one of `own`; `None` for any other.
pub(super) fn is_known(name: &str, own: &[&str]) -> Option<bool> {
    (is_common_tool(name) || own.contains(&name)).then_some(true)
}

/// Whether any base with a shell has the program `name`.
pub fn is_common_tool(name: &str) -> bool {
    matches!(
        name,
        "sh" | "sleep"
            | "true"
            | "false"
            | "echo"
            | "cat"
            | "ls"
            | "kill"
            | "test"
            | "touch"
            | "rm"
            | "mkdir"
            | "cp"
            | "mv"
            | "date"
            | "env"
            | "grep"
            | "sed"
    )
}
