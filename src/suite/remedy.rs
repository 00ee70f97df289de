//! What mends a cause in this manifest: what is there already is not advised again, and a field that the
//! kind does not have is not named.

use serde_json::Value;

use crate::base::ObjectRef;
use crate::observe::CauseClass;
use crate::stack::Stack;

use super::blocked::{claim, claim_volume};
use super::target::{Workload, WorkloadKind};

/// Where, and how, a cause is mended otherwise than its class says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remedy {
    pub object: ObjectRef,
    pub field: String,
    pub advice: &'static str,
}

/// The remedy for `class` in `workload`; `None` where what the class says is right.
pub(super) fn remedy(class: CauseClass, workload: &Workload, stack: &Stack) -> Option<Remedy> {
    let manifest = &stack.manifest(&workload.reference())?.value;
    if class == CauseClass::ReplicasShareANode
        && let Some(shared) = shared_volume(workload, manifest, stack)
    {
        return Some(shared);
    }
    let (field, advice) = in_workload(class, workload, manifest)?;
    Some(Remedy { object: workload.reference(), field, advice })
}

/// Whether all pods of `workload` end before new ones start.
pub(super) fn recreates(workload: &Workload) -> bool {
    workload.kind == WorkloadKind::Deployment && workload.surge.is_none()
}

/// The field of the front's autoscaler that `class` is about.
pub(super) fn autoscaler_field(class: CauseClass) -> Option<&'static str> {
    match class {
        CauseClass::ScaleOutLate => Some("spec.metrics"),
        CauseClass::ScaleInLate => Some("spec.behavior"),
        _ => None,
    }
}

fn in_workload(
    class: CauseClass,
    workload: &Workload,
    manifest: &Value,
) -> Option<(String, &'static str)> {
    let container = |field: &str| {
        let pointer = format!("/spec/template/spec/containers/{}/{field}", workload.container);
        manifest.pointer(&pointer)
    };
    match class {
        CauseClass::CapacityDip if recreates(workload) => Some((
            "spec.strategy".into(),
            "let the strategy be RollingUpdate with maxUnavailable 0: Recreate ends all pods before it \
             starts new ones, and nobody serves in between",
        )),
        CauseClass::CapacityDip if workload.kind == WorkloadKind::StatefulSet => Some((
            "spec.replicas".into(),
            "a StatefulSet has no surge: its rollouts end each pod before they start the next one; run \
             one replica more than are needed, or use a Deployment if its pods need no names and \
             volumes of their own",
        )),
        CauseClass::CapacityDip
            if workload.surge.is_some_and(|(_, unavailable)| unavailable == 0) =>
        {
            Some((
                workload.container_field("readinessProbe"),
                "the rollout takes no pod before its time (maxUnavailable is 0): find out why ready pods \
                 end, or are not ready any more",
            ))
        }
        CauseClass::ReplicasShareANode => spread(manifest),
        CauseClass::EarlyTraffic if container("readinessProbe").is_some() => Some((
            workload.container_field("readinessProbe"),
            "the readinessProbe succeeds before the program serves: let it ask over HTTP for a page that \
             needs what users need",
        )),
        CauseClass::TerminationRace if container("lifecycle/preStop").is_some() => Some((
            workload.container_field("lifecycle.preStop"),
            "let preStop sleep longer than the proxies need to drop the pod (10 to 20 s), see that it \
             does not fail, and that terminationGracePeriodSeconds outlasts it",
        )),
        CauseClass::TooSlow if container("resources/limits/cpu").is_none() => Some((
            "spec.replicas".into(),
            "run more replicas, or let each do less: no CPU limit holds them back",
        )),
        CauseClass::HangUnnoticed if container("readinessProbe/httpGet").is_some() => Some((
            workload.container_field("readinessProbe"),
            "let the readinessProbe fail sooner: lower periodSeconds, timeoutSeconds or failureThreshold",
        )),
        _ => None,
    }
}

/// A claim that ties all replicas to the node of its volume.
fn shared_volume(workload: &Workload, manifest: &Value, stack: &Stack) -> Option<Remedy> {
    let (_, name) = claim_volume(manifest)?;
    let object = claim(workload, name);
    let claimed = stack.manifest(&object)?;
    let modes = claimed.value.pointer("/spec/accessModes")?.as_array()?;
    modes.iter().all(|mode| mode == "ReadWriteOnce").then(|| Remedy {
        object,
        field: "spec.accessModes".into(),
        advice: "a ReadWriteOnce volume keeps all replicas on its node: let it be ReadWriteMany, of a \
                 storage class that can, or give each replica one (volumeClaimTemplates)",
    })
}

/// A rule that spreads already, but not enough.
fn spread(manifest: &Value) -> Option<(String, &'static str)> {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    const UNFIT: &str = "it does not keep them apart: let its labelSelector match the labels of the \
                         template, and its topologyKey be kubernetes.io/hostname";
    let spec = manifest.pointer("/spec/template/spec")?;
    let anti = |term: &str| {
        let terms = spec.pointer(&format!("/affinity/podAntiAffinity/{term}"));
        let field = format!("spec.template.spec.affinity.podAntiAffinity.{term}");
        terms.and_then(Value::as_array).is_some_and(|terms| !terms.is_empty()).then_some(field)
    };
    if let Some(field) = anti(REQUIRED) {
        return Some((field, UNFIT));
    }
    let constraints = spec.get("topologySpreadConstraints").and_then(Value::as_array);
    let by = |when: &str| {
        let mut constraints = constraints.into_iter().flatten();
        let n = constraints.position(|each| {
            each["topologyKey"] == "kubernetes.io/hostname" && each["whenUnsatisfiable"] == when
        })?;
        Some(format!("spec.template.spec.topologySpreadConstraints[{n}]"))
    };
    if let Some(field) = by("DoNotSchedule") {
        return Some((
            field,
            "it does not keep them apart: let its labelSelector match the labels of the template, its \
             maxSkew be 1, and count the pods of one rollout alone (matchLabelKeys: [pod-template-hash])",
        ));
    }
    if let Some(field) = by("ScheduleAnyway") {
        return Some((
            field,
            "a preference gives way when nodes differ: let whenUnsatisfiable be DoNotSchedule, with \
             nodeTaintsPolicy Honor",
        ));
    }
    anti(PREFERRED).map(|field| {
        (
            field,
            "a preference gives way when nodes differ, and if its labelSelector does not match the \
             template's labels: add topologySpreadConstraints over kubernetes.io/hostname with \
             DoNotSchedule and nodeTaintsPolicy Honor",
        )
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::discover::{discover, objects_of};
    use super::*;
    use crate::k8s::Profile;

    const STACK: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
";
    const PROBED: &str = "        readinessProbe: {httpGet: {port: 80}}\n";
    const HOOKED: &str = "        lifecycle: {preStop: {exec: {command: [sleep, '5']}}}\n";
    const LIMITED: &str = "        resources: {limits: {cpu: 1}}\n";
    const SPREAD: &str = "      topologySpreadConstraints: [{maxSkew: 1, topologyKey: \
                          kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway}]\n";

    #[rstest]
    #[case::probe(CauseClass::EarlyTraffic, PROBED, "it ask over HTTP")]
    #[case::hook(CauseClass::TerminationRace, HOOKED, "let preStop sleep longer")]
    #[case::no_limit(CauseClass::TooSlow, "", "run more replicas")]
    #[case::limit(CauseClass::TooSlow, LIMITED, "")]
    #[case::constraint(CauseClass::ReplicasShareANode, SPREAD, "be DoNotSchedule")]
    #[case::nothing(CauseClass::ReplicasShareANode, "", "")]
    #[case::no_probe(CauseClass::EarlyTraffic, "", "")]
    fn what_is_there_is_not_advised_again(
        #[case] class: CauseClass,
        #[case] there: &str,
        #[case] advice: &str,
    ) {
        let text = format!("{STACK}{there}");
        let stack = Stack::load_text("stack.yaml", &text, &Profile::NEWEST).expect("a stack");
        let target = discover(&objects_of(&stack)).expect("a front");
        let found = remedy(class, &target.front.workload, &stack);
        let told = found.map_or("", |remedy| remedy.advice);
        assert!(told.contains(advice) && told.is_empty() == advice.is_empty(), "{told}");
    }
}
