//! Which versions of a resource a minor serves: what `k8s::served` says, and the stored version of
//! kinds that are not Kubernetes' own (metrics).

use crate::k8s::served::built_in;
use crate::sim::profile::Profile;

/// The versions of `kind` in `group` that `profile` serves, the one to write first; `stored` is the
/// version of kinds that are not listed.
pub(super) fn versions(profile: Profile, group: &str, kind: &str, stored: &str) -> Vec<String> {
    let mut rows = built_in().filter(|row| row.group == group && row.kind == kind).peekable();
    if rows.peek().is_none() {
        return vec![stored.to_owned()];
    }
    rows.filter(|row| row.is_served_by(profile)).map(|row| row.version.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::api::Registry;

    #[test]
    fn versions_come_and_go_with_the_minor() {
        let hpa = |p: Profile| versions(p, "autoscaling", "HorizontalPodAutoscaler", "v2");
        assert_eq!(hpa(Profile::OLDEST), ["v2beta2", "v1", "v2beta1"]);
        assert_eq!(hpa(Profile::NEWEST), ["v2", "v1"]);
        let slices = |p: Profile| versions(p, "discovery.k8s.io", "EndpointSlice", "v1");
        assert_eq!(slices(Profile::OLDEST), ["v1beta1"]);
        assert_eq!(versions(Profile::OLDEST, "apps", "Deployment", "v1"), ["v1"]);
        let ingress = versions(Profile::OLDEST, "networking.k8s.io", "Ingress", "v1");
        assert_eq!(ingress, ["v1", "v1beta1"]);
        assert_eq!(
            versions(Profile::NEWEST, "metrics.k8s.io", "PodMetrics", "v1beta1"),
            ["v1beta1"]
        );
    }

    #[test]
    fn the_newest_minor_serves_what_the_store_keeps() {
        for (_, resource) in Registry::default().iter() {
            let served =
                versions(Profile::NEWEST, &resource.group, &resource.kind, &resource.version);
            assert!(served.contains(&resource.version), "{} {served:?}", resource.kind);
        }
    }
}
