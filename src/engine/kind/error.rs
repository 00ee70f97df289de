//! What kind and the container engines say when they fail, in a sentence, with the fix.

use crate::base::Error;
use crate::engine::host::{ProgramError, Trouble};

/// A known reason for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindError {
    /// No container engine answers.
    EngineSilent,
    /// This user may not talk to the engine.
    EngineForbidden,
    /// A program is not installed.
    ProgramMissing,
    /// There is a cluster of that name.
    NameTaken,
    /// The node image is neither here nor can it be pulled.
    ImageUnpullable,
    /// A host port is in use.
    PortTaken,
    /// No space left.
    DiskFull,
    /// Limits of inotify or of open files.
    Inotify,
    /// The host's cgroup version does not fit the Kubernetes version.
    CgroupVersion,
    /// The kind program is older than the node image.
    KindTooOld,
    /// An archive names platforms whose layers it lacks (kind#3795).
    MultiPlatform,
    /// The engine has no address range left for its networks.
    NoAddresses,
    /// A node container did not boot.
    NodeNotBooted,
}

/// Fragments of output, lower case, by what they stand for. The first that fits decides: causes
/// stand before what they lead to.
const KNOWN: &[(KindError, &[&str])] = &[
    (
        KindError::EngineForbidden,
        &["permission denied while trying to connect to the docker", "connect: permission denied"],
    ),
    (
        KindError::EngineSilent,
        &[
            "cannot connect to the docker daemon",
            "failed to connect to the docker api",
            "error during connect",
            "cannot connect to podman",
            "unable to connect to podman",
        ],
    ),
    (KindError::DiskFull, &["no space left on device", "enospc", "disk quota exceeded"]),
    (KindError::NameTaken, &["already exist for a cluster with the name"]),
    (
        KindError::PortTaken,
        &["port is already allocated", "address already in use", "ports are not available"],
    ),
    (KindError::KindTooOld, &["unknown containerd config version"]),
    (
        KindError::NoAddresses,
        &["non-overlapping ipv4 address pool", "address pools have been fully subnetted"],
    ),
    (
        KindError::Inotify,
        &["too many open files", "inotify_init", "inotify watches", "fsnotify watcher"],
    ),
    (KindError::CgroupVersion, &["using cgroup v1", "cgroup v1 is not supported"]),
    (
        KindError::ImageUnpullable,
        &["failed to pull image", "manifest unknown", "pull access denied", "error pulling image"],
    ),
    (KindError::NodeNotBooted, &["could not find a log line that matches"]),
];

impl KindError {
    /// The reason behind `error`, if it is known.
    pub fn of(error: &ProgramError) -> Option<KindError> {
        if error.trouble == Trouble::NotFound {
            return Some(KindError::ProgramMissing);
        }
        KindError::in_text(&format!("{}\n{}", error.stderr, error.stdout))
    }

    /// The reason that `text` speaks of, if it is known.
    pub fn in_text(text: &str) -> Option<KindError> {
        let text = text.to_lowercase();
        // Two fragments that are only meaningful together.
        if text.contains("content digest") && text.contains("not found") {
            return Some(KindError::MultiPlatform);
        }
        let fits = |fragments: &[&str]| fragments.iter().any(|fragment| text.contains(fragment));
        KNOWN.iter().find(|(_, fragments)| fits(fragments)).map(|(reason, _)| *reason)
    }

    /// What is wrong, and what mends it.
    pub fn advice(self) -> &'static str {
        match self {
            KindError::EngineSilent => {
                "the container engine does not answer; start it (`systemctl start docker`), or set \
                 DOCKER_HOST to where it listens"
            }
            KindError::EngineForbidden => {
                "this user may not talk to the container engine; add it to the group `docker` and \
                 log in again, or use a rootless engine"
            }
            KindError::ProgramMissing => {
                "a program is missing; `--engine kind` needs `kind` (https://kind.sigs.k8s.io) and \
                 `docker` or `podman` on PATH"
            }
            KindError::NameTaken => {
                "a cluster of this name exists; leave the name out for one of its own, or remove the \
                 other with `kind delete cluster --name NAME`"
            }
            KindError::ImageUnpullable => {
                "an image is not here and cannot be pulled; pull it by hand to see why, or name one \
                 that is here (node image: --node-image)"
            }
            KindError::PortTaken => {
                "a host port is in use; free it, or leave `hostPort` out of the topology"
            }
            KindError::DiskFull => {
                "the disk is full; `docker system df` shows what the engine holds, `docker system \
                 prune` removes what nothing uses"
            }
            KindError::Inotify => {
                "the host's limits for watched files are too low; raise them with `sysctl -w \
                 fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288`"
            }
            KindError::CgroupVersion => {
                "Kubernetes 1.35 and newer need cgroup v2 on the host; boot with \
                 systemd.unified_cgroup_hierarchy=1, or choose --kubernetes 1.34"
            }
            KindError::KindTooOld => {
                "the kind program is older than the node image; install kind 0.33 or newer, or choose \
                 an older --kubernetes"
            }
            KindError::MultiPlatform => {
                "the archive names platforms whose layers it lacks (kind#3795); make it again with \
                 `docker save --platform linux/amd64`"
            }
            KindError::NoAddresses => {
                "the container engine has no addresses left for another network; remove unused ones \
                 with `docker network prune`"
            }
            KindError::NodeNotBooted => {
                "a node container did not boot in time; `seatrial doctor` checks cgroups, limits and \
                 memory of this host"
            }
        }
    }
}

/// The error for the user: the known reason and its fix first, then command and last lines.
pub(super) fn explained(error: &ProgramError) -> Error {
    match KindError::of(error) {
        Some(reason) => Error::environment(format!("{}\n{error}", reason.advice())),
        None => Error::environment(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::docker_down(
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        KindError::EngineSilent
    )]
    #[case::docker_29(
        "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct",
        KindError::EngineSilent
    )]
    #[case::forbidden(
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: dial unix: connect: permission denied",
        KindError::EngineForbidden
    )]
    #[case::name(
        r#"ERROR: failed to create cluster: node(s) already exist for a cluster with the name "x""#,
        KindError::NameTaken
    )]
    #[case::image(
        r#"ERROR: failed to create cluster: failed to pull image "kindest/node:v1.99.0": command "docker pull" failed"#,
        KindError::ImageUnpullable
    )]
    #[case::port(
        "docker: Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:80 failed: port is already allocated.",
        KindError::PortTaken
    )]
    #[case::disk("write /var/lib/x: no space left on device", KindError::DiskFull)]
    #[case::disk_while_pulling(
        "failed to pull image: write layer: no space left on device",
        KindError::DiskFull
    )]
    #[case::inotify("failed to create fsnotify watcher: too many open files", KindError::Inotify)]
    #[case::config("unknown containerd config version: 4", KindError::KindTooOld)]
    #[case::platform("ctr: content digest sha256:0123: not found", KindError::MultiPlatform)]
    #[case::boot(
        "could not find a log line that matches \"Reached target .*Multi-User System.*\"",
        KindError::NodeNotBooted
    )]
    fn known_outputs_have_a_reason(#[case] output: &str, #[case] reason: KindError) {
        let error = ProgramError {
            command: "kind create cluster".into(),
            trouble: Trouble::Exit(Some(1)),
            stdout: String::new(),
            stderr: output.into(),
        };
        assert_eq!(KindError::of(&error), Some(reason));
        let text = explained(&error).to_string();
        assert!(text.starts_with(reason.advice()), "{text}");
        assert!(text.contains("`kind create cluster` ended with exit code 1"), "{text}");
        assert!(text.contains(output), "{text}");
    }

    #[test]
    fn an_unknown_output_is_quoted_as_it_is() {
        assert_eq!(KindError::in_text("something else"), None);
    }
}
