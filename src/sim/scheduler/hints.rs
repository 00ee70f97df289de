//! Which event may help which unschedulable pod (`scheduler/eventhandlers.go`, and from 1.22 each
//! plugin's `EventsToRegister`, from 1.32 with its queueing hints).

use crate::sim::profile::Profile;

use super::class::{Classes, PodClass};
use super::filter::{node, resources};
use super::node_info::NodeInfo;
use super::reason::{Plugin, PluginSet};
use super::terms::ClassId;

/// Something happened that may make room for a pod.
#[derive(Clone, Copy, Debug)]
pub enum Move<'a> {
    /// A node is new or has changed in what the scheduler reads.
    Node(&'a NodeInfo),
    /// A pod of this class is on a node now.
    PodAssigned(ClassId),
    /// A pod of this class is gone from its node.
    PodGone(ClassId),
    /// A claim, volume or class is new or has changed.
    Storage,
    /// A Service is new, has changed or is gone.
    Service,
}

const NODE_PLUGINS: PluginSet = PluginSet::of(&[
    Plugin::NodeUnschedulable,
    Plugin::NodeName,
    Plugin::TaintToleration,
    Plugin::NodeAffinity,
    Plugin::NodePorts,
    Plugin::NodeResourcesFit,
    Plugin::VolumeBinding,
    Plugin::VolumeZone,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
]);
const ASSIGNED_PLUGINS: PluginSet =
    PluginSet::of(&[Plugin::PodTopologySpread, Plugin::InterPodAffinity]);
const GONE_PLUGINS: PluginSet = PluginSet::of(&[
    Plugin::NodePorts,
    Plugin::NodeResourcesFit,
    Plugin::VolumeRestrictions,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
]);
const STORAGE_PLUGINS: PluginSet =
    PluginSet::of(&[Plugin::VolumeBinding, Plugin::VolumeZone, Plugin::VolumeRestrictions]);

/// Whether `event` is worth another attempt for a pod that `plugins` turned down.
pub fn helps(
    event: Move<'_>,
    class_id: ClassId,
    plugins: PluginSet,
    classes: &Classes,
    profile: Profile,
) -> bool {
    let class = classes.get(class_id);
    if !profile.at_least(22) || plugins.is_empty() {
        return match event {
            Move::PodAssigned(other) => wants_near(class, other, classes),
            _ => true,
        };
    }
    let hints = profile.at_least(32);
    match event {
        Move::Node(info) => {
            plugins.meets(NODE_PLUGINS) && (!hints || node_helps(info, class, plugins))
        }
        Move::PodAssigned(other) => {
            plugins.meets(ASSIGNED_PLUGINS)
                && (wants_near(class, other, classes) || counts(class, other, classes))
        }
        Move::PodGone(other) => {
            plugins.meets(GONE_PLUGINS) && (!hints || gone_helps(class, other, plugins, classes))
        }
        Move::Storage => plugins.meets(STORAGE_PLUGINS),
        Move::Service => false,
    }
}

/// One of the plugins that objected would not object to this node any more.
fn node_helps(info: &NodeInfo, class: &PodClass, plugins: PluginSet) -> bool {
    let objected = |plugin| plugins.contains(plugin);
    (objected(Plugin::NodeUnschedulable) && node::cordoned(class, info).is_none())
        || (objected(Plugin::TaintToleration) && node::untolerated(class, info).is_none())
        || (objected(Plugin::NodeAffinity) && node::required_matches(class, info))
        || (objected(Plugin::NodeResourcesFit) && resources::fits_empty(class, info))
        || plugins.meets(PluginSet::of(&[
            Plugin::NodeName,
            Plugin::NodePorts,
            Plugin::VolumeBinding,
            Plugin::VolumeZone,
            Plugin::PodTopologySpread,
            Plugin::InterPodAffinity,
        ]))
}

fn gone_helps(class: &PodClass, other: ClassId, plugins: PluginSet, classes: &Classes) -> bool {
    plugins.contains(Plugin::NodeResourcesFit)
        || plugins.contains(Plugin::VolumeRestrictions)
        || (plugins.contains(Plugin::NodePorts)
            && classes.get(other).ports.iter().any(|p| class.ports.iter().any(|q| p.conflicts(q))))
        || (plugins.contains(Plugin::PodTopologySpread) && counts(class, other, classes))
        || (plugins.contains(Plugin::InterPodAffinity) && {
            let sample_hits =
                |term: &super::class::Term| classes.matchers.hits(term.matcher, other);
            class.required_anti.iter().any(sample_hits)
                || !classes.get(other).required_anti.is_empty()
        })
}

fn wants_near(class: &PodClass, other: ClassId, classes: &Classes) -> bool {
    class.required_affinity.iter().any(|term| classes.matchers.hits(term.matcher, other))
}

fn counts(class: &PodClass, other: ClassId, classes: &Classes) -> bool {
    class.hard_spread.iter().any(|spread| classes.matchers.hits(spread.matcher, other))
}
