//! The `binding` subresource of pods (`registry/core/pod/storage/storage.go:BindingREST`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object::{Obj, Typed as _};
use super::status::Status;
use super::store::{Api, ChangeType};

impl Api {
    /// Binds a pod to a node and sets its `PodScheduled` condition
    /// (`storage.go:setPodHostAndAnnotations`). With `uid` only that pod is bound.
    ///
    /// # Errors
    /// 404 without such a pod, 409 when it is bound already, being deleted, gated or another one.
    pub fn bind(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        node: &str,
    ) -> Result<Arc<Pod>, Status> {
        let Some(stored) = self.get::<Pod>(namespace, name).map(Arc::clone) else {
            return Err(Status::not_found("pods", name));
        };
        let refused = |why: String| {
            let text = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
            Err(Status::new(409, "Conflict", text))
        };
        let own_uid = stored.metadata.uid.as_deref();
        if let Some(uid) = uid.filter(|uid| own_uid != Some(uid)) {
            return refused(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                own_uid.unwrap_or("")
            ));
        }
        if stored.metadata.deletion_timestamp.is_some() {
            return refused(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let spec = stored.spec.as_ref();
        if let Some(other) = spec.and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty()) {
            return refused(format!("pod {name} is already assigned to node \"{other}\""));
        }
        if spec.and_then(|s| s.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty()) {
            return refused(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        let mut pod = Pod::clone(&stored);
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        set_scheduled(conditions, self.now.timestamp());
        let committed =
            self.commit(ChangeType::Modified, Obj::Pod(Arc::new(pod)), Some(Obj::Pod(stored)));
        Ok(Arc::clone(Pod::peel(&committed).unwrap_or_else(|| unreachable!("kind is kept"))))
    }
}

fn set_scheduled(conditions: &mut Vec<PodCondition>, now: jiff::Timestamp) {
    let scheduled = PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|condition| condition.type_ == "PodScheduled") {
        Some(known) if known.status == "True" => {}
        Some(known) => *known = scheduled,
        None => conditions.push(scheduled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::profile::Profile;

    #[test]
    fn a_pod_is_bound_once() {
        let mut api = Api::new(Profile::NEWEST, 1);
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        pod.metadata.namespace = Some("shop".into());
        let stored = api.commit(ChangeType::Added, Obj::Pod(Arc::new(pod)), None);
        assert_eq!(stored.name(), "web");
        let bound = api.bind("shop", "web", None, "node-1").expect("first binding");
        assert_eq!(bound.spec.as_ref().and_then(|s| s.node_name.as_deref()), Some("node-1"));
        assert_eq!(
            crate::k8s::pod_condition(&bound, "PodScheduled").map(|c| c.status.as_str()),
            Some("True")
        );
        let refused = api.bind("shop", "web", None, "node-2").expect_err("second binding");
        assert_eq!(refused.code, 409);
        assert!(refused.message.ends_with("pod web is already assigned to node \"node-1\""));
    }
}
