//! Clusters of somebody else's: what is theirs stays, and what is in the way keeps the stack out.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use rstest::rstest;

use super::*;
use crate::wait;

#[test]
fn a_borrowed_cluster_is_left_as_it_was() {
    on_a_cluster(4, async |engine| {
        let client = engine.client();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let mut map = ConfigMap::default();
        map.metadata.name = Some("somebody-elses".into());
        maps.create(&PostParams::default(), &map).await.expect("created");
        let mut cluster = open(&engine, options(Ownership::Borrowed)).await.expect("it opens");
        let outcomes = run(&mut cluster, &["https::serves", "readiness::any_order"]).await;
        assert_passed(&outcomes, cluster.resets());
        cluster.close().await.expect("everything of ours goes");
        assert!(exists(maps, "somebody-elses").await);
        assert!(!exists(Api::<Namespace>::all(client.clone()), "wordpress").await);
        assert!(!exists(Api::<StorageClass>::all(client.clone()), "csi-cephfs").await);
        assert!(exists(Api::<StorageClass>::all(client.clone()), "standard").await);
        let volumes = Scope::all(Api::<PersistentVolume>::all(client.clone()));
        assert_eq!(volumes.list().await.expect("volumes").len(), 0);
        let left = cluster.request.stack.objects().iter();
        for manifest in left {
            let now =
                cluster.read(manifest).await.unwrap_or_else(|stop| panic!("{}", stop.message));
            assert!(now.is_none(), "{} is left", manifest.object_ref);
        }
    });
}

#[test]
fn an_object_of_somebody_elses_keeps_the_stack_out_and_stays() {
    on_a_cluster(5, async |engine| {
        let client = engine.client();
        let classes: Api<StorageClass> = Api::all(client.clone());
        let class = json!({"metadata": {"name": "csi-cephfs"}, "provisioner": "example.com/other"});
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        classes.create(&PostParams::default(), &class).await.expect("created");
        let refused = open(&engine, options(Ownership::Borrowed)).await;
        let error = refused.err().expect("refused").to_string();
        assert!(error.starts_with("StorageClass csi-cephfs exists already ("), "{error}");
        assert!(error.contains("20-storage.yaml:"), "{error}");
        let now = classes.get("csi-cephfs").await.expect("still there");
        assert_eq!(now.provisioner, "example.com/other");
        assert!(now.metadata.labels.is_none());
        assert!(!exists(Api::<Namespace>::all(client), "wordpress").await);
    });
}

#[test]
fn a_namespace_of_somebody_elses_is_used_and_left_with_what_they_have_in_it() {
    on_a_cluster(6, async |engine| {
        let client = engine.client();
        let namespace = json!({"metadata": {"name": "wordpress", "labels": {"team": "shop"}}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("created");
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "wordpress");
        let mut map = ConfigMap::default();
        map.metadata.name = Some("theirs".into());
        maps.create(&PostParams::default(), &map).await.expect("created");
        let mut cluster = open(&engine, options(Ownership::Borrowed)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "wordpress");
        let claim = claims.get("data-mysql-0").await.expect("the database's");
        assert!(claim.labels().contains_key(LEASE_LABEL), "it would outlive a run that is killed");
        cluster.close().await.expect("everything of ours goes");
        let now = namespaces.get("wordpress").await.expect("still there");
        assert!(!now.labels().contains_key(LEASE_LABEL));
        let theirs = cluster.catalogue.objects_in(&client, "wordpress").await;
        let theirs = theirs.unwrap_or_else(|stop| panic!("{}", stop.message));
        let names: Vec<_> = theirs.iter().map(|found| found.object.to_string()).collect();
        assert_eq!(names, ["ConfigMap wordpress/theirs"]);
    });
}

#[test]
fn a_claim_of_somebody_elses_that_the_database_would_write_to_keeps_the_stack_out() {
    on_a_cluster(8, async |engine| {
        let client = engine.client();
        let namespace = serde_json::from_value(json!({"metadata": {"name": "wordpress"}}));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = namespace.expect("a namespace");
        namespaces.create(&PostParams::default(), &namespace).await.expect("created");
        let claim = serde_json::from_value(json!({
            "metadata": {"name": "data-mysql-0"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }));
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "wordpress");
        claims.create(&PostParams::default(), &claim.expect("a claim")).await.expect("created");
        let refused = open(&engine, options(Ownership::Borrowed)).await;
        let error = refused.err().expect("refused").to_string();
        assert!(
            error.starts_with("PersistentVolumeClaim wordpress/data-mysql-0, whose data"),
            "{error}"
        );
        assert!(error.contains("30-mysql.yaml:") && error.contains("is not ours"), "{error}");
        let now = claims.get("data-mysql-0").await.expect("still there");
        assert!(now.metadata.deletion_timestamp.is_none() && now.labels().is_empty());
        open(&engine, options(Ownership::Made)).await.expect("what is there may go");
    });
}

#[rstest]
#[case::pod(json!({
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "blog", "namespace": "wordpress", "labels": {"app": "wordpress"}},
    "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
}), "Pod wordpress/blog, which ", "40-wordpress.yaml:")]
#[case::service(json!({
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": "wordpress"},
    "spec": {"selector": {"app": "wordpress"}, "ports": [{"port": 80}]},
}), "Service wordpress/shop, which would select pods of Deployment", "40-wordpress.yaml:")]
#[case::host(json!({
    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
    "metadata": {"name": "blog", "namespace": "default"},
    "spec": {"rules": [{"host": "wordpress.example.com", "http": {"paths": [{
        "path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "blog", "port": {"number": 80}}},
    }]}}]},
}), "Ingress default/blog, which serves wordpress.example.com", "50-ingress.yaml:")]
#[case::reserved(json!({
    "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "books"},
    "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"},
        "claimRef": {"namespace": "wordpress", "name": "data-mysql-0"}, "hostPath": {"path": "/books"},
    },
}), "PersistentVolume books, which StatefulSet wordpress/mysql could be given", "30-mysql.yaml:")]
#[case::free(json!({
    "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "films"},
    "spec": {
        "accessModes": ["ReadWriteMany"], "capacity": {"storage": "20Gi"},
        "storageClassName": "csi-cephfs", "hostPath": {"path": "/films"},
    },
}), "PersistentVolume films, which PersistentVolumeClaim wordpress/wordpress could be", "20-storage.yaml:")]
fn what_would_be_drawn_into_the_stack_keeps_it_out(
    #[case] theirs: Value,
    #[case] named: &str,
    #[case] place: &str,
) {
    on_a_cluster(9, async |engine| {
        let client = engine.client();
        let mut applier = Applier::new(client.clone());
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wordpress"}});
        for object in [&namespace, &theirs] {
            applier.apply(object).await.unwrap_or_else(|error| panic!("{}", error.reason()));
        }
        let refused = open(&engine, options(Ownership::Borrowed)).await;
        let error = refused.err().expect("refused").to_string();
        assert!(error.starts_with(named) && error.contains(place), "{error}");
        open(&engine, options(Ownership::Made)).await.expect("what is there may go");
    });
}

#[test]
fn volumes_that_were_kept_on_purpose_stay_as_they_are() {
    on_a_cluster(10, async |engine| {
        let client = engine.client();
        let kept = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "books"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"},
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/books"},
                "claimRef": {"namespace": "wordpress", "name": "data-mysql-0", "uid": "gone"},
            },
        });
        let mut applier = Applier::new(client.clone());
        applier.apply(&kept).await.unwrap_or_else(|error| panic!("{}", error.reason()));
        let mut cluster = open(&engine, options(Ownership::Borrowed)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        cluster.close().await.expect("everything of ours goes");
        let volumes =
            Scope::all(Api::<PersistentVolume>::all(client)).list().await.expect("volumes");
        let [volume] = &volumes[..] else { panic!("{volumes:?}") };
        let policy =
            volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        assert_eq!((policy, volume.labels().len()), (Some("Retain"), 0));
    });
}

#[test]
fn an_object_that_somebody_made_anew_during_the_run_is_not_taken_over() {
    on_a_cluster(11, async |engine| {
        let client = engine.client();
        let mut cluster = open(&engine, options(Ownership::Borrowed)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        let services: Api<Service> = Api::namespaced(client, "wordpress");
        let mut service = services.get("wordpress").await.expect("ours");
        services.delete("wordpress", &DeleteParams::default()).await.expect("deleted");
        service.metadata = ObjectMeta { name: Some("wordpress".into()), ..ObjectMeta::default() };
        service.spec.as_mut().expect("a spec").cluster_ip = None;
        service.spec.as_mut().expect("a spec").cluster_ips = None;
        services.create(&PostParams::default(), &service).await.expect("made anew");
        let outcomes = run(&mut cluster, &["https::redirect"]).await;
        let [outcome] = &outcomes[..] else { panic!("one outcome") };
        assert_eq!(outcome.verdict, Verdict::Errored, "{}", outcome.message);
        assert!(outcome.message.contains("Service wordpress/wordpress was made anew by somebody"));
        assert!(services.get("wordpress").await.expect("still there").labels().is_empty());
    });
}

#[test]
fn a_node_that_is_down_is_its_owners_affair() {
    on_a_cluster(12, async |engine| {
        let nodes: Api<Node> = Api::all(engine.client());
        let name = nodes.list(&ListParams::default()).await.expect("nodes").items.pop();
        let name = name.expect("a node").name_any();
        engine.nodes().expect("machines").stop(&name).await.expect("stopped");
        tokio::time::sleep(secs(60)).await;
        let mut cluster = open(&engine, options(Ownership::Borrowed)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        cluster.close().await.expect("everything of ours goes");
        let node = nodes.get(&name).await.expect("it is there still");
        assert!(wait::node_ready(true).check(&[Arc::new(node)]).is_err(), "nobody started it");
    });
}
