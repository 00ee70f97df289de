//! The custom kinds of Rook (group `ceph.rook.io`), which the cluster comes with.

/// Rook's API group.
pub const GROUP: &str = "ceph.rook.io";
/// Kind and plural; all are namespaced and served as `v1`.
pub const KINDS: [(&str, &str); 12] = [
    ("CephCluster", "cephclusters"),
    ("CephFilesystem", "cephfilesystems"),
    ("CephFilesystemSubVolumeGroup", "cephfilesystemsubvolumegroups"),
    ("CephFilesystemMirror", "cephfilesystemmirrors"),
    ("CephBlockPool", "cephblockpools"),
    ("CephBlockPoolRadosNamespace", "cephblockpoolradosnamespaces"),
    ("CephRBDMirror", "cephrbdmirrors"),
    ("CephObjectStore", "cephobjectstores"),
    ("CephObjectStoreUser", "cephobjectstoreusers"),
    ("CephClient", "cephclients"),
    ("CephNFS", "cephnfses"),
    ("CephBucketNotification", "cephbucketnotifications"),
];

/// The plural of one of Rook's kinds.
pub fn plural(group: &str, kind: &str) -> Option<&'static str> {
    let known = KINDS.iter().find(|(each, _)| group == GROUP && *each == kind);
    known.map(|(_, plural)| *plural)
}
