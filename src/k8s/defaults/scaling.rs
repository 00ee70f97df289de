//! Defaults of the autoscaler (`pkg/apis/autoscaling/v2/defaults.go`).

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::set;

/// CPU utilisation aimed at when no metric is given, in percent of the request.
const DEFAULT_CPU_UTILIZATION: i32 = 80;
/// Period of the default policies, in seconds.
const POLICY_PERIOD_SECONDS: i32 = 15;

/// `SetDefaults_HorizontalPodAutoscaler`.
pub fn autoscaler(autoscaler: &mut HorizontalPodAutoscaler) {
    let spec = &mut autoscaler.spec;
    spec.min_replicas.get_or_insert(1);
    if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
        spec.metrics = Some(vec![default_metric()]);
    }
    if let Some(behavior) = &mut spec.behavior {
        let up = behavior.scale_up.get_or_insert_default();
        up.stabilization_window_seconds.get_or_insert(0);
        rules(up, &[("Pods", 4), ("Percent", 100)]);
        let down = behavior.scale_down.get_or_insert_default();
        // The window stays absent: the controller's own flag (300 s) decides.
        rules(down, &[("Percent", 100)]);
    }
}

fn rules(rules: &mut HPAScalingRules, policies: &[(&str, i32)]) {
    set(&mut rules.select_policy, "Max");
    if rules.policies.is_none() {
        let policy = |&(type_, value): &(&str, i32)| HPAScalingPolicy {
            type_: type_.to_owned(),
            value,
            period_seconds: POLICY_PERIOD_SECONDS,
        };
        rules.policies = Some(policies.iter().map(policy).collect());
    }
}

fn default_metric() -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(DEFAULT_CPU_UTILIZATION),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_half_of_the_behavior_brings_the_other() {
        let text = r#"{"spec":{"maxReplicas":6,"scaleTargetRef":{"kind":"Deployment","name":"a"},
            "behavior":{"scaleUp":{"stabilizationWindowSeconds":60}}}}"#;
        let mut object: HorizontalPodAutoscaler = serde_json::from_str(text).expect("an HPA");
        autoscaler(&mut object);
        let behavior = object.spec.behavior.as_ref().expect("behavior");
        let (up, down) = (behavior.scale_up.as_ref(), behavior.scale_down.as_ref());
        assert_eq!(up.and_then(|up| up.stabilization_window_seconds), Some(60));
        assert_eq!(up.and_then(|up| up.policies.as_ref()).map(Vec::len), Some(2));
        assert_eq!(down.and_then(|down| down.stabilization_window_seconds), None);
        assert_eq!(down.and_then(|down| down.policies.as_ref()).map(Vec::len), Some(1));
        assert_eq!(object.spec.metrics.as_ref().map(Vec::len), Some(1));
    }
}
