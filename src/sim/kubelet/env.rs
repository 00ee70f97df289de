//! The environment of a container (`pkg/kubelet/kubelet_pods.go:makeEnvironmentVariables`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, Pod, ResourceFieldSelector, Secret, Service,
};

use crate::k8s;
use crate::sim::api::Api;

/// What an environment is resolved for.
pub(super) struct Scope<'a> {
    pub(super) api: &'a Api,
    pub(super) pod: &'a Pod,
    pub(super) container: &'a Container,
    pub(super) pod_ip: &'a str,
    pub(super) host_ip: &'a str,
    pub(super) node: &'a str,
}

/// Variables by name.
pub(super) type Vars = Vec<(String, String)>;

/// The variables in the order they are set.
///
/// # Errors
/// The message of a `CreateContainerConfigError`.
pub(super) fn resolve(scope: &Scope<'_>) -> Result<Vars, String> {
    let mut vars = from_sources(scope)?;
    let services = service_variables(scope);
    for variable in scope.container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or(""), &vars, &services)),
            Some(source) => from_source(scope, source)?,
        };
        if let Some(value) = value {
            set(&mut vars, variable.name.clone(), value);
        }
    }
    // What the manifest sets wins over what the Services of the namespace add.
    for (name, value) in services {
        if !vars.iter().any(|(known, _)| *known == name) {
            vars.push((name, value));
        }
    }
    Ok(vars)
}

fn set(vars: &mut Vars, name: String, value: String) {
    match vars.iter_mut().find(|(known, _)| *known == name) {
        Some(entry) => entry.1 = value,
        None => vars.push((name, value)),
    }
}

fn from_sources(scope: &Scope<'_>) -> Result<Vars, String> {
    let namespace = scope.pod.metadata.namespace.as_deref().unwrap_or("");
    let mut vars = Vars::new();
    for source in scope.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(reference) = &source.config_map_ref {
            match scope.api.get::<ConfigMap>(namespace, &reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        set(&mut vars, format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match scope.api.get::<Secret>(namespace, &reference.name) {
                Some(secret) => {
                    for (key, value) in secret_entries(secret) {
                        set(&mut vars, format!("{prefix}{key}"), value);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    Ok(vars)
}

fn from_source(scope: &Scope<'_>, source: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = scope.pod.metadata.namespace.as_deref().unwrap_or("");
    if let Some(wanted) = &source.secret_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(secret) = scope.api.get::<Secret>(namespace, &wanted.name) else {
            return missing(optional, format!("secret {:?} not found", wanted.name));
        };
        return match secret_entries(secret).find(|(key, _)| *key == wanted.key) {
            Some((_, value)) => Ok(Some(value)),
            None => missing(
                optional,
                format!("couldn't find key {} in Secret {namespace}/{}", wanted.key, wanted.name),
            ),
        };
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(map) = scope.api.get::<ConfigMap>(namespace, &wanted.name) else {
            return missing(optional, format!("configmap {:?} not found", wanted.name));
        };
        return match map.data.as_ref().and_then(|data| data.get(&wanted.key)) {
            Some(value) => Ok(Some(value.clone())),
            None => missing(
                optional,
                format!(
                    "couldn't find key {} in ConfigMap {namespace}/{}",
                    wanted.key, wanted.name
                ),
            ),
        };
    }
    if let Some(field) = &source.field_ref {
        return field_value(scope, &field.field_path).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        return Ok(Some(resource_value(scope, field)));
    }
    Ok(Some(String::new()))
}

fn missing(optional: bool, message: String) -> Result<Option<String>, String> {
    if optional { Ok(None) } else { Err(message) }
}

fn secret_entries(secret: &Secret) -> impl Iterator<Item = (String, String)> {
    let data = secret.data.iter().flatten();
    let written = secret.string_data.iter().flatten();
    data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
        .chain(written.map(|(key, value)| (key.clone(), value.clone())))
}

/// A field of the pod (`pkg/fieldpath/fieldpath.go`).
pub(super) fn field_value(scope: &Scope<'_>, path: &str) -> Result<String, String> {
    let meta = &scope.pod.metadata;
    let keyed = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    let spec = scope.pod.spec.as_ref();
    if let Some((base, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        return match base {
            "metadata.labels" => Ok(keyed(&meta.labels, key)),
            "metadata.annotations" => Ok(keyed(&meta.annotations, key)),
            _ => Err(format!("unsupported fieldPath: {path}")),
        };
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => scope.node.to_owned(),
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" | "status.podIPs" => scope.pod_ip.to_owned(),
        "status.hostIP" | "status.hostIPs" => scope.host_ip.to_owned(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A request or limit, rounded up to its divisor (`pkg/api/v1/resource/helpers.go`).
fn resource_value(scope: &Scope<'_>, field: &ResourceFieldSelector) -> String {
    let containers = scope.pod.spec.iter().flat_map(|spec| &spec.containers);
    let named = field.container_name.as_deref();
    let container = containers
        .into_iter()
        .find(|container| named.is_some_and(|name| container.name == name))
        .unwrap_or(scope.container);
    let resources = container.resources.as_ref();
    let quantity = match field.resource.split_once('.') {
        Some(("limits", name)) => resources.and_then(|r| r.limits.as_ref()?.get(name)),
        Some(("requests", name)) => resources.and_then(|r| r.requests.as_ref()?.get(name)),
        _ => None,
    };
    let value = quantity.and_then(k8s::milli).unwrap_or(0);
    let divisor = field.divisor.as_ref().and_then(k8s::milli).filter(|&d| d > 0).unwrap_or(1000);
    value.div_ceil(divisor).to_string()
}

/// The words of a command with the container's variables
/// (`pkg/kubelet/container/helpers.go:ExpandContainerCommandAndArgs`).
pub(super) fn expand_words(words: Option<&Vec<String>>, vars: &Vars) -> Vec<String> {
    words.into_iter().flatten().map(|word| expand(word, vars, &Vars::new())).collect()
}

/// `$(NAME)` of variables set before; `$$` is a dollar
/// (`third_party/forked/golang/expansion/expand.go`).
fn expand(text: &str, vars: &Vars, services: &Vars) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let known = reference.and_then(|(name, after)| {
            let found = vars.iter().chain(services).find(|(known, _)| known == name)?;
            Some((found.1.as_str(), after))
        });
        match known {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

/// Variables for the Services that exist when the container starts
/// (`pkg/kubelet/envvars/envvars.go:FromServices`).
fn service_variables(scope: &Scope<'_>) -> Vars {
    let namespace = scope.pod.metadata.namespace.as_deref().unwrap_or("");
    let links = scope.pod.spec.as_ref().is_none_or(|s| s.enable_service_links != Some(false));
    let mut vars = Vars::new();
    if let Some(service) = scope.api.get::<Service>("default", "kubernetes") {
        add_service(&mut vars, service);
    }
    if links {
        for service in scope.api.stored().list_in::<Service>(namespace) {
            add_service(&mut vars, service);
        }
    }
    vars
}

fn add_service(vars: &mut Vars, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or("");
    let ports = spec.ports.as_deref().unwrap_or(&[]);
    let (Some(first), false) = (ports.first(), matches!(ip, "" | "None")) else { return };
    let upper = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let name = upper(service.metadata.name.as_deref().unwrap_or(""));
    set(vars, format!("{name}_SERVICE_HOST"), ip.to_owned());
    set(vars, format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let key = format!("{name}_SERVICE_PORT_{}", upper(port_name));
            set(vars, key, port.port.to_string());
        }
    }
    for (idx, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{}", protocol.to_ascii_lowercase(), port.port);
        if idx == 0 {
            set(vars, format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        set(vars, prefix.clone(), url);
        set(vars, format!("{prefix}_PROTO"), protocol.to_ascii_lowercase());
        set(vars, format!("{prefix}_PORT"), port.port.to_string());
        set(vars, format!("{prefix}_ADDR"), ip.to_owned());
    }
}
