//! The status of an autoscaler: conditions and numbers
//! (`ctl/podautoscaler/horizontal.go:setStatus`, `setConditionInList`).

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
    MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::SimTime;

/// Sets a condition; its transition time moves only when its status does.
pub(super) fn set_condition(
    hpa: &mut HorizontalPodAutoscaler,
    now: SimTime,
    condition_type: &str,
    is_true: bool,
    reason: &str,
    message: impl Into<String>,
) {
    let status = if is_true { "True" } else { "False" };
    let conditions = hpa.status.get_or_insert_default().conditions.get_or_insert_default();
    let idx = conditions.iter().position(|c| c.type_ == condition_type).unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition {
            type_: condition_type.to_owned(),
            ..HorizontalPodAutoscalerCondition::default()
        });
        conditions.len() - 1
    });
    let condition = &mut conditions[idx];
    if condition.status != status {
        status.clone_into(&mut condition.status);
        condition.last_transition_time = Some(Time(now.timestamp()));
    }
    reason.clone_into(condition.reason.get_or_insert_default());
    condition.message = Some(message.into());
}

/// The numbers of a finished sync.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) current: u32,
    pub(super) desired: u32,
    pub(super) metrics: Option<Vec<MetricStatus>>,
    pub(super) rescaled: bool,
}

/// Sets the numbers, keeping the conditions.
pub(super) fn set_numbers(hpa: &mut HorizontalPodAutoscaler, now: SimTime, numbers: Numbers) {
    let generation = hpa.metadata.generation;
    let old = hpa.status.take().unwrap_or_default();
    let rescaled_at = numbers.rescaled.then(|| Time(now.timestamp()));
    hpa.status = Some(HorizontalPodAutoscalerStatus {
        conditions: old.conditions,
        current_metrics: numbers.metrics,
        current_replicas: i32::try_from(numbers.current).ok(),
        desired_replicas: i32::try_from(numbers.desired).unwrap_or(i32::MAX),
        last_scale_time: rescaled_at.or(old.last_scale_time),
        observed_generation: generation,
    });
}
