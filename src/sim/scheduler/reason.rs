//! Why nodes were turned down, and the message made of it
//! (`framework/types.go:FitError.Error`, reasons from each plugin's package).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sim::profile::Profile;

use super::nodes::NodeIdx;

/// The plugins that can turn a node or a pod down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plugin {
    /// `NodeUnschedulable`.
    NodeUnschedulable,
    /// `NodeName`.
    NodeName,
    /// `TaintToleration`.
    TaintToleration,
    /// `NodeAffinity`.
    NodeAffinity,
    /// `NodePorts`.
    NodePorts,
    /// `NodeResourcesFit`.
    NodeResourcesFit,
    /// `VolumeRestrictions`.
    VolumeRestrictions,
    /// `VolumeBinding`.
    VolumeBinding,
    /// `VolumeZone`.
    VolumeZone,
    /// `PodTopologySpread`.
    PodTopologySpread,
    /// `InterPodAffinity`.
    InterPodAffinity,
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(u16);

impl PluginSet {
    /// The set of these.
    pub const fn of(plugins: &[Plugin]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < plugins.len() {
            bits |= 1 << plugins[at] as u16;
            at += 1;
        }
        PluginSet(bits)
    }

    /// Adds one.
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u16;
    }

    /// Whether `plugin` is in it.
    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u16) != 0
    }

    /// Whether both have one in common.
    pub fn meets(self, other: PluginSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why a node does not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is cordoned.
    Unschedulable,
    /// The pod names another node.
    NodeName,
    /// It has this taint (key, value).
    Taint(Arc<str>, Arc<str>),
    /// Node selector or affinity.
    NodeAffinity,
    /// A host port is taken.
    NodePorts,
    /// Too many pods.
    TooManyPods,
    /// Not enough of this resource.
    Insufficient(Arc<str>),
    /// Another pod has the claim for itself.
    ClaimInUse,
    /// A bound volume is bound to other nodes.
    VolumeNodeConflict,
    /// No volume for a claim here.
    NoVolume,
    /// A claim is bound to a volume that is not there.
    VolumeMissing,
    /// A bound volume is in another zone.
    VolumeZone,
    /// A spread constraint.
    Spread,
    /// The node lacks the label of a spread constraint.
    SpreadLabel,
    /// The older, general reason for any inter-pod affinity.
    AnyPodAffinity,
    /// The pods it must be near are not there.
    PodAffinity,
    /// The pods it must not be near are there.
    PodAntiAffinity,
    /// A pod there does not want it near.
    ExistingAntiAffinity,
}

impl Reason {
    fn text(&self, profile: Profile) -> String {
        let fixed = match self {
            Reason::Taint(key, value) => return taint_text(key, value, profile),
            Reason::Insufficient(resource) => return format!("Insufficient {resource}"),
            Reason::Unschedulable => "node(s) were unschedulable",
            Reason::NodeName if profile.at_least(23) => {
                "node(s) didn't match the requested node name"
            }
            Reason::NodeName => "node(s) didn't match the requested hostname",
            Reason::NodeAffinity if profile.at_least(21) => {
                "node(s) didn't match Pod's node affinity/selector"
            }
            Reason::NodeAffinity => "node(s) didn't match Pod's node affinity",
            Reason::NodePorts => "node(s) didn't have free ports for the requested pod ports",
            Reason::TooManyPods => "Too many pods",
            Reason::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod \
                 access mode"
            }
            Reason::VolumeNodeConflict if profile.at_least(34) => {
                "node(s) didn't match PersistentVolume's node affinity"
            }
            Reason::VolumeNodeConflict => "node(s) had volume node affinity conflict",
            Reason::NoVolume => "node(s) didn't find available persistent volumes to bind",
            Reason::VolumeMissing => {
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
            }
            Reason::VolumeZone => "node(s) had no available volume zone",
            Reason::Spread => "node(s) didn't match pod topology spread constraints",
            Reason::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Reason::AnyPodAffinity => "node(s) didn't match pod affinity/anti-affinity",
            Reason::PodAffinity => "node(s) didn't match pod affinity rules",
            Reason::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Reason::ExistingAntiAffinity => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
        };
        fixed.to_owned()
    }
}

/// `tainttoleration/taint_toleration.go`: the wording changed in 1.24, and lost the taint in 1.35.
fn taint_text(key: &str, value: &str, profile: Profile) -> String {
    if profile.at_least(35) {
        "node(s) had untolerated taint(s)".to_owned()
    } else if profile.at_least(24) {
        format!("node(s) had untolerated taint {{{key}: {value}}}")
    } else {
        format!("node(s) had taint {{{key}: {value}}}, that the pod didn't tolerate")
    }
}

/// A node turned down.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// By whom.
    pub plugin: Plugin,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Whether removing pods could help.
    pub resolvable: bool,
}

impl Rejection {
    /// Turned down for one reason that removing pods could cure.
    pub fn resolvable(plugin: Plugin, reason: Reason) -> Self {
        Rejection { plugin, reasons: vec![reason], resolvable: true }
    }

    /// Turned down for one reason that stays whatever pods go.
    pub fn firm(plugin: Plugin, reason: Reason) -> Self {
        Rejection { plugin, reasons: vec![reason], resolvable: false }
    }
}

/// Everything that spoke against a pod in one attempt.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// Who spoke.
    pub plugins: PluginSet,
    counts: BTreeMap<Reason, usize>,
    /// A reason that concerns the pod on any node (from PreFilter).
    whole_pod: Option<String>,
    /// Nodes on which removing pods could help.
    pub resolvable: Vec<NodeIdx>,
    /// Nodes looked at.
    pub n_nodes: usize,
}

impl Diagnosis {
    /// Nothing yet, of `n_nodes`.
    pub fn over(n_nodes: usize) -> Self {
        Diagnosis { n_nodes, ..Diagnosis::default() }
    }

    /// The pod as a whole was turned down.
    pub fn of_pod(plugin: Plugin, text: String, n_nodes: usize) -> Self {
        let plugins = PluginSet::of(&[plugin]);
        Diagnosis { plugins, whole_pod: Some(text), n_nodes, ..Diagnosis::default() }
    }

    /// A node was turned down.
    pub fn add(&mut self, node: NodeIdx, rejection: Rejection) {
        self.plugins.insert(rejection.plugin);
        if rejection.resolvable {
            self.resolvable.push(node);
        }
        for reason in rejection.reasons {
            *self.counts.entry(reason).or_default() += 1;
        }
    }

    /// The message of the condition and the event. `preemption` is what PostFilter had to say; it
    /// is shown from 1.24.
    pub fn message(&self, profile: Profile, preemption: &str) -> String {
        if self.n_nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let n = self.n_nodes;
        let reasons = match &self.whole_pod {
            Some(text) if profile.at_least(24) => text.clone(),
            Some(text) => format!("{n} {text}"),
            None => {
                let mut texts: BTreeMap<String, usize> = BTreeMap::new();
                for (reason, count) in &self.counts {
                    *texts.entry(reason.text(profile)).or_default() += count;
                }
                histogram(&texts)
            }
        };
        let mut message = format!("0/{n} nodes are available: {reasons}.");
        // In 1.34 and 1.35 the claim plugin speaks in PostFilter too, and ends it when PreFilter
        // failed before it had its state (`dynamicresources.go:PostFilter`).
        let claims = profile.at_least(34) && !profile.at_least(36);
        if claims && self.whole_pod.is_some() {
            message.push_str(" not found");
        } else if profile.at_least(24) && !preemption.is_empty() {
            let before = if claims { "no new claims to deallocate, " } else { "" };
            message.push_str(&format!(" {before}preemption: {preemption}"));
        }
        message
    }

    /// What PostFilter says when preemption found nothing.
    pub fn no_preemption(&self) -> String {
        let n_helpless = self.n_nodes - self.resolvable.len();
        let mut texts = BTreeMap::new();
        for (text, count) in [
            ("Preemption is not helpful for scheduling", n_helpless),
            ("No preemption victims found for incoming pod", self.resolvable.len()),
        ] {
            if count > 0 {
                texts.insert(text.to_owned(), count);
            }
        }
        format!("0/{} nodes are available: {}.", self.n_nodes, histogram(&texts))
    }
}

/// `2 Insufficient cpu, 1 Too many pods`: sorted as strings.
fn histogram(texts: &BTreeMap<String, usize>) -> String {
    let mut lines: Vec<String> =
        texts.iter().map(|(text, count)| format!("{count} {text}")).collect();
    lines.sort_unstable();
    lines.join(", ")
}
