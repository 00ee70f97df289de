//! Messages of the scheduler and of the kubelet, and the fields they lead to.

use serde_json::json;

use super::*;

fn manifest(spec: &Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

fn unscheduled(reasons: &str, spec: &Value) -> Option<String> {
    let message = format!(
        "0/4 nodes are available: {reasons}. preemption: 0/4 nodes are available: 4 Preemption is \
         not helpful for scheduling."
    );
    super::unscheduled::why(&message, &manifest(spec)).map(|blocked| blocked.field)
}

#[test]
fn the_rule_that_keeps_most_nodes_away_is_named() {
    let ours = "spec.template.spec.";
    let anti = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{}]}}});
    assert_eq!(
        unscheduled(
            "1 node(s) had untolerated taint(s), 3 node(s) didn't match pod anti-affinity rules",
            &anti
        ),
        Some(format!(
            "{ours}affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ))
    );
    let spread = json!({"topologySpreadConstraints": [
        {"whenUnsatisfiable": "ScheduleAnyway"}, {"whenUnsatisfiable": "DoNotSchedule"}]});
    assert_eq!(
        unscheduled("3 node(s) didn't match pod topology spread constraints", &spread),
        Some(format!("{ours}topologySpreadConstraints[1]"))
    );
    let ports = json!({"containers": [{"ports": [{"containerPort": 1}, {"hostPort": 80}]}]});
    assert_eq!(
        unscheduled("3 node(s) didn't have free ports for the requested pod ports", &ports),
        Some(format!("{ours}containers[0].ports[1].hostPort"))
    );
    let large = json!({"containers": [{}, {"resources": {"requests": {"cpu": "9"}}}]});
    assert_eq!(
        unscheduled("1 Too many pods, 3 Insufficient cpu", &large),
        Some(format!("{ours}containers[1].resources.requests.cpu"))
    );
    assert_eq!(unscheduled("4 node(s) had untolerated taint(s)", &large), None);
}

#[test]
fn a_missing_secret_is_the_line_that_names_it() {
    let spec = json!({
        "containers": [{
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "a"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "b"}}},
            ],
        }],
        "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    });
    let named = |message: &str| missing_reference(message, &manifest(&spec)).map(|it| it.field);
    let at = |field: &str| Some(format!("spec.template.spec.{field}"));
    assert_eq!(named("secret \"db\" not found"), at("containers[0].env[0].valueFrom.secretKeyRef"));
    assert_eq!(
        named("couldn't find key b in Secret shop/db"),
        at("containers[0].env[1].valueFrom.secretKeyRef")
    );
    assert_eq!(
        named("configmap \"settings\" not found"),
        at("containers[0].envFrom[0].configMapRef")
    );
    let mount = "MountVolume.SetUp failed for volume \"tls\" : secret \"tls\" not found";
    assert_eq!(named(mount), at("volumes[0].secret"));
    assert_eq!(named("secret \"other\" not found"), None);
}

#[test]
fn a_container_that_its_probe_had_killed_did_not_crash() {
    let event = |message: &str| -> Event {
        let value = json!({
            "metadata": {}, "involvedObject": {"kind": "Pod", "name": "web-1"},
            "reason": "Killing", "message": message,
        });
        serde_json::from_value(value).expect("an event")
    };
    let manifest = manifest(&json!({"containers": [{"name": "agent"}, {"name": "web"}]}));
    let killed = |message: &str, pod: &str| {
        killed_by_probe(pod, &[event(message)], &manifest).map(|it| it.field)
    };
    let failed = "Container web failed liveness probe, will be restarted";
    let field = "spec.template.spec.containers[1].livenessProbe".to_owned();
    assert_eq!(killed(failed, "web-1"), Some(field));
    assert_eq!(killed(failed, "web-2"), None);
    assert_eq!(killed("Stopping container web", "web-1"), None);
}
