//! Rook's kinds as types, as far as readiness reads them; and what it means for them to be ready.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::k8s::rook;
use crate::wait::Condition;

/// A custom kind with everything but metadata and status left out.
macro_rules! custom_kind {
    ($type:ident, $doc:literal, $group:expr, $kind:literal, $plural:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        pub(super) struct $type {
            pub(super) metadata: ObjectMeta,
            #[serde(default)]
            pub(super) status: Value,
        }

        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

custom_kind!(CephCluster, "A Ceph cluster.", rook::GROUP, "CephCluster", "cephclusters");
custom_kind!(
    CephFilesystem,
    "A CephFS file system.",
    rook::GROUP,
    "CephFilesystem",
    "cephfilesystems"
);
custom_kind!(
    Driver,
    "A CSI driver to be run by ceph-csi-operator.",
    "csi.ceph.io",
    "Driver",
    "drivers"
);

/// The cluster works: `HEALTH_WARN` is for good where keys are of a type that kernels can use.
pub(super) fn cluster_ready() -> Condition<CephCluster> {
    Condition::new("the CephCluster is Ready and healthy", |clusters: &[Arc<CephCluster>]| {
        let Some(cluster) = clusters.first() else { return Err("there is no CephCluster".into()) };
        let phase = cluster.status["phase"].as_str().unwrap_or("not set");
        let health = cluster.status["ceph"]["health"].as_str().unwrap_or("not known");
        let ready = phase == "Ready" && matches!(health, "HEALTH_OK" | "HEALTH_WARN");
        if ready {
            return Ok(());
        }
        let message = cluster.status["message"].as_str().unwrap_or("");
        let details = cluster.status["ceph"]["details"].as_object().into_iter().flatten();
        let details: Vec<_> = details
            .map(|(check, detail)| format!("{check}: {}", detail["message"].as_str().unwrap_or("")))
            .collect();
        let text = format!(
            "CephCluster {} has phase {phase}, health {health}; {message} {}",
            cluster.name_any(),
            details.join(", ")
        );
        Err(text.trim_end_matches(['\u{20}', ';']).to_owned())
    })
}

/// The file system is there for clients.
pub(super) fn filesystem_ready() -> Condition<CephFilesystem> {
    Condition::new("the CephFilesystem is Ready", |filesystems: &[Arc<CephFilesystem>]| {
        let Some(filesystem) = filesystems.first() else {
            return Err("there is no such CephFilesystem".into());
        };
        match filesystem.status["phase"].as_str() {
            Some("Ready") => Ok(()),
            phase => Err(format!("its phase is {}", phase.unwrap_or("not set"))),
        }
    })
}

/// The driver's pods run on all nodes that they should run on.
pub(super) fn node_plugin_ready() -> Condition<DaemonSet> {
    Condition::new("the node plug-in runs everywhere", |sets: &[Arc<DaemonSet>]| {
        let Some(set) = sets.first() else { return Err("there is no DaemonSet for it yet".into()) };
        let Some(status) = &set.status else { return Err("it has no status yet".into()) };
        let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
        if status.observed_generation < set.metadata.generation {
            return Err("the controller has not seen the newest template yet".into());
        }
        if wanted == 0 || ready < wanted {
            return Err(format!("{ready} of {wanted} pods are ready"));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(status: Value) -> Result<(), String> {
        let metadata = ObjectMeta { name: Some("ceph".into()), ..ObjectMeta::default() };
        cluster_ready().check(&[Arc::new(CephCluster { metadata, status })])
    }

    #[test]
    fn a_warning_is_healthy_enough_and_an_error_is_not() {
        assert_eq!(cluster(json!({"phase": "Ready", "ceph": {"health": "HEALTH_WARN"}})), Ok(()));
        assert_eq!(cluster(json!({"phase": "Ready", "ceph": {"health": "HEALTH_OK"}})), Ok(()));
        let details = json!({"OSD_DOWN": {"message": "1 osds down"}});
        let bad = json!({"phase": "Ready", "ceph": {"health": "HEALTH_ERR", "details": details}});
        let unmet = cluster(bad).expect_err("unhealthy");
        assert!(
            unmet.contains("HEALTH_ERR; ") && unmet.contains("OSD_DOWN: 1 osds down"),
            "{unmet}"
        );
        let unmet = cluster(json!({"phase": "Progressing", "message": "Configuring Ceph Mons"}));
        let wanted =
            "CephCluster ceph has phase Progressing, health not known; Configuring Ceph Mons";
        assert_eq!(unmet, Err(wanted.to_owned()));
        assert_eq!(cluster(Value::Null).expect_err("new").matches("not").count(), 2);
    }

    #[test]
    fn a_file_system_is_ready_by_its_phase() {
        let filesystem = |status: Value| {
            let object = CephFilesystem { metadata: ObjectMeta::default(), status };
            filesystem_ready().check(&[Arc::new(object)])
        };
        assert_eq!(filesystem(json!({"phase": "Ready"})), Ok(()));
        assert_eq!(filesystem(json!({"phase": "Failure"})), Err("its phase is Failure".into()));
        assert_eq!(filesystem(Value::Null), Err("its phase is not set".into()));
    }
}
