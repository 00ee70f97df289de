//! Filters, in the order of the default profile (`algorithmprovider/registry.go`,
//! `apis/config/v1/default_plugins.go`).

pub mod interpod;
pub mod node;
pub mod resources;
pub mod spread;

use k8s_openapi::api::core::v1::Pod;

use crate::sim::profile::Profile;

use super::claims::Claims;
use super::class::{Classes, PodClass};
use super::node_info::NodeInfo;
use super::nodes::{NodeIdx, Nodes};
use super::reason::Rejection;
use super::terms::ClassId;

/// A pod that another attempt made room for.
#[derive(Clone, Copy, Debug)]
pub struct Nominated<'a> {
    /// Where.
    pub node: NodeIdx,
    /// What it asks for.
    pub class: &'a PodClass,
}

/// What is known before the first node is looked at (PreFilter).
#[derive(Debug)]
pub struct Attempt<'a> {
    pub(super) profile: Profile,
    pub(super) pod: &'a Pod,
    pub(super) class: &'a PodClass,
    pub(super) class_id: ClassId,
    pub(super) classes: &'a Classes,
    pub(super) claims: &'a Claims,
    pub(super) nominated: &'a [Nominated<'a>],
    spread: spread::Counts,
    interpod: interpod::Counts,
}

/// What an attempt is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The simulated minor.
    pub profile: Profile,
    /// The pod.
    pub pod: &'a Pod,
    /// Its class.
    pub class_id: ClassId,
    /// All classes.
    pub classes: &'a Classes,
    /// Its claims.
    pub claims: &'a Claims,
    /// Pods of at least its priority that wait for room somewhere.
    pub nominated: &'a [Nominated<'a>],
}

impl<'a> Attempt<'a> {
    /// Counts what the filters compare with.
    pub fn new(subject: Subject<'a>, nodes: &Nodes) -> Self {
        let class = subject.classes.get(subject.class_id);
        let spread = spread::Counts::new(class, subject.class_id, subject.classes, nodes);
        let interpod = interpod::Counts::new(class, subject.class_id, subject.classes, nodes);
        Attempt {
            profile: subject.profile,
            pod: subject.pod,
            class,
            class_id: subject.class_id,
            classes: subject.classes,
            claims: subject.claims,
            nominated: subject.nominated,
            spread,
            interpod,
        }
    }

    /// Why `info` does not do, by the first filter that objects; `None` when it does.
    pub fn rejection(&self, idx: NodeIdx, info: &NodeInfo) -> Option<Rejection> {
        node::cordoned(self.class, info)
            .or_else(|| node::other_name(self.pod, info))
            .or_else(|| node::untolerated(self.class, info))
            .or_else(|| node::affinity(self.class, info))
            .or_else(|| resources::ports(self.class, info))
            .or_else(|| resources::fit(self, idx, info))
            .or_else(|| self.claims.rejection(info))
            .or_else(|| self.spread.rejection(self, info))
            .or_else(|| self.interpod.rejection(self, info))
    }
}
