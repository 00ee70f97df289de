//! The system's spread constraints: which pods they count for a pod without constraints of its own
//! (`podtopologyspread/common.go:buildDefaultConstraints`, `plugins/helper/spread.go:DefaultSelector`).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::k8s::{controller_of, matches_labels};
use crate::sim::api::{Change, ChangeType, Obj, Objects};

use super::class::{Classes, HOSTNAME, PodClass, Spread};
use super::score::DefaultSpread;
use super::terms::{ClassId, Matcher};

/// Topology key and skew of each constraint (`plugin.go:systemDefaultConstraints`).
const SYSTEM_DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), ("topology.kubernetes.io/zone", 5)];

/// The constraints by class, until a Service or an owner changes.
#[derive(Debug, Default)]
pub struct DefaultSpreads {
    by_class: BTreeMap<ClassId, DefaultSpread>,
}

impl DefaultSpreads {
    /// A Service, ReplicaSet or StatefulSet has changed: other pods may be selected.
    pub fn on_change(&mut self, change: &Change) {
        let same_selector = match (&change.object, &change.previous) {
            (Obj::Service(now), Some(Obj::Service(before))) => {
                let selector = |s: &Service| s.spec.as_ref().and_then(|s| s.selector.clone());
                selector(now) == selector(before)
            }
            // Selectors of workloads never change.
            _ => change.change_type == ChangeType::Modified,
        };
        if !same_selector || change.change_type == ChangeType::Deleted {
            self.by_class.clear();
        }
    }

    /// The constraints for pods of `class_id`.
    pub fn of(
        &mut self,
        class_id: ClassId,
        classes: &mut Classes,
        cache: &Objects,
    ) -> DefaultSpread {
        if let Some(known) = self.by_class.get(&class_id) {
            return known.clone();
        }
        let class = classes.get(class_id);
        let selectors = if class.own_spread { Vec::new() } else { selectors(class, cache) };
        let mut spread = DefaultSpread::default();
        if !selectors.is_empty() {
            let matcher = Matcher::within(&class.namespace.clone(), selectors);
            let matcher = classes.matchers.id(matcher);
            spread.constraints = SYSTEM_DEFAULTS
                .iter()
                .map(|&(key, max_skew)| Spread {
                    matcher,
                    key: classes.keys.id(key),
                    hostname: key == HOSTNAME,
                    max_skew,
                    min_domains: 1,
                    honor_affinity: true,
                    honor_taints: false,
                })
                .collect();
        }
        self.by_class.insert(class_id, spread.clone());
        spread
    }
}

/// The selectors of the Services that select the pod and of the workload that owns it.
fn selectors(class: &PodClass, cache: &Objects) -> Vec<LabelSelector> {
    let mut selectors: Vec<LabelSelector> = cache
        .list_in::<Service>(&class.namespace)
        .filter_map(|service| service.spec.as_ref()?.selector.clone())
        .filter(|wanted| !wanted.is_empty() && matches_labels(wanted, &class.labels))
        .map(|wanted| LabelSelector { match_labels: Some(wanted), match_expressions: None })
        .collect();
    let Some(owner) = controller_of(&class.sample.metadata) else { return selectors };
    let owned_by = match owner.kind.as_str() {
        "ReplicaSet" => cache
            .get::<ReplicaSet>(&class.namespace, &owner.name)
            .map(|set| set.spec.selector.clone()),
        "StatefulSet" => cache
            .get::<StatefulSet>(&class.namespace, &owner.name)
            .map(|set| set.spec.selector.clone()),
        _ => None,
    };
    selectors.extend(owned_by);
    selectors
}
