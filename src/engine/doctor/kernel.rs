//! The kernel that all nodes share: cgroups and limits.

use super::Wish;
use super::container::Facts;
use super::finding::{Finding, Level, Trouble};
use super::machine::Host;

/// From this minor on Kubernetes has no support for cgroup v1.
const CGROUP_V2_FROM: u8 = 35;
/// What a cluster of several nodes needs (kind's known issues).
const MAX_USER_WATCHES: u64 = 524_288;
const MAX_USER_INSTANCES: u64 = 512;
/// What the OSDs of a Ceph cluster need (Rook's troubleshooting).
const AIO_MAX_NR: u64 = 1_048_576;

/// cgroups against the Kubernetes version.
pub(super) fn cgroups(wish: &Wish, facts: Option<&Facts>, host: &Host) -> Finding {
    const NAME: &str = "cgroups";
    let told = facts.and_then(|facts| facts.cgroups);
    let version =
        told.unwrap_or(if host.exists("sys/fs/cgroup/cgroup.controllers") { 2 } else { 1 });
    if version >= 2 {
        return Finding::ok(NAME, "v2");
    }
    let kubernetes = wish.kubernetes;
    let is_rootless = facts.is_some_and(|facts| facts.rootless);
    if !kubernetes.at_least(CGROUP_V2_FROM) && !is_rootless {
        return Finding::ok(NAME, format!("v1, which Kubernetes {kubernetes} can use"));
    }
    let why = if kubernetes.at_least(CGROUP_V2_FROM) {
        format!("Kubernetes {kubernetes} starts on v2 only")
    } else {
        "a rootless engine starts nodes on v2 only".to_owned()
    };
    let mut fix = "boot the machine with systemd.unified_cgroup_hierarchy=1".to_owned();
    if !is_rootless {
        fix.push_str(&format!(", or: --kubernetes 1.{}", CGROUP_V2_FROM - 1));
    }
    Finding::fatal(NAME, Trouble::new("v1", why, fix))
}

/// Limits that the nodes share with everything else on the machine.
pub(super) fn limits(wish: &Wish, host: &Host) -> Vec<Finding> {
    let files = "kube-proxy and others in the nodes fail with `too many open files`";
    let mut findings = vec![
        limit(host, "inotify watches", "fs.inotify.max_user_watches", MAX_USER_WATCHES, files),
        limit(
            host,
            "inotify instances",
            "fs.inotify.max_user_instances",
            MAX_USER_INSTANCES,
            files,
        ),
    ];
    if wish.rook {
        let why = "Ceph's OSDs fail with `io_setup ... EAGAIN`";
        findings.push(limit(host, "asynchronous I/O", "fs.aio-max-nr", AIO_MAX_NR, why));
    }
    findings
}

fn limit(host: &Host, name: &'static str, setting: &str, needed: u64, why: &str) -> Finding {
    let fix = format!("sudo sysctl -w {setting}={needed}");
    match host.number(&format!("proc/sys/{}", setting.replace('.', "/"))) {
        Some(value) if value >= needed => Finding::ok(name, format!("{setting} is {value}")),
        Some(value) => {
            let seen = format!("{setting} is {value}, below {needed}");
            Finding::warning(name, Trouble::new(seen, why, fix))
        }
        None => {
            let seen = format!("{setting} cannot be read");
            Finding::warning(name, Trouble::new(seen, why, fix))
        }
    }
}

/// The engine runs on another kernel than this machine's.
pub(super) fn another(facts: Option<&Facts>) -> Finding {
    let kernel = facts.map_or("", |facts| facts.kernel.as_str());
    let trouble = Trouble::new(
        format!("the engine runs on another machine or in a virtual one (kernel {kernel})"),
        "limits, memory, disk and modules there could not be looked at",
        "run `seatrial doctor` there",
    );
    Finding::bad("kernel", Level::Warning, trouble)
}
