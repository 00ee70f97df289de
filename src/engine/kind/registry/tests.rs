//! Registries beside stand-ins for the engine.

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
