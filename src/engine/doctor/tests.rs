//! A healthy machine, and each fault planted into it: files below a folder stand for `/proc`,
//! `/sys` and `/dev`, scripts for the programs.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rstest::rstest;
use tokio::time::Instant;

use super::super::host::testing::FakeTools;
use super::*;
use crate::base::secs;

struct Machine {
    tools: FakeTools,
    variables: Vec<(&'static str, &'static str)>,
    free: u64,
    wish: Wish,
}

const GIB: u64 = 1 << 30;
const HEALTHY: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.0-1\n"),
    ("proc/sys/fs/inotify/max_user_watches", "524288\n"),
    ("proc/sys/fs/inotify/max_user_instances", "512\n"),
    ("proc/sys/fs/aio-max-nr", "1048576\n"),
    ("proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n"),
    ("proc/filesystems", "nodev\tsysfs\n\text4\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
    ("sys/module/rbd/refcnt", "0\n"),
    ("lib/modules/6.12.0-1/modules.dep", "kernel/fs/ceph/ceph.ko.xz: kernel/net/libceph.ko.xz\n"),
    ("dev/loop-control", ""),
    ("dev/fuse", ""),
];
const DOCKER: &str = r#"{"ServerVersion":"28.1.1","DockerRootDir":"/var/lib/docker","CgroupVersion":"2",
"DriverStatus":[["Backing Filesystem","extfs"]],"SecurityOptions":["name=seccomp,profile=builtin"],
"KernelVersion":"6.12.0-1"}"#;

impl Machine {
    fn healthy() -> Self {
        let machine = Machine {
            tools: FakeTools::new(),
            variables: Vec::new(),
            free: 500 * GIB,
            wish: Wish {
                kubernetes: Profile::NEWEST,
                node_image: None,
                workers: 3,
                rook: true,
                exists: false,
                ports: Vec::new(),
            },
        };
        for (path, text) in HEALTHY {
            machine.file(path, text);
        }
        machine.prints("docker", DOCKER);
        machine.program("podman", "exit 127");
        machine.prints("kind", "kind v0.33.0 go1.26.1 linux/amd64");
        machine.prints("kubectl", r#"{"clientVersion":{"gitVersion":"v1.36.2"}}"#);
        machine.prints("losetup", "losetup from util-linux 2.41");
        machine
    }

    fn root(&self) -> std::path::PathBuf {
        self.tools.folder().join("root")
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn remove(&self, path: &str) {
        let path = self.root().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("gone");
    }

    fn program(&self, name: &str, script: &str) {
        self.tools.add(name, script);
    }

    fn prints(&self, name: &str, text: &str) {
        self.program(name, &format!("cat <<'END'\n{text}\nEND"));
    }

    fn docker(&self, from: &str, to: &str) {
        assert!(DOCKER.contains(from));
        self.prints("docker", &DOCKER.replace(from, to));
    }

    async fn examine(&self) -> Vec<Finding> {
        let host = Host::planted(&self.root(), &self.variables, self.free);
        examine(&self.wish, &self.tools.programs(), &host).await
    }
}

fn wish_minor(machine: &mut Machine, minor: &str) {
    machine.wish.kubernetes = format!("1.{minor}").parse().expect("a known minor");
}

#[tokio::test]
async fn a_healthy_machine_has_nothing_to_mend() {
    let findings = Machine::healthy().examine().await;
    assert_eq!(worst(&findings), Level::Ok, "\n{}", render(&findings).join("\n"));
    let names: Vec<&str> = findings.iter().map(|finding| finding.name).collect();
    assert_eq!(
        names,
        [
            "container engine",
            "image store",
            "kind",
            "kubectl",
            "cgroups",
            "inotify watches",
            "inotify instances",
            "asynchronous I/O",
            "memory",
            "block devices",
            "Ceph modules",
            "loop devices",
            "engine's disk",
            "state folder",
            "host ports",
            "proxy",
        ]
    );
}

#[test]
fn a_named_engine_that_is_missing_is_not_mended_by_another() {
    let host = Host::planted(Path::new("/"), &[("KIND_EXPERIMENTAL_PROVIDER", "podman")], 0);
    let findings = container::check(&container::Answer::Missing(vec!["podman".into()]), &host);
    let text = format!("{findings:?}");
    assert!(text.contains("podman not installed") && text.contains("unset KIND_EXP"), "{text}");
}

type Plant = fn(&mut Machine);

#[rstest]
#[case::engine_down(
    |m: &mut Machine| m.program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1"),
    ("container engine", Level::Fatal, "Cannot connect", "systemctl start docker")
)]
#[case::engine_down_and_exit_0(
    |m: &mut Machine| m.docker("28.1.1\"", "\",\"ServerErrors\":[\"no daemon\"]"),
    ("container engine", Level::Fatal, "no daemon", "systemctl start docker")
)]
#[case::engine_elsewhere_down(
    |m: &mut Machine| { m.program("docker", "exit 1"); m.variables.push(("DOCKER_HOST", "tcp://far:1")); },
    ("container engine", Level::Fatal, "does not answer", "unset DOCKER_HOST")
)]
#[case::no_rights_on_the_socket(
    |m: &mut Machine| m.program("docker", "echo 'permission denied while trying to connect' >&2; exit 1"),
    ("container engine", Level::Fatal, "permission denied", "usermod -aG docker")
)]
#[case::the_named_engine_alone_is_asked(
    |m: &mut Machine| { m.program("podman", "exec sleep 30"); m.variables.push(("KIND_EXPERIMENTAL_PROVIDER", "podman")); },
    ("container engine", Level::Warning, "podman did not answer within 1500 ms", "podman info")
)]
#[case::engine_hangs(
    |m: &mut Machine| m.program("docker", "exec sleep 30"),
    ("container engine", Level::Warning, "did not answer within 1500 ms", "docker info")
)]
#[case::old_engine(
    |m: &mut Machine| m.docker("28.1.1", "19.03.8"),
    ("container engine", Level::Fatal, "19.03.8", "docs.docker.com")
)]
#[case::image_store(
    |m: &mut Machine| { m.docker("extfs", "io.containerd.snapshotter.v1"); m.docker_old_store(); },
    ("image store", Level::Warning, "27.3.0", "containerd-snapshotter")
)]
#[case::old_kind(
    |m: &mut Machine| { m.prints("kind", "kind v0.31.0 go1.25 linux/amd64"); wish_minor(m, "34"); },
    ("kind", Level::Fatal, "v0.31.0", "v0.33.0")
)]
#[case::old_kind_and_an_image_of_ones_own(
    |m: &mut Machine| {
        m.prints("kind", "kind v0.31.0 go1.25 linux/amd64");
        wish_minor(m, "34");
        m.wish.node_image = Some("kindest/node:v1.34.3".into());
    },
    ("kind", Level::Warning, "v0.31.0", "v0.33.0")
)]
#[case::old_kind_and_no_old_images(
    |m: &mut Machine| {
        m.prints("kind", "kind v0.31.0 go1.25 linux/amd64");
        m.wish.node_image = Some("mine:1".into());
    },
    ("kind", Level::Fatal, "v0.31.0", "v0.33.0")
)]
#[case::ancient_kind(
    |m: &mut Machine| { m.prints("kind", "kind v0.26.0 go1.23 linux/amd64"); wish_minor(m, "31"); },
    ("kind", Level::Warning, "v0.26.0", "v0.33.0")
)]
#[case::no_kind(
    |m: &mut Machine| m.program("kind", "echo broken >&2; exit 1"),
    ("kind", Level::Fatal, "broken", "v0.33.0")
)]
#[case::unknown_kind(
    |m: &mut Machine| m.prints("kind", "kind of mine"),
    ("kind", Level::Warning, "kind of mine", "v0.33.0")
)]
#[case::kubectl_of_another_minor(
    |m: &mut Machine| wish_minor(m, "33"),
    ("kubectl", Level::Warning, "v1.36.2", "install kubectl 1.33")
)]
#[case::no_kubectl(
    |m: &mut Machine| m.program("kubectl", "exit 1"),
    ("kubectl", Level::Warning, "exit code 1", "install kubectl 1.37")
)]
#[case::cgroup_v1(
    |m: &mut Machine| m.docker(r#""CgroupVersion":"2""#, r#""CgroupVersion":"1""#),
    ("cgroups", Level::Fatal, "v1", "--kubernetes 1.34")
)]
#[case::cgroup_v1_by_the_files(
    |m: &mut Machine| {
        m.docker("\"CgroupVersion\":\"2\",", "");
        m.remove("sys/fs/cgroup/cgroup.controllers");
    },
    ("cgroups", Level::Fatal, "v1", "unified_cgroup_hierarchy=1")
)]
#[case::watches(
    |m: &mut Machine| m.file("proc/sys/fs/inotify/max_user_watches", "8192\n"),
    ("inotify watches", Level::Warning, "8192, below 524288",
        "sudo sysctl -w fs.inotify.max_user_watches=524288")
)]
#[case::instances(
    |m: &mut Machine| m.file("proc/sys/fs/inotify/max_user_instances", "128\n"),
    ("inotify instances", Level::Warning, "128", "fs.inotify.max_user_instances=512")
)]
#[case::unreadable_limit(
    |m: &mut Machine| m.remove("proc/sys/fs/inotify/max_user_instances"),
    ("inotify instances", Level::Warning, "cannot be read", "sysctl")
)]
#[case::aio(
    |m: &mut Machine| m.file("proc/sys/fs/aio-max-nr", "65536\n"),
    ("asynchronous I/O", Level::Warning, "65536", "sudo sysctl -w fs.aio-max-nr=1048576")
)]
#[case::little_memory(
    |m: &mut Machine| m.file("proc/meminfo", "MemAvailable: 4194304 kB\n"),
    ("memory", Level::Warning, "4.0 GiB available, below 9.7 GiB", "--workers")
)]
#[case::hardly_any_memory(
    |m: &mut Machine| m.file("proc/meminfo", "MemAvailable: 1048576 kB\n"),
    ("memory", Level::Fatal, "1.0 GiB", "--workers")
)]
#[case::no_meminfo(
    |m: &mut Machine| m.remove("proc/meminfo"),
    ("memory", Level::Warning, "cannot be read", "free")
)]
#[case::engine_disk(
    |m: &mut Machine| m.free = 12 * GIB,
    ("engine's disk", Level::Warning, "12.0 GiB free in /var/lib/docker, below 40.0 GiB",
        "docker system prune")
)]
#[case::state_disk(
    |m: &mut Machine| m.free = GIB,
    ("state folder", Level::Fatal, "1.0 GiB free in /state", "XDG_STATE_HOME")
)]
#[case::rootless(
    |m: &mut Machine| m.docker("name=seccomp,profile=builtin", "name=rootless"),
    ("block devices", Level::Fatal, "rootless", "as root")
)]
#[case::no_ceph_module(
    |m: &mut Machine| m.remove("lib/modules"),
    ("Ceph modules", Level::Warning, "ceph is missing", "mounter: fuse")
)]
#[case::no_ceph_module_and_no_fuse(
    |m: &mut Machine| { m.remove("lib/modules"); m.remove("dev/fuse"); },
    ("Ceph modules", Level::Fatal, "ceph is missing", "modprobe")
)]
#[case::no_rbd_module(
    |m: &mut Machine| m.remove("sys/module/rbd"),
    ("Ceph modules", Level::Warning, "ceph can be loaded, rbd is missing", "modprobe rbd")
)]
#[case::no_loop_module(
    |m: &mut Machine| m.remove("dev/loop-control"),
    ("loop devices", Level::Fatal, "loop-control", "sudo modprobe loop")
)]
#[case::no_losetup(
    |m: &mut Machine| m.program("losetup", "exit 1"),
    ("loop devices", Level::Fatal, "losetup", "util-linux")
)]
#[case::loops_of_root_only(
    // Tests may run as root, who may open any file; nobody opens a folder for writing.
    |m: &mut Machine| { m.remove("dev/loop-control"); m.file("dev/loop-control/x", ""); },
    ("loop devices", Level::Fatal, "may not be opened", "sudo")
)]
#[case::another_kernel(
    |m: &mut Machine| m.docker("6.12.0-1", "6.10.14-linuxkit"),
    ("kernel", Level::Warning, "6.10.14-linuxkit", "there")
)]
#[case::loops_on_another_kernel(
    |m: &mut Machine| m.docker("6.12.0-1", "6.10.14-linuxkit"),
    ("loop devices", Level::Fatal, "another kernel", "Linux machine")
)]
#[case::proxy_on_loopback(
    |m: &mut Machine| {
        m.variables.push(("http_proxy", "http://u:p@127.0.0.1:3128"));
    },
    ("proxy", Level::Warning, "127.0.0.1:3128", "address of this machine")
)]
#[tokio::test]
async fn a_planted_fault_is_found_with_its_fix(
    #[case] plant: Plant,
    #[case] (name, level, seen, fix): (&str, Level, &str, &str),
) {
    let mut machine = Machine::healthy();
    plant(&mut machine);
    let started = Instant::now();
    let findings = machine.examine().await;
    assert!(started.elapsed() < secs(2), "it took {:?}", started.elapsed());
    let found = findings.iter().find(|finding| finding.name == name);
    let found = found.unwrap_or_else(|| panic!("no `{name}` in {findings:#?}"));
    assert_eq!(found.level, level, "{found:#?}");
    assert!(found.seen.contains(seen) && found.fix.contains(fix), "{found:#?}");
    assert!(!found.why.is_empty());
}

impl Machine {
    /// containerd's image store in a Docker Engine that cannot save one platform.
    fn docker_old_store(&self) {
        let info = DOCKER.replace("extfs", "io.containerd.snapshotter.v1");
        self.prints("docker", &info.replace("28.1.1", "27.3.0"));
    }
}

#[tokio::test]
async fn a_taken_port_is_found() {
    let mut machine = Machine::healthy();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    machine.wish.ports = vec![port];
    let findings = machine.examine().await;
    let found = findings.iter().find(|finding| finding.name == "host ports").expect("looked at");
    assert_eq!((found.level, found.seen.clone()), (Level::Fatal, format!("{port} is taken")));
    for _ in 0..10 {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        machine.wish.ports = vec![free.local_addr().expect("bound").port()];
        drop(free);
        if worst(&machine.examine().await) == Level::Ok {
            return;
        }
        // Somebody else took it since.
    }
    panic!("none is found free");
}

#[tokio::test]
async fn podman_is_looked_at_where_docker_is_not() {
    let machine = Machine::healthy();
    machine.program("docker", "exit 1");
    machine.prints(
        "podman",
        r#"{"host":{"cgroupVersion":"v2","kernel":"6.12.0-1","security":{"rootless":true}},
        "store":{"graphRoot":"/home/u/storage"},"version":{"Version":"5.4.2"}}"#,
    );
    let findings = machine.examine().await;
    let lines = render(&findings).join("\n");
    assert!(lines.contains("podman 5.4.2, rootless"), "{lines}");
    assert!(lines.contains("free in /home/u/storage"), "{lines}");
    assert_eq!(worst(&findings), Level::Fatal, "no disks for Ceph without root");
}

#[tokio::test]
async fn without_rook_its_needs_are_not_looked_at() {
    let mut machine = Machine::healthy();
    machine.wish.rook = false;
    for path in ["dev/loop-control", "lib/modules", "proc/sys/fs/aio-max-nr"] {
        machine.remove(path);
    }
    machine.free = 15 * GIB;
    assert_eq!(worst(&machine.examine().await), Level::Ok);
}

#[tokio::test]
async fn a_proxy_that_nodes_reach_is_no_trouble() {
    for (name, hosts) in [("no_proxy", "intern.example"), ("NO_PROXY", "")] {
        let mut machine = Machine::healthy();
        machine.variables.push(("HTTPS_PROXY", "http://me:secret@proxy.example:3128"));
        machine.variables.push((name, hosts));
        let findings = machine.examine().await;
        let found = findings.iter().find(|finding| finding.name == "proxy").expect("looked at");
        assert_eq!((found.level, found.seen.as_str()), (Level::Ok, "proxy.example:3128"));
    }
}

#[tokio::test]
async fn a_cluster_that_exists_needs_no_room() {
    let mut machine = Machine::healthy();
    machine.file("proc/meminfo", "MemAvailable: 1048576 kB\n");
    machine.remove("dev/loop-control");
    machine.free = 3 * GIB;
    assert_eq!(worst(&machine.examine().await), Level::Fatal);
    machine.wish.exists = true;
    let findings = machine.examine().await;
    assert_eq!(worst(&findings), Level::Ok, "\n{}", render(&findings).join("\n"));
    machine.free = GIB / 8;
    assert_eq!(worst(&machine.examine().await), Level::Fatal, "leases are written all the same");
}

#[tokio::test]
async fn all_programs_hanging_takes_no_longer_than_one() {
    let examined = async |hanging: &[&str]| {
        let machine = Machine::healthy();
        for program in hanging {
            machine.program(program, "exec sleep 30");
        }
        let started = Instant::now();
        machine.examine().await;
        started.elapsed()
    };
    let one = examined(&["docker"]).await;
    let all = examined(&["docker", "podman", "kind", "kubectl", "losetup"]).await;
    assert!(all < one * 3, "{all:?} instead of {one:?}");
}

#[tokio::test]
async fn this_machine_can_be_examined() {
    let machine = Machine::healthy();
    let host = Host::this(&super::super::host::Paths::below(Path::new("/tmp")));
    let findings = examine(&machine.wish, &Programs::real(), &host).await;
    let is_explained = |finding: &Finding| {
        finding.level == Level::Ok || !finding.why.is_empty() && !finding.fix.is_empty()
    };
    assert!(findings.iter().all(is_explained), "{findings:#?}");
}
