//! Which versions a minor serves (deprecated API migration guide; semantics 1.14).

use crate::sim::profile::Profile;

/// (group, kind, version, first minor, first minor without it); an empty kind stands for all kinds of
/// the group that no other row of the same version names. `u8::MAX`: still served.
type Row = (&'static str, &'static str, &'static str, u8, u8);

const FOREVER: u8 = u8::MAX;

const SERVED: &[Row] = &[
    ("autoscaling", "HorizontalPodAutoscaler", "v2", 23, FOREVER),
    ("autoscaling", "HorizontalPodAutoscaler", "v2beta2", 12, 26),
    ("autoscaling", "HorizontalPodAutoscaler", "v2beta1", 8, 25),
    ("autoscaling", "HorizontalPodAutoscaler", "v1", 0, FOREVER),
    ("policy", "PodDisruptionBudget", "v1", 21, FOREVER),
    ("policy", "PodDisruptionBudget", "v1beta1", 0, 25),
    ("discovery.k8s.io", "EndpointSlice", "v1", 21, FOREVER),
    ("discovery.k8s.io", "EndpointSlice", "v1beta1", 17, 25),
    ("networking.k8s.io", "Ingress", "v1beta1", 14, 22),
    ("networking.k8s.io", "IngressClass", "v1beta1", 18, 22),
    ("batch", "CronJob", "v1", 21, FOREVER),
    ("batch", "CronJob", "v1beta1", 8, 25),
    ("storage.k8s.io", "CSIDriver", "v1beta1", 14, 22),
    ("storage.k8s.io", "CSINode", "v1beta1", 14, 22),
    ("storage.k8s.io", "StorageClass", "v1beta1", 4, 22),
    ("storage.k8s.io", "VolumeAttachment", "v1beta1", 10, 22),
    ("coordination.k8s.io", "Lease", "v1beta1", 12, 22),
    ("rbac.authorization.k8s.io", "", "v1beta1", 6, 22),
    ("scheduling.k8s.io", "PriorityClass", "v1beta1", 11, 22),
    ("admissionregistration.k8s.io", "", "v1beta1", 9, 22),
    ("apiregistration.k8s.io", "APIService", "v1beta1", 7, 22),
    ("node.k8s.io", "RuntimeClass", "v1beta1", 14, 25),
    ("metrics.k8s.io", "", "v1beta1", 0, FOREVER),
];

/// The versions of `kind` in `group` that `profile` serves, newest first; `stored` is the version
/// of kinds that the table does not limit.
pub(super) fn versions(profile: Profile, group: &str, kind: &str, stored: &str) -> Vec<String> {
    let rows = SERVED.iter().filter(|row| row.0 == group && (row.1 == kind || row.1.is_empty()));
    let is_listed = rows.clone().any(|row| row.2 == stored);
    let listed = rows
        .filter(|row| profile.at_least(row.3) && !(row.4 < FOREVER && profile.at_least(row.4)))
        .map(|row| row.2.to_owned());
    let stored = (!is_listed).then(|| stored.to_owned());
    stored.into_iter().chain(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_and_go_with_the_minor() {
        let hpa = |p: Profile| versions(p, "autoscaling", "HorizontalPodAutoscaler", "v2");
        assert_eq!(hpa(Profile::OLDEST), ["v2beta2", "v2beta1", "v1"]);
        assert_eq!(hpa(Profile::NEWEST), ["v2", "v1"]);
        let slices = |p: Profile| versions(p, "discovery.k8s.io", "EndpointSlice", "v1");
        assert_eq!(slices(Profile::OLDEST), ["v1beta1"]);
        assert_eq!(versions(Profile::OLDEST, "apps", "Deployment", "v1"), ["v1"]);
        let ingress = versions(Profile::OLDEST, "networking.k8s.io", "Ingress", "v1");
        assert_eq!(ingress, ["v1", "v1beta1"]);
    }
}
