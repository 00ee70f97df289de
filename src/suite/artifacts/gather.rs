//! Gathering: reads what explains a trial while the cluster is still as the trial left it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Secret};
use kube::api::LogParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::secs;
use crate::observe::What;
use crate::wait::{Object, Scope};

use super::super::run::{Job, Judged};
use super::super::trial::Trial;
use super::Artifacts;
use super::files::Files;
use super::nodes;
use super::redact::{Redactor, strip};

/// Longest log of a container.
const LOG_BYTES: i64 = 1 << 20;
/// Its last lines.
const LOG_LINES: i64 = 5000;
/// How often the Secrets are asked for, and the pause between.
const N_TRIES: u32 = 3;
const PAUSE: Duration = secs(1);

impl Artifacts {
    /// Writes the evidence of a trial; returns the line that says where it is. What cannot be read
    /// is left out.
    pub(in crate::suite) async fn gather(
        &self,
        trial: &Trial,
        job: &Job<'_>,
        judged: &Judged,
    ) -> String {
        let namespaces = namespaces_of(trial);
        let secrets = secrets(trial, &namespaces).await;
        let evidence = match &secrets {
            Ok(_) => Evidence::read(trial, &namespaces).await,
            Err(_) => Evidence::default(),
        };
        let redactor = redactor(trial, secrets.as_deref().unwrap_or_default(), &evidence.objects);
        let mut name = format!("{}-{}", job.suite.name, job.scenario.name);
        if trial.engine().name() == "sim" {
            let _ = write!(name, "-seed{}", job.seed);
        }
        let mut files = Files::new(self.folder.join(name), redactor);
        files.write("verdict.txt", &verdict(job, judged));
        files.write("timeline.txt", &timeline(trial));
        if let Some(board) = &self.board {
            let lines = board.activities().into_iter().map(|activity| {
                let since_s = activity.since.elapsed().as_secs();
                format!("{} for {since_s} s: {}\n", activity.what, activity.detail)
            });
            files.write("activities.txt", &lines.collect::<String>());
        }
        if let Err(error) = secrets {
            files.withhold(&format!(
                "logs, events, objects and journals are left out: they may tell values of Secrets, and \
                 the Secrets could not be read ({error})"
            ));
            return files.summary();
        }
        files.write("events.txt", &evidence.events);
        files.write("objects.yaml", &as_yaml(evidence.objects));
        for pod in &evidence.pods {
            write_logs(trial, pod, &mut files).await;
        }
        if let Some(logs) = trial.engine().node_logs() {
            nodes::write(logs, &namespaces, &mut files).await;
        }
        files.summary()
    }
}

/// What was read.
#[derive(Default)]
struct Evidence {
    pods: Vec<Pod>,
    objects: Vec<Value>,
    events: String,
}

impl Evidence {
    async fn read(trial: &Trial, namespaces: &BTreeSet<String>) -> Evidence {
        let mut evidence = Evidence::default();
        let stack = trial.stack();
        for manifest in stack.objects() {
            let Ok(api) = stack.api_of(manifest, &trial.client()).await else { continue };
            if let Ok(Some(object)) = api.get_opt(&manifest.object_ref.name).await {
                evidence.objects.extend(serde_json::to_value(&object).ok());
            }
        }
        for namespace in namespaces {
            let pods = list::<Pod>(trial, namespace).await;
            evidence.objects.extend(values(&pods, "v1"));
            evidence.pods.extend(pods);
            let sets = list::<ReplicaSet>(trial, namespace).await;
            evidence.objects.extend(values(&sets, "apps/v1"));
            let claims = list::<PersistentVolumeClaim>(trial, namespace).await;
            evidence.objects.extend(values(&claims, "v1"));
            evidence.events.push_str(&events(list::<Event>(trial, namespace).await));
        }
        let nodes = Scope::all(Api::<Node>::all(trial.client())).list().await.unwrap_or_default();
        let nodes: Vec<Node> = nodes.iter().map(|node| (**node).clone()).collect();
        evidence.objects.extend(values(&nodes, "v1"));
        evidence
    }
}

/// The Secrets whose values the evidence may tell: of the stack's namespaces, and of all where the
/// logs of all come with the nodes.
async fn secrets(trial: &Trial, namespaces: &BTreeSet<String>) -> Result<Vec<Secret>, String> {
    let client = trial.client();
    let mut apis: Vec<Api<Secret>> =
        namespaces.iter().map(|name| Api::namespaced(client.clone(), name)).collect();
    if trial.engine().node_logs().is_some() {
        apis = vec![Api::all(client)];
    }
    let mut secrets = Vec::new();
    for api in apis {
        let scope = Scope::all(api);
        // A trial that failed may have shaken the API server too.
        let mut listed = scope.list().await;
        for _ in 1..N_TRIES {
            if listed.is_err() {
                tokio::time::sleep(PAUSE).await;
                listed = scope.list().await;
            }
        }
        let listed = listed.map_err(|error| error.to_string())?;
        secrets.extend(listed.iter().map(|secret| (**secret).clone()));
    }
    Ok(secrets)
}

/// A redactor of `secrets`, of what `objects` tell and of what the manifests do: they are known even
/// where nothing can be read.
fn redactor(trial: &Trial, secrets: &[Secret], objects: &[Value]) -> Redactor {
    let manifests = || trial.stack().objects().iter().map(|manifest| &manifest.value);
    let is_secret = |value: &&Value| value.get("kind").and_then(Value::as_str) == Some("Secret");
    let own = manifests().filter(is_secret);
    let own = own.filter_map(|value| serde_json::from_value::<Secret>(value.clone()).ok());
    let own: Vec<Secret> = own.chain(secrets.iter().cloned()).collect();
    let mut public = public_names(trial);
    // Secrets of add-ons hold such names as well.
    let names = |secret: &Secret| [secret.metadata.name.clone(), secret.metadata.namespace.clone()];
    public.extend(own.iter().flat_map(names).flatten());
    Redactor::of(&own, objects.iter().chain(manifests()), &public)
}

async fn list<K>(trial: &Trial, namespace: &str) -> Vec<K>
where
    K: Object + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let scope = Scope::all(Api::<K>::namespaced(trial.client(), namespace));
    let listed = scope.list().await.unwrap_or_default();
    listed.iter().map(|object| (**object).clone()).collect()
}

/// Objects of a list as they read alone: lists leave kind and version out.
fn values<K: Object>(objects: &[K], version: &str) -> Vec<Value> {
    let value = |object: &K| {
        let mut value = serde_json::to_value(object).ok()?;
        value["kind"] = Value::from(K::kind(&()).into_owned());
        value["apiVersion"] = Value::from(version);
        Some(value)
    };
    objects.iter().filter_map(value).collect()
}

fn as_yaml(objects: Vec<Value>) -> String {
    let mut text = String::new();
    for mut object in objects {
        strip(&mut object);
        if let Ok(yaml) = serde_yaml::to_string(&object) {
            let _ = write!(text, "---\n{yaml}");
        }
    }
    text
}

/// A line an event, oldest first.
fn events(mut events: Vec<Event>) -> String {
    let time = |event: &Event| {
        let precise = event.event_time.as_ref().map(|time| time.0);
        event.last_timestamp.as_ref().map(|time| time.0).or(precise)
    };
    events.sort_by_key(time);
    let line = |event: &Event| {
        let at = time(event).map_or("-".to_owned(), |time| time.to_string());
        let object = &event.involved_object;
        format!(
            "{at} {} {} {}/{} x{} {}: {}\n",
            event.type_.as_deref().unwrap_or("-"),
            object.kind.as_deref().unwrap_or("-"),
            object.namespace.as_deref().unwrap_or("-"),
            object.name.as_deref().unwrap_or("-"),
            event.count.unwrap_or(1),
            event.reason.as_deref().unwrap_or("-"),
            event.message.as_deref().unwrap_or("")
        )
    };
    events.iter().map(line).collect()
}

/// Logs of all containers of a pod, of their previous runs too.
async fn write_logs(trial: &Trial, pod: &Pod, files: &mut Files) {
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(trial.client(), &namespace);
    let status = pod.status.as_ref();
    let containers = status.into_iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    for container in containers {
        for previous in [false, true] {
            if previous && container.restart_count == 0 {
                continue;
            }
            let params = LogParams {
                container: Some(container.name.clone()),
                limit_bytes: Some(LOG_BYTES),
                tail_lines: Some(LOG_LINES),
                timestamps: true,
                previous,
                ..LogParams::default()
            };
            let Ok(log) = api.logs(&pod.name_any(), &params).await else { continue };
            let run = if previous { ".previous" } else { "" };
            let name = format!("logs/{namespace}/{}/{}{run}.log", pod.name_any(), container.name);
            files.write(&name, &log);
        }
    }
}

fn verdict(job: &Job<'_>, judged: &Judged) -> String {
    let mut text = format!(
        "{}::{} (seed {}): {}\nclaim: {}\n\n{}\n",
        job.suite.name,
        job.scenario.name,
        job.seed,
        judged.verdict,
        job.scenario.claim,
        judged.message
    );
    for cause in &judged.causes {
        let object = cause.object.as_ref().map_or(String::new(), |object| format!(" {object}"));
        let _ = writeln!(text, "cause: {} ({}x){object}", cause.class, cause.count);
        if let Some(fix) = &cause.fix {
            let _ = writeln!(text, "fix: {}:{} {}: {}", fix.file, fix.line, fix.path, fix.advice);
        }
    }
    for block in &judged.diagnosis {
        let _ = writeln!(text, "| {block}");
    }
    text
}

fn timeline(trial: &Trial) -> String {
    let timeline = trial.timeline();
    let lines = timeline.moments().iter().map(|moment| {
        let what = match &moment.what {
            What::Fact(what) => what.clone(),
            other => format!("{other:?}"),
        };
        let at_s = moment.at_ms as f64 / 1000.0;
        format!("{at_s:>9.3} s {what:<16} {}\n", moment.object)
    });
    lines.collect()
}

/// Namespaces with objects of the stack.
fn namespaces_of(trial: &Trial) -> BTreeSet<String> {
    let objects = trial.stack().objects().iter();
    let namespaces = objects.map(|manifest| manifest.object_ref.namespace.clone());
    namespaces.filter(|namespace| !namespace.is_empty()).collect()
}

/// Names and images that the manifests show to everybody.
fn public_names(trial: &Trial) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for manifest in trial.stack().objects() {
        names.insert(manifest.object_ref.name.clone());
        names.insert(manifest.object_ref.namespace.clone());
        let pod = manifest.value.pointer("/spec/template/spec/containers");
        for container in pod.and_then(Value::as_array).into_iter().flatten() {
            for field in ["name", "image"] {
                let text = container.get(field).and_then(Value::as_str).unwrap_or_default();
                names.extend(text.split([':', '@', '/']).map(str::to_owned));
            }
        }
    }
    names
}
