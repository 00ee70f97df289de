//! The fields of a stack that the simulator does not act on.

use serde_json::Value;

use super::Stack;
use super::manifest::{Location, Manifest};
use crate::base::ObjectRef;
use crate::k8s::coverage::{self, Coverage};

/// A field that is set and not modelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmodelledField {
    /// The object.
    pub object: ObjectRef,
    /// The field; empty where the whole kind is unmodelled.
    pub path: String,
    /// Where it is written.
    pub location: Location,
    /// What it may change: `scheduling`, `lifecycle`, `traffic`, `scaling`, `storage`, `tls`, or whether
    /// the object's own pods `start`; none for kinds that turn no scenario by themselves.
    pub aspects: &'static [&'static str],
}

impl Stack {
    /// The fields of the stack that are not modelled, in apply order.
    pub fn unmodelled(&self) -> Vec<UnmodelledField> {
        self.objects().iter().flat_map(of_object).collect()
    }
}

fn of_object(manifest: &Manifest) -> Vec<UnmodelledField> {
    let mut walk = Walk { manifest, found: Vec::new() };
    if let Some(coverage) = coverage::of_kind(manifest.group(), &manifest.object_ref.kind) {
        walk.report("", coverage);
        return walk.found;
    }
    walk.value(&manifest.value, &mut String::new(), &mut String::new());
    walk.found
}

struct Walk<'m> {
    manifest: &'m Manifest,
    found: Vec<UnmodelledField>,
}

impl Walk<'_> {
    /// `path` is where the value lies, `general` the same without list indexes.
    fn value(&mut self, value: &Value, path: &mut String, general: &mut String) {
        let (path_len, general_len) = (path.len(), general.len());
        match value {
            // What is off is as good as not there.
            Value::Null | Value::Bool(false) => {}
            Value::Object(map) => {
                for (key, each) in map {
                    for text in [&mut *path, &mut *general] {
                        if !text.is_empty() {
                            text.push('.');
                        }
                        text.push_str(key);
                    }
                    self.value(each, path, general);
                    path.truncate(path_len);
                    general.truncate(general_len);
                }
            }
            Value::Array(items) => {
                general.push_str("[]");
                for (idx, each) in items.iter().enumerate() {
                    path.push_str(&format!("[{idx}]"));
                    self.value(each, path, general);
                    path.truncate(path_len);
                }
                general.truncate(general_len);
            }
            _ => self.leaf(path, general, value),
        }
    }

    fn leaf(&mut self, path: &str, general: &str, value: &Value) {
        let group = self.manifest.group();
        let kind = &self.manifest.object_ref.kind;
        let (row, coverage) = coverage::of(group, kind, general, value);
        self.report(&above(path, row.len()), coverage);
    }

    fn report(&mut self, path: &str, coverage: Coverage) {
        let Coverage::Unmodelled(aspects) = coverage else { return };
        if self.found.iter().any(|known| known.path == path) {
            return;
        }
        self.found.push(UnmodelledField {
            object: self.manifest.object_ref.clone(),
            location: self.manifest.locate(path),
            path: path.to_owned(),
            aspects,
        });
    }
}

/// The part of `path` that is `general_len` long once list indexes are taken out.
fn above(path: &str, general_len: usize) -> String {
    let mut seen = 0;
    let mut in_index = false;
    for (at, byte) in path.bytes().enumerate() {
        if seen >= general_len && !in_index {
            return path[..at].to_owned();
        }
        match byte {
            b'[' => in_index = true,
            b']' => in_index = false,
            _ => {}
        }
        let is_index_digit = in_index && byte.is_ascii_digit();
        seen += usize::from(!is_index_digit);
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::Profile;

    #[test]
    fn indexes_do_not_count() {
        let general = "spec.containers[].workingDir";
        let path = "spec.containers[12].workingDir.below";
        assert_eq!(above(path, general.len()), "spec.containers[12].workingDir");
        assert_eq!(above("a[0].b", "a[]".len()), "a[0]");
        assert_eq!(above("a.b", 0), "");
    }

    /// The paths reported for a stack.
    fn reported(yaml: &str) -> Vec<String> {
        let stack = Stack::load_text("stack.yaml", yaml, &Profile::NEWEST);
        let fields = stack.unwrap_or_else(|error| panic!("{error}")).unmodelled();
        fields.into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn a_kind_without_rows_is_reported_once_whatever_it_says() {
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                      metadata: {name: deny}\nspec: {podSelector: {}";
        assert_eq!(reported(&format!("{policy}}}\n")), [""]);
        assert_eq!(reported(&format!("{policy}, policyTypes: [Ingress]}}\n")), [""]);
        let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
                    metadata: {name: reader}\nrules: []\n";
        assert_eq!(reported(role), [] as [&str; 0]);
    }

    #[test]
    fn fields_of_init_containers_and_volumes_are_looked_at() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  \
                   initContainers: [{name: i, image: busybox, workingDir: /srv}]\n  \
                   containers: [{name: c, image: nginx}]\n  \
                   dnsPolicy: ClusterFirst\n  \
                   volumes:\n  \
                   - {name: a, emptyDir: {}}\n  \
                   - {name: b, emptyDir: {medium: Memory, sizeLimit: 1Mi}}\n  \
                   - {name: c, hostPath: {path: /srv, type: Directory}}\n  \
                   - {name: d, hostPath: {path: /srv, type: DirectoryOrCreate}}\n";
        let expected = [
            "spec.initContainers[0].workingDir",
            "spec.volumes[1].emptyDir.medium",
            "spec.volumes[1].emptyDir.sizeLimit",
            "spec.volumes[2].hostPath.type",
        ];
        assert_eq!(reported(pod), expected);
    }
}
