//! What somebody else has of an add-on in a cluster that is borrowed. To apply it would change it and
//! put our label on it, by which it would be deleted at the end.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use kube::{Client, ResourceExt as _};

use super::AddOn;
use super::document::Document;
use crate::base::Error;
use crate::stack::Applier;

/// `documents` without the namespaces that somebody else made: those are used as they are. Ours are
/// the objects that carry all of `labels`.
///
/// # Errors
/// Environment: any other object is somebody else's, or the cluster cannot be read.
pub(super) async fn left_alone(
    client: &Client,
    addon: AddOn,
    documents: Vec<Document>,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Document>, Error> {
    let mut applier = Applier::new(client.clone());
    let mut wanted = Vec::new();
    let mut foreign = Vec::new();
    for document in documents {
        let existing = applier.find(&document.value).await.map_err(|error| {
            let place = format!("add-on {addon}: {}: {}", document.file, document.object_ref());
            Error::environment(format!("{place}: cannot see whether it exists: {error}"))
        })?;
        match existing.and_then(|object| other_owner(&object, labels)) {
            None => wanted.push(document),
            Some(Owner::Somebody) if document.kind() == "Namespace" => {}
            Some(owner) => foreign.push(refusal(addon, &document, &owner)),
        }
    }
    match &foreign[..] {
        [] => Ok(wanted),
        [first] => Err(Error::environment(first)),
        [first, more @ ..] => Err(Error::environment(format!(
            "{first}\n({} more of the add-on's objects exist too)",
            more.len()
        ))),
    }
}

/// Who has an object that is not ours.
enum Owner {
    /// A run with another value of this label; what it made goes when it does.
    OtherRun(String),
    Somebody,
}

/// `None` for an object of ours.
fn other_owner(object: &DynamicObject, labels: &BTreeMap<String, String>) -> Option<Owner> {
    let own = object.labels();
    match labels.keys().find_map(|key| Some((key, own.get(key)?))) {
        None => Some(Owner::Somebody),
        Some(_) if labels.iter().all(|(key, value)| own.get(key) == Some(value)) => None,
        Some((key, value)) => Some(Owner::OtherRun(format!("{key}={value}"))),
    }
}

fn refusal(addon: AddOn, document: &Document, owner: &Owner) -> String {
    let what =
        format!("add-on {addon}: {} exists already ({})", document.object_ref(), document.file);
    match owner {
        Owner::OtherRun(label) => format!(
            "{what} and belongs to another run, {label}: nothing was touched; run `seatrial gc` if \
             that run has ended"
        ),
        Owner::Somebody => format!(
            "{what} and is not ours: nothing was touched; remove it, or install {addon} by its own \
             means and run without --install-addons"
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
    use k8s_openapi::api::rbac::v1::ClusterRole;
    use kube::Api;
    use kube::api::PostParams;
    use serde_json::json;

    use super::super::tests::{on_sim, plan};
    use super::super::{Plan, install};
    use super::*;
    use crate::base::ErrorClass;

    const RUN: &str = "seatrial.dev/run";
    const ADD_ON: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: theirs}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: extra}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: theirs}, data: {a: '1'}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader}, rules: []}
---
{apiVersion: example.com/v1, kind: Gizmo, metadata: {name: one}}
";

    /// What is applied of [`ADD_ON`] by the run `a1`.
    fn borrowed() -> Plan {
        let applied = ADD_ON.rsplit_once("---").map_or(ADD_ON, |(before, _)| before);
        let mut plan = plan(AddOn::IngressNginx, applied, None);
        plan.setup.kind = false;
        plan.setup.borrowed = true;
        plan
    }

    async fn make_namespace(client: &Client, labels: &serde_json::Value) {
        let namespace = json!({"metadata": {"name": "theirs", "labels": labels}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    }

    #[test]
    fn a_namespace_of_somebody_elses_is_used_and_not_labelled() {
        on_sim(async |client: Client| {
            make_namespace(&client, &json!({"team": "shop"})).await;
            install(&client, &borrowed()).await.unwrap_or_else(|error| panic!("{error}"));
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "theirs");
            maps.get("settings").await.expect("applied");
            Api::<ClusterRole>::all(client.clone()).get("reader").await.expect("applied");
            let namespaces: Api<Namespace> = Api::all(client.clone());
            let theirs = namespaces.get("theirs").await.expect("still there");
            assert!(!theirs.labels().contains_key(RUN), "{:?}", theirs.labels());
            let extra = namespaces.get("extra").await.expect("made");
            assert_eq!(extra.labels().get(RUN).map(String::as_str), Some("a1"));
            // What the run made itself is no hindrance.
            install(&client, &borrowed()).await.unwrap_or_else(|error| panic!("{error}"));
        });
    }

    #[test]
    fn another_object_of_somebody_elses_ends_the_installation_before_it_begins() {
        let error = on_sim(async |client: Client| {
            make_namespace(&client, &json!({})).await;
            let roles: Api<ClusterRole> = Api::all(client.clone());
            let mut role = ClusterRole::default();
            role.metadata.name = Some("reader".to_owned());
            roles.create(&PostParams::default(), &role).await.expect("created");
            let error = install(&client, &borrowed()).await.expect_err("refused");
            let role = roles.get("reader").await.expect("still there");
            assert!(role.labels().is_empty(), "{:?}", role.labels());
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "theirs");
            assert!(maps.get_opt("settings").await.expect("an answer").is_none(), "applied");
            error
        });
        assert_eq!(error.class(), ErrorClass::Environment);
        assert_eq!(
            error.to_string(),
            "add-on ingress-nginx: ClusterRole reader exists already (fixture.yaml) and is not ours: \
             nothing was touched; remove it, or install ingress-nginx by its own means and run \
             without --install-addons"
        );
    }

    #[test]
    fn a_namespace_that_goes_with_another_run_is_not_used() {
        let error = on_sim(async |client: Client| {
            make_namespace(&client, &json!({RUN: "b2"})).await;
            install(&client, &borrowed()).await.expect_err("refused")
        });
        let text = error.to_string();
        assert!(text.contains("another run, seatrial.dev/run=b2"), "{text}");
    }

    #[test]
    fn a_cluster_that_was_made_for_the_run_is_all_ours() {
        on_sim(async |client: Client| {
            make_namespace(&client, &json!({"team": "shop"})).await;
            let mut plan = borrowed();
            plan.setup.borrowed = false;
            install(&client, &plan).await.unwrap_or_else(|error| panic!("{error}"));
            let namespaces: Api<Namespace> = Api::all(client);
            let theirs = namespaces.get("theirs").await.expect("still there");
            assert_eq!(theirs.labels().get(RUN).map(String::as_str), Some("a1"));
        });
    }

    #[test]
    fn a_kind_that_is_not_served_has_no_objects() {
        on_sim(async |client: Client| {
            let documents = Document::all_in("fixture.yaml", ADD_ON).expect("objects");
            let labels = borrowed().setup.labels;
            let wanted = left_alone(&client, AddOn::IngressNginx, documents, &labels).await;
            assert_eq!(wanted.unwrap_or_else(|error| panic!("{error}")).len(), 5);
        });
    }
}
