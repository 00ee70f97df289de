//! Documents of metrics.k8s.io/v1beta1.

use std::time::Duration;

use serde_json::{Value, json};

use crate::base::SimTime;

use super::PodUsage;

/// `PodMetrics`.
pub(super) fn pod(namespace: &str, name: &str, usage: &PodUsage) -> Value {
    let containers: Vec<Value> = usage
        .containers
        .iter()
        .map(|c| json!({"name": c.name, "usage": resources(c.cpu_nano, c.memory_bytes)}))
        .collect();
    json!({
        "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": name, "namespace": namespace,
            "creationTimestamp": usage.timestamp.timestamp().to_string(),
        },
        "timestamp": usage.timestamp.timestamp().to_string(),
        "window": go_duration(usage.window),
        "containers": containers,
    })
}

/// `NodeMetrics`.
pub(super) fn node(
    name: &str,
    at: SimTime,
    window: Duration,
    cpu_nano: u64,
    memory_bytes: u64,
) -> Value {
    json!({
        "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": name, "creationTimestamp": at.timestamp().to_string()},
        "timestamp": at.timestamp().to_string(),
        "window": go_duration(window),
        "usage": resources(cpu_nano, memory_bytes),
    })
}

fn resources(cpu_nano: u64, memory_bytes: u64) -> Value {
    let cpu = if cpu_nano == 0 { "0".to_owned() } else { format!("{cpu_nano}n") };
    let memory = match memory_bytes {
        0 => "0".to_owned(),
        bytes if bytes % 1024 == 0 => format!("{}Ki", bytes / 1024),
        bytes => bytes.to_string(),
    };
    json!({"cpu": cpu, "memory": memory})
}

/// A duration as Go prints it, to the millisecond.
fn go_duration(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    let fraction = duration.subsec_millis();
    let seconds = match fraction {
        0 => format!("{seconds}s"),
        _ => format!("{seconds}.{}s", format!("{fraction:03}").trim_end_matches('0')),
    };
    if minutes == 0 { seconds } else { format!("{minutes}m{seconds}") }
}
