//! Node ports, which all Services of a cluster share.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Stack;
use super::manifest::Manifest;
use super::problem::Problems;
use crate::base::Error;
use crate::k8s::validate::DEFAULT_NODE_PORTS;

/// What helps in any cluster, whatever its range.
const FIX: &str = "leave `nodePort` out, and the cluster chooses one";

impl Stack {
    /// Refuses node ports outside the range that a cluster has unless it is told otherwise. Loading
    /// does not: a real cluster may have another range, and says so itself.
    ///
    /// # Errors
    /// Class usage: a line for each.
    pub fn check_node_port_range(&self) -> Result<(), Error> {
        let mut problems = Problems::default();
        let (first, last) = (DEFAULT_NODE_PORTS.start(), DEFAULT_NODE_PORTS.end());
        for (manifest, path, port) in node_ports(self.objects()) {
            if !i32::try_from(port).is_ok_and(|port| DEFAULT_NODE_PORTS.contains(&port)) {
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is \
                     {first}-{last}; {FIX}"
                );
                refuse(manifest, &path, port, &why, &mut problems);
            }
        }
        problems.into_result()
    }
}

/// Refuses a node port that two Services want, whatever the protocol.
pub(super) fn check_shared(objects: &[Manifest], problems: &mut Problems) {
    let mut holders: BTreeMap<i64, &Manifest> = BTreeMap::new();
    for (manifest, path, port) in node_ports(objects) {
        let holder = *holders.entry(port).or_insert(manifest);
        // The ports of one Service were compared when it was validated.
        if holder.object_ref != manifest.object_ref {
            let place = format!("{}:{}", holder.file.display(), holder.line);
            let other = &holder.object_ref;
            let why =
                format!("provided port is already allocated: {other} at {place} has it; {FIX}");
            refuse(manifest, &path, port, &why, problems);
        }
    }
}

/// Every node port that is asked for: by which Service, in which field.
fn node_ports(objects: &[Manifest]) -> impl Iterator<Item = (&Manifest, String, i64)> {
    let is_service =
        |each: &&Manifest| each.api_version == "v1" && each.object_ref.kind == "Service";
    objects.iter().filter(is_service).flat_map(|manifest| {
        let ports = manifest.value.pointer("/spec/ports").and_then(Value::as_array);
        ports.into_iter().flatten().enumerate().filter_map(move |(idx, port)| {
            // Zero is absent.
            let port = port.get("nodePort")?.as_i64().filter(|&port| port != 0)?;
            Some((manifest, format!("spec.ports[{idx}].nodePort"), port))
        })
    })
}

fn refuse(manifest: &Manifest, path: &str, port: i64, why: &str, problems: &mut Problems) {
    let message = format!("{}: {path}: Invalid value: {port}: {why}", manifest.object_ref);
    problems.add(&manifest.file, manifest.locate(path).line, &message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::Profile;

    fn service(port: i32) -> Stack {
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  type: NodePort\n  \
             ports:\n    - port: 80\n      nodePort: {port}\n"
        );
        Stack::load_text("stack.yaml", &yaml, &Profile::NEWEST).expect("a stack")
    }

    #[test]
    fn ports_outside_the_default_range_are_refused_when_asked() {
        for port in [0, 30_000, 32_767] {
            assert!(service(port).check_node_port_range().is_ok(), "{port}");
        }
        let refusal = service(80).check_node_port_range().expect_err("refused").to_string();
        assert_eq!(
            refusal,
            "stack.yaml:9: Service default/web: spec.ports[0].nodePort: Invalid value: 80: \
             provided port is not in the valid range. The range of valid ports is 30000-32767; \
             leave `nodePort` out, and the cluster chooses one"
        );
    }
}
