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
mod tests {
    use std::fs;
    use std::future::pending;

    use super::super::tests::Machine;
    use super::*;
    use crate::base::millis;
    use crate::engine::host::{ContainerEngine, LeaseFile, Programs, read_all};
    use crate::wait::until_ok;

    /// What is written down about `registry`.
    fn lease_of(registry: &Registry<'_>, machine: &Machine) -> Option<LeaseFile> {
        let found = read_all(&machine.paths.leases()).expect("readable");
        let mut files = found.into_iter().map(|found| found.content.expect("whole"));
        files.find(|file| file.id == registry.lease)
    }

    /// As if the process that took the lease of `registry` had ended.
    fn its_owner_ends(registry: &Registry<'_>, machine: &Machine) {
        let mut file = lease_of(registry, machine).expect("there is one");
        file.owner.process.started += 1;
        let path = machine.paths.leases().join(format!("{}.json", file.id));
        fs::write(path, serde_json::to_string(&file).expect("JSON")).expect("written");
    }

    /// Makes the container that `registry` asks for.
    async fn made(registry: &Registry<'_>, machine: &Machine) -> Result<(), Error> {
        let lease = lease_of(registry, machine).expect("written before anything is made");
        assert!(!lease.kept && lease.things.len() == 1, "{lease:?}");
        fs::write(machine.file("containers").join(&registry.name), "running").expect("written");
        Ok(())
    }

    async fn assert_given_back(registry: &Registry<'_>, machine: &Machine) {
        let soon = Deadline::new(secs(20), "it looks several times");
        let given_back = until_ok("it is given back", soon, async || {
            let container = machine.file("containers").join(&registry.name);
            let left = (container.exists(), lease_of(registry, machine));
            if left == (false, None) { Ok(()) } else { Err(format!("left: {left:?}")) }
        });
        given_back.await.expect("nothing is left");
    }

    #[tokio::test]
    async fn a_registry_whose_container_was_pruned_is_made_anew() {
        let machine = Machine::new().await;
        let registry = Registry::of("docker.io", &machine.containers);
        let start = async || {
            let making = made(&registry, &machine);
            registry.start(&machine.containers, &machine.paths, making).await
        };
        start().await.expect("made");
        its_owner_ends(&registry, &machine);
        let container = machine.file("containers").join(&registry.name);
        fs::remove_file(&container).expect("pruned");

        start().await.expect("made anew");
        let lease = lease_of(&registry, &machine).expect("there is one");
        assert!(container.exists() && lease.kept && lease.things.len() == 1, "{lease:?}");
        start().await.expect("it runs");
    }

    #[tokio::test]
    async fn a_start_that_fails_or_is_cut_short_is_given_back() {
        let machine = Machine::new().await;
        let (containers, paths) = (&machine.containers, &machine.paths);
        let failing = Registry::of("quay.io", containers);
        let making = async {
            made(&failing, &machine).await?;
            Err(Error::environment("no way to https://quay.io"))
        };
        let error = failing.start(containers, paths, making).await.expect_err("it fails");
        assert_eq!(error.to_string(), "no way to https://quay.io");

        let cut_short = Registry::of("docker.io", containers);
        let making = async {
            made(&cut_short, &machine).await?;
            pending().await
        };
        let starting = cut_short.start(containers, paths, making);
        timeout(millis(500), starting).await.expect_err("it does not end");
        let container = machine.file("containers").join(&cut_short.name);
        assert!(container.exists(), "it was made");
        assert_given_back(&failing, &machine).await;
        assert_given_back(&cut_short, &machine).await;
    }

    #[tokio::test]
    async fn each_engine_has_a_registry_of_its_own() {
        let at = async |program: &str, endpoint: Option<&str>| {
            let endpoint = endpoint.map(str::to_owned);
            let engine = ContainerEngine { program: program.to_owned(), endpoint };
            let containers = Containers::connect(&Programs::dry(), engine).await.expect("answered");
            let registry = Registry::of("docker.io", &containers);
            assert_eq!(registry.name, "seatrial-registry-docker-io");
            registry.lease
        };
        let docker = at("docker", None).await;
        assert_eq!(docker, at("/usr/bin/docker", None).await);
        assert_ne!(docker, at("podman", None).await);
        assert_ne!(docker, at("docker", Some("tcp://10.0.0.1:2375")).await);
    }

    #[test]
    fn the_reason_is_one_line() {
        let log = r#"container is not ready: ["time=\"x\" level=info\n", "panic: dial tcp: i/o timeout\n", "\n", "goroutine 1 [running]:\n"]"#;
        assert_eq!(reason(log), "panic: dial tcp: i/o timeout");
        assert_eq!(
            reason("is docker running?\n`docker ps` ended\n\n  no\n"),
            "is docker running?: `docker ps` ended: no"
        );
        assert_eq!(reason(&"x".repeat(1_000)).len(), MAX_REASON_CHARS);
    }

    #[test]
    fn containerd_is_sent_to_the_registry_first_and_upstream_after() {
        assert_eq!(
            hosts_toml("docker.io", "seatrial-registry-docker-io"),
            "server = \"https://registry-1.docker.io\"\n\
             [host.\"http://seatrial-registry-docker-io:5000\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n"
        );
        assert_eq!(remote("quay.io"), "https://quay.io");
        assert_eq!(container_name("localhost:5000"), "seatrial-registry-localhost-5000");
    }
}
