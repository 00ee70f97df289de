//! Namespace: empties a namespace that is being deleted, then lets it go
//! (`pkg/controller/namespace`, semantics 1.9).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::secs;
use crate::sim::api::{Change, DeleteOptions, Kind, Obj, Objects, Part, Propagation, Status};
use crate::sim::context::Cx;

use super::owned::{is_finished, name};
use super::{Controller, Key, Work};

/// From first sight of the deletion to the first pass (`namespaceDeletionGracePeriod`).
const DELETION_GRACE: Duration = secs(5);
/// Next look when only finalizers hold things up (`finalizerEstimateSeconds`).
const FINALIZER_ESTIMATE_SECONDS: i64 = 15;
/// OrderedNamespaceDeletion: pods go before anything else (semantics 1.9).
const PODS_FIRST_SINCE: u8 = 33;

/// The namespace controller.
#[derive(Debug, Default)]
pub struct NamespaceController;

/// What is left of a namespace's content after a pass.
#[derive(Debug, Default)]
struct Remaining {
    /// Objects by resource.
    objects: Vec<(String, usize)>,
    /// Objects by finalizer.
    finalizers: Vec<(String, usize)>,
    /// Seconds until the pods should be gone.
    estimate: i64,
}

impl Controller for NamespaceController {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn on_change(&mut self, change: &Change, _cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        if let Obj::Namespace(space) = &change.object
            && space.metadata.deletion_timestamp.is_some()
        {
            work.add_after(Key::new("", name(&space.metadata)), DELETION_GRACE, cx);
        }
    }

    /// `namespaced_resources_deleter.go:Delete`: it reads and lists at the API server.
    fn reconcile(
        &mut self,
        key: &Key,
        _cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(space) = cx.api.get::<Namespace>("", &key.name).map(Arc::clone) else {
            return Ok(());
        };
        let held = space.spec.as_ref().and_then(|s| s.finalizers.as_ref());
        let is_held = held.is_some_and(|finalizers| !finalizers.is_empty());
        if space.metadata.deletion_timestamp.is_none() || !is_held {
            return Ok(());
        }
        let remaining = delete_content(&key.name, cx)?;
        write_conditions(&space, &remaining, cx)?;
        if remaining.objects.is_empty() {
            return finalize(&key.name, cx);
        }
        let estimate =
            if remaining.estimate > 0 { remaining.estimate } else { FINALIZER_ESTIMATE_SECONDS };
        let delay = secs(u64::try_from(estimate / 2 + 1).unwrap_or(1));
        work.add_after(key.clone(), delay, cx);
        Ok(())
    }
}

/// One pass over all collections of the namespace (`deleteAllContent`).
fn delete_content(space: &str, cx: &mut Cx<'_>) -> Result<Remaining, Status> {
    let mut remaining = Remaining::default();
    if cx.api.profile.at_least(PODS_FIRST_SINCE) {
        delete_collection(space, Kind::POD, &mut remaining, cx)?;
        if !remaining.objects.is_empty() {
            return Ok(remaining);
        }
    }
    let namespaced = cx.api.registry.iter().filter(|(_, resource)| resource.namespaced);
    let kinds: Vec<Kind> = namespaced.map(|(kind, _)| kind).collect();
    for kind in kinds {
        delete_collection(space, kind, &mut remaining, cx)?;
    }
    Ok(remaining)
}

fn delete_collection(
    space: &str,
    kind: Kind,
    remaining: &mut Remaining,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let stored = cx.api.stored().objects(kind, Some(space));
    let (mut names, mut estimate) = (Vec::new(), 0);
    for object in stored {
        names.push(object.name().to_owned());
        if let Obj::Pod(pod) = object {
            estimate = grace_of(pod).max(estimate);
        }
    }
    let options =
        DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    for object_name in &names {
        match cx.api.delete(kind, space, object_name, &options) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    let left: Vec<&Obj> = cx.api.stored().objects(kind, Some(space)).collect();
    if left.is_empty() {
        return Ok(());
    }
    for finalizer in left.iter().flat_map(|object| object.meta().finalizers.iter().flatten()) {
        match remaining.finalizers.iter_mut().find(|(known, _)| known == finalizer) {
            Some((_, n)) => *n += 1,
            None => remaining.finalizers.push((finalizer.clone(), 1)),
        }
    }
    remaining.objects.push((cx.api.resource_name(kind), left.len()));
    remaining.estimate = remaining.estimate.max(estimate);
    Ok(())
}

/// `estimateGracefulTerminationForPods`.
fn grace_of(pod: &Pod) -> i64 {
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    if is_finished(pod) { 0 } else { grace.unwrap_or(0) }
}

/// POST to `/finalize`: without its own finalizer the namespace goes.
fn finalize(space: &str, cx: &mut Cx<'_>) -> Result<(), Status> {
    cx.api
        .patch::<Namespace>(Part::Finalize, "", space, |namespace| {
            if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
                finalizers.retain(|held| held != "kubernetes");
            }
        })
        .map(|_| ())
}

/// A condition: type, whether all is well, reason, message.
type Wanted = (&'static str, bool, &'static str, String);

/// What still holds the namespace, in its conditions (`status_condition_utils.go`).
fn write_conditions(
    space: &Namespace,
    remaining: &Remaining,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let mut copy = space.clone();
    let conditions = copy.status.get_or_insert_default().conditions.get_or_insert_default();
    for wanted in wanted_conditions(remaining) {
        set_condition(conditions, wanted, cx);
    }
    if copy == *space { Ok(()) } else { cx.api.update_status(copy).map(|_| ()) }
}

fn set_condition(conditions: &mut Vec<NamespaceCondition>, wanted: Wanted, cx: &Cx<'_>) {
    let (type_, is_fine, reason, message) = wanted;
    let status = if is_fine { "False" } else { "True" };
    let known = conditions.iter_mut().find(|c| c.type_ == type_);
    let is_same =
        |c: &&mut NamespaceCondition| c.status == status && c.message.as_ref() == Some(&message);
    if known.as_ref().is_some_and(is_same) {
        return;
    }
    let new = NamespaceCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(cx.now.timestamp())),
    };
    match known {
        Some(known) => *known = new,
        None => conditions.push(new),
    }
}

fn wanted_conditions(remaining: &Remaining) -> [Wanted; 5] {
    let listed = |counts: &[(String, usize)], verb: &str| {
        let text = |(what, n): &(String, usize)| format!("{what} {verb} {n} resource instances");
        counts.iter().map(text).collect::<Vec<String>>().join(", ")
    };
    let content = match remaining.objects.as_slice() {
        [] => ("ContentRemoved", "All content successfully removed".to_owned()),
        some => (
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", listed(some, "has")),
        ),
    };
    let finalizers = match remaining.finalizers.as_slice() {
        [] => ("ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned()),
        some => {
            let list = listed(some, "in");
            let message = format!("Some content in the namespace has finalizers remaining: {list}");
            ("SomeFinalizersRemain", message)
        }
    };
    let fine = |type_, reason, message: &str| (type_, true, reason, message.to_owned());
    [
        fine(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        fine(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", remaining.objects.is_empty(), content.0, content.1),
        (
            "NamespaceFinalizersRemaining",
            remaining.finalizers.is_empty(),
            finalizers.0,
            finalizers.1,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::super::testing::*;
    use super::*;
    use crate::sim::world::World;

    fn delete_namespace(world: &mut World) {
        let options = DeleteOptions::default();
        world.api().delete(Kind::NAMESPACE, "", SPACE, &options).expect("it exists");
    }

    fn phase(world: &mut World) -> Option<String> {
        let space = world.api().get::<Namespace>("", SPACE)?;
        space.status.as_ref().and_then(|s| s.phase.clone())
    }

    #[test]
    fn an_empty_namespace_goes_after_five_seconds() {
        let mut world = world(37);
        create::<ConfigMap>(&mut world, json!({"metadata": {"name": "a", "namespace": SPACE}}));
        delete_namespace(&mut world);
        advance(&mut world, 4500);
        assert_eq!(phase(&mut world).as_deref(), Some("Terminating"));
        assert!(world.api().get::<ConfigMap>(SPACE, "a").is_some());
        advance(&mut world, 2500);
        assert_eq!(phase(&mut world), None);
        assert!(world.api().get::<ConfigMap>(SPACE, "a").is_none());
    }

    #[test]
    fn a_namespace_waits_for_its_pods_and_nothing_is_created_anew() {
        for minor in [20, 37] {
            let mut world = world(minor);
            create::<Deployment>(&mut world, deployment(2, json!(1), json!(0)));
            settle(&mut world);
            make_ready(&mut world);
            delete_namespace(&mut world);
            advance(&mut world, 8000);
            assert_eq!(live_pods(&mut world).len(), 0, "1.{minor}");
            assert_eq!(world.api().list::<Pod>().count(), 2, "1.{minor}");
            let has_sets = world.api().list::<ReplicaSet>().count() > 0;
            assert_eq!(has_sets, minor == 37, "pods first only in new minors");
            finish_terminating(&mut world);
            advance(&mut world, 20_000);
            assert_eq!(phase(&mut world), None, "1.{minor}");
            assert_eq!(world.api().list::<Deployment>().count(), 0);
        }
    }
}
