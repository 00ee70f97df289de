//! Autoscalers that select the same pods (`horizontal.go:validateAndParseSelector`,
//! `hpasControllingPodsUnderSelector`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Key;
use crate::k8s::{matches_selector, selector_string};

/// The selectors that the controller has met, by autoscaler.
#[derive(Debug, Default)]
pub(super) struct Selectors(BTreeMap<Key, LabelSelector>);

impl Selectors {
    pub(super) fn put(&mut self, key: &Key, selector: &LabelSelector) {
        self.0.insert(key.clone(), selector.clone());
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// What the condition says when several autoscalers select one of `pods`, which are those of
    /// `selector`.
    pub(super) fn ambiguity(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        pods: &[Arc<Pod>],
    ) -> Option<String> {
        let none = BTreeMap::new();
        let selects = |other: &LabelSelector| {
            pods.iter()
                .any(|pod| matches_selector(other, pod.metadata.labels.as_ref().unwrap_or(&none)))
        };
        let selecting =
            self.0.iter().filter(|(key, other)| key.namespace == namespace && selects(other));
        let names: Vec<String> =
            selecting.map(|(key, _)| format!("{}/{}", key.namespace, key.name)).collect();
        (names.len() > 1).then(|| {
            format!(
                "pods by selector {} are controlled by multiple HPAs: [{}]",
                selector_string(selector),
                names.join(" ")
            )
        })
    }
}
