//! One object to the API server: server-side apply with one field manager, retried where that can help.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::{Scope, pinned_kind};
use kube::error::DiscoveryError;
use kube::{Api, Client};
use serde_json::Value;

use crate::base::millis;
use crate::k8s::served::built_in;

/// The field manager of everything that is applied.
const FIELD_MANAGER: &str = "seatrial";
/// Tries of one object.
const TRIES_MAX: u32 = 8;
/// Pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = millis(200);

/// Applies objects; remembers what discovery said of custom kinds.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    known: BTreeMap<(String, String), Known>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").field("known", &self.known).finish_non_exhaustive()
    }
}

/// A resource, and whether its objects live in a namespace.
type Known = (ApiResource, bool);

/// Why an object was not applied.
#[derive(Debug)]
pub struct ApplyError {
    /// What the API server, or the way to it, said last.
    pub error: kube::Error,
    /// Whether that came of looking up the kind, not of the object.
    discovery: bool,
}

impl ApplyError {
    /// Whether the API server looked at the object and does not want it: trying again is no use. A
    /// missing right, a conflict and too many requests say nothing of the object.
    pub fn is_refusal(&self) -> bool {
        let of_object = |code| (400..500).contains(&code) && !matches!(code, 401 | 403 | 409 | 429);
        !self.discovery && matches!(&self.error, kube::Error::Api(status) if of_object(status.code))
    }

    /// In words.
    pub fn reason(&self) -> String {
        match &self.error {
            kube::Error::Api(status) if self.discovery && status.code == 404 => {
                "the cluster does not know its kind; is the definition installed?".to_owned()
            }
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        }
    }

    /// Conflict, overload, errors of the server itself (a webhook that is not up yet is one of
    /// them) and a broken connection pass; a definition just applied takes a moment to be served.
    fn is_passing(&self) -> bool {
        match &self.error {
            kube::Error::Discovery(_) | kube::Error::Service(_) | kube::Error::HyperError(_) => {
                true
            }
            kube::Error::Api(status) => match status.code {
                409 | 429 | 500..=599 => true,
                404 => {
                    self.discovery
                        || status.message.contains("could not find the requested resource")
                }
                _ => false,
            },
            _ => false,
        }
    }
}

impl Applier {
    /// One for the cluster behind `client`.
    pub fn new(client: Client) -> Self {
        Applier { client, known: BTreeMap::new() }
    }

    /// Applies `object`; again does no harm. A namespaced object without a namespace goes to
    /// `default`.
    ///
    /// # Errors
    /// What the last try met.
    pub async fn apply(&mut self, object: &Value) -> Result<(), ApplyError> {
        let mut pause = FIRST_PAUSE;
        for n_tries in 1.. {
            let error = match self.apply_once(object).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if n_tries == TRIES_MAX || !error.is_passing() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn apply_once(&mut self, object: &Value) -> Result<(), ApplyError> {
        let api =
            self.api_of(object).await.map_err(|error| ApplyError { error, discovery: true })?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = text(object, "/metadata/name");
        let mut object = object.clone();
        name_protocols(&mut object);
        let applied = if text(&object, "/apiVersion").starts_with(AGGREGATION) {
            create_or_merge(&api, name, &object).await
        } else {
            api.patch(name, &params, &Patch::Apply(object)).await.map(|_| ())
        };
        applied.map_err(|error| ApplyError { error, discovery: false })
    }

    /// Where `object` is read and written. A namespaced object without a namespace lives in
    /// `default`.
    ///
    /// # Errors
    /// The cluster does not serve its kind.
    pub async fn api_of(&mut self, object: &Value) -> Result<Api<DynamicObject>, kube::Error> {
        let (resource, namespaced) =
            self.resource(text(object, "/apiVersion"), text(object, "/kind")).await?;
        Ok(match (namespaced, text(object, "/metadata/namespace")) {
            (false, _) => Api::all_with(self.client.clone(), &resource),
            (true, "") => Api::namespaced_with(self.client.clone(), "default", &resource),
            (true, namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
        })
    }

    /// The object in the cluster that `object` would be applied to.
    ///
    /// # Errors
    /// What the API answered; a kind that is not served has no objects, and that is none.
    pub async fn find(&mut self, object: &Value) -> Result<Option<DynamicObject>, kube::Error> {
        let api = match self.api_of(object).await {
            Ok(api) => api,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Discovery(DiscoveryError::MissingKind(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        api.get_opt(text(object, "/metadata/name")).await
    }

    /// Kubernetes' own kinds are known; of others only the cluster knows the plural and the scope.
    async fn resource(&mut self, api_version: &str, kind: &str) -> Result<Known, kube::Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let own = built_in()
            .find(|each| each.group == group && each.version == version && each.kind == kind);
        if let Some(own) = own {
            return Ok((ApiResource::from_gvk_with_plural(&gvk, own.plural), own.namespaced));
        }
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let (resource, capabilities) = pinned_kind(&self.client, &gvk).await?;
        let found = (resource, capabilities.scope == Scope::Namespaced);
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

/// Group of APIService; the aggregator of 1.20 breaks the connection on server-side apply.
const AGGREGATION: &str = "apiregistration.k8s.io/";

/// The older way to apply: creates `object`, or merges it into what is there.
async fn create_or_merge(
    api: &Api<DynamicObject>,
    name: &str,
    object: &Value,
) -> Result<(), kube::Error> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    match api.patch(name, &params, &Patch::Merge(object)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let created =
                serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
            let params = PostParams { field_manager: params.field_manager, ..Default::default() };
            api.create(&params, &created).await.map(|_| ())
        }
        merged => merged.map(|_| ()),
    }
}

/// Where ports are lists keyed by number and protocol.
const SERVICE_PORTS: &str = "/spec/ports";
const KEYED_PORTS: [&str; 3] =
    [SERVICE_PORTS, "/spec/containers", "/spec/template/spec/containers"];
/// Groups of Kubernetes' own kinds that have such ports.
const GROUPS_WITH_PORTS: [&str; 2] = ["v1", "apps/v1"];

/// Gives ports their default protocol: it is part of their key, and API servers before 1.22 refuse
/// to merge ports that omit it (kubernetes/kubernetes#92332).
fn name_protocols(object: &mut Value) {
    if !GROUPS_WITH_PORTS.contains(&text(object, "/apiVersion")) {
        return;
    }
    for place in KEYED_PORTS {
        let Some(Value::Array(items)) = object.pointer_mut(place) else { continue };
        for item in items {
            if place == SERVICE_PORTS {
                name_protocol(item);
            } else if let Some(Value::Array(ports)) = item.get_mut("ports") {
                ports.iter_mut().for_each(name_protocol);
            }
        }
    }
}

fn name_protocol(port: &mut Value) {
    if let Value::Object(port) = port {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::invalid(422, true)]
    #[case::no_such_namespace(404, true)]
    #[case::no_right(403, false)]
    #[case::conflict(409, false)]
    #[case::too_many_requests(429, false)]
    #[case::server_error(500, false)]
    fn a_refusal_is_about_the_object(#[case] code: u16, #[case] is_refusal: bool) {
        let status = Status::failure("no", "Reason").with_code(code);
        let error = ApplyError { error: kube::Error::Api(Box::new(status)), discovery: false };
        assert_eq!(error.is_refusal(), is_refusal);
    }

    #[test]
    fn ports_get_the_protocol_that_is_part_of_their_key() {
        let mut service = json!({"apiVersion": "v1", "spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}});
        name_protocols(&mut service);
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
        assert_eq!(service["spec"]["ports"], ports);
        let mut deployment = json!({"apiVersion": "apps/v1", "spec": {"template": {"spec": {"containers": [
            {"name": "web", "ports": [{"containerPort": 80}]}, {"name": "side"},
        ]}}}});
        name_protocols(&mut deployment);
        let containers = &deployment["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
        assert_eq!(containers[1], json!({"name": "side"}));
    }
}
