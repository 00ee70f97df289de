//! Redaction: no secret leaves the cluster with the evidence.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::telling::{is_switch, tells, url_passwords};

/// What stands where a secret stood.
const REDACTED: &str = "<redacted>";
/// Shorter texts are words; redacting them would blot out half of every log.
const LENGTH_MIN: usize = 4;
/// Lines of a longer secret, as of a key, that are redacted one by one.
const LINE_LENGTH_MIN: usize = 16;

/// Knows the secrets and takes them out of texts.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// The longest first: one may be part of another.
    values: Vec<String>,
}

impl Redactor {
    /// A redactor of the values in `secrets` and of what `objects` tell openly. A value that is a
    /// name in plain sight (in `public`) is no secret.
    pub(super) fn of<'a>(
        secrets: &[Secret],
        objects: impl IntoIterator<Item = &'a Value>,
        public: &BTreeSet<String>,
    ) -> Self {
        let mut learned = Learned { values: BTreeSet::new(), public };
        for secret in secrets {
            for value in secret.data.iter().flatten().map(|(_, bytes)| &bytes.0) {
                learned.add_bytes(value);
            }
            for value in secret.string_data.iter().flatten().map(|(_, text)| text) {
                learned.add_bytes(value.as_bytes());
            }
        }
        for object in objects {
            let mut copy = object.clone();
            visit_telling(&mut copy, &mut |value| {
                if let Some(text) = value.as_str() {
                    learned.add(text);
                }
            });
            visit_texts(object, &mut |text| learned.add_url_passwords(text));
        }
        let mut values: Vec<String> = learned.values.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Redactor { values }
    }

    /// `text` without the secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in &self.values {
            if clean.contains(value.as_str()) {
                clean = clean.replace(value.as_str(), REDACTED);
            }
        }
        for password in url_passwords(&clean).into_iter().rev() {
            clean.replace_range(password, REDACTED);
        }
        clean
    }
}

/// The values learned so far.
struct Learned<'a> {
    values: BTreeSet<String>,
    public: &'a BTreeSet<String>,
}

impl Learned<'_> {
    fn add_bytes(&mut self, value: &[u8]) {
        self.add(&STANDARD.encode(value));
        if let Ok(text) = std::str::from_utf8(value) {
            self.add(text.trim());
            self.add_url_passwords(text);
        }
    }

    fn add(&mut self, value: &str) {
        let is_known = |text: &str| self.public.contains(text) || is_switch(text);
        let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let is_public = is_known(value) || decoded.is_some_and(|text| is_known(&text));
        if value.len() < LENGTH_MIN || is_public {
            return;
        }
        self.values.insert(value.to_owned());
        if value.contains('\n') {
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE_LENGTH_MIN);
            self.values.extend(lines.map(str::to_owned));
        }
    }

    fn add_url_passwords(&mut self, text: &str) {
        for password in url_passwords(text) {
            self.add(&text[password]);
        }
    }
}

/// Takes out of an object what is a secret by its place: the data of a Secret, the values of telling
/// environment variables and keys; and what only fills pages: managed fields and the last applied
/// state.
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
    visit_telling(object, &mut |value| *value = json!(REDACTED));
}

/// Calls `each` on the values within `object` that are secrets by their name: of environment
/// variables and headers, and in the data of a ConfigMap.
fn visit_telling(object: &mut Value, each: &mut dyn FnMut(&mut Value)) {
    let is_config = object.get("kind").and_then(Value::as_str) == Some("ConfigMap");
    if is_config && let Some(Value::Object(data)) = object.get_mut("data") {
        for (_, value) in data.iter_mut().filter(|(key, value)| tells(key) && !turns(value)) {
            each(value);
        }
    }
    visit_named(object, each);
}

fn visit_named(value: &mut Value, each: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(map) => {
            let is_telling = map.get("name").and_then(Value::as_str).is_some_and(tells);
            if is_telling && let Some(value) = map.get_mut("value").filter(|value| !turns(value)) {
                each(value);
            }
            map.values_mut().for_each(|value| visit_named(value, each));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| visit_named(value, each)),
        _ => {}
    }
}

fn turns(value: &Value) -> bool {
    value.as_str().is_some_and(is_switch)
}

fn visit_texts(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Object(map) => map.values().for_each(|value| visit_texts(value, each)),
        Value::Array(items) => items.iter().for_each(|value| visit_texts(value, each)),
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
            Redactor::of(&[secret(&["hunter2-long", "wordpress", "ab", key])], [&pod], &public);
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
    #[test]
    fn what_configuration_tells_openly_is_learned() {
        let env = json!([
            {"name": "DB_PASS", "value": "swordfish"},
            {"name": "DATABASE_URL", "value": "mysql://wp:s3cr3t@db/wp"},
            {"name": "ALLOW_EMPTY_PASSWORD", "value": "true"},
        ]);
        let mut pod = json!({"kind": "Pod", "spec": {"containers": [{"env": env}]}});
        let mut config = json!({
            "kind": "ConfigMap",
            "data": {"auth_salt": "a grain of it", "keyboard": "qwertz"},
        });
        let mut secret = secret(&["postgres://app:in-a-url@db"]);
        secret.string_data = Some([("x".to_owned(), "as it was written".to_owned())].into());
        let redactor = Redactor::of(&[secret], [&pod, &config], &BTreeSet::new());
        let log = "swordfish s3cr3t true a grain of it qwertz in-a-url as it was written";
        let hidden = "<redacted> <redacted> true <redacted> qwertz <redacted> <redacted>";
        assert_eq!(redactor.clean(log), hidden);
        assert_eq!(redactor.clean("ftp://me:unknown@host/"), "ftp://me:<redacted>@host/");
        strip(&mut pod);
        strip(&mut config);
        let env = &pod["spec"]["containers"][0]["env"];
        assert_eq!((&env[0]["value"], &env[2]["value"]), (&json!(REDACTED), &json!("true")));
        assert_eq!(config["data"], json!({"auth_salt": REDACTED, "keyboard": "qwertz"}));
    }
}
