//! Selectors over pods and topology keys, numbered: a selector knows which pod classes it hits, a node
//! knows the number of its value for each key, so that counting needs no strings.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::k8s::matches_selector;

/// A topology key, by number.
pub type KeyId = usize;
/// A pod selector, by number.
pub type MatcherId = usize;
/// A pod class, by number.
pub type ClassId = usize;

/// Labels of a namespace or a pod.
pub type Labels = BTreeMap<String, String>;

/// The topology keys in use and the values nodes have for them.
#[derive(Debug, Default)]
pub struct TopologyKeys {
    keys: Vec<String>,
    values: Vec<BTreeMap<String, u32>>,
}

impl TopologyKeys {
    /// The number of `key`.
    pub fn id(&mut self, key: &str) -> KeyId {
        if let Some(id) = self.keys.iter().position(|known| known == key) {
            return id;
        }
        self.keys.push(key.to_owned());
        self.values.push(BTreeMap::new());
        self.keys.len() - 1
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many values of `key` have been seen on nodes.
    pub fn n_values(&self, key: KeyId) -> usize {
        self.values[key].len()
    }

    /// The numbers of a node's values, key by key.
    pub fn values_of(&mut self, labels: Option<&Labels>) -> Vec<Option<u32>> {
        let pairs = self.keys.iter().zip(&mut self.values);
        pairs
            .map(|(key, values)| {
                let value = labels?.get(key)?;
                let next = u32::try_from(values.len()).unwrap_or(u32::MAX);
                Some(*values.entry(value.clone()).or_insert(next))
            })
            .collect()
    }
}

/// Which namespaces a pod selector looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespaces {
    /// By name.
    pub names: Vec<String>,
    /// By label (`namespaceSelector`).
    pub selector: Option<LabelSelector>,
}

/// A selector over pods. All of `selectors` must match; none at all matches nothing, as a nil
/// `LabelSelector` does.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher {
    /// Where to look.
    pub namespaces: Namespaces,
    /// What to look for.
    pub selectors: Vec<LabelSelector>,
}

impl Matcher {
    /// A selector within one namespace.
    pub fn within(namespace: &str, selectors: Vec<LabelSelector>) -> Self {
        let namespaces = Namespaces { names: vec![namespace.to_owned()], selector: None };
        Matcher { namespaces, selectors }
    }

    fn matches(&self, pod: &PodLabels, namespaces: &BTreeMap<String, Labels>) -> bool {
        let by_name = self.namespaces.names.contains(&pod.namespace);
        let by_label = || {
            let empty = Labels::new();
            let labels = namespaces.get(&pod.namespace).unwrap_or(&empty);
            self.namespaces.selector.as_ref().is_some_and(|s| matches_selector(s, labels))
        };
        !self.selectors.is_empty()
            && self.selectors.iter().all(|s| matches_selector(s, &pod.labels))
            && (by_name || by_label())
    }
}

#[derive(Debug)]
struct PodLabels {
    namespace: String,
    labels: Labels,
}

/// All selectors and which classes each hits.
#[derive(Debug, Default)]
pub struct Matchers {
    matchers: Vec<(Matcher, Vec<bool>)>,
    pods: Vec<PodLabels>,
    namespaces: BTreeMap<String, Labels>,
}

impl Matchers {
    /// The number of `matcher`.
    pub fn id(&mut self, matcher: Matcher) -> MatcherId {
        if let Some(id) = self.matchers.iter().position(|(known, _)| *known == matcher) {
            return id;
        }
        let hits = self.pods.iter().map(|pod| matcher.matches(pod, &self.namespaces)).collect();
        self.matchers.push((matcher, hits));
        self.matchers.len() - 1
    }

    /// Registers the labels of the next class.
    pub fn add_class(&mut self, namespace: &str, labels: &Labels) {
        let pod = PodLabels { namespace: namespace.to_owned(), labels: labels.clone() };
        for (matcher, hits) in &mut self.matchers {
            hits.push(matcher.matches(&pod, &self.namespaces));
        }
        self.pods.push(pod);
    }

    /// Takes the labels of a namespace over (`None`: it is gone).
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        let changed = match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels.clone()) != Some(labels),
            None => self.namespaces.remove(name).is_some(),
        };
        if !changed {
            return;
        }
        for (matcher, hits) in &mut self.matchers {
            if matcher.namespaces.selector.is_some() {
                *hits =
                    self.pods.iter().map(|pod| matcher.matches(pod, &self.namespaces)).collect();
            }
        }
    }

    /// Whether pods of `class` match.
    pub fn hits(&self, matcher: MatcherId, class: ClassId) -> bool {
        self.matchers[matcher].1[class]
    }
}
