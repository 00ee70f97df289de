//! Pull-through registries on kind's network: one per upstream and engine, shared by all later runs.
//! They make pulls faster, no more: nodes without one pull from upstream by themselves.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::base::{Error, secs};
use crate::engine::host::{FileLock, Heartbeat, LEASE_LABEL, Lease, Paths, Thing, adopt};
use crate::wait::{Deadline, doing};

use super::cluster::KindCluster;
use super::container::Containers;
use super::images::ImagePlan;

/// Image and tag of the registry.
const IMAGE: (&str, &str) = ("registry", "3");
/// Label with the upstream that a registry stands for.
const UPSTREAM_LABEL: &str = "seatrial.dev/registry";
/// What its lease says it is for.
const PURPOSE: &str = "registry";
/// What it logs when it serves.
const SERVES: &str = "listening on";
/// How much of a failure is quoted.
const MAX_REASON_CHARS: usize = 400;
/// Bytes of the hash that tells engines apart: there are few on one machine.
const ENGINE_HASH_BYTES: usize = 4;
/// A pull of 60 MB and a start.
const START_LIMIT: Duration = secs(180);
/// Another process may be starting the same registry.
const STARTED_ELSEWHERE: Deadline =
    Deadline::new(secs(240), "another process pulls and starts the same registry");
/// Before each look at what a start that was cut short has left: an engine may finish within a
/// second or two what it was asked for, and testcontainers may be removing it too.
const LOOKS_AFTER: [Duration; 3] = [Duration::ZERO, secs(2), secs(1)];

/// Gives `cluster` a registry for each upstream that `plan` pulls from. One that does not start is
/// told by `tell`, and done without.
///
/// # Errors
/// A node cannot be told of a registry.
pub async fn attach(
    cluster: &KindCluster,
    plan: &ImagePlan,
    containers: &Containers,
    paths: &Paths,
    tell: &dyn Fn(&str),
) -> Result<(), Error> {
    let mut upstreams: Vec<&str> = plan.pulled.iter().map(|image| image.host.as_str()).collect();
    upstreams.sort_unstable();
    upstreams.dedup();
    for upstream in upstreams {
        let what = format!("start the pull-through registry for {upstream}");
        let registry = Registry::of(upstream, containers);
        let making = registry.make(containers);
        if let Err(error) = doing(what, registry.start(containers, paths, making)).await {
            tell(&format!(
                "the pull-through registry for {upstream} does not start ({}); the nodes pull from {} \
                 by themselves",
                reason(&error.to_string()),
                remote(upstream)
            ));
            continue;
        }
        tell(&format!(
            "images from {upstream} come through {}, which stays for later runs until `seatrial down`",
            registry.name
        ));
        for node in &cluster.nodes {
            let folder = format!("/etc/containerd/certs.d/{upstream}");
            // In one line, with the line ends written for printf.
            let text = hosts_toml(upstream, &registry.name).replace('\n', "\\n");
            let script = format!("mkdir -p {folder} && printf '{text}' > {folder}/hosts.toml");
            containers.exec(&node.name, &["sh", "-c", &script]).await?;
        }
    }
    Ok(())
}

/// Where the images of `upstream` really are.
fn remote(upstream: &str) -> String {
    match upstream {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        other => format!("https://{other}"),
    }
}

/// Tells containerd to ask `registry` first (`containerd/docs/hosts.md`).
fn hosts_toml(upstream: &str, registry: &str) -> String {
    format!(
        "server = \"{}\"\n[host.\"http://{registry}:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        remote(upstream)
    )
}

/// A container name for `upstream`.
fn container_name(upstream: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("seatrial-registry-{}", upstream.chars().map(plain).collect::<String>())
}

/// One line of `text` that says why a registry did not start. Its whole log may be in it, with line
/// ends written as in Rust; it ends with a stack where the registry gave up.
fn reason(text: &str) -> String {
    let text = text.replace("\\n", "\n");
    let said = match text.find("panic: ") {
        Some(start) => text[start..].lines().next().unwrap_or_default().to_owned(),
        None => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join(": ")
        }
    };
    said.chars().take(MAX_REASON_CHARS).collect()
}

/// The registry for one upstream in one engine.
struct Registry<'a> {
    upstream: &'a str,
    /// Of its container; nodes know it by that.
    name: String,
    /// Of its lease: it outlives the run that started it, so it has a kept one of its own.
    lease: String,
}

impl<'a> Registry<'a> {
    fn of(upstream: &'a str, containers: &Containers) -> Registry<'a> {
        let name = container_name(upstream);
        let mut hash = Sha256::new();
        hash.update(containers.provider());
        hash.update("\n");
        hash.update(containers.engine().endpoint.as_deref().unwrap_or_default());
        let digest = hash.finalize();
        let hex: String =
            digest.iter().take(ENGINE_HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Registry { upstream, lease: format!("{name}-{hex}"), name }
    }

    /// Returns when it runs: it did, it does again, or `making` has made it.
    async fn start(
        &self,
        containers: &Containers,
        paths: &Paths,
        making: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let name = &self.name;
        if containers.programs().is_dry() {
            return self.write_down(containers).await;
        }
        // By the container's name: an engine may be had by more than one endpoint.
        let lock = paths.locks().join(format!("{name}.lock"));
        let lock = FileLock::take(&lock, name, STARTED_ELSEWHERE).await?;
        let filter = self.filter();
        if containers.listed(&[], &filter, "").await?.contains(name) {
            return Ok(());
        }
        if containers.listed(&["--all"], &filter, "").await?.contains(name) {
            // After a restart of the machine; its layers are still there.
            return containers.run(&containers.call(["start", name])).await.map(drop);
        }
        // A lease without its container: a prune, or its user, removed that.
        let lease = match adopt(paths, &self.lease, PURPOSE).await? {
            Some(lease) => lease,
            None => Lease::take(&paths.leases(), &self.lease, PURPOSE)?,
        };
        // Until it serves it is for the next sweep, should this process be killed.
        lease.keep_no_more()?;
        let thing = Thing::Container { engine: containers.engine().clone(), name: name.clone() };
        lease.will_make(thing.clone())?;
        let unfinished = Unfinished(Some(Made {
            _heartbeat: lease.heartbeat(),
            lease,
            thing,
            name: name.clone(),
            containers: containers.clone(),
            _lock: lock,
        }));
        making.await?;
        unfinished.keep()
    }

    /// Makes and starts the container, and returns when it serves.
    async fn make(&self, containers: &Containers) -> Result<(), Error> {
        let (image, tag) = IMAGE;
        let failed = |error: &dyn std::fmt::Display| Error::environment(error.to_string());
        let starting = GenericImage::new(image, tag)
            .with_wait_for(WaitFor::message_on_either_std(SERVES))
            .with_container_name(&self.name)
            .with_network(containers.network())
            .with_label(UPSTREAM_LABEL, self.upstream)
            .with_label(LEASE_LABEL, &self.lease)
            .with_env_var("REGISTRY_PROXY_REMOTEURL", remote(self.upstream))
            .with_startup_timeout(START_LIMIT)
            // Only nodes talk to it; no port of this machine is opened.
            .with_host_config_modifier(|host| host.publish_all_ports = Some(false))
            .start();
        // Its own limit leaves out the pull.
        let started = timeout(START_LIMIT, starting).await.map_err(|_| {
            Error::environment(format!("it took longer than {} s", START_LIMIT.as_secs()))
        })?;
        let started = started.map_err(|error| failed(&error))?;
        // testcontainers finds its engine by DOCKER_HOST alone, our programs by contexts too.
        if !containers.listed(&[], &self.filter(), "").await?.contains(&self.name) {
            started.rm().await.map_err(|error| failed(&error))?;
            return Err(failed(
                &"it came up in another container engine; set DOCKER_HOST to the endpoint of this one",
            ));
        }
        // Dropping the handle would remove the container, which is to outlive us.
        std::mem::forget(started);
        Ok(())
    }

    /// What a dry run shows in place of the API calls.
    async fn write_down(&self, containers: &Containers) -> Result<(), Error> {
        let (image, tag) = IMAGE;
        let call = containers
            .call(["run", "--detach", "--name", &self.name, "--network", containers.network()])
            .arg("--label")
            .arg(format!("{UPSTREAM_LABEL}={}", self.upstream))
            .arg("--env")
            .arg(format!("REGISTRY_PROXY_REMOTEURL={}", remote(self.upstream)))
            .arg(format!("{image}:{tag}"));
        containers.run(&call).await.map(drop)
    }

    fn filter(&self) -> String {
        format!("label={UPSTREAM_LABEL}={}", self.upstream)
    }
}

/// What a start has made so far. Unless it is kept, it is given back when this is dropped, by an
/// error or a signal: beside what goes on then, which is either the run or the longer removal of its
/// cluster. Should the process end first, the lease is left for the sweep.
struct Unfinished(Option<Made>);

impl Unfinished {
    fn keep(mut self) -> Result<(), Error> {
        if let Some(made) = &self.0 {
            made.lease.keep()?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let (Some(made), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                // The sweep tells what is in the way, if it still is.
                let _ = made.give_back().await;
            });
        }
    }
}

/// A container under a lease, and the lock on its name.
struct Made {
    lease: Lease,
    thing: Thing,
    name: String,
    containers: Containers,
    _heartbeat: Heartbeat,
    _lock: FileLock,
}

impl Made {
    async fn give_back(self) -> Result<(), Error> {
        // The run's own lease is being ended, and with it the programs that run under it.
        let containers = self.containers.clone().under(self.lease.id());
        // By the lease, because the name may be another's in the meantime.
        let filter = format!("label={LEASE_LABEL}={}", self.lease.id());
        let mut is_there = true;
        for pause in LOOKS_AFTER {
            sleep(pause).await;
            is_there = containers.listed(&["--all"], &filter, "").await?.contains(&self.name);
            if is_there {
                // The next look tells whether it helped.
                let _ = containers.remove(std::slice::from_ref(&self.name)).await;
            }
        }
        if !is_there {
            self.lease.is_gone(&self.thing)?;
        }
        self.lease.release()
    }
}

#[cfg(test)]
mod tests;
