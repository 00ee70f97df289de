//! Containers: names, images, ports, environment, mounts, resources, probes and hooks
//! (`pkg/apis/core/validation/validation.go:validateContainers`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, LifecycleHandler, Probe, ResourceRequirements,
};

use super::handler::Handler;
use super::{Errors, Path, quoted, text};
use crate::k8s::{Profile, milli};

/// Probes may have a grace of their own from here on (ProbeTerminationGracePeriod beta on).
const PROBE_GRACE_MINOR: u8 = 25;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of `spec.containers`.
    Main,
    /// One of `spec.initContainers`.
    Init,
}

/// What all containers of a pod are checked against.
pub(super) struct Checker<'a> {
    pub(super) profile: Profile,
    pub(super) volumes: &'a BTreeSet<&'a str>,
    pub(super) host_network: bool,
    /// The pod's terminationGracePeriodSeconds.
    pub(super) grace_seconds: i64,
    pub(super) errors: &'a mut Errors,
}

impl Checker<'_> {
    /// `validateContainerCommon`, then what depends on the role.
    pub(super) fn container(&mut self, container: &Container, path: &Path<'_>, role: Role) {
        let name = &container.name;
        if name.is_empty() {
            self.errors.required(&path.field("name"), "");
        } else {
            self.errors.refused(&path.field("name"), name, text::label_1123(name));
        }
        let image = container.image.as_deref().unwrap_or("");
        if image.is_empty() {
            self.errors.required(&path.field("image"), "");
        } else if image != image.trim() {
            let why = "must not have leading or trailing whitespace";
            self.errors.invalid(&path.field("image"), quoted(image), why);
        }
        let policies = ["Always", "IfNotPresent", "Never"];
        let policy = container.image_pull_policy.as_deref();
        self.errors.one_of(&path.field("imagePullPolicy"), policy, &policies);
        let policy = container.termination_message_policy.as_deref();
        let policies = ["File", "FallbackToLogsOnError"];
        self.errors.one_of(&path.field("terminationMessagePolicy"), policy, &policies);
        self.ports(container.ports.as_deref().unwrap_or(&[]), &path.field("ports"));
        self.environment(container.env.as_deref().unwrap_or(&[]), &path.field("env"));
        self.mounts(container, path);
        if let Some(resources) = &container.resources {
            self.resources(resources, &path.field("resources"));
        }
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        if role == Role::Main || sidecar {
            self.probes(container, path);
            self.hooks(container, path);
        } else {
            self.forbidden_in_init(container, path);
        }
        if role == Role::Main && container.restart_policy.is_some() && !self.profile.at_least(34) {
            let why = "may not be set for non-init containers";
            self.errors.forbidden(&path.field("restartPolicy"), why);
        }
    }

    fn forbidden_in_init(&mut self, container: &Container, path: &Path<'_>) {
        let set = [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ];
        for (field, _) in set.iter().filter(|(_, set)| *set) {
            let why = "may not be set for init containers without restartPolicy=Always";
            self.errors.forbidden(&path.field(field), why);
        }
    }

    fn ports(&mut self, ports: &[ContainerPort], path: &Path<'_>) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (idx, port) in ports.iter().enumerate() {
            let at = path.index(idx);
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let why = text::port_name(name);
                if why.is_empty() && !names.insert(name) {
                    self.errors.duplicate(&at.field("name"), quoted(name));
                }
                self.errors.refused(&at.field("name"), name, why);
            }
            if port.container_port == 0 {
                self.errors.required(&at.field("containerPort"), "");
            } else {
                self.errors.port(&at.field("containerPort"), port.container_port);
            }
            if let Some(host) = port.host_port.filter(|&host| host != 0) {
                self.errors.port(&at.field("hostPort"), host);
                if self.host_network && host != port.container_port {
                    let why = "must match `hostPort` when `hostNetwork` is true";
                    self.errors.invalid(&at.field("containerPort"), port.container_port, why);
                }
            }
            let protocols = ["SCTP", "TCP", "UDP"];
            self.errors.one_of(&at.field("protocol"), port.protocol.as_deref(), &protocols);
        }
    }

    fn environment(&mut self, variables: &[EnvVar], path: &Path<'_>) {
        let relaxed = self.profile.at_least(32);
        for (idx, variable) in variables.iter().enumerate() {
            let at = path.index(idx);
            if variable.name.is_empty() {
                self.errors.required(&at.field("name"), "");
            } else {
                let why = text::env_name(&variable.name, relaxed);
                self.errors.refused(&at.field("name"), &variable.name, why);
            }
            if let Some(source) = &variable.value_from {
                self.value_from(variable, source, &at.field("valueFrom"));
            }
        }
    }

    fn value_from(&mut self, variable: &EnvVar, source: &EnvVarSource, path: &Path<'_>) {
        let EnvVarSource { config_map_key_ref, field_ref, file_key_ref, .. } = source;
        let set = [
            config_map_key_ref.is_some(),
            field_ref.is_some(),
            file_key_ref.is_some(),
            source.resource_field_ref.is_some(),
            source.secret_key_ref.is_some(),
        ];
        let n_set = set.iter().filter(|set| **set).count();
        if n_set == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                       `secretKeyRef`";
            self.errors.invalid(path, "\"\"", why);
        } else if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
            let why = "may not be specified when `value` is not empty";
            self.errors.invalid(path, "\"\"", why);
        } else if n_set > 1 {
            self.errors.invalid(
                path,
                "\"\"",
                "may not have more than one field specified at a time",
            );
        }
        let keys = [
            ("configMapKeyRef", config_map_key_ref.as_ref().map(|r| (&r.name, &r.key))),
            ("secretKeyRef", source.secret_key_ref.as_ref().map(|r| (&r.name, &r.key))),
        ];
        for (field, reference) in keys {
            let Some((_, key)) = reference else { continue };
            let at = path.field(field);
            if key.is_empty() {
                self.errors.required(&at.field("key"), "");
            } else {
                self.errors.refused(&at.field("key"), key, text::config_map_key(key));
            }
        }
    }

    fn mounts(&mut self, container: &Container, path: &Path<'_>) {
        let list = path.field("volumeMounts");
        let mut paths: BTreeSet<&str> = BTreeSet::new();
        for (idx, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let at = list.index(idx);
            if mount.name.is_empty() {
                self.errors.required(&at.field("name"), "");
            } else if !self.volumes.contains(mount.name.as_str()) {
                self.errors.not_found(&at.field("name"), quoted(&mount.name));
            }
            if mount.mount_path.is_empty() {
                self.errors.required(&at.field("mountPath"), "");
            } else if !paths.insert(&mount.mount_path) {
                let why = "must be unique";
                self.errors.invalid(&at.field("mountPath"), quoted(&mount.mount_path), why);
            }
            if let Some(sub) = mount.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
                if sub.starts_with('/') {
                    self.errors.invalid(
                        &at.field("subPath"),
                        quoted(sub),
                        "must be a relative path",
                    );
                }
                if sub.split('/').any(|part| part == "..") {
                    self.errors.invalid(&at.field("subPath"), quoted(sub), "must not contain '..'");
                }
            }
        }
    }

    fn resources(&mut self, resources: &ResourceRequirements, path: &Path<'_>) {
        let limits = resources.limits.iter().flatten().map(|pair| ("limits", pair));
        let requests = resources.requests.iter().flatten().map(|pair| ("requests", pair));
        for (field, (name, quantity)) in limits.chain(requests) {
            let list = path.field(field);
            let at = list.key(name);
            if let Some(why) = resource_name(name) {
                self.errors.invalid(&at, quoted(name), &why);
            }
            if quantity.0.trim_start().starts_with('-') {
                let why = "must be greater than or equal to 0";
                self.errors.invalid(&at, quoted(&quantity.0), why);
            }
        }
        for (name, request) in resources.requests.iter().flatten() {
            let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
            let Some(limit) = limit else { continue };
            if milli(request) > milli(limit) {
                let tail = if self.profile.at_least(27) {
                    format!(" of {}", limit.0)
                } else {
                    String::new()
                };
                let why = format!("must be less than or equal to {name} limit{tail}");
                self.errors.invalid(&path.field("requests"), quoted(&request.0), &why);
            }
        }
    }

    fn probes(&mut self, container: &Container, path: &Path<'_>) {
        let probes = [
            ("livenessProbe", &container.liveness_probe, true),
            ("readinessProbe", &container.readiness_probe, false),
            ("startupProbe", &container.startup_probe, true),
        ];
        for (field, probe, once) in probes {
            let Some(probe) = probe else { continue };
            let at = path.field(field);
            self.probe(probe, &at, &container.name);
            if let Some(threshold) = probe.success_threshold.filter(|&t| once && t != 1) {
                self.errors.invalid(&at.field("successThreshold"), threshold, "must be 1");
            }
            // `validateReadinessProbe`; older API servers drop the field before they look at it.
            let grace = probe.termination_grace_period_seconds;
            if let Some(seconds) = grace.filter(|_| field == "readinessProbe")
                && self.profile.at_least(PROBE_GRACE_MINOR)
            {
                let why = "must not be set for readinessProbes";
                self.errors.invalid(&at.field("terminationGracePeriodSeconds"), seconds, why);
            }
        }
    }

    fn probe(&mut self, probe: &Probe, path: &Path<'_>, container: &str) {
        let handler = Handler {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
            sleep: None,
        };
        self.handler(&handler, path, container);
        let numbers = [
            ("initialDelaySeconds", probe.initial_delay_seconds),
            ("timeoutSeconds", probe.timeout_seconds),
            ("periodSeconds", probe.period_seconds),
            ("successThreshold", probe.success_threshold),
            ("failureThreshold", probe.failure_threshold),
        ];
        for (field, number) in numbers {
            self.errors.non_negative(&path.field(field), number.map(i64::from));
        }
        let grace = probe.termination_grace_period_seconds;
        if let Some(seconds) = grace.filter(|&seconds| seconds <= 0) {
            let why = "must be greater than 0";
            self.errors.invalid(&path.field("terminationGracePeriodSeconds"), seconds, why);
        }
    }

    fn hooks(&mut self, container: &Container, path: &Path<'_>) {
        let Some(lifecycle) = &container.lifecycle else { return };
        let hooks = [
            ("lifecycle.postStart", &lifecycle.post_start),
            ("lifecycle.preStop", &lifecycle.pre_stop),
        ];
        for (field, hook) in hooks {
            let Some(LifecycleHandler { exec, http_get, tcp_socket, sleep }) = hook else {
                continue;
            };
            let handler = Handler {
                exec: exec.as_ref(),
                http_get: http_get.as_ref(),
                tcp_socket: tcp_socket.as_ref(),
                grpc: None,
                sleep: sleep.as_ref(),
            };
            self.handler(&handler, &path.field(field), &container.name);
        }
    }
}

/// Resource names without a domain that containers may ask for
/// (`pkg/apis/core/helper:IsStandardContainerResourceName`).
fn resource_name(name: &str) -> Option<String> {
    if let Some(why) = text::qualified_name(name).into_iter().next() {
        return Some(why);
    }
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let known = name.contains('/') || standard || name.starts_with("hugepages-");
    (!known).then(|| "must be a standard resource for containers".to_owned())
}

/// `checkHostPortConflicts`: two containers of a pod may not hold one port of the node.
pub(super) fn host_ports<'a>(
    containers: impl Iterator<Item = &'a Container>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let mut taken: BTreeSet<(i32, &str, &str)> = BTreeSet::new();
    for (idx, container) in containers.enumerate() {
        for (n, port) in container.ports.iter().flatten().enumerate() {
            let Some(host) = port.host_port.filter(|&host| host != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("");
            let host_ip = port.host_ip.as_deref().unwrap_or("");
            if !taken.insert((host, protocol, host_ip)) {
                let at = path.index(idx);
                let ports = at.field("ports");
                errors.duplicate(&ports.index(n).field("hostPort"), format!("{protocol:?}"));
            }
        }
    }
}
