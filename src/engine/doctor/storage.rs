//! What Rook-Ceph needs: block devices, the rights to use them, and a way to mount.

use super::super::host::{ProgramError, Ran, Trouble as Failure};
use super::container::Facts;
use super::finding::{Finding, Trouble};
use super::machine::Host;

/// Whether the engine may hand block devices to nodes.
pub(super) fn engine_rights(facts: &Facts) -> Finding {
    const NAME: &str = "block devices";
    if facts.rootless {
        let why = "a rootless engine cannot give block devices to nodes, so Ceph has no disks";
        let fix = "run the engine as root, or leave Rook out (--addons)";
        return Finding::fatal(NAME, Trouble::new("the engine is rootless", why, fix));
    }
    Finding::ok(NAME, "the engine may use them")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Module {
    Loaded,
    Loadable,
    Missing,
}

fn module(host: &Host, name: &str) -> Module {
    let filesystems = host.read("proc/filesystems").unwrap_or_default();
    let is_filesystem = filesystems.split_whitespace().any(|word| word == name);
    if is_filesystem || host.exists(&format!("sys/module/{name}")) {
        return Module::Loaded;
    }
    let kernel = host.kernel().unwrap_or_default();
    let file = format!("/{name}.ko");
    let is_loadable = ["modules.dep", "modules.builtin"].iter().any(|list| {
        let list = host.read(&format!("lib/modules/{kernel}/{list}")).unwrap_or_default();
        list.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&file)))
    });
    if is_loadable { Module::Loadable } else { Module::Missing }
}

/// The kernel's clients for CephFS and Ceph's block devices, or FUSE in their place.
pub(super) fn modules(host: &Host) -> Finding {
    const NAME: &str = "Ceph modules";
    let said = |name: &str| match module(host, name) {
        Module::Loaded => format!("{name} is loaded"),
        Module::Loadable => format!("{name} can be loaded"),
        Module::Missing => format!("{name} is missing"),
    };
    let seen = format!("{}, {}", said("ceph"), said("rbd"));
    if module(host, "ceph") == Module::Missing {
        if host.exists("dev/fuse") {
            let why = "the kernel cannot mount CephFS; FUSE can";
            let fix = "set the parameter `mounter: fuse` in the StorageClass";
            return Finding::warning(NAME, Trouble::new(seen, why, fix));
        }
        let why = "neither the kernel nor FUSE can mount CephFS";
        let fix = "sudo modprobe ceph, or sudo modprobe fuse; if both fail, use another kernel";
        return Finding::fatal(NAME, Trouble::new(seen, why, fix));
    }
    if module(host, "rbd") == Module::Missing {
        let why = "block volumes (a StorageClass of rbd.csi.ceph.com) cannot be mapped";
        return Finding::warning(NAME, Trouble::new(seen, why, "sudo modprobe rbd"));
    }
    Finding::ok(NAME, seen)
}

/// Loop devices, which stand in for spare disks.
pub(super) fn loop_devices(
    host: &Host,
    losetup: &Result<Ran, ProgramError>,
    kernel_is_ours: bool,
) -> Finding {
    const NAME: &str = "loop devices";
    const CONTROL: &str = "dev/loop-control";
    let why = "Ceph's disks are loop devices over files of this machine";
    let fatal = |seen: &str, fix: &str| Finding::fatal(NAME, Trouble::new(seen, why, fix));
    if !kernel_is_ours {
        return fatal(
            "the engine runs on another kernel, which has no loop devices of ours",
            "run Seatrial on the Linux machine that the engine runs on",
        );
    }
    if !host.exists(CONTROL) {
        return fatal("there is no /dev/loop-control", "sudo modprobe loop");
    }
    let is_slow = |error: &ProgramError| matches!(error.trouble, Failure::TimedOut(_));
    if losetup.as_ref().is_err_and(|error| !is_slow(error)) {
        return fatal("`losetup` does not run", "install util-linux, which has it");
    }
    if !host.can_open(CONTROL) {
        return fatal("/dev/loop-control may not be opened by this user", "sudo -E seatrial ...");
    }
    Finding::ok(NAME, "can be made")
}
