//! The claims of a pod: what they demand of its node, and what is to be bound once one is chosen
//! (`volumebinding/binder.go`, `volumerestrictions`, `volumezone`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::k8s::{bytes, matches_selector, node_term_matches};
use crate::sim::api::Objects;
use crate::sim::profile::Profile;

use super::filter::node::node_labels;
use super::node_info::NodeInfo;
use super::reason::{Plugin, Reason, Rejection};
use super::terms::Labels;

/// Set by the scheduler on a claim whose volume is to be provisioned for a node.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Set once both sides of a claim are bound.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The provisioner of classes that provision nothing.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Zone labels that tie a volume to nodes (`volumezone/volume_zone.go:topologyLabels`).
const ZONE_LABELS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// How many assigned pods use each claim, by namespace and name.
pub type ClaimUsers = BTreeMap<(String, String), u32>;

/// A claim that waits for its first consumer.
#[derive(Clone, Debug)]
struct Delayed {
    claim: Arc<PersistentVolumeClaim>,
    class: Arc<StorageClass>,
    candidates: Vec<Arc<PersistentVolume>>,
}

/// What is to be written for a claim before the pod can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimStep {
    /// Bind this volume to it.
    Bind {
        /// The claim.
        claim: String,
        /// The volume.
        volume: String,
    },
    /// Have a volume provisioned for it.
    Provision {
        /// The claim.
        claim: String,
    },
}

/// The claims of one pod.
#[derive(Debug, Default)]
pub struct Claims {
    bound: Vec<Option<Arc<PersistentVolume>>>,
    delayed: Vec<Delayed>,
    taken: bool,
}

impl Claims {
    /// Reads the claims of `pod` (PreFilter).
    ///
    /// # Errors
    /// The plugin and the reason for which the pod fits nowhere.
    pub fn read(
        pod: &Pod,
        cache: &Objects,
        users: &ClaimUsers,
        profile: Profile,
    ) -> Result<Self, (Plugin, String)> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let mut claims = Claims::default();
        let mut unbound = false;
        for name in claim_names(pod) {
            let fails = |text: String| Err((Plugin::VolumeBinding, text));
            let Some(claim) = cache.get::<PersistentVolumeClaim>(namespace, &name) else {
                return fails(format!("persistentvolumeclaim \"{name}\" not found"));
            };
            let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
            let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("");
            if phase == Some("Lost") {
                return fails(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \
                     \"{volume}\""
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return fails(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let key = (namespace.to_owned(), name);
            claims.taken |= is_exclusive(claim, profile) && users.contains_key(&key);
            if is_bound(claim) {
                claims.bound.push(cache.get::<PersistentVolume>("", volume).map(Arc::clone));
            } else if volume.is_empty()
                && let Some(class) = waiting_class(claim, cache)
            {
                let candidates = candidates(claim, cache);
                claims.delayed.push(Delayed { claim: Arc::clone(claim), class, candidates });
            } else {
                unbound = true;
            }
        }
        if unbound {
            let text = "pod has unbound immediate PersistentVolumeClaims".to_owned();
            return Err((Plugin::VolumeBinding, text));
        }
        Ok(claims)
    }

    /// Why the node does not do.
    pub fn rejection(&self, info: &NodeInfo) -> Option<Rejection> {
        if self.taken {
            return Some(Rejection::resolvable(Plugin::VolumeRestrictions, Reason::ClaimInUse));
        }
        if self.bound.is_empty() && self.delayed.is_empty() {
            return None;
        }
        let empty = Labels::new();
        let labels = node_labels(info.node.as_deref(), &empty);
        for volume in &self.bound {
            let reason = match volume {
                None => Reason::VolumeMissing,
                Some(volume) if !reachable(volume, info) => Reason::VolumeNodeConflict,
                Some(_) => continue,
            };
            return Some(Rejection::firm(Plugin::VolumeBinding, reason));
        }
        if !self.delayed.is_empty() && self.plan(info).is_none() {
            return Some(Rejection::firm(Plugin::VolumeBinding, Reason::NoVolume));
        }
        let zones_fit = self.bound.iter().flatten().all(|volume| in_zone(volume, labels));
        (!zones_fit).then(|| Rejection::firm(Plugin::VolumeZone, Reason::VolumeZone))
    }

    /// What to do for the waiting claims if the pod goes to `info`; `None` when that cannot be.
    pub fn plan(&self, info: &NodeInfo) -> Option<Vec<ClaimStep>> {
        let mut steps: Vec<ClaimStep> = Vec::new();
        for waiting in &self.delayed {
            let claim = waiting.claim.metadata.name.clone().unwrap_or_default();
            let annotations = waiting.claim.metadata.annotations.as_ref();
            if let Some(selected) = annotations.and_then(|a| a.get(SELECTED_NODE)) {
                if **selected != *info.name {
                    return None;
                }
                steps.push(ClaimStep::Provision { claim });
                continue;
            }
            let planned = |name: &str| {
                steps.iter().any(|s| matches!(s, ClaimStep::Bind { volume, .. } if volume == name))
            };
            let volume = waiting
                .candidates
                .iter()
                .filter(|v| reachable(v, info))
                .filter_map(|v| v.metadata.name.clone())
                .find(|name| !planned(name));
            match volume {
                Some(volume) => steps.push(ClaimStep::Bind { claim, volume }),
                None if provisions(&waiting.class, info) => {
                    steps.push(ClaimStep::Provision { claim });
                }
                None => return None,
            }
        }
        Some(steps)
    }
}

/// The claims a pod uses; those of generic ephemeral volumes are named after pod and volume.
pub fn claim_names(pod: &Pod) -> impl Iterator<Item = String> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or("");
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{pod_name}-{}", volume.name)),
        (None, None) => None,
    })
}

/// Whether a claim and its volume are bound on both sides (`binder.go:isPVCFullyBound`).
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("");
    let completed =
        claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(BIND_COMPLETED));
    !volume.is_empty() && completed
}

/// `ReadWriteOncePod` is enforced from 1.27 (beta, on; semantics 8.3).
fn is_exclusive(claim: &PersistentVolumeClaim, profile: Profile) -> bool {
    let modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
    profile.at_least(27) && modes.is_some_and(|m| m.iter().any(|mode| mode == "ReadWriteOncePod"))
}

fn waiting_class(claim: &PersistentVolumeClaim, cache: &Objects) -> Option<Arc<StorageClass>> {
    let name = claim.spec.as_ref()?.storage_class_name.as_deref()?;
    let class = cache.get::<StorageClass>("", name)?;
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    waits.then(|| Arc::clone(class))
}

/// Available volumes that suit the claim, smallest first (`pv_helpers.go:FindMatchingVolume`).
fn candidates(claim: &PersistentVolumeClaim, cache: &Objects) -> Vec<Arc<PersistentVolume>> {
    let mut volumes: Vec<(u64, Arc<PersistentVolume>)> = cache
        .list::<PersistentVolume>()
        .filter_map(|volume| Some((suits(volume, claim)?, Arc::clone(volume))))
        .collect();
    volumes.sort_by_key(|(size, _)| *size);
    volumes.into_iter().map(|(_, volume)| volume).collect()
}

/// The size of `volume` if it suits the claim.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<u64> {
    let (has, wants) = (volume.spec.as_ref()?, claim.spec.as_ref()?);
    let available = volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available");
    let free = match &has.claim_ref {
        None => available,
        Some(owner) => {
            owner.name == claim.metadata.name
                && owner.namespace == claim.metadata.namespace
                && (owner.uid.is_none() || owner.uid == claim.metadata.uid)
        }
    };
    let size = has.capacity.as_ref().and_then(|c| c.get("storage")).and_then(bytes)?;
    let requests = wants.resources.as_ref().and_then(|r| r.requests.as_ref());
    let wanted = requests.and_then(|r| r.get("storage")).and_then(bytes).unwrap_or(0);
    let modes = has.access_modes.as_deref().unwrap_or(&[]);
    let all_modes = wants.access_modes.iter().flatten().all(|mode| modes.contains(mode));
    let mode = |mode: &Option<String>| mode.as_deref().unwrap_or("Filesystem").to_owned();
    let class = |class: &Option<String>| class.as_deref().unwrap_or("").to_owned();
    let empty = Labels::new();
    let labels = volume.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = wants.selector.as_ref().is_none_or(|s| matches_selector(s, labels));
    (free
        && size >= wanted
        && all_modes
        && selected
        && volume.metadata.deletion_timestamp.is_none()
        && mode(&has.volume_mode) == mode(&wants.volume_mode)
        && class(&has.storage_class_name) == class(&wants.storage_class_name))
    .then_some(size)
}

/// Whether the volume's node affinity admits the node.
fn reachable(volume: &PersistentVolume, info: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|a| a.required.as_ref()) else { return true };
    let empty = Labels::new();
    let labels = node_labels(info.node.as_deref(), &empty);
    required.node_selector_terms.iter().any(|term| node_term_matches(term, labels, &info.name))
}

/// Whether the class can make a volume for the node (`binder.go:checkVolumeProvisions`).
fn provisions(class: &StorageClass, info: &NodeInfo) -> bool {
    if class.provisioner == NO_PROVISIONER || class.provisioner.is_empty() {
        return false;
    }
    let terms = class.allowed_topologies.as_deref().unwrap_or(&[]);
    let empty = Labels::new();
    let labels = node_labels(info.node.as_deref(), &empty);
    terms.is_empty()
        || terms.iter().any(|term| {
            let expressions = term.match_label_expressions.as_deref().unwrap_or(&[]);
            let holds = |key: &String, values: &Vec<String>| {
                labels.get(key).is_some_and(|value| values.contains(value))
            };
            expressions.iter().all(|e| holds(&e.key, &e.values))
        })
}

/// `volumezone/volume_zone.go:Filter`: zone labels of a volume list the values a node may have.
fn in_zone(volume: &PersistentVolume, labels: &Labels) -> bool {
    let mut zones = volume.metadata.labels.iter().flatten();
    zones.all(|(key, values)| {
        !ZONE_LABELS.contains(&key.as_str())
            || !ZONE_LABELS.iter().any(|zone| labels.contains_key(*zone))
            || labels.get(key).is_some_and(|value| values.split("__").any(|v| v == value))
    })
}
