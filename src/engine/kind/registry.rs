//! Pull-through registries on kind's network: one per upstream, shared by all later runs.

use std::time::Duration;

use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};

use crate::base::{Error, secs};
use crate::engine::host::{LEASE_LABEL, Lease, Paths, Thing};
use crate::wait::{Deadline, doing};

use super::cluster::KindCluster;
use super::container::Containers;
use super::images::ImagePlan;
use super::lock::FileLock;

/// Image and tag of the registry.
const IMAGE: (&str, &str) = ("registry", "3");
/// Label with the upstream that a registry stands for.
const UPSTREAM_LABEL: &str = "seatrial.dev/registry";
/// What it logs when it serves.
const SERVES: &str = "listening on";
/// How much of a failure is quoted.
const MAX_REASON_CHARS: usize = 400;
/// A pull of 60 MB and a start.
const START_LIMIT: Duration = secs(180);
/// Another process may be starting the same registry.
const STARTED_ELSEWHERE: Deadline =
    Deadline::new(secs(240), "another process pulls and starts the same registry");

/// Gives `cluster` a registry for each upstream that `plan` pulls from.
///
/// # Errors
/// A registry does not start, or a node cannot be told of it.
pub async fn attach(
    cluster: &KindCluster,
    plan: &ImagePlan,
    containers: &Containers,
    paths: &Paths,
) -> Result<(), Error> {
    let mut upstreams: Vec<&str> = plan.pulled.iter().map(|image| image.host.as_str()).collect();
    upstreams.sort_unstable();
    upstreams.dedup();
    for upstream in upstreams {
        let what = format!("start the pull-through registry for {upstream}");
        let registry = doing(what, start(upstream, containers, paths)).await?;
        for node in &cluster.nodes {
            let folder = format!("/etc/containerd/certs.d/{upstream}");
            // In one line, with the line ends written for printf.
            let text = hosts_toml(upstream, &registry).replace('\n', "\\n");
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

/// The name of a registry for `upstream` that runs, started if need be. It outlives this run, so
/// it has a kept lease of its own.
async fn start(upstream: &str, containers: &Containers, paths: &Paths) -> Result<String, Error> {
    let name = container_name(upstream);
    if containers.programs().is_dry() {
        return write_down(&name, upstream, containers).await;
    }
    let lock = paths.locks().join(format!("{name}.lock"));
    let _lock = FileLock::take(&lock, &name, STARTED_ELSEWHERE).await?;
    let filter = format!("label={UPSTREAM_LABEL}={upstream}");
    if containers.listed(&[], &filter, "").await?.contains(&name) {
        return Ok(name);
    }
    if containers.listed(&["--all"], &filter, "").await?.contains(&name) {
        // After a restart of the machine; its layers are still there.
        containers.run(&containers.call(["start", &name])).await?;
        return Ok(name);
    }
    let lease = Lease::take(&paths.leases(), &name, "registry")?;
    let thing = Thing::Container { engine: containers.engine().clone(), name: name.clone() };
    lease.will_make(thing.clone())?;
    let started = run(upstream, &name, lease.id(), containers).await;
    let Err(error) = started else {
        lease.keep()?;
        return Ok(name);
    };
    if containers.listed(&["--all"], &filter, "").await?.contains(&name) {
        containers.remove(&[name]).await?;
    }
    lease.is_gone(&thing)?;
    lease.release()?;
    Err(error)
}

async fn run(
    upstream: &str,
    name: &str,
    lease: &str,
    containers: &Containers,
) -> Result<(), Error> {
    let (image, tag) = IMAGE;
    let failed = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        // The registry's whole log may be in it; it ends with a stack where it gave up.
        let start = text.find("panic: ").unwrap_or(0);
        let reason: String = text[start..].chars().take(MAX_REASON_CHARS).collect();
        Error::environment(format!(
            "the pull-through registry for {upstream} did not start; it needs a way to {}\n\
             pull the images into the engine, or put archives of them into the folder of --images\n  \
             {reason}",
            remote(upstream)
        ))
    };
    let started = GenericImage::new(image, tag)
        .with_wait_for(WaitFor::message_on_either_std(SERVES))
        .with_container_name(name)
        .with_network(containers.network())
        .with_label(UPSTREAM_LABEL, upstream)
        .with_label(LEASE_LABEL, lease)
        .with_env_var("REGISTRY_PROXY_REMOTEURL", remote(upstream))
        .with_startup_timeout(START_LIMIT)
        // Only nodes talk to it; no port of this machine is opened.
        .with_host_config_modifier(|host| host.publish_all_ports = Some(false))
        .start()
        .await
        .map_err(|error| failed(&error))?;
    // testcontainers finds its engine by DOCKER_HOST alone, our programs by contexts too.
    let filter = format!("label={UPSTREAM_LABEL}={upstream}");
    let here = containers.listed(&[], &filter, "").await?;
    if !here.iter().any(|running| running == name) {
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
async fn write_down(name: &str, upstream: &str, containers: &Containers) -> Result<String, Error> {
    let (image, tag) = IMAGE;
    let call = containers
        .call(["run", "--detach", "--name", name, "--network", containers.network()])
        .arg("--label")
        .arg(format!("{UPSTREAM_LABEL}={upstream}"))
        .arg("--env")
        .arg(format!("REGISTRY_PROXY_REMOTEURL={}", remote(upstream)))
        .arg(format!("{image}:{tag}"));
    containers.run(&call).await?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
