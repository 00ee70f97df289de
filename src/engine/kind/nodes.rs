//! Faults: nodes stopped and started, containers frozen, through the container engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::base::{Error, secs};
use crate::engine::{ContainerPause, MemoryKills, NodeLifecycle, NodeLogs};

use super::cluster::KindCluster;
use super::container::Containers;
use super::prepare::REMOUNT_SYS;

/// Journals and container logs of all nodes.
const EXPORT_LIMIT: Duration = secs(120);

/// Ends when the entry point of a node image has given way to systemd. The entry point makes `/sys`
/// read-only, a moment after the engine calls the container started.
const BOOTED: &str = "for _ in $(seq 100); do \
    case $(cat /proc/1/comm) in systemd|init) break ;; esac; sleep 0.1; done";

/// Length of a uid.
const UID_LENGTH: usize = 36;

/// The nodes of one cluster as machines. It remembers what it did, so that all of it can be undone.
#[derive(Debug)]
pub struct KindNodes {
    containers: Containers,
    cluster: String,
    folder: PathBuf,
    nodes: Vec<String>,
    writable_sys: bool,
    faults: Mutex<Faults>,
}

/// What is not as it was.
#[derive(Debug, Default)]
struct Faults {
    stopped: BTreeSet<String>,
    /// Node and container.
    paused: BTreeSet<(String, String)>,
}

impl KindNodes {
    /// The nodes of `cluster`.
    pub fn new(containers: Containers, cluster: &KindCluster) -> Self {
        KindNodes {
            containers,
            cluster: cluster.name.clone(),
            folder: cluster.folder.clone(),
            nodes: cluster.node_names(),
            writable_sys: cluster.writable_sys,
            faults: Mutex::default(),
        }
    }

    /// Starts what was stopped and thaws what was frozen, whoever forgot to.
    ///
    /// # Errors
    /// Something could not be undone; the rest was tried too.
    pub async fn undo(&self) -> Result<(), Error> {
        let (stopped, paused) = {
            let faults = self.faults();
            (faults.stopped.clone(), faults.paused.clone())
        };
        let mut failed = Vec::new();
        // A node first: its containers cannot be reached while it is off.
        for node in &stopped {
            failed.extend(self.start(node).await.err());
        }
        for (node, container) in &paused {
            failed.extend(self.unpause(node, container).await.err());
        }
        if failed.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = failed.iter().map(ToString::to_string).collect();
        Err(Error::environment(texts.join("\n")))
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, node: &str) -> Result<(), Error> {
        if self.nodes.iter().any(|known| known == node) {
            return Ok(());
        }
        Err(Error::environment(format!(
            "no node `{node}` in cluster {}; it has {}",
            self.cluster,
            self.nodes.join(", ")
        )))
    }

    /// Freezes or thaws a container by the runtime of its node.
    async fn task(&self, verb: &str, node: &str, container: &str) -> Result<(), Error> {
        self.known(node)?;
        let command = ["ctr", "--namespace=k8s.io", "tasks", verb, id_of(container)];
        self.containers.exec(node, &command).await.map(drop)
    }

    /// Whether the container still has processes.
    async fn has_task(&self, node: &str, container: &str) -> Result<bool, Error> {
        let command = ["ctr", "--namespace=k8s.io", "tasks", "list", "--quiet"];
        let tasks = self.containers.exec(node, &command).await?.stdout;
        Ok(tasks.lines().any(|task| task.trim() == id_of(container)))
    }
}

/// The runtime's id of a container, whose status in a pod names the runtime too.
fn id_of(container: &str) -> &str {
    container.strip_prefix("containerd://").unwrap_or(container)
}

/// The pods of the processes that a kernel log says were killed for the memory limit of their group:
/// `oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/.../pod<uid>/...` (Linux 4.20,
/// `mm/oom_kill.c:dump_oom_summary`).
fn killed_for_memory(log: &str) -> Vec<String> {
    let kills = log.lines().filter(|line| line.contains("oom-kill:constraint=CONSTRAINT_MEMCG"));
    kills.filter_map(|line| uid_in(line.split_once("task_memcg=")?.1)).collect()
}

/// The pod's uid in the path of a group; runtimes that use systemd write `_` for `-`.
fn uid_in(path: &str) -> Option<String> {
    let path = path.split(',').next()?;
    path.match_indices("pod").find_map(|(at, word)| {
        let uid = path.get(at + word.len()..at + word.len() + UID_LENGTH)?.replace('_', "-");
        let is_uid = uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        is_uid.then_some(uid)
    })
}

impl MemoryKills for KindNodes {
    fn pods<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            // All nodes share a kernel, so one that runs is asked.
            let running = self.containers.running_of_cluster(&self.cluster).await?;
            let Some(node) = running.iter().find(|node| self.nodes.contains(node)) else {
                return Ok(Vec::new());
            };
            let log = self.containers.exec(node, &["dmesg"]).await?.stdout;
            Ok(killed_for_memory(&log))
        })
    }
}

impl NodeLogs for KindNodes {
    fn place(&self) -> &Path {
        &self.folder
    }

    fn export<'a>(&'a self, into: &'a Path) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let call = self.containers.kind(["export", "logs", "--name", &self.cluster]);
            self.containers.run(&call.arg(into).limit(EXPORT_LIMIT)).await.map(drop)
        })
    }
}

impl NodeLifecycle for KindNodes {
    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.known(node)?;
            self.faults().stopped.insert(node.to_owned());
            // `kill` is a power cut; with podman it would be undone by the restart policy.
            let call = match self.containers.provider() {
                "podman" => self.containers.call(["stop", "--time", "0", node]),
                _ => self.containers.call(["kill", node]),
            };
            self.containers.run(&call).await.map(drop)
        })
    }

    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.known(node)?;
            self.containers.run(&self.containers.call(["start", node])).await?;
            {
                let mut faults = self.faults();
                faults.stopped.remove(node);
                // What was frozen in it did not survive the power cut.
                faults.paused.retain(|(of, _)| of != node);
            }
            if self.writable_sys {
                self.containers.exec(node, &["sh", "-c", BOOTED]).await?;
                self.containers.exec(node, &REMOUNT_SYS).await?;
            }
            Ok(())
        })
    }
}

impl ContainerPause for KindNodes {
    fn pause<'a>(&'a self, node: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.known(node)?;
            self.faults().paused.insert((node.to_owned(), container.to_owned()));
            self.task("pause", node, container).await
        })
    }

    fn unpause<'a>(
        &'a self,
        node: &'a str,
        container: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if let Err(error) = self.task("resume", node, container).await
                && self.has_task(node, container).await?
            {
                return Err(error);
            }
            self.faults().paused.remove(&(node.to_owned(), container.to_owned()));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_told_by_the_pod_of_their_group() {
        let log = "\
            [1.0] eth0: renamed\n\
            [2.0] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/a/kubelet/kubepods/pode506ec3d-8fed-4d31-8274-1bd2ce0db3df,task_memcg=/docker/a/kubelet/kubepods/pode506ec3d-8fed-4d31-8274-1bd2ce0db3df/0b,task=apache2,pid=1,uid=33\n\
            [3.0] oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/kubelet.slice/kubelet-kubepods-burstable-pod70df849f_ce2a_4380_9ccc_cb6e6e766727.slice/cri-containerd-1.scope,task=php,pid=2\n\
            [4.0] oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/podman/short,task=x\n\
            [5.0] oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/kubepods/pode506ec3d-8fed-4d31-8274-1bd2ce0db3df/0b,task=y\n";
        assert_eq!(
            killed_for_memory(log),
            ["e506ec3d-8fed-4d31-8274-1bd2ce0db3df", "70df849f-ce2a-4380-9ccc-cb6e6e766727"]
        );
    }
}
