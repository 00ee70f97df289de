//! Redaction: no secret leaves the cluster with the evidence.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// What stands where a secret stood.
const REDACTED: &str = "<redacted>";
/// Shorter texts are words; redacting them would blot out half of every log.
const LENGTH_MIN: usize = 4;
/// Lines of a longer secret, as of a key, that are redacted one by one.
const LINE_LENGTH_MIN: usize = 16;
/// Environment variables with these in their names hold secrets, written openly or not.
const TELLING: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY"];

/// Knows the secrets and takes them out of texts.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    values: BTreeSet<String>,
}

impl Redactor {
    /// A redactor of the values in `secrets` and of telling environment variables in `objects`. A
    /// value that is a name in plain sight (in `public`) is no secret.
    pub(super) fn of(secrets: &[Secret], objects: &[Value], public: &BTreeSet<String>) -> Self {
        let mut redactor = Redactor::default();
        for secret in secrets {
            for value in secret.data.iter().flatten().map(|(_, bytes)| &bytes.0) {
                redactor.learn(&STANDARD.encode(value), public);
                if let Ok(text) = std::str::from_utf8(value) {
                    redactor.learn(text.trim(), public);
                }
            }
        }
        for object in objects {
            telling_values(object, &mut |value| redactor.learn(value, public));
        }
        redactor
    }

    fn learn(&mut self, value: &str, public: &BTreeSet<String>) {
        let is_public = public.contains(value)
            || STANDARD
                .decode(value)
                .is_ok_and(|d| std::str::from_utf8(&d).is_ok_and(|text| public.contains(text)));
        if value.len() < LENGTH_MIN || is_public {
            return;
        }
        self.values.insert(value.to_owned());
        if value.contains('\n') {
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE_LENGTH_MIN);
            self.values.extend(lines.map(str::to_owned));
        }
    }

    /// `text` without the secrets, the longest first.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut values: Vec<&String> = self.values.iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let mut clean = text.to_owned();
        for value in values {
            if clean.contains(value.as_str()) {
                clean = clean.replace(value.as_str(), REDACTED);
            }
        }
        clean
    }
}

/// Takes out of an object what is a secret by its place: the data of a Secret, the values of telling
/// environment variables; and what only fills pages: managed fields and the last applied state.
pub(super) fn strip(object: &mut Value) {
    let is_secret = object.get("kind").and_then(Value::as_str) == Some("Secret");
    for part in ["data", "stringData"] {
        if is_secret && let Some(Value::Object(data)) = object.get_mut(part) {
            data.values_mut().for_each(|value| *value = json!(REDACTED));
        }
    }
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        meta.remove("managedFields");
        if let Some(Value::Object(annotations)) = meta.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    visit_env(object, &mut |value| *value = json!(REDACTED));
}

fn telling_values(object: &Value, each: &mut dyn FnMut(&str)) {
    let mut copy = object.clone();
    visit_env(&mut copy, &mut |value| {
        if let Some(text) = value.as_str() {
            each(text);
        }
    });
}

/// Calls `each` on the value of every telling environment variable within `value`.
fn visit_env(value: &mut Value, each: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(map) => {
            let name = map.get("name").and_then(Value::as_str).unwrap_or_default().to_uppercase();
            let tells = TELLING.iter().any(|word| name.contains(word));
            if tells && let Some(value) = map.get_mut("value") {
                each(value);
            }
            map.values_mut().for_each(|value| visit_env(value, each));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| visit_env(value, each)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(values: &[&str]) -> Secret {
        let data = values.iter().enumerate();
        let data = data.map(|(n, v)| (n.to_string(), ByteString(v.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn secrets_are_found_in_any_text_and_names_are_left() {
        let key = "-----BEGIN KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END KEY-----\n";
        let pod = json!({"spec": {"containers": [
            {"env": [{"name": "DB_PASSWORD", "value": "open-sesame"}]}
        ]}});
        let public = BTreeSet::from(["wordpress".to_owned()]);
        let redactor =
            Redactor::of(&[secret(&["hunter2-long", "wordpress", "ab", key])], &[pod], &public);
        let log = "user wordpress pw hunter2-long ab aHVudGVyMi1sb25n open-sesame\n\
                   key: MIGHAgEAMBMGByqGSM49AgEG";
        assert_eq!(
            redactor.clean(log),
            "user wordpress pw <redacted> ab <redacted> <redacted>\nkey: <redacted>"
        );
    }

    #[test]
    fn an_object_loses_its_secrets_by_their_place() {
        let mut object = json!({
            "kind": "Secret", "data": {"a": "eA=="}, "stringData": {"b": "y"},
            "metadata": {"managedFields": [1], "name": "s"},
        });
        strip(&mut object);
        assert_eq!(object["data"]["a"], REDACTED);
        assert_eq!(object["stringData"]["b"], REDACTED);
        assert_eq!(object["metadata"], json!({"name": "s"}));
        let env = json!([{"name": "API_TOKEN", "value": "z"}, {"name": "HOST", "value": "db"}]);
        let mut pod = json!({"kind": "Pod", "spec": {"containers": [{"env": env}]}});
        strip(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], REDACTED);
        assert_eq!(pod["spec"]["containers"][0]["env"][1]["value"], "db");
    }
}
