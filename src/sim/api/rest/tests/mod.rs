//! The API as a client meets it: requests against a booted world.

mod pagination;
mod patching;
mod pods;
mod verbs;
mod versions;
mod watching;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Served;
use crate::base::{millis, secs};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, Output, World};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";

/// A booted cluster to send requests to.
struct Server {
    world: World,
}

impl Server {
    fn new(profile: Profile) -> Self {
        let mut world = World::new(&ClusterSpec::new(profile, 1), 1);
        world.run_until(world.now() + secs(1));
        Server { world }
    }

    fn newest() -> Self {
        Server::new(Profile::NEWEST)
    }

    fn oldest() -> Self {
        Server::new(Profile::OLDEST)
    }

    fn send(&mut self, method: &str, uri: &str, content_type: &str, body: &Value) -> Served {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type)
            .header("user-agent", "tester/1.0")
            .body(body)
            .expect("a valid request");
        self.world.serve(&request)
    }

    fn call(&mut self, method: &str, uri: &str, body: &Value) -> (u16, Value) {
        self.call_as(method, uri, JSON, body)
    }

    fn call_as(
        &mut self,
        method: &str,
        uri: &str,
        content_type: &str,
        body: &Value,
    ) -> (u16, Value) {
        match self.send(method, uri, content_type, body) {
            Served::Response(response) => {
                let code = response.status().as_u16();
                let body = serde_json::from_slice(response.body());
                (code, body.unwrap_or_else(|_| text_of(response.body())))
            }
            Served::Watch(id) => panic!("{method} {uri} opened watch {id}"),
        }
    }

    fn get(&mut self, uri: &str) -> (u16, Value) {
        self.call("GET", uri, &Value::Null)
    }

    fn create(&mut self, uri: &str, body: &Value) -> Value {
        let (code, created) = self.call("POST", uri, body);
        assert_eq!(code, 201, "{created}");
        created
    }

    fn config_map(&mut self, name: &str, labels: &Value, data: &Value) -> Value {
        let body = json!({"metadata": {"name": name, "labels": labels}, "data": data});
        self.create(MAPS, &body)
    }

    fn watch(&mut self, uri: &str) -> u64 {
        match self.send("GET", uri, "", &Value::Null) {
            Served::Watch(id) => id,
            Served::Response(response) => panic!("no watch: {response:?}"),
        }
    }

    /// The lines of a watch that have come by now, and whether it has ended.
    fn lines(&mut self, id: u64) -> (Vec<Value>, bool) {
        let mut lines = Vec::new();
        let mut has_ended = false;
        for output in self.world.take_outputs() {
            match output {
                Output::WatchLine(to, line) if to == id => {
                    lines.push(serde_json::from_slice(&line).expect("a JSON line"));
                }
                Output::WatchClosed(closed) if closed == id => has_ended = true,
                _ => {}
            }
        }
        (lines, has_ended)
    }

    /// Lets virtual time pass.
    fn wait_millis(&mut self, n: u64) {
        self.world.run_until(self.world.now() + millis(n));
    }
}

fn text_of(body: &Bytes) -> Value {
    Value::String(String::from_utf8_lossy(body).into_owned())
}

fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["type"].as_str()).collect()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/settings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn deployment(replicas: u64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
}
