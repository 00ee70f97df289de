//! Old API versions, discovery and custom resources.

use super::*;

#[test]
fn an_old_autoscaler_is_the_new_one_written_differently() {
    let mut server = Server::newest();
    let old = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let new = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    server.create(
        old,
        &json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 3, "maxReplicas": 6, "targetCPUUtilizationPercentage": 60,
            },
        }),
    );
    let (code, stored) = server.get(&format!("{new}/web"));
    assert_eq!((code, &stored["apiVersion"]), (200, &json!("autoscaling/v2")));
    let target = &stored["spec"]["metrics"][0]["resource"]["target"];
    assert_eq!(target["averageUtilization"], 60);
    let (_, shown) = server.get(&format!("{old}/web"));
    assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 60);
    let beta = "/apis/autoscaling/v2beta2/namespaces/default/horizontalpodautoscalers";
    assert_eq!(server.get(&format!("{beta}/web")).0, 404, "gone since 1.26");
}

#[test]
fn the_second_beta_serves_on_the_oldest_minor() {
    let mut server = Server::oldest();
    let first = "/apis/autoscaling/v2beta1/namespaces/default/horizontalpodautoscalers";
    let second = "/apis/autoscaling/v2beta2/namespaces/default/horizontalpodautoscalers";
    server.create(
        first,
        &json!({
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 6,
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "targetAverageUtilization": 60}}],
            },
        }),
    );
    let (_, shown) = server.get(&format!("{second}/web"));
    let target = &shown["spec"]["metrics"][0]["resource"]["target"];
    assert_eq!(*target, json!({"type": "Utilization", "averageUtilization": 60}));
    let (_, shown) = server.get(&format!("{first}/web"));
    let resource = &shown["spec"]["metrics"][0]["resource"];
    assert_eq!(*resource, json!({"name": "cpu", "targetAverageUtilization": 60}));
}

#[test]
fn an_old_ingress_names_its_backends_the_old_way() {
    let mut server = Server::oldest();
    let old = "/apis/networking.k8s.io/v1beta1/namespaces/default/ingresses";
    let new = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"serviceName": "web", "servicePort": 80});
    server.create(old, &json!({
        "metadata": {"name": "web"},
        "spec": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "backend": backend}]}}]},
    }));
    let (_, shown) = server.get(&format!("{new}/web"));
    let path = &shown["spec"]["rules"][0]["http"]["paths"][0];
    assert_eq!(path["backend"], json!({"service": {"name": "web", "port": {"number": 80}}}));
    assert_eq!(path["pathType"], "ImplementationSpecific");
    let (_, shown) = server.get(&format!("{old}/web"));
    assert_eq!(shown["spec"]["rules"][0]["http"]["paths"][0]["backend"], backend);
}

#[test]
fn discovery_lists_what_the_minor_serves() {
    let mut server = Server::oldest();
    assert_eq!(server.get("/version").1["minor"], "20");
    assert_eq!(server.get("/apis/policy/v1").0, 404);
    let (code, list) = server.get("/apis/policy/v1beta1");
    assert_eq!((code, &list["resources"][0]["name"]), (200, &json!("poddisruptionbudgets")));
    let (_, group) = Server::newest().get("/apis/autoscaling");
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let (_, core) = Server::newest().get("/api/v1");
    let resources = core["resources"].as_array().expect("resources");
    assert!(resources.iter().any(|r| r["name"] == "pods/eviction"));
    assert_eq!(Server::newest().get("/api").1["versions"], json!(["v1"]));
}

#[test]
fn metrics_are_read_only_and_absent_until_measured() {
    let mut server = Server::newest();
    let pods = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let (code, list) = server.get(pods);
    assert_eq!((code, &list["kind"], &list["items"]), (200, &json!("PodMetricsList"), &json!([])));
    let (code, missing) = server.get(&format!("{pods}/web"));
    assert_eq!(code, 404);
    assert_eq!(missing["message"], "podmetrics.metrics.k8s.io \"default/web\" not found");
    assert_eq!(server.call("POST", pods, &json!({})).0, 405);
}

#[test]
fn metrics_of_a_running_pod_appear() {
    let mut server = Server::newest();
    server.create(DEPLOYMENTS, &deployment(1, "wordpress:6"));
    server.wait_millis(120_000);
    let uri = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb";
    let (code, list) = server.get(uri);
    assert_eq!(code, 200);
    let items = list["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "{list}");
    assert_eq!(items[0]["metadata"]["labels"]["app"], "web");
    assert!(items[0]["containers"][0]["usage"]["memory"].is_string());
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ships.sea.example"},
        "spec": {
            "group": "sea.example", "scope": "Namespaced",
            "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    })
}

#[test]
fn a_definition_makes_its_resource_appear_and_go() {
    let mut server = Server::newest();
    let ships = "/apis/sea.example/v1/namespaces/default/ships";
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(server.get(ships).0, 404);
    server.create(definitions, &definition());
    let (_, stored) = server.get(&format!("{definitions}/ships.sea.example"));
    let conditions = stored["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    let ship = json!({
        "apiVersion": "sea.example/v1", "kind": "Ship",
        "metadata": {"name": "argo"}, "spec": {"oars": 50},
    });
    assert_eq!(server.create(ships, &ship)["spec"]["oars"], 50);
    let (_, list) = server.get(ships);
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("ShipList"), &json!("Ship")));
    let strategic = "application/strategic-merge-patch+json";
    let one = format!("{ships}/argo");
    assert_eq!(server.call_as("PATCH", &one, strategic, &json!({})).0, 415);
    let (code, patched) = server.call_as("PATCH", &one, MERGE, &json!({"spec": {"oars": 49}}));
    assert_eq!((code, &patched["spec"]["oars"]), (200, &json!(49)));
    assert_eq!(server.get("/apis/sea.example/v1").0, 200);
    let uri = format!("{definitions}/ships.sea.example");
    assert_eq!(server.call("DELETE", &uri, &Value::Null).0, 200);
    assert_eq!(server.get(ships).0, 404);
    assert_eq!(server.get("/apis/sea.example/v1").0, 404);
}

#[test]
fn an_old_definition_serves_its_only_version() {
    let mut server = Server::oldest();
    let definitions = "/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions";
    server.create(
        definitions,
        &json!({
            "metadata": {"name": "ships.example.com"},
            "spec": {
                "group": "example.com", "version": "v1", "scope": "Namespaced",
                "names": {"plural": "ships", "singular": "ship", "kind": "Ship"},
                "subresources": {"status": {}},
            },
        }),
    );
    let (_, shown) = server.get(&format!("{definitions}/ships.example.com"));
    assert_eq!(shown["spec"]["version"], "v1");
    server.create(
        "/apis/example.com/v1/namespaces/default/ships",
        &json!({"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {"name": "a"}}),
    );
    assert_eq!(server.get("/apis/example.com/v1/namespaces/default/ships/a").0, 200);
    let mut newest = Server::newest();
    assert_eq!(newest.get(definitions).0, 404, "gone since 1.22");
}
