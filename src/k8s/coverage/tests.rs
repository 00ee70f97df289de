//! Every row names a field, every field has a row, and the longest row decides.

use super::Coverage::Modelled;
use super::*;
use crate::k8s::schema::{Schema, schema};

#[test]
fn every_row_names_a_field_of_its_kind() {
    let kinds = [
        ("", "v1", "Pod"),
        ("apps", "v1", "Deployment"),
        ("apps", "v1", "StatefulSet"),
        ("", "v1", "Service"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("networking.k8s.io", "v1", "Ingress"),
        ("networking.k8s.io", "v1", "IngressClass"),
        ("", "v1", "PersistentVolumeClaim"),
        ("", "v1", "PersistentVolume"),
        ("storage.k8s.io", "v1", "StorageClass"),
        ("", "v1", "Secret"),
        ("", "v1", "Namespace"),
        ("", "v1", "ServiceAccount"),
        ("scheduling.k8s.io", "v1", "PriorityClass"),
    ];
    for (group, version, kind) in kinds {
        let newest = schema(group, version, kind).expect("a schema");
        let older = schema(group, "v1", kind);
        let (rows, _) = rows(group, kind).expect("rows");
        for (path, _) in rows
            .iter()
            .filter(|row| row.0 != "binaryData" && !row.0.starts_with("metadata.labels."))
        {
            let has_field = |schema: &Schema| schema.has_field(path);
            assert!(has_field(newest) || older.is_some_and(has_field), "{kind} has no {path}");
        }
    }
}

#[test]
fn every_field_of_a_pod_spec_has_a_row() {
    let schema = schema("", "v1", "Pod").expect("a schema");
    let missing: Vec<String> = (schema.fields_below("spec").into_iter())
        .map(|field| format!("spec.{field}"))
        .filter(|path| longest(POD, path).is_none())
        .filter(|path| path != "spec.containers" && path != "spec.initContainers")
        .collect();
    // Newer than the semantics this table was drawn from: unmodelled for every aspect.
    assert_eq!(
        missing,
        ["spec.evictionResponders", "spec.hostnameOverride", "spec.schedulingGroup"]
    );
}

#[test]
fn the_longest_row_decides() {
    let of = |group, kind, path| of(group, kind, path, &Value::from("x"));
    let image = "spec.template.spec.containers[].image";
    assert_eq!(of("apps", "Deployment", image), (image, Modelled));
    let grpc = "spec.template.spec.containers[].readinessProbe.grpc.port";
    let (row, coverage) = of("apps", "Deployment", grpc);
    assert_eq!(row, "spec.template.spec.containers[].readinessProbe.grpc");
    assert_eq!(coverage, Unmodelled(OWN));
    let rewrite = "metadata.annotations.nginx.ingress.kubernetes.io/rewrite-target";
    let (_, coverage) = of("networking.k8s.io", "Ingress", rewrite);
    assert_eq!(coverage, Unmodelled(&[TRAFFIC, TLS]));
    assert_eq!(of_kind("apps", "Deployment"), None);
}

#[test]
fn a_custom_kind_may_change_anything_unless_it_only_observes_or_makes_secrets() {
    for (group, kind, coverage) in [
        ("cilium.io", "CiliumNetworkPolicy", Unmodelled(ALL)),
        ("keda.sh", "ScaledObject", Unmodelled(ALL)),
        ("gateway.networking.k8s.io", "HTTPRoute", Unmodelled(ALL)),
        ("ceph.rook.io", "CephObjectStore", Unmodelled(ALL)),
        ("ceph.rook.io", "CephBlockPool", Modelled),
        ("cert-manager.io", "Certificate", Unmodelled(&[])),
        ("monitoring.coreos.com", "ServiceMonitor", Inert),
    ] {
        assert_eq!(of_kind(group, kind), Some(coverage), "{kind}");
    }
}

#[test]
fn scaling_to_zero_is_unmodelled() {
    for (min, coverage) in [(1, Modelled), (0, Unmodelled(ALL))] {
        let (group, kind, path) = ("autoscaling", "HorizontalPodAutoscaler", "spec.minReplicas");
        assert_eq!(of(group, kind, path, &Value::from(min)), (path, coverage));
    }
}

#[test]
fn init_containers_have_the_rows_of_containers() {
    let path = "spec.template.spec.initContainers[].workingDir";
    assert_eq!(of("apps", "Deployment", path, &Value::from("/srv")), (path, Unmodelled(OWN)));
    let path = "spec.initContainers[].securityContext.runAsUser";
    assert_eq!(of("", "Pod", path, &Value::from(1000)), (path, Unmodelled(OWN)));
    let path = "spec.initContainers[].env[].valueFrom.fileKeyRef.key";
    let row = path.trim_end_matches(".key");
    assert_eq!(of("", "Pod", path, &Value::from("x")), (row, Unmodelled(OWN)));
    let path = "spec.initContainers[].restartPolicy";
    assert_eq!(of("", "Pod", path, &Value::from("Always")).1, Inert);
}

#[test]
fn a_value_that_changes_nothing_is_not_reported() {
    let coverage = |path, value: &str| of("", "Pod", path, &Value::from(value)).1;
    assert_eq!(coverage("spec.dnsPolicy", "ClusterFirst"), Inert);
    assert_eq!(coverage("spec.dnsPolicy", "Default"), Unmodelled(OWN));
    assert_eq!(coverage("spec.volumes[].hostPath.type", "DirectoryOrCreate"), Inert);
    assert_eq!(coverage("spec.volumes[].hostPath.type", "Directory"), Unmodelled(OWN));
    let label = "metadata.labels.pod-security.kubernetes.io/enforce";
    let coverage = |value: &str| of("", "Namespace", label, &Value::from(value)).1;
    assert_eq!(coverage("privileged"), Inert);
    assert_eq!(coverage("restricted"), Unmodelled(ALL));
}

#[test]
fn fields_that_can_keep_a_pod_from_starting_matter_to_everything() {
    let everywhere = [
        "spec.runtimeClassName",
        "spec.resourceClaims[].name",
        "spec.securityContext.runAsNonRoot",
        "spec.securityContext.sysctls[].name",
        "spec.volumes[].csi.driver",
        "spec.volumes[].image.reference",
        "spec.volumes[].nfs.server",
        "spec.containers[].resources.claims[].name",
        "spec.containers[].securityContext.readOnlyRootFilesystem",
        "spec.containers[].volumeDevices[].name",
        "spec.containers[].volumeMounts[].subPathExpr",
        "spec.containers[].workingDir",
    ];
    for path in everywhere {
        let coverage = of("", "Pod", path, &Value::from("x")).1;
        let all = if path.contains("runtimeClass") || path.contains("laims[]") { ALL } else { OWN };
        assert_eq!(coverage, Unmodelled(all), "{path}");
    }
    let inert = ["spec.securityContext.fsGroup", "spec.containers[].securityContext.capabilities"];
    for path in inert {
        assert_eq!(of("", "Pod", path, &Value::from(33)).1, Inert, "{path}");
    }
    let dropped = "spec.containers[].securityContext.capabilities.drop[]";
    assert_eq!(of("", "Pod", dropped, &Value::from("ALL")).1, Unmodelled(OWN));
    assert_eq!(of("", "Pod", dropped, &Value::from("NET_RAW")).1, Inert);
}
