//! The controller against an API server and a metrics-server, without the rest of a world.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use serde_json::json;

use super::AutoscalerController;
use crate::base::{SimTime, Streams, secs};
use crate::sim::api::{Api, Objects, Typed};
use crate::sim::context::Cx;
use crate::sim::controllers::{Controller, Key, Work};
use crate::sim::metrics::MetricsServer;
use crate::sim::profile::Profile;
use crate::sim::queue::Queue;
use crate::sim::trace::Trace;
use crate::sim::{ClusterSpec, World};

/// A Deployment `web` with its autoscaler (3 to 10 pods, half of 100m) and as many ready pods as it
/// asks for.
struct Scene {
    api: Api,
    metrics: MetricsServer,
    controller: AutoscalerController,
    now: SimTime,
}

fn typed<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("of the kind")
}

impl Scene {
    fn new(replicas: u32) -> Self {
        Self::at(Profile::NEWEST, replicas)
    }

    fn at(profile: Profile, replicas: u32) -> Self {
        let mut api = Api::new(profile, 1);
        api.now = SimTime::ZERO + secs(1000);
        let space = json!({"metadata": {"name": "default"}});
        api.create::<Namespace>(typed(space)).expect("created");
        api.create::<Deployment>(typed(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web"}]},
                },
            },
        })))
        .expect("created");
        api.create::<HorizontalPodAutoscaler>(typed(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 3, "maxReplicas": 10,
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
                }}],
            },
        })))
        .expect("created");
        let now = api.now;
        Scene { api, metrics: MetricsServer::default(), controller: Default::default(), now }
    }

    fn size(&self) -> i32 {
        let deployment = self.api.get::<Deployment>("default", "web").expect("a Deployment");
        deployment.spec.replicas.unwrap_or(0)
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let hpa = self.api.get::<HorizontalPodAutoscaler>("default", "web").expect("an HPA");
        let conditions = hpa.status.as_ref().and_then(|status| status.conditions.clone());
        let found = conditions.into_iter().flatten().find(|c| c.type_ == kind);
        found.map_or_else(Default::default, |c| (c.status, c.reason.unwrap_or_default()))
    }

    fn messages(&self) -> Vec<String> {
        self.api.list::<Event>().filter_map(|event| event.message.clone()).collect()
    }

    /// The next sync, 15 s later, with every pod using `milli`; `None` leaves them unmeasured.
    fn sync(&mut self, milli: Option<u64>) {
        self.sync_of("web", milli);
    }

    /// The same for the autoscaler `name`.
    fn sync_of(&mut self, name: &str, milli: Option<u64>) {
        self.now += secs(15);
        self.api.now = self.now;
        let mut cache = Objects::default();
        let hpa = self.api.get::<HorizontalPodAutoscaler>("default", name).cloned();
        cache.insert(HorizontalPodAutoscaler::wrap(hpa.expect("an HPA")));
        for n in 0..self.size() {
            let pod: Pod = typed(json!({
                "metadata": {
                    "name": format!("web-{n}"), "namespace": "default", "labels": {"app": "web"},
                },
                "spec": {"containers": [{
                    "name": "web", "resources": {"requests": {"cpu": "100m"}},
                }]},
                "status": {
                    "phase": "Running", "startTime": "2026-01-01T00:00:00Z",
                    "conditions": [{
                        "type": "Ready", "status": "True",
                        "lastTransitionTime": "2026-01-01T00:00:05Z",
                    }],
                },
            }));
            if let Some(milli) = milli {
                self.metrics.serve_for_test(&pod, milli, self.now);
            }
            cache.insert(Pod::wrap(Arc::new(pod)));
        }
        let (mut queue, mut rng) = (Queue::default(), Streams::new(1));
        let (mut trace, mut facts) = (Trace::default(), Vec::new());
        let mut cx = Cx {
            now: self.now,
            api: &mut self.api,
            queue: &mut queue,
            rng: &mut rng,
            trace: &mut trace,
            metrics: &mut self.metrics,
            facts: &mut facts,
        };
        let key = Key::new("default", name);
        let mut work = Work::default();
        self.controller.reconcile(&key, &cache, &mut work, &mut cx).expect("never refused");
    }
}

#[test]
fn three_to_six_and_back() {
    let mut scene = Scene::new(3);
    scene.sync(Some(25));
    assert_eq!(scene.size(), 3);
    scene.sync(Some(100));
    assert_eq!(scene.size(), 6);
    assert_eq!(scene.condition("AbleToScale"), ("True".into(), "SucceededRescale".into()));
    let up = "New size: 6; reason: cpu resource utilization (percentage of request) above target";
    assert!(scene.messages().iter().any(|m| m == up), "{:?}", scene.messages());
    scene.sync(Some(50));
    assert_eq!(scene.condition("AbleToScale").1, "ReadyForNewScale");
    let calm_at = scene.now;
    while scene.size() == 6 {
        scene.sync(Some(5));
        assert!(scene.now < calm_at + secs(400), "never scaled down");
    }
    assert_eq!(scene.size(), 3);
    let waited = scene.now.since(calm_at);
    assert!((secs(300)..=secs(315)).contains(&waited), "{waited:?}");
    assert!(scene.messages().iter().any(|m| m == "New size: 3; reason: All metrics below target"));
}

#[test]
fn without_metrics_nothing_scales_and_the_reason_is_told() {
    let mut scene = Scene::new(3);
    scene.sync(None);
    assert_eq!(scene.size(), 3);
    assert_eq!(
        scene.condition("ScalingActive"),
        ("False".into(), "FailedGetResourceMetric".into())
    );
    let text = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics \
                returned from resource metrics API";
    assert!(scene.messages().iter().any(|m| m == text), "{:?}", scene.messages());
}

/// A second autoscaler of the same Deployment.
fn add_second(scene: &mut Scene) {
    let first = scene.api.get::<HorizontalPodAutoscaler>("default", "web").expect("an HPA");
    let mut second = HorizontalPodAutoscaler::clone(first);
    second.metadata = typed(json!({"name": "web-too", "namespace": "default"}));
    scene.api.create(second).expect("created");
}

#[test]
fn two_autoscalers_of_the_same_pods_do_not_scale() {
    let mut scene = Scene::new(3);
    add_second(&mut scene);
    scene.sync(Some(50));
    scene.sync_of("web-too", Some(100));
    scene.sync(Some(100));
    assert_eq!(scene.size(), 3);
    let ambiguous = ("False".into(), "AmbiguousSelector".into());
    assert_eq!(scene.condition("ScalingActive"), ambiguous);
    let text = "pods by selector app=web are controlled by multiple HPAs: \
                [default/web default/web-too]";
    assert!(scene.messages().iter().any(|m| m == text), "{:?}", scene.messages());

    let mut old = Scene::at("1.26".parse().expect("a minor"), 3);
    add_second(&mut old);
    old.sync(Some(50));
    old.sync_of("web-too", Some(100));
    assert_eq!(old.size(), 6);
}

#[test]
fn bounds_act_at_once_and_zero_switches_off() {
    let mut scene = Scene::new(20);
    scene.sync(None);
    assert_eq!(scene.size(), 10);
    let mut small = Scene::new(1);
    small.sync(None);
    assert_eq!(small.size(), 3);
    let mut off = Scene::new(0);
    off.sync(None);
    assert_eq!(off.size(), 0);
    assert_eq!(off.condition("ScalingActive").1, "ScalingDisabled");
}

#[test]
fn a_running_workload_is_measured_within_a_minute() {
    let mut world = World::new(&ClusterSpec::new(Profile::NEWEST, 3), 1);
    let fixture = Scene::new(3);
    let mut web = Deployment::clone(fixture.api.get("default", "web").expect("a Deployment"));
    web.metadata.resource_version = None;
    web.status = None;
    let pod = web.spec.template.spec.get_or_insert_default();
    pod.containers[0].image = Some("nginx:1.27".into());
    pod.containers[0].resources =
        Some(typed(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}})));
    world.api().create(web).expect("created");
    let hpa = fixture.api.get::<HorizontalPodAutoscaler>("default", "web").expect("an autoscaler");
    world.api().create(HorizontalPodAutoscaler::clone(hpa)).expect("created");
    world.run_until(SimTime::ZERO + secs(90));
    let hpa = world.api().get::<HorizontalPodAutoscaler>("default", "web").cloned();
    let status = hpa.and_then(|hpa| hpa.status.clone()).expect("a status");
    let reasons: Vec<_> =
        status.conditions.iter().flatten().filter_map(|c| c.reason.as_deref()).collect();
    assert!(reasons.contains(&"ValidMetricFound"), "{status:?}");
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(3), 3));
}
