//! Kills for memory that no object tells of: those of the front's pods while a load ran.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::base::ObjectRef;
use crate::observe::Kill;

use super::trial::Trial;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Kills {
    /// The uids that the engine told when the load began, and when that was.
    before: Option<(u64, Vec<String>)>,
    /// Those of all loads so far.
    pub found: Vec<Kill>,
}

impl Trial {
    /// Notes which kills there have been, so that they are not blamed for what is to come.
    pub(super) async fn note_kills(&self) {
        let told = match self.engine().memory_kills() {
            Some(engine) => engine.pods().await.ok(),
            None => None,
        };
        self.kills.borrow_mut().before = told.map(|uids| (self.now_ms(), uids));
    }

    /// Finds out which pods of the front had processes killed since then. They explain a failure
    /// better, if they can be had.
    pub(super) async fn look_for_kills(&self) {
        let Some(engine) = self.engine().memory_kills() else { return };
        let to_ms = self.now_ms();
        let Ok(after) = engine.pods().await else { return };
        let Some((from_ms, before)) = self.kills.borrow_mut().before.take() else { return };
        let seen = self.pods.borrow().as_ref().map(|pods| pods.ever_seen()).unwrap_or_default();
        let pods = killed_since(&before, &after, &seen, self.is_of_front());
        let found = pods.into_iter().map(|pod| Kill { pod, from_ms, to_ms });
        self.kills.borrow_mut().found.extend(found);
    }
}

/// The pods among `seen` that `is_wanted` whose uid is in `after` once more than it was in `before`, for
/// each time that it is.
fn killed_since(
    before: &[String],
    after: &[String],
    seen: &BTreeMap<ObjectRef, Arc<Pod>>,
    is_wanted: impl Fn(&Pod) -> bool,
) -> Vec<ObjectRef> {
    let mut killed = Vec::new();
    for (reference, pod) in seen.iter().filter(|(_, pod)| is_wanted(pod)) {
        let uid = pod.uid();
        let count = |uids: &[String]| uids.iter().filter(|it| Some(*it) == uid.as_ref()).count();
        let n_new = count(after).saturating_sub(count(before));
        killed.extend(std::iter::repeat_n(reference.clone(), n_new));
    }
    killed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kills_of_the_time_before_and_of_other_workloads_do_not_count() {
        let pod = |name: &str, app: &str| {
            let value = json!({"metadata": {"name": name, "uid": name, "labels": {"app": app}}});
            let pod: Pod = serde_json::from_value(value).expect("a pod");
            (ObjectRef::new("Pod", "", name), Arc::new(pod))
        };
        let seen = BTreeMap::from([pod("web-1", "web"), pod("web-2", "web"), pod("db-1", "db")]);
        let is_web = |pod: &Pod| pod.labels().get("app").is_some_and(|app| app == "web");
        let uids = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let killed = |before: &str, after: &str| {
            let pods = killed_since(&uids(before), &uids(after), &seen, is_web);
            pods.into_iter().map(|pod| pod.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(killed("web-1 db-1", "web-1 db-1 web-1 other web-2"), "web-1 web-2");
        assert_eq!(killed("web-1", "web-1 db-1 db-1"), "");
        assert_eq!(killed("web-1 web-1", "web-1"), "", "the kernel forgets what is old");
    }
}
