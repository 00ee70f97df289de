//! Hooks of Helm: objects of a chart that `helm install` does not make with the others
//! (<https://helm.sh/docs/topics/charts_hooks>). What `helm template` prints has them all.

use super::manifest::Manifest;

const ANNOTATION: &str = "helm.sh/hook";
/// The hooks that run around an installation.
const AT_INSTALL: [&str; 3] = ["crd-install", "pre-install", "post-install"];

/// The hook of an object that no installation makes: a test, or what runs around an upgrade, a
/// rollback or the end.
pub(super) fn other_hook(manifest: &Manifest) -> Option<&str> {
    let annotations = manifest.value.pointer("/metadata/annotations")?;
    let hooks = annotations[ANNOTATION].as_str().filter(|hooks| !hooks.trim().is_empty())?;
    let is_at_install = |hook: &str| AT_INSTALL.contains(&hook.trim());
    (!hooks.split(',').any(is_at_install)).then_some(hooks)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::k8s::Profile;
    use crate::stack::Stack;

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
";

    #[rstest]
    #[case("test", 1)]
    #[case("test-success, test-failure", 1)]
    #[case("post-delete", 1)]
    #[case("pre-install, pre-upgrade", 2)]
    #[case("", 2)]
    fn what_an_installation_does_not_make_is_left_out(#[case] hook: &str, #[case] kept: usize) {
        let metadata = format!("metadata: {{name: a, annotations: {{helm.sh/hook: '{hook}'}}}}\n");
        let stack =
            Stack::load_text("stack.yaml", &format!("{SERVICE}{metadata}"), &Profile::NEWEST);
        let stack = stack.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(stack.objects().len(), kept, "{hook}");
        let told = format!("ConfigMap default/a (stack.yaml:7): Helm makes it at the hook {hook}");
        let left_out: Vec<_> = stack.left_out().iter().map(String::as_str).collect();
        assert_eq!(left_out, [told.as_str()][..2 - kept]);
    }
}
