//! Pod classes: pods that ask the same of the scheduler are read once and counted together.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, PreferredSchedulingTerm,
    Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::k8s::controller_of;
use crate::sim::profile::Profile;

use super::resources::{PodRequest, pod_request};
use super::terms::{
    ClassId, KeyId, Labels, Matcher, MatcherId, Matchers, Namespaces, TopologyKeys,
};

/// The key whose topology values are single nodes.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// A (weighted) inter-pod affinity term.
#[derive(Clone, Debug)]
pub struct Term {
    /// Which pods it is about.
    pub matcher: MatcherId,
    /// Over which topology.
    pub key: KeyId,
    /// Its weight: negative for anti-affinity, 0 for required terms.
    pub weight: i64,
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Which pods it counts.
    pub matcher: MatcherId,
    /// Over which topology.
    pub key: KeyId,
    /// Whether the topology is the single node.
    pub hostname: bool,
    /// The skew it allows.
    pub max_skew: i64,
    /// Fewer domains than this count as a minimum of 0.
    pub min_domains: usize,
    /// Whether nodes outside the pod's node affinity are left out.
    pub honor_affinity: bool,
    /// Whether nodes with untolerated taints are left out.
    pub honor_taints: bool,
}

/// A host port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node (`framework/types.go:HostPortInfo.CheckConflict`).
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// What the scheduler reads from a pod.
#[derive(Debug)]
pub struct PodClass {
    /// A pod of this class.
    pub sample: Arc<Pod>,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// What it asks for.
    pub request: PodRequest,
    /// Taints it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Labels its node must have.
    pub node_selector: Labels,
    /// Node affinity it requires: one of these terms.
    pub required_nodes: Option<Vec<NodeSelectorTerm>>,
    /// Node affinity it prefers.
    pub preferred_nodes: Vec<PreferredSchedulingTerm>,
    /// Pods it must be near.
    pub required_affinity: Vec<Term>,
    /// Pods it must not be near.
    pub required_anti: Vec<Term>,
    /// Pods it likes or dislikes.
    pub preferred: Vec<Term>,
    /// Constraints that hold (`DoNotSchedule`).
    pub hard_spread: Vec<Spread>,
    /// Constraints that count (`ScheduleAnyway`).
    pub soft_spread: Vec<Spread>,
    /// Whether the pod has constraints of its own, so that the system's do not apply.
    pub own_spread: bool,
    /// Ports it needs on its node.
    pub ports: Vec<HostPort>,
    /// Its images, by number.
    pub images: Vec<u32>,
    /// Containers that count for image locality.
    pub n_images: u64,
    /// Its priority.
    pub priority: i32,
    /// Whether it may preempt others.
    pub preempts: bool,
}

/// All classes, and the numbering they share.
#[derive(Debug)]
pub struct Classes {
    profile: Profile,
    classes: Vec<PodClass>,
    by_owner: BTreeMap<(String, String), Vec<ClassId>>,
    /// Selectors over pods.
    pub matchers: Matchers,
    /// Topology keys.
    pub keys: TopologyKeys,
    images: BTreeMap<String, u32>,
    /// Classes with required anti-affinity: they keep others away.
    pub repelling: Vec<ClassId>,
    /// Classes that weigh on the placement of others (preferred terms or required affinity).
    pub weighing: Vec<ClassId>,
}

impl Classes {
    /// No classes yet.
    pub fn new(profile: Profile) -> Self {
        Classes {
            profile,
            classes: Vec::new(),
            by_owner: BTreeMap::new(),
            matchers: Matchers::default(),
            keys: TopologyKeys::default(),
            images: BTreeMap::new(),
            repelling: Vec::new(),
            weighing: Vec::new(),
        }
    }

    /// The class with number `id`.
    pub fn get(&self, id: ClassId) -> &PodClass {
        &self.classes[id]
    }

    /// The class of `pod`, made when it is the first of its kind.
    pub fn intern(&mut self, pod: &Arc<Pod>) -> ClassId {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let owner = controller_of(&pod.metadata).map(|o| o.uid.clone()).unwrap_or_default();
        let slot = (namespace, owner);
        let known = self.by_owner.get(&slot).into_iter().flatten();
        if let Some(id) = known.rev().find(|&&id| same_class(&self.classes[id].sample, pod)) {
            return *id;
        }
        let id = self.classes.len();
        let class = self.read(pod, &slot.0);
        self.matchers.add_class(&class.namespace, &class.labels);
        if !class.required_anti.is_empty() {
            self.repelling.push(id);
        }
        if !class.preferred.is_empty() || !class.required_affinity.is_empty() {
            self.weighing.push(id);
        }
        self.classes.push(class);
        self.by_owner.entry(slot).or_default().push(id);
        id
    }

    /// The number of an image name, as node status spells it.
    pub fn image_id(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.images.len()).unwrap_or(u32::MAX);
        match self.images.get(name) {
            Some(id) => *id,
            None => *self.images.entry(name.to_owned()).or_insert(next),
        }
    }

    fn read(&mut self, pod: &Arc<Pod>, namespace: &str) -> PodClass {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let mut class = PodClass {
            sample: Arc::clone(pod),
            namespace: namespace.to_owned(),
            request: pod_request(pod, self.profile),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_nodes: node_affinity
                .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
                .map(|selector| selector.node_selector_terms.clone()),
            preferred_nodes: node_affinity
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.clone())
                .unwrap_or_default(),
            required_affinity: Vec::new(),
            required_anti: Vec::new(),
            preferred: Vec::new(),
            hard_spread: Vec::new(),
            soft_spread: Vec::new(),
            own_spread: false,
            ports: host_ports(spec),
            images: Vec::new(),
            n_images: 0,
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            labels,
        };
        self.read_affinity(spec, &mut class);
        self.read_spread(spec, &mut class);
        self.read_images(spec, &mut class);
        class
    }

    fn read_affinity(&mut self, spec: &PodSpec, class: &mut PodClass) {
        let affinity = spec.affinity.as_ref();
        if let Some(near) = affinity.and_then(|a| a.pod_affinity.as_ref()) {
            for term in near.required_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = self.term(term, class, 0);
                class.required_affinity.push(term);
            }
            for wish in near.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = self.term(&wish.pod_affinity_term, class, i64::from(wish.weight));
                class.preferred.push(term);
            }
        }
        if let Some(away) = affinity.and_then(|a| a.pod_anti_affinity.as_ref()) {
            for term in away.required_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = self.term(term, class, 0);
                class.required_anti.push(term);
            }
            for wish in away.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = self.term(&wish.pod_affinity_term, class, -i64::from(wish.weight));
                class.preferred.push(term);
            }
        }
    }

    /// `framework/types.go:newAffinityTerm`: no namespaces and no selector mean the pod's own.
    /// `matchLabelKeys` act from 1.31 (beta, on).
    fn term(&mut self, term: &PodAffinityTerm, class: &PodClass, weight: i64) -> Term {
        let mut names = term.namespaces.clone().unwrap_or_default();
        if names.is_empty() && term.namespace_selector.is_none() {
            names.push(class.namespace.clone());
        }
        let mut selectors: Vec<LabelSelector> = term.label_selector.iter().cloned().collect();
        if self.profile.at_least(31) && !selectors.is_empty() {
            let keys = |keys: &Option<Vec<String>>, operator: &str| {
                own_values(keys.as_deref().unwrap_or(&[]), &class.labels, operator)
            };
            selectors.extend(keys(&term.match_label_keys, "In"));
            selectors.extend(keys(&term.mismatch_label_keys, "NotIn"));
        }
        let namespaces = Namespaces { names, selector: term.namespace_selector.clone() };
        let matcher = self.matchers.id(Matcher { namespaces, selectors });
        Term { matcher, key: self.keys.id(&term.topology_key), weight }
    }

    fn read_spread(&mut self, spec: &PodSpec, class: &mut PodClass) {
        let constraints = spec.topology_spread_constraints.as_deref().unwrap_or(&[]);
        class.own_spread = !constraints.is_empty();
        for constraint in constraints {
            let spread = self.spread(constraint, class);
            if constraint.when_unsatisfiable == "DoNotSchedule" {
                class.hard_spread.push(spread);
            } else {
                class.soft_spread.push(spread);
            }
        }
    }

    /// `podtopologyspread/common.go:filterTopologySpreadConstraints`. `minDomains` and
    /// `matchLabelKeys` act from 1.27, inclusion policies from 1.26.
    fn spread(&mut self, constraint: &TopologySpreadConstraint, class: &PodClass) -> Spread {
        let mut selectors: Vec<LabelSelector> = constraint.label_selector.iter().cloned().collect();
        if self.profile.at_least(27) {
            let keys = constraint.match_label_keys.as_deref().unwrap_or(&[]);
            selectors.extend(own_values(keys, &class.labels, "In"));
        }
        let policies = self.profile.at_least(26);
        let min_domains = constraint.min_domains.filter(|_| self.profile.at_least(27));
        Spread {
            matcher: self.matchers.id(Matcher::within(&class.namespace, selectors)),
            key: self.keys.id(&constraint.topology_key),
            hostname: constraint.topology_key == HOSTNAME,
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(min_domains.unwrap_or(1)).unwrap_or(1),
            honor_affinity: !policies
                || constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: policies && constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Init containers count from 1.30 (`imagelocality/image_locality.go:sumImageScores`).
    fn read_images(&mut self, spec: &PodSpec, class: &mut PodClass) {
        let init = spec.init_containers.iter().flatten().filter(|_| self.profile.at_least(30));
        let names: Vec<String> = init.chain(&spec.containers).filter_map(image_name).collect();
        class.n_images = u64::try_from(names.len()).unwrap_or(0);
        class.images = names.iter().map(|name| self.image_id(name)).collect();
    }
}

/// The image with `:latest` where it has no tag (`image_locality.go:normalizedImageName`).
fn image_name(container: &Container) -> Option<String> {
    let image = container.image.as_ref()?;
    let tagged = image.rfind(':') > image.rfind('/');
    Some(if tagged { image.clone() } else { format!("{image}:latest") })
}

fn own_values(keys: &[String], labels: &Labels, operator: &str) -> Option<LabelSelector> {
    let requirement = |key: &String| {
        Some(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![labels.get(key)?.clone()]),
        })
    };
    let requirements: Vec<_> = keys.iter().filter_map(requirement).collect();
    (!requirements.is_empty())
        .then_some(LabelSelector { match_expressions: Some(requirements), match_labels: None })
}

/// `scheduler/util/utils.go:GetContainerPorts`: ports with a host port.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0".into()),
            protocol: port.protocol.clone().unwrap_or("TCP".into()),
            port: port.host_port.filter(|&port| port > 0)?,
        })
    });
    wanted.collect()
}

/// Whether the scheduler reads the same from both. Volumes are not compared: they are read per pod.
fn same_class(a: &Arc<Pod>, b: &Arc<Pod>) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    let (Some(x), Some(y)) = (&a.spec, &b.spec) else { return a.spec == b.spec };
    let same_containers = |x: &[Container], y: &[Container]| {
        x.len() == y.len()
            && x.iter().zip(y).all(|(x, y)| {
                x.image == y.image
                    && x.resources == y.resources
                    && x.ports == y.ports
                    && x.restart_policy == y.restart_policy
            })
    };
    a.metadata.labels == b.metadata.labels
        && same_containers(&x.containers, &y.containers)
        && same_containers(
            x.init_containers.as_deref().unwrap_or(&[]),
            y.init_containers.as_deref().unwrap_or(&[]),
        )
        && x.priority == y.priority
        && x.preemption_policy == y.preemption_policy
        && x.node_selector == y.node_selector
        && x.tolerations == y.tolerations
        && x.affinity == y.affinity
        && x.topology_spread_constraints == y.topology_spread_constraints
        && x.overhead == y.overhead
        && x.resources == y.resources
}
