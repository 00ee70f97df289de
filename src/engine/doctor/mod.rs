//! Doctor: looks, in under two seconds, for what would make a kind cluster fail or limp later.
//! Owns: `Wish`, `Host`, `Finding`, one check per file's subject, the text of findings.
//! Imports: base, k8s, engine::host. Never: kube, sim; it changes nothing.
//! Time and errors: checks run at once, each with a limit; what cannot be learnt is a warning, not an error.
//! Source: kind's known issues, Rook's prerequisites. Proof: tests.rs plants each fault.

mod container;
mod finding;
mod kernel;
mod machine;
mod resources;
mod storage;
#[cfg(test)]
mod tests;
mod tools;

use std::time::Duration;

pub use finding::{Finding, Level, render, worst};
pub use machine::Host;

use super::host::{Call, Programs};
use crate::base::millis;
use crate::k8s::Profile;

/// Programs are asked all at once, so this bounds the whole examination.
const ASK_LIMIT: Duration = millis(1_500);

/// What is wanted of this machine.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The Kubernetes version.
    pub kubernetes: Profile,
    /// A node image other than the pinned one.
    pub node_image: Option<String>,
    /// Workers beside the one control-plane node.
    pub workers: usize,
    /// Whether Rook-Ceph runs on disks of this machine.
    pub rook: bool,
    /// Whether the cluster is there already: what it takes of memory, disk, devices and ports it has.
    pub exists: bool,
    /// Host ports that its topology names; others are picked free when the cluster is made.
    pub ports: Vec<u16>,
}

/// Looks at everything that `wish` depends on. One finding or more per check, in a fixed order.
/// A dry `programs` would be told nothing: dry runs do without.
pub async fn examine(wish: &Wish, programs: &Programs, host: &Host) -> Vec<Finding> {
    let ask = |program: &str, args: &[&str]| {
        let call = Call::new(program, args.iter().copied()).limit(ASK_LIMIT);
        async move { programs.run(&call).await }
    };
    let (engine, kind, kubectl, losetup) = tokio::join!(
        container::ask(programs, host),
        ask("kind", &["version"]),
        ask("kubectl", &["version", "--client", "--output", "json"]),
        ask("losetup", &["--version"]),
    );
    let mut findings = container::check(&engine, host);
    findings.push(tools::kind(wish, &kind));
    findings.push(tools::kubectl(wish, &kubectl));
    findings.push(kernel::cgroups(wish, engine.facts(), host));
    let kernel_is_ours = engine.facts().is_none_or(|facts| host.runs_kernel(&facts.kernel));
    if kernel_is_ours {
        findings.extend(kernel::limits(wish, host));
        findings.extend((!wish.exists).then(|| resources::memory(wish, host)));
    } else {
        findings.push(kernel::another(engine.facts()));
    }
    if wish.rook {
        findings.extend(engine.facts().map(storage::engine_rights));
        if kernel_is_ours {
            findings.push(storage::modules(host));
        }
        let needs_loops = !wish.exists;
        findings.extend(needs_loops.then(|| storage::loop_devices(host, &losetup, kernel_is_ours)));
    }
    let engine_disk = engine.facts().filter(|_| kernel_is_ours && !wish.exists);
    findings.extend(resources::disk(wish, engine_disk, host));
    findings.push(resources::ports(wish));
    findings.push(resources::proxy(host));
    findings
}
