//! What kind's node images leave to be done before pods run in them.

use futures::future::join_all;

use super::cluster::KindCluster;
use super::container::Containers;
use super::spec::KindSpec;

/// What kind's entry point does to `/sys`, undone (kind#745).
pub(super) const REMOUNT_SYS: [&str; 4] = ["mount", "-o", "remount,rw", "/sys"];

/// Containers may open as many files as the container runtime, which kind lets open as many as the
/// kernel allows: 2^30 on most hosts. Programs that make a table of all of them, or close each, take
/// gigabytes or minutes (kind#760, Rook's `ceph-common-issues.md`). 2^20 is what container engines
/// have granted for years. The runtime is not restarted: the limit is set now, and by systemd from its
/// next start.
const LIMIT_OPEN_FILES: &str = "\
    runtime=$(systemctl show --property=MainPID --value containerd) && \
    limit=$(prlimit --pid $runtime --nofile --output=HARD --noheadings) && \
    if [ $limit -gt 1048576 ]; then \
    cd /etc/systemd/system && mkdir -p containerd.service.d && \
    (echo '[Service]'; echo LimitNOFILE=1048576) >containerd.service.d/open-files.conf && \
    prlimit --pid $runtime --nofile=1048576:1048576; fi";

/// Readies the nodes of a new cluster. What a node does not let be done is a remark, no failure: few
/// workloads need it.
pub(super) async fn prepare(
    cluster: &mut KindCluster,
    spec: &KindSpec,
    containers: &Containers,
    tell: &dyn Fn(&str),
) {
    let limits = cluster.nodes.iter().map(|node| async move {
        let limited = containers.exec(&node.name, &["sh", "-c", LIMIT_OPEN_FILES]).await;
        limited.err().map(|error| {
            format!("containers on {} may open any number of files: {error}", node.name)
        })
    });
    join_all(limits).await.into_iter().flatten().for_each(|remark| tell(&remark));
    make_sys_writable(cluster, spec, containers, tell).await;
}

/// Lets the nodes of `cluster` write to `/sys`, if `spec` asks for it. Only block volumes need it, so
/// that a node which does not let it be done is no failure, but a remark.
pub async fn make_sys_writable(
    cluster: &mut KindCluster,
    spec: &KindSpec,
    containers: &Containers,
    tell: &dyn Fn(&str),
) {
    if !spec.writable_sys {
        return;
    }
    cluster.writable_sys = true;
    for node in &cluster.nodes {
        if let Err(error) = containers.exec(&node.name, &REMOUNT_SYS).await {
            tell(&format!(
                "/sys of node {} stays read-only, block volumes of Ceph cannot be mapped there: {error}",
                node.name
            ));
            cluster.writable_sys = false;
        }
    }
}
