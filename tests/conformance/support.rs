//! What a body may use: a client, a transport, a namespace of its own, and waiting with a reason.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use seatrial::engine::{Capability, ContainerPause, Engine, FrontDoor, NodeLifecycle};
use seatrial::load::{Answer, Call, Connection, Failed, Target, Transport};

/// The images that pods are made of, present on every node.
#[derive(Clone, Debug)]
pub struct Images {
    /// A small program that does nothing.
    pub pause: String,
    /// A small web server.
    pub nginx: String,
}

static IMAGES: OnceLock<Images> = OnceLock::new();

/// Sets the images of a real cluster, before the first body.
pub fn set_images(images: Images) {
    IMAGES.get_or_init(|| images);
}

/// The images of the cluster; those of the simulated one unless others were set.
pub fn images() -> &'static Images {
    IMAGES.get_or_init(|| Images {
        pause: "registry.k8s.io/pause:3.10".into(),
        nginx: "nginx:1.29".into(),
    })
}

/// What a body has learnt: nothing, or why the behaviour is not there.
pub type Outcome = Result<(), String>;

/// A cluster with a namespace of the body's own.
pub struct Cluster {
    pub client: Client,
    pub transport: Arc<dyn Transport>,
    pub front_door: FrontDoor,
    pub namespace: String,
    engine: Arc<dyn Engine>,
}

impl Cluster {
    /// A view on a cluster; the namespace is not made yet.
    pub fn new(engine: Arc<dyn Engine>, namespace: &str) -> Cluster {
        Cluster {
            client: engine.client(),
            transport: engine.transport(),
            front_door: engine.front_door(),
            namespace: namespace.to_owned(),
            engine,
        }
    }

    /// Makes the namespace, with a label `key=value`, and waits until pods may be created in it.
    pub async fn make_namespace(&self, label: &str) -> Outcome {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let object = json!({"metadata": {"name": self.namespace, "labels": {key: value}}});
        let made = spaces.create(&PostParams::default(), &from_json(object)?).await;
        made.map_err(|e| format!("no namespace: {e}"))?;
        let needs_token = self.has_token_secrets();
        let usable = move |account: &ServiceAccount| {
            !needs_token || account.secrets.as_ref().is_some_and(|secrets| !secrets.is_empty())
        };
        let account = self.until("default", ADMITTED, "the ServiceAccount", usable);
        account.await.map(|_| ())
    }

    /// Before 1.24 a pod is admitted only once its ServiceAccount has a Secret with a token; the
    /// simulator makes no such Secrets at any version.
    fn has_token_secrets(&self) -> bool {
        let minor = self.engine.kubernetes().rsplit('.').next().and_then(|m| m.parse::<u8>().ok());
        self.engine.name() != "sim" && minor.is_some_and(|minor| minor < 24)
    }

    /// Removes the namespace, and waits until nothing in it is left to disturb the next body.
    pub async fn remove_namespace(&self) -> Outcome {
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        match spaces.delete(&self.namespace, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(format!("namespace {}: {error}", self.namespace)),
        }
        let deadline = tokio::time::Instant::now() + REMOVED;
        while spaces.get_opt(&self.namespace).await.map_err(|e| e.to_string())?.is_some() {
            if tokio::time::Instant::now() >= deadline {
                return Err(format!("namespace {} is left after {REMOVED:?}", self.namespace));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What the engine can do.
    pub fn capabilities(&self) -> &[Capability] {
        self.engine.capabilities()
    }

    /// The objects of one kind in the body's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Stops and starts nodes.
    pub fn nodes(&self) -> Result<&dyn NodeLifecycle, String> {
        self.engine.nodes().ok_or_else(|| "the engine cannot stop nodes".into())
    }

    /// Freezes and thaws containers.
    pub fn containers(&self) -> Result<&dyn ContainerPause, String> {
        self.engine.containers().ok_or_else(|| "the engine cannot freeze containers".into())
    }

    /// Creates an object from JSON.
    pub async fn create<K>(&self, value: Value) -> Result<K, String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = from_json(value)?;
        self.api().create(&PostParams::default(), &object).await.map_err(|e| e.to_string())
    }

    /// Merge-patches an object.
    pub async fn merge<K>(&self, name: &str, patch: Value) -> Result<K, String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let params = PatchParams::default();
        self.api().patch(name, &params, &Patch::Merge(&patch)).await.map_err(|e| e.to_string())
    }

    /// Deletes an object with default options.
    pub async fn delete<K>(&self, name: &str) -> Outcome
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        api.delete(name, &DeleteParams::default()).await.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Reads an object.
    pub async fn get<K>(&self, name: &str) -> Result<K, String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.api().get(name).await.map_err(|e: kube::Error| e.to_string())
    }

    /// Lists objects by label selector.
    pub async fn list<K>(&self, labels: &str) -> Result<Vec<K>, String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let params = ListParams::default().labels(labels);
        let list = self.api().list(&params).await.map_err(|e: kube::Error| e.to_string())?;
        Ok(list.items)
    }

    /// Waits until `check` finds the named object as it should be.
    pub async fn until<K>(
        &self,
        name: &str,
        within: Duration,
        what: &str,
        check: impl Fn(&K) -> bool,
    ) -> Result<K, String>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let object: Option<K> =
                self.api().get_opt(name).await.map_err(|e: kube::Error| e.to_string())?;
            if let Some(object) = &object
                && check(object)
            {
                return Ok(object.clone());
            }
            if tokio::time::Instant::now() >= deadline {
                let state = serde_json::to_string(&object).unwrap_or_default();
                return Err(format!("{what}: not within {within:?}; last state {state}"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the named object is gone.
    pub async fn until_gone<K>(&self, name: &str, within: Duration) -> Outcome
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let deadline = tokio::time::Instant::now() + within;
        let api: Api<K> = self.api();
        while api.get_opt(name).await.map_err(|e| e.to_string())?.is_some() {
            if tokio::time::Instant::now() >= deadline {
                return Err(format!("{name} is still there after {within:?}"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until the pods with `labels` are as they should be.
    pub async fn until_pods(
        &self,
        labels: &str,
        within: Duration,
        what: &str,
        check: impl Fn(&[Pod]) -> bool,
    ) -> Result<Vec<Pod>, String> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let pods: Vec<Pod> = self.list(labels).await?;
            if check(&pods) {
                return Ok(pods);
            }
            if tokio::time::Instant::now() >= deadline {
                let states: Vec<String> = pods.iter().map(describe).collect();
                return Err(format!("{what}: not within {within:?}; pods: {}", states.join("; ")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A Deployment of `replicas` pods labelled `app=<name>`, waited for until all are available.
    pub async fn deployment(
        &self,
        name: &str,
        replicas: i32,
        pod_spec: Value,
    ) -> Result<Deployment, String> {
        self.create::<Deployment>(deployment(name, replicas, pod_spec)).await?;
        self.until(name, READY, "all replicas available", |d: &Deployment| {
            d.status.as_ref().and_then(|s| s.available_replicas) == Some(replicas)
        })
        .await
    }

    /// Names of the worker nodes.
    pub async fn workers(&self) -> Result<Vec<String>, String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let workers = nodes.items.into_iter().filter(|node| !is_control_plane(node));
        Ok(workers.filter_map(|n| n.metadata.name).collect())
    }

    /// Address of a worker.
    pub async fn worker_address(&self) -> Result<String, String> {
        let worker = self.workers().await?.into_iter().next().ok_or("no worker")?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.get(&worker).await.map_err(|e| e.to_string())?;
        let addresses = node.status.and_then(|s| s.addresses).unwrap_or_default();
        let internal = addresses.into_iter().find(|a| a.type_ == "InternalIP");
        internal.map(|a| a.address).ok_or_else(|| "no internal address".into())
    }

    /// One GET on a fresh connection.
    pub async fn fetch(&self, target: &Target, host: &str, path: &str) -> Result<Answer, Failed> {
        let request = http::Request::builder()
            .uri(path)
            .header("host", host)
            .body(Bytes::new())
            .expect("the request is well-formed");
        let timeout = Duration::from_secs(10);
        let call = Call { target: target.clone(), connection: Connection::Fresh, request, timeout };
        self.transport.call(call).await
    }
}

/// Kubernetes labels its control-plane nodes so (since 1.20; the older label went in 1.24).
const CONTROL_PLANE_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Whether a node belongs to the control plane.
pub fn is_control_plane(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    labels
        .is_some_and(|labels| CONTROL_PLANE_LABELS.iter().any(|label| labels.contains_key(*label)))
}

/// A controller gives a new namespace its ServiceAccount; pods are refused until then.
const ADMITTED: Duration = Duration::from_secs(30);
/// Pods take their grace period, and a namespace is gone some syncs after them.
const REMOVED: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(200);
/// Pods of an image that is present are up well within this.
pub const READY: Duration = Duration::from_secs(90);

/// Reads a typed object from JSON.
pub fn from_json<K: DeserializeOwned>(value: Value) -> Result<K, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A Deployment of pods labelled `app=<name>`.
pub fn deployment(name: &str, replicas: i32, pod_spec: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec},
        },
    })
}

/// A pod labelled `app=<name>`.
pub fn pod(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A pod spec with one container that does nothing and ends at once when told to.
pub fn pause() -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "pause", "image": images().pause}],
    })
}

/// A pod spec with a web server that is ready when it listens.
pub fn web() -> Value {
    json!({
        "containers": [{
            "name": "web",
            "image": images().nginx,
            "ports": [{"name": "http", "containerPort": 80}],
            "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
        }],
    })
}

/// Whether a pod's condition is true.
pub fn is_true(pod: &Pod, condition: &str) -> bool {
    seatrial::k8s::pod_condition(pod, condition).is_some_and(|c| c.status == "True")
}

/// Name, node, phase and conditions of a pod, in a line.
pub fn describe(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("no node");
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("");
    let conditions: Vec<String> = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.message.as_deref().unwrap_or("")))
        .collect();
    format!("{name} on {node} {phase} [{}]", conditions.join(", "))
}

/// `Ok` if `holds`, else the text.
pub fn ensure(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// The API error of a refused request.
pub fn refusal<T: Debug>(result: Result<T, kube::Error>) -> Result<kube::core::Status, String> {
    match result {
        Err(kube::Error::Api(status)) => Ok(*status),
        other => Err(format!("expected a refusal, got {other:?}")),
    }
}
