//! The environment of a container as far as the manifests tell it: literal values, and those from
//! the stack's own ConfigMaps and Secrets.

use k8s_openapi::ByteString;
use serde_json::Value;

use crate::base::ObjectRef;

use super::{items, of_kind, text};

/// A variable: its name, and its value or why that is not known.
pub(super) type Variable = (String, Result<String, String>);

/// The variables of `container` in the order they are set; later ones replace earlier ones.
pub(super) fn variables(
    objects: &[(ObjectRef, &Value)],
    namespace: &str,
    container: &Value,
) -> Vec<Variable> {
    let mut variables = Vec::new();
    for source in items(container, "/envFrom") {
        let prefix = text(source, "/prefix").unwrap_or_default();
        for (reference, kind) in
            [("/configMapRef/name", "ConfigMap"), ("/secretRef/name", "Secret")]
        {
            let Some(name) = text(source, reference) else { continue };
            for (key, value) in entries(objects, kind, namespace, &name).unwrap_or_default() {
                set(&mut variables, format!("{prefix}{key}"), Ok(value));
            }
        }
    }
    for variable in items(container, "/env") {
        let Some(name) = text(variable, "/name") else { continue };
        let value = match variable.get("valueFrom").filter(|source| !source.is_null()) {
            Some(source) => from_source(objects, namespace, source),
            None => {
                let written = text(variable, "/value").unwrap_or_default();
                Ok(expand(&written, &variables))
            }
        };
        set(&mut variables, name, value);
    }
    variables
}

/// The first ConfigMap or Secret, all of which `container` takes as variables, that the stack lacks.
pub(super) fn unknown_source(
    objects: &[(ObjectRef, &Value)],
    namespace: &str,
    container: &Value,
) -> Option<String> {
    let kinds = [("/configMapRef/name", "ConfigMap"), ("/secretRef/name", "Secret")];
    let named = items(container, "/envFrom")
        .flat_map(|source| kinds.map(|(reference, kind)| Some((kind, text(source, reference)?))));
    let mut missing =
        named.flatten().filter(|(kind, name)| entries(objects, kind, namespace, name).is_none());
    missing.next().map(|(kind, name)| format!("{kind} {name}"))
}

fn set(variables: &mut Vec<Variable>, name: String, value: Result<String, String>) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => variables.push((name, value)),
    }
}

fn from_source(
    objects: &[(ObjectRef, &Value)],
    namespace: &str,
    source: &Value,
) -> Result<String, String> {
    for (reference, kind) in [("/configMapKeyRef", "ConfigMap"), ("/secretKeyRef", "Secret")] {
        let Some(wanted) = source.pointer(reference) else { continue };
        let field = |pointer: &str| text(wanted, pointer).unwrap_or_default();
        let (name, key) = (field("/name"), field("/key"));
        let entries = entries(objects, kind, namespace, &name)
            .ok_or_else(|| format!("is in {kind} {name}, which is not in the stack"))?;
        let entry = entries.into_iter().find(|(known, _)| *known == key);
        return entry
            .map(|(_, value)| value)
            .ok_or_else(|| format!("is in {kind} {name}, which has no key {key}"));
    }
    Err("is known only to the running pod".to_owned())
}

/// Keys and values of a ConfigMap or Secret of the stack.
fn entries(
    objects: &[(ObjectRef, &Value)],
    kind: &str,
    namespace: &str,
    name: &str,
) -> Option<Vec<(String, String)>> {
    let (_, value) = of_kind(objects, kind)
        .find(|(object, _)| object.name == name && object.namespace == namespace)?;
    let map =
        |pointer: &str| value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let decoded = |value: &Value| match kind {
        "Secret" => {
            let bytes: ByteString = serde_json::from_value(value.clone()).ok()?;
            String::from_utf8(bytes.0).ok()
        }
        _ => value.as_str().map(str::to_owned),
    };
    let data = map("/data").filter_map(|(key, value)| Some((key.clone(), decoded(value)?)));
    let written = map("/stringData")
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    // What is written as text replaces what is encoded.
    Some(written.chain(data).collect())
}

/// `$(NAME)` of variables set before.
fn expand(written: &str, variables: &[Variable]) -> String {
    let mut expanded = written.to_owned();
    for (name, value) in variables {
        if let Ok(value) = value {
            expanded = expanded.replace(&format!("$({name})"), value);
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_from_the_container_and_from_config_maps_and_secrets_of_the_stack() {
        let map = json!({"kind": "ConfigMap", "data": {"DB_HOST": "map", "MODE": "a"}});
        let secret = json!({
            "kind": "Secret",
            "data": {"host": "c2VjcmV0", "port": "b2xk"},
            "stringData": {"port": "3307"},
        });
        let objects = [
            (ObjectRef::new("ConfigMap", "shop", "settings"), &map),
            (ObjectRef::new("Secret", "shop", "db"), &secret),
        ];
        let key = |name: &str, key: &str| json!({"secretKeyRef": {"name": name, "key": key}});
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "WP_"}],
            "env": [
                {"name": "WP_MODE", "value": "b"},
                {"name": "HOST", "valueFrom": key("db", "host")},
                {"name": "PORT", "valueFrom": key("db", "port")},
                {"name": "URL", "value": "mysql://$(HOST):$(PORT)/x"},
                {"name": "ELSEWHERE", "valueFrom": key("vault", "host")},
            ],
        });
        let variables = variables(&objects, "shop", &container);
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).expect("it is set")
        };
        assert_eq!(value("WP_DB_HOST"), Ok("map".into()));
        assert_eq!(value("WP_MODE"), Ok("b".into()));
        assert_eq!(value("URL"), Ok("mysql://secret:3307/x".into()));
        let elsewhere = value("ELSEWHERE").expect_err("it is not in the stack");
        assert_eq!(elsewhere, "is in Secret vault, which is not in the stack");
    }
}
