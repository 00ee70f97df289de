//! Defaults of pods and pod templates (`pkg/apis/core/v1/defaults.go`).

use k8s_openapi::api::core::v1::{
    Container, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler, Pod, PodSpec, Probe,
    ResourceRequirements, Volume,
};

use super::set;

/// Seconds a pod gets to stop (`v1.DefaultTerminationGracePeriodSeconds`).
const TERMINATION_GRACE_SECONDS: i64 = 30;
/// Mode of files in Secret, ConfigMap, downward API and projected volumes: 0644.
const VOLUME_FILE_MODE: i32 = 0o644;
/// Lifetime of a projected service account token, in seconds.
const TOKEN_EXPIRATION_SECONDS: i64 = 3600;
/// Probe defaults (`SetDefaults_Probe`), in seconds and counts.
const PROBE_TIMEOUT_SECONDS: i32 = 1;
const PROBE_PERIOD_SECONDS: i32 = 10;
const PROBE_SUCCESS_THRESHOLD: i32 = 1;
const PROBE_FAILURE_THRESHOLD: i32 = 3;

/// `SetDefaults_Pod`: what only pods get, not templates, then the spec's own defaults.
pub fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    spec.enable_service_links.get_or_insert(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(resources) = &mut container.resources {
            requests_from_limits(resources);
        }
    }
    pod_spec(spec);
    let status = pod.status.get_or_insert_default();
    set(&mut status.phase, "Pending");
}

/// `SetDefaults_PodSpec` and what lies below it.
pub fn pod_spec(spec: &mut PodSpec) {
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(TERMINATION_GRACE_SECONDS);
    mirror_service_account(spec);
    let host_network = spec.host_network == Some(true);
    for each in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container(each, host_network);
    }
    for each in spec.volumes.iter_mut().flatten() {
        volume(each);
    }
}

/// The deprecated `serviceAccount` mirrors `serviceAccountName`
/// (`pkg/apis/core/v1/conversion.go:Convert_core_PodSpec_To_v1_PodSpec`).
fn mirror_service_account(spec: &mut PodSpec) {
    match (&spec.service_account_name, &spec.service_account) {
        (Some(name), old) if !name.is_empty() && old.as_ref() != Some(name) => {
            spec.service_account = Some(name.clone());
        }
        (None, Some(old)) if !old.is_empty() => spec.service_account_name = Some(old.clone()),
        _ => {}
    }
}

fn container(container: &mut Container, host_network: bool) {
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    if container.image_pull_policy.as_deref().unwrap_or("").is_empty() {
        let image = container.image.as_deref().unwrap_or("");
        container.image_pull_policy = Some(default_pull_policy(image).to_owned());
    }
    for port in container.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
        if host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    for each in [
        &mut container.readiness_probe,
        &mut container.liveness_probe,
        &mut container.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        probe(each);
    }
    if let Some(Lifecycle { post_start, pre_stop, .. }) = &mut container.lifecycle {
        for LifecycleHandler { http_get, .. } in [post_start, pre_stop].into_iter().flatten() {
            http_get.iter_mut().for_each(http_get_action);
        }
    }
    container.env.iter_mut().flatten().for_each(env);
    container.resources.get_or_insert_default();
}

/// `SetDefaults_Container`: `Always` for tag `latest` or no tag, `IfNotPresent` for any other tag
/// or a digest alone.
fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match (last.split_once(':').map(|(_, tag)| tag), digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn probe(probe: &mut Probe) {
    set_positive(&mut probe.timeout_seconds, PROBE_TIMEOUT_SECONDS);
    set_positive(&mut probe.period_seconds, PROBE_PERIOD_SECONDS);
    set_positive(&mut probe.success_threshold, PROBE_SUCCESS_THRESHOLD);
    set_positive(&mut probe.failure_threshold, PROBE_FAILURE_THRESHOLD);
    if let Some(action) = &mut probe.http_get {
        http_get_action(action);
    }
    if let Some(action) = &mut probe.grpc {
        action.service.get_or_insert_default();
    }
}

/// Sets a number that is absent or zero, as Go's defaults do.
fn set_positive(field: &mut Option<i32>, default: i32) {
    if field.unwrap_or(0) == 0 {
        *field = Some(default);
    }
}

fn http_get_action(action: &mut HTTPGetAction) {
    set(&mut action.path, "/");
    set(&mut action.scheme, "HTTP");
}

fn env(env: &mut EnvVar) {
    let source = env.value_from.as_mut();
    if let Some(field) = source.and_then(|source| source.field_ref.as_mut()) {
        set(&mut field.api_version, "v1");
    }
}

/// `SetDefaults_Pod`: a resource with a limit and no request requests its limit.
fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else {
        return;
    };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        if !requests.contains_key(name) {
            requests.insert(name.clone(), limit.clone());
        }
    }
}

/// `SetDefaults_Volume` and the sources with defaults of their own.
fn volume(volume: &mut Volume) {
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(VOLUME_FILE_MODE);
    } else if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(VOLUME_FILE_MODE);
    } else if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(VOLUME_FILE_MODE);
        for file in source.items.iter_mut().flatten() {
            if let Some(field) = &mut file.field_ref {
                set(&mut field.api_version, "v1");
            }
        }
    } else if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(VOLUME_FILE_MODE);
        for projection in source.sources.iter_mut().flatten() {
            if let Some(token) = &mut projection.service_account_token {
                token.expiration_seconds.get_or_insert(TOKEN_EXPIRATION_SECONDS);
            }
            let files = projection.downward_api.iter_mut().flat_map(|api| &mut api.items);
            for file in files.flatten() {
                if let Some(field) = &mut file.field_ref {
                    set(&mut field.api_version, "v1");
                }
            }
        }
    } else if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    } else if let Some(source) = &mut volume.ephemeral {
        if let Some(template) = &mut source.volume_claim_template {
            set(&mut template.spec.volume_mode, "Filesystem");
        }
    } else if volume.persistent_volume_claim.is_none() && has_no_source(volume) {
        volume.empty_dir.get_or_insert_default();
    }
}

/// Whether a volume names no source at all, which means `emptyDir`.
fn has_no_source(volume: &Volume) -> bool {
    *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        assert_eq!(default_pull_policy("nginx"), "Always");
        assert_eq!(default_pull_policy("localhost:5000/nginx"), "Always");
        assert_eq!(default_pull_policy("nginx:latest"), "Always");
        assert_eq!(default_pull_policy("nginx:1.27"), "IfNotPresent");
        assert_eq!(default_pull_policy("nginx@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn a_bare_pod_gets_every_default_once() {
        let text = r#"{"spec":{"containers":[{"name":"a","image":"nginx:1.27",
            "resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"100m"}},
            "readinessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"scratch"}]}}"#;
        let mut once: Pod = serde_json::from_str(text).expect("a pod");
        pod(&mut once);
        let spec = once.spec.as_ref().expect("a spec");
        let resources = spec.containers[0].resources.as_ref().expect("resources");
        let requests = resources.requests.as_ref().expect("requests");
        assert_eq!(requests["cpu"].0, "100m");
        assert_eq!(requests["memory"].0, "1Gi");
        assert_eq!(spec.termination_grace_period_seconds, Some(30));
        assert!(spec.volumes.as_ref().is_some_and(|volumes| volumes[0].empty_dir.is_some()));
        let probe = spec.containers[0].readiness_probe.as_ref().expect("a probe");
        assert_eq!(probe.period_seconds, Some(10));
        assert_eq!(probe.http_get.as_ref().and_then(|get| get.path.as_deref()), Some("/"));
        let mut twice = once.clone();
        pod(&mut twice);
        assert_eq!(once, twice);
    }
}
