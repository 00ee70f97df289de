//! A small HTTP server as program model, for tests of the machines and the kubelet:
//! `test/server:1` with options after `_`, as in `test/server:1_start.3000_mem.900`.

use std::time::Duration;

use bytes::Bytes;

use super::{ContainerStart, Machines};
use crate::base::millis;
use crate::sim::apps::{App, AppCx, Files, Launch, Shutdown, Work};

#[derive(Debug, Clone)]
struct TestApp {
    start_ms: u64,
    cpu_ms: u64,
    memory_mib: u64,
    request_mib: u64,
    workers: usize,
    crash_ms: Option<u64>,
    code: i32,
    drains: bool,
    exit_ms: u64,
    ignores: bool,
    bare: bool,
}

/// The model of a `test/server` image.
pub(in crate::sim) fn model(image: &str) -> Option<Box<dyn App>> {
    let options = image.strip_prefix("test/server:1")?;
    let mut app = TestApp {
        start_ms: 200,
        cpu_ms: 30,
        memory_mib: 64,
        request_mib: 1,
        workers: 4,
        crash_ms: None,
        code: 1,
        drains: true,
        exit_ms: 10,
        ignores: false,
        bare: false,
    };
    for option in options.split('_').skip(1) {
        let (key, value) = option.split_once('.').unwrap_or((option, "1"));
        let number: u64 = value.parse().ok()?;
        match key {
            "start" => app.start_ms = number,
            "cpu" => app.cpu_ms = number,
            "mem" => app.memory_mib = number,
            "reqmem" => app.request_mib = number,
            "workers" => app.workers = usize::try_from(number).ok()?,
            "crash" => app.crash_ms = Some(number),
            "code" => app.code = i32::try_from(number).ok()?,
            "drains" => app.drains = number == 1,
            "exit" => app.exit_ms = number,
            "ignores" => app.ignores = true,
            "bare" => app.bare = true,
            _ => return None,
        }
    }
    Some(Box::new(app))
}

impl Machines {
    /// Writes or removes a file in the container's own layer, as its program would.
    pub(in crate::sim) fn write_for_test(
        &mut self,
        uid: &str,
        container: &str,
        path: &str,
        present: bool,
    ) {
        let path = path.trim_start_matches('/').to_owned();
        let id = self.sandboxes.get(uid).and_then(|s| s.containers.get(container)?.last());
        let Some(container) = id.and_then(|id| self.containers.get_mut(id)) else { return };
        if present {
            container.layer.insert(path, Bytes::from_static(b"yes"));
        } else {
            container.layer.remove(&path);
        }
    }
}

impl App for TestApp {
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch {
        cx.files.write("/tmp/started", Bytes::from_static(b"yes"));
        let listens = vec![(80, millis(self.start_ms))];
        Launch {
            listens: if self.bare { Vec::new() } else { listens },
            memory_bytes: self.memory_mib << 20,
            n_workers: self.workers,
            exits: self.crash_ms.map(|ms| (millis(ms), self.code)),
            log: vec![format!("starting {}", cx.start.pod)],
            ..Launch::default()
        }
    }

    fn http(&mut self, _port: u16, request: &http::Request<Bytes>, cx: &mut AppCx<'_>) -> Work {
        let mut response = http::Response::new(Bytes::new());
        let path = request.uri().path();
        let env = |name: &str| cx.start.env.iter().any(|(key, _)| key == name);
        let has_key = request.headers().get("x-key").is_some_and(|key| key == "1");
        if path == "/fails"
            || (path == "/guarded" && !has_key)
            || (path == "/healthz" && env("UNHEALTHY"))
        {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        Work {
            cpu: millis(self.cpu_ms),
            wait: Duration::ZERO,
            memory_bytes: self.request_mib << 20,
            response: (path != "/hangs").then_some(response),
            log: Some(format!("GET {path}")),
        }
    }

    fn status(&self, path: &str, _start: &ContainerStart, _files: &dyn Files) -> Option<u16> {
        (path != "/hangs").then_some(if path == "/fails" { 500 } else { 200 })
    }

    fn shutdown(&mut self) -> Shutdown {
        Shutdown {
            stops_listening: Duration::ZERO,
            drains: self.drains,
            exits_after: millis(self.exit_ms),
            exit_code: 0,
            ignores: self.ignores,
        }
    }

    fn has_binary(&self, name: &str) -> Option<bool> {
        let known = ["sh", "sleep", "cat", "test", "true", "false", "touch", "rm", "curl", "wget"];
        Some(!self.bare && known.contains(&name))
    }
}
