//! Installing: load the files, change them for the cluster, apply them, wait until they work.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use serde_json::Value;

use super::AddOn;
use super::diagnose;
use super::document::Document;
use super::fetch::{Downloads, Source, read_folder};
use super::foreign;
use super::osds;
use super::pins::{self, Pin};
use super::ready::{self, Probe};
use super::tweak::{self, INGRESS_NODE_LABEL, Setup};
use crate::base::{Error, secs};
use crate::k8s::Profile;
use crate::stack::Applier;
use crate::wait::{self, Condition, Deadline, Scope};

/// Definitions are served.
const ESTABLISHED: Deadline =
    Deadline::new(secs(60), "the API server checks names, then serves within seconds");
/// What names images beside containers: the CSI image set of Rook's operator.
const IMAGE_SET: &str = "rook-csi-operator-image-set-configmap";
/// Entries of it that are not run, because what they are for is switched off.
const UNUSED_IMAGES: [&str; 2] = ["snapshotter", "addons"];

/// An add-on whose files were read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Which.
    pub addon: AddOn,
    /// Its release, or the folder that it comes from.
    pub version: String,
    /// What the user should know of this choice.
    pub warning: Option<String>,
    /// The objects as upstream, or the folder, has them.
    pub documents: Vec<Document>,
    pin: Option<Pin>,
}

#[cfg(test)]
impl Loaded {
    /// An add-on from these objects.
    pub(super) fn for_test(addon: AddOn, documents: Vec<Document>) -> Self {
        Loaded { addon, version: "v1".to_owned(), warning: None, documents, pin: None }
    }
}

/// What is to be installed, and how.
#[derive(Clone)]
pub struct Plan {
    /// The add-ons, from [`load`].
    pub addons: Vec<Loaded>,
    /// What the engine knows of the cluster.
    pub setup: Setup,
    /// Asks the front door; without it ingress-nginx counts as ready by its objects alone.
    pub probe: Option<Probe>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addons: Vec<_> = self.addons.iter().map(|each| (each.addon, &each.version)).collect();
        f.debug_struct("Plan")
            .field("addons", &addons)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// Reads the files of `addons` for a Kubernetes minor; downloads what the cache lacks.
///
/// # Errors
/// Usage: nothing is pinned for that minor, or the folder lacks an add-on. Environment: a download
/// failed or is not what is pinned.
pub async fn load(
    addons: &BTreeSet<AddOn>,
    kubernetes: Profile,
    source: &Source,
) -> Result<Vec<Loaded>, Error> {
    match source {
        Source::Folder(folder) => addons
            .iter()
            .map(|&addon| {
                let mut documents = Vec::new();
                for file in read_folder(addon, folder)? {
                    documents.extend(Document::all_in(&file.name, &file.text)?);
                }
                let version = format!("from {}", folder.join(addon.name()).display());
                Ok(Loaded { addon, version, warning: None, documents, pin: None })
            })
            .collect(),
        Source::Pinned { cache } => {
            // All pins first: a minor without one is not worth a download.
            let pins: Vec<(AddOn, Pin)> = addons
                .iter()
                .map(|&addon| Ok((addon, pins::pin(addon, kubernetes)?)))
                .collect::<Result<_, Error>>()?;
            let downloads = Downloads::into(cache)?;
            let load = |(addon, pin): (AddOn, Pin)| {
                let downloads = &downloads;
                async move {
                    let mut documents = Vec::new();
                    for file in downloads.files(addon, &pin).await? {
                        documents.extend(Document::all_in(&file.name, &file.text)?);
                    }
                    let warning = pin.warning(addon, kubernetes);
                    let version = pin.version.clone();
                    Ok(Loaded { addon, version, warning, documents, pin: Some(pin) })
                }
            };
            try_join_all(pins.into_iter().map(load)).await
        }
    }
}

/// Whether `loaded` is a Rook that runs a Ceph of its own.
pub fn runs_ceph(loaded: &Loaded) -> bool {
    let is_external = |each: &Document| each.kind() == "CephCluster" && tweak::is_external(each);
    loaded.addon == AddOn::RookCeph && !loaded.documents.iter().any(is_external)
}

/// Whether Rook, as loaded, runs its Ceph on devices that must be given to it ([`Setup::devices`]):
/// not where its cluster is external, or names devices of its own.
pub fn wants_devices(addons: &[Loaded]) -> bool {
    let wants = |loaded: &Loaded| {
        let is_cluster = |each: &&Document| each.kind() == "CephCluster";
        match loaded.documents.iter().find(is_cluster) {
            Some(_) => tweak::check_disks(&loaded.documents).is_err(),
            // Ours names none.
            None => true,
        }
    };
    addons.iter().any(|loaded| loaded.addon == AddOn::RookCeph && wants(loaded))
}

/// The images that the pods of a plan use, as the pods name them.
///
/// # Errors
/// As [`install`], for a plan that cannot be installed.
pub fn images_of(plan: &Plan) -> Result<BTreeSet<String>, Error> {
    let mut images = BTreeSet::new();
    for loaded in &plan.addons {
        let pin = loaded.pin.as_ref();
        let mut own = BTreeSet::new();
        for document in &mut tweak::tweaked(loaded.addon, pin, &loaded.documents, &plan.setup)? {
            own.extend(images_in(document));
        }
        for image in pin.iter().flat_map(|pin| &pin.images) {
            // The files' own spelling of an image is the one that pods ask for.
            let is_same =
                |known: &String| tweak::without_digest(known) == tweak::without_digest(image);
            if !own.iter().any(is_same) {
                own.insert(image.clone());
            }
        }
        images.extend(own);
    }
    Ok(images)
}

/// All that makes an add-on what it is in the cluster of `setup`.
///
/// # Errors
/// As [`install`], for an add-on that cannot be installed.
pub fn content(loaded: &Loaded, setup: &Setup) -> Result<String, Error> {
    let documents = tweak::tweaked(loaded.addon, loaded.pin.as_ref(), &loaded.documents, setup)?;
    let texts: Vec<String> = documents.iter().map(|document| document.value.to_string()).collect();
    Ok(format!("{} {} {}", loaded.addon, loaded.version, texts.join(" ")))
}

fn images_in(document: &mut Document) -> Vec<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match document.kind() {
        "CephCluster" if tweak::is_external(document) => Vec::new(),
        "CephCluster" => {
            document.value.pointer("/spec/cephVersion/image").and_then(text).into_iter().collect()
        }
        "ConfigMap" if document.name() == IMAGE_SET => {
            let data = document.value.get("data").and_then(Value::as_object).into_iter().flatten();
            let used = data.filter(|(key, _)| !UNUSED_IMAGES.contains(&key.as_str()));
            used.filter_map(|(_, image)| text(image)).collect()
        }
        _ => document.containers_mut().filter_map(|container| text(&container["image"])).collect(),
    }
}

/// Installs all add-ons of a plan, at the same time, and waits until each is ready.
///
/// # Errors
/// Usage: an object was refused, or a plan asks for disks that nobody gave it. Environment: the
/// cluster does not answer, an object of a borrowed cluster is somebody else's, or an add-on does not
/// come up; the text says which object blocks and why.
pub async fn install(client: &Client, plan: &Plan) -> Result<(), Error> {
    // All of them before the first is applied, so that a refusal leaves the cluster as it was.
    let mut prepared = Vec::new();
    for loaded in &plan.addons {
        prepared.push((loaded, prepare(client, loaded, &plan.setup).await?));
    }
    // The first failure ends them all: nothing can be tried without one of them.
    try_join_all(prepared.iter().map(|(loaded, documents)| async move {
        let what = format!("install {} {}", loaded.addon, loaded.version);
        wait::doing(what, install_one(client, loaded.addon, documents, plan)).await
    }))
    .await
    .map(drop)
}

/// What is to be applied of an add-on.
async fn prepare(client: &Client, loaded: &Loaded, setup: &Setup) -> Result<Vec<Document>, Error> {
    let addon = loaded.addon;
    let mut setup = setup.clone();
    // Somebody else's may be kind's too.
    setup.kind |= addon == AddOn::MetricsServer && are_of_kind(&nodes(client, "").await?);
    let mut documents = tweak::tweaked(addon, loaded.pin.as_ref(), &loaded.documents, &setup)?;
    tweak::check_disks(&documents)?;
    let is_ingress_node = format!("{INGRESS_NODE_LABEL}=true");
    if addon == AddOn::IngressNginx && !nodes(client, &is_ingress_node).await?.is_empty() {
        tweak::pin_to_ingress_node(&mut documents);
    }
    if !setup.borrowed {
        return Ok(documents);
    }
    let what = format!("look for objects of {addon} that somebody else made");
    wait::doing(what, foreign::left_alone(client, addon, documents, &setup.labels)).await
}

async fn install_one(
    client: &Client,
    addon: AddOn,
    documents: &[Document],
    plan: &Plan,
) -> Result<(), Error> {
    let begun = osds::begun(documents, &plan.setup);
    wait::doing(format!("apply {addon}"), apply(client, addon, &begun)).await?;
    let ready = ready::await_ready(client, addon, documents, &plan.setup, plan.probe.as_ref());
    match ready.await {
        Ok(()) => Ok(()),
        Err(error) => Err(diagnose::explained(client, addon, error).await),
    }
}

async fn nodes(client: &Client, selector: &str) -> Result<Vec<Arc<Node>>, Error> {
    let nodes = Scope::labelled(Api::<Node>::all(client.clone()), selector).list().await;
    nodes.map_err(|error| Error::environment(format!("the nodes cannot be listed: {error}")))
}

/// Whether kind made the nodes.
fn are_of_kind(nodes: &[Arc<Node>]) -> bool {
    let provider = |node: &Arc<Node>| node.spec.as_ref()?.provider_id.clone();
    nodes.iter().filter_map(provider).any(|id| id.starts_with("kind://"))
}

/// Applies documents in order. What follows definitions waits until they are served.
async fn apply(client: &Client, addon: AddOn, documents: &[Document]) -> Result<(), Error> {
    let mut applier = Applier::new(client.clone());
    let mut defined = BTreeSet::new();
    for document in documents {
        let is_definition = document.kind() == "CustomResourceDefinition";
        if !is_definition && !defined.is_empty() {
            let scope = Scope::all(Api::<CustomResourceDefinition>::all(client.clone()));
            let established = established(std::mem::take(&mut defined));
            if let Err(error) = wait::until(&scope, &established, ESTABLISHED).await {
                return Err(diagnose::explained(client, addon, error).await);
            }
        }
        applier.apply(&document.value).await.map_err(|error| {
            let place = format!("add-on {addon}: {}: {}", document.file, document.object_ref());
            let reason = error.reason();
            if error.is_refusal() {
                Error::usage(format!("{place}: refused: {reason}"))
            } else {
                Error::environment(format!("{place}: not applied: {reason}"))
            }
        })?;
        if is_definition {
            defined.insert(document.name().to_owned());
        }
    }
    Ok(())
}

/// The definitions called `names` are served.
fn established(names: BTreeSet<String>) -> Condition<CustomResourceDefinition> {
    let name = format!("{} definitions are established", names.len());
    Condition::new(name, move |found: &[Arc<CustomResourceDefinition>]| {
        let is_established = |definition: &CustomResourceDefinition| {
            let conditions =
                definition.status.iter().filter_map(|status| status.conditions.as_ref());
            conditions.flatten().any(|each| each.type_ == "Established" && each.status == "True")
        };
        let served: BTreeSet<&str> = found
            .iter()
            .filter(|definition| is_established(definition))
            .filter_map(|definition| definition.metadata.name.as_deref())
            .collect();
        let missing: Vec<_> =
            names.iter().filter(|name| !served.contains(name.as_str())).cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not yet: {}", missing.join(", "))) }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_of_kind_are_known_by_their_provider() {
        let nodes = |spec: Value| {
            let node = json!({"metadata": {"name": "n"}, "spec": spec});
            vec![Arc::new(serde_json::from_value::<Node>(node).expect("a node"))]
        };
        assert!(are_of_kind(&nodes(json!({"providerID": "kind://docker/dev/dev-worker"}))));
        assert!(!are_of_kind(&nodes(json!({"providerID": "aws:///eu-west-1a/i-0123"}))));
        assert!(!are_of_kind(&nodes(json!({}))));
    }
}
