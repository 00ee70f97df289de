//! Starting a pod: volumes, sandbox, then each container: pull, create, start, postStart
//! (`kuberuntime_manager.go:SyncPod`, `kuberuntime_container.go:startContainer`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::PodEvent;
use super::agent::Desk;
use super::env;
use super::hook;
use super::volumes::{self, Mounting};
use super::worker::{Ctr, Seen, Trouble, Worker};
use crate::base::{SimTime, millis};
use crate::k8s;
use crate::sim::machines::ContainerStart;

/// Directories, token volume and the poll for mounted volumes (semantics 5.2, estimate).
const MOUNT_TIME: (Duration, Duration) = (millis(150), millis(450));
/// Sandbox: pause container and CNI (semantics 5.2, estimate).
const SANDBOX_TIME: (Duration, Duration) = (millis(200), millis(900));
/// Creating and starting one container (semantics 5.2, estimate).
const CREATE_TIME: (Duration, Duration) = (millis(150), millis(450));

/// The step a sync is at.
#[derive(Debug)]
pub(super) enum Task {
    Mount,
    Sandbox,
    Pull { idx: usize, image: String, exists: bool },
    Create { idx: usize, start: Box<ContainerStart> },
    PostStart { idx: usize },
    Kill,
}

impl Worker {
    /// Begins a step; without a time it ends by something else than time.
    pub(super) fn begin_task(
        &mut self,
        task: Task,
        time: Option<Duration>,
        desk: &mut Desk<'_, '_>,
    ) {
        self.task = Some(task);
        self.task_number += 1;
        if let Some(time) = time {
            desk.at(desk.now() + time, self.key, PodEvent::Task(self.task_number));
        }
    }

    pub(super) fn begin_mount(&mut self, desk: &mut Desk<'_, '_>) {
        let time = desk.draw(MOUNT_TIME);
        self.mounting_since = desk.now();
        self.mount_tries = 0;
        self.begin_task(Task::Mount, Some(time), desk);
    }

    pub(super) fn begin_sandbox(&mut self, desk: &mut Desk<'_, '_>) {
        let time = desk.draw(SANDBOX_TIME);
        self.begin_task(Task::Sandbox, Some(time), desk);
    }

    /// A step is over.
    pub(super) fn on_task(&mut self, number: u32, desk: &mut Desk<'_, '_>) {
        if number != self.task_number {
            return;
        }
        match self.task.take() {
            Some(Task::Mount) => self.mount(desk),
            Some(Task::Sandbox) => self.create_sandbox(desk),
            Some(Task::Pull { idx, image, exists }) => self.pulled(idx, &image, exists, desk),
            Some(Task::Create { idx, start }) => self.run(idx, *start, desk),
            Some(Task::PostStart { .. } | Task::Kill) | None => {}
        }
    }

    fn mount(&mut self, desk: &mut Desk<'_, '_>) {
        match volumes::mount(self, desk) {
            Mounting::Done(volumes) => {
                self.mounted = Some(volumes);
                self.start_probers(desk);
                self.begin_sandbox(desk);
            }
            Mounting::Retry(delay) => {
                self.mount_tries += 1;
                self.begin_task(Task::Mount, Some(delay), desk);
            }
            Mounting::GaveUp => {
                self.sync_failed = true;
                self.finish_sync(desk);
            }
        }
    }

    fn create_sandbox(&mut self, desk: &mut Desk<'_, '_>) {
        let ip = if self.uses_host_network() {
            desk.machines.create_host_sandbox(&desk.agent.name, &self.uid)
        } else {
            desk.machines.create_sandbox(&desk.agent.name, &self.uid, desk.cx)
        };
        desk.cx.trace.line(
            desk.cx.now,
            "kubelet",
            format_args!("sandbox {}/{} {ip}", self.namespace, self.name),
        );
        self.ip = Some(ip);
        self.sync_wanted = true;
        self.act(desk);
    }

    /// Goes on with the next container that is to start, or ends the sync.
    pub(super) fn start_next(&mut self, desk: &mut Desk<'_, '_>) {
        while let Some(&idx) = self.todo.first() {
            if self.begin_container(idx, desk) {
                return;
            }
            self.todo.remove(0);
        }
        self.finish_sync(desk);
    }

    /// A container of this sync is done with, well or not.
    fn next_container(&mut self, desk: &mut Desk<'_, '_>) {
        if !self.todo.is_empty() {
            self.todo.remove(0);
        }
        self.start_next(desk);
    }

    fn fail(&mut self, idx: usize, reason: &'static str, message: String) {
        self.containers[idx].trouble = Some(Trouble { reason, message });
        self.sync_failed = true;
    }

    /// False when the container cannot be started now.
    fn begin_container(&mut self, idx: usize, desk: &mut Desk<'_, '_>) -> bool {
        if let Some(until) = self.crash_backoff(idx, desk.now()) {
            self.retry_at = Some(self.retry_at.map_or(until, |at| at.min(until)));
            let ctr = &self.containers[idx];
            let (seconds, name) = (ctr.backoff.delay().as_secs(), ctr.name.clone());
            let whose = format!("pod={}_{}({})", self.name, self.namespace, self.uid);
            let message = format!("back-off {seconds}s restarting failed container={name} {whose}");
            let text = if desk.agent.profile.at_least(24) {
                let whose = format!("{}_{}({})", self.name, self.namespace, self.uid);
                format!("Back-off restarting failed container {name} in pod {whose}")
            } else {
                "Back-off restarting failed container".to_owned()
            };
            self.fail(idx, "CrashLoopBackOff", message);
            desk.warn(&self.pod, "BackOff", text);
            return false;
        }
        let pod = Arc::clone(&self.pod);
        let Some(spec) = self.spec_of(&pod, idx) else { return false };
        self.ensure_image(idx, spec, desk)
    }

    /// Until when the container stays in back-off; notes the try when it does not (`doBackOff`).
    fn crash_backoff(&mut self, idx: usize, now: SimTime) -> Option<SimTime> {
        let ctr: &mut Ctr = &mut self.containers[idx];
        let Seen::Ended(ended) = &ctr.seen else { return None };
        if let Some(until) = ctr.backoff.until(ended.at).filter(|&until| now < until) {
            return Some(until);
        }
        ctr.backoff.next(ended.at, now);
        None
    }

    /// `image_manager.go:EnsureImageExists`.
    fn ensure_image(&mut self, idx: usize, spec: &Container, desk: &mut Desk<'_, '_>) -> bool {
        let image = spec.image.as_deref().unwrap_or("");
        let full = match k8s::image_reference(image) {
            Ok(full) => full,
            Err(why) => {
                let cause = format!("couldn't parse image name {image:?}: {why}");
                let message = format!("Failed to apply default image tag {image:?}: {cause}");
                desk.warn(&self.pod, "InspectFailed", message.clone());
                desk.warn(&self.pod, "Failed", "Error: InvalidImageName");
                self.fail(idx, "InvalidImageName", message);
                return false;
            }
        };
        let is_latest = full.ends_with(":latest");
        let default = if is_latest { "Always" } else { "IfNotPresent" };
        let present = desk.agent.images.has(&full);
        match spec.image_pull_policy.as_deref().unwrap_or(default) {
            "Never" if !present => {
                let message =
                    format!("Container image {image:?} is not present with pull policy of Never");
                desk.warn(&self.pod, "ErrImageNeverPull", message.clone());
                self.fail(idx, "ErrImageNeverPull", message);
                return false;
            }
            "Always" => {}
            _ if present => {
                let text = format!("Container image {image:?} already present on machine");
                desk.normal(&self.pod, "Pulled", text);
                return self.begin_create(idx, spec, desk);
            }
            _ => {}
        }
        let now = desk.now();
        let waits = self.containers[idx].pull_backoff.until_since_update(now);
        if waits.is_some_and(|until| now < until) {
            let message = format!("Back-off pulling image {image:?}");
            desk.normal(&self.pod, "BackOff", message.clone());
            desk.warn(&self.pod, "Failed", "Error: ImagePullBackOff");
            self.fail(idx, "ImagePullBackOff", message);
            return false;
        }
        desk.normal(&self.pod, "Pulling", format!("Pulling image {image:?}"));
        let exists = desk.agent.published.has(&full, desk.machines.model(image).is_some());
        let done = desk.agent.images.book(&full, exists, now, desk.cx.rng);
        let task = Task::Pull { idx, image: full, exists };
        self.begin_task(task, Some(done.since(now)), desk);
        true
    }

    fn pulled(&mut self, idx: usize, full: &str, exists: bool, desk: &mut Desk<'_, '_>) {
        let pod = Arc::clone(&self.pod);
        let Some(spec) = self.spec_of(&pod, idx) else { return };
        let image = spec.image.as_deref().unwrap_or("");
        let now = desk.now();
        if !exists {
            let ctr = &mut self.containers[idx];
            ctr.pull_backoff.next(now, now);
            let cause = "failed to resolve reference: not found";
            desk.warn(&pod, "Failed", format!("Failed to pull image {image:?}: {cause}"));
            desk.warn(&pod, "Failed", "Error: ErrImagePull");
            self.fail(idx, "ErrImagePull", format!("{cause}: {full}"));
            self.next_container(desk);
            return;
        }
        if desk.agent.images.add(full) {
            desk.agent.images_changed = true;
        }
        self.containers[idx].pull_backoff = super::backoff::Backoff::default();
        desk.normal(&pod, "Pulled", format!("Successfully pulled image {image:?}"));
        if !self.begin_create(idx, spec, desk) {
            self.next_container(desk);
        }
    }

    /// Environment and mounts are resolved, then the container is created.
    fn begin_create(&mut self, idx: usize, spec: &Container, desk: &mut Desk<'_, '_>) -> bool {
        let ip = self.ip.clone().unwrap_or_default();
        let pod = Arc::clone(&self.pod);
        let scope = env::Scope {
            api: desk.cx.api,
            pod: &pod,
            container: spec,
            pod_ip: &ip,
            host_ip: &desk.agent.spec.ip,
            node: &desk.agent.name,
        };
        let resolved = env::resolve(&scope);
        let env = match resolved {
            Ok(env) => env,
            Err(message) => {
                desk.warn(&pod, "Failed", format!("Error: {message}"));
                self.fail(idx, "CreateContainerConfigError", message);
                return false;
            }
        };
        let resources = spec.resources.as_ref();
        let limit = |name: &str| resources?.limits.as_ref()?.get(name);
        let request = |name: &str| resources?.requests.as_ref()?.get(name);
        let start = ContainerStart {
            node: Arc::clone(&desk.agent.name),
            namespace: self.namespace.clone(),
            pod: self.name.clone(),
            pod_uid: self.uid.clone(),
            pod_ip: ip,
            container: spec.name.clone(),
            image: spec.image.clone().unwrap_or_default(),
            command: env::expand_words(spec.command.as_ref(), &env),
            args: env::expand_words(spec.args.as_ref(), &env),
            env,
            mounts: volumes::mounts_of(spec, self.mounted.as_deref().unwrap_or(&[])),
            cpu_limit_milli: limit("cpu").and_then(k8s::milli),
            cpu_request_milli: request("cpu").and_then(k8s::milli).unwrap_or(0),
            memory_limit_bytes: limit("memory").and_then(k8s::bytes),
        };
        let time = desk.draw(CREATE_TIME);
        self.begin_task(Task::Create { idx, start: Box::new(start) }, Some(time), desk);
        true
    }

    fn run(&mut self, idx: usize, start: ContainerStart, desk: &mut Desk<'_, '_>) {
        let pod = Arc::clone(&self.pod);
        match desk.machines.start(start, desk.cx) {
            Err(message) => {
                desk.warn(&pod, "Failed", format!("Error: {message}"));
                self.fail(idx, "RunContainerError", message);
                self.next_container(desk);
                return;
            }
            Ok(id) => {
                let ctr = &mut self.containers[idx];
                if ctr.id.is_some() {
                    ctr.restarts += 1;
                }
                ctr.id = Some(id);
                ctr.trouble = None;
                desk.agent.by_container.insert(id, (self.key, idx));
            }
        }
        let name = &self.containers[idx].name;
        desk.normal(&pod, "Created", format!("Created container {name}"));
        desk.normal(&pod, "Started", format!("Started container {name}"));
        self.sync_wanted = true;
        let lifecycle = self.spec_of(&pod, idx).and_then(|spec| spec.lifecycle.as_ref());
        match lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()) {
            Some(handler) => {
                self.begin_task(Task::PostStart { idx }, None, desk);
                self.containers[idx].run += 1;
                hook::begin(self, idx, handler, desk);
            }
            None => self.next_container(desk),
        }
    }

    /// The postStart hook has ended; a failed one costs the container its life.
    pub(super) fn post_started(&mut self, idx: usize, ok: bool, desk: &mut Desk<'_, '_>) {
        self.task = None;
        if !ok {
            let message = "PostStart hook failed".to_owned();
            desk.warn(&self.pod, "FailedPostStartHook", message.clone());
            if let Some(id) = self.containers[idx].id {
                desk.machines.kill(id, desk.cx);
            }
            self.fail(idx, "PostStartHookError", message);
        }
        self.next_container(desk);
    }
}

/// The name a status shows for an image.
pub(super) fn shown_image(image: &str) -> String {
    k8s::image_reference(image).unwrap_or_else(|_| image.to_owned())
}
