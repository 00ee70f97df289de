//! The programs of the front and the database that the simulator has no model of.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::engine::sim::{has_model, is_common_tool};
use crate::k8s::image_reference;
use crate::stack::Manifest;
use crate::suite::discover::target_port;
use crate::suite::run::RunRequest;
use crate::suite::target::{Front, StackTarget};

use super::fields::is_denied;
use super::workloads;

const PROBES: [&str; 3] = ["/startupProbe", "/readinessProbe", "/livenessProbe"];
const HOOKS: [&str; 2] = ["/lifecycle/postStart", "/lifecycle/preStop"];

/// One container as it is written.
pub(super) struct Program<'a> {
    pub(super) manifest: &'a Manifest,
    /// `containers` or `initContainers`.
    list: &'static str,
    idx: usize,
    container: &'a Value,
}

impl<'a> Program<'a> {
    pub(super) fn image(&self) -> &'a str {
        self.container["image"].as_str().unwrap_or_default()
    }

    /// Whether `path` begins the paths of its container, or of its pod.
    pub(super) fn is_at(&self, path: &str) -> bool {
        format!("spec.template.spec.{}[{}].", self.list, self.idx).starts_with(path)
    }

    /// What it runs by exec at `places`.
    fn commands(&self, places: &[&str]) -> Vec<Vec<&'a str>> {
        let commands = places.iter().filter_map(|place| {
            let words = self.container.pointer(&format!("{place}/exec/command"))?.as_array()?;
            Some(words.iter().filter_map(Value::as_str).collect())
        });
        commands.collect()
    }

    /// A sidecar need not end (<https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers>).
    fn has_to_end(&self) -> bool {
        self.list == "initContainers" && self.container["restartPolicy"] != "Always"
    }

    /// What `seatrial.toml` describes are servers, which do not end. An image without a valid name never
    /// runs, whatever is in it.
    fn has_model(&self, request: &RunRequest) -> bool {
        image_reference(self.image()).is_err()
            || has_model(self.image(), if self.has_to_end() { &[] } else { &request.apps })
    }
}

impl std::fmt::Display for Program<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = format!("spec.template.spec.{}[{}].image", self.list, self.idx);
        let name = self.container["name"].as_str().unwrap_or_default();
        let (image, at) = (self.image(), self.manifest.locate(&at));
        write!(f, "{image} (container {name} of {}, {at})", self.manifest.object_ref)
    }
}

/// The programs that have to run and have no model, as a message. Where nothing is asked of them they
/// may still end at once, and their pods with them.
pub(super) fn without_model(request: &RunRequest) -> Option<String> {
    let target = request.target().ok()?;
    let missing: Vec<Program<'_>> = workloads(&target)
        .filter_map(|workload| request.stack.manifest(&workload.reference()))
        .flat_map(programs)
        .filter(|program| !program.has_model(request))
        .collect();
    let endless: Vec<_> =
        missing.iter().filter(|each| each.has_to_end()).map(Program::to_string).collect();
    if !endless.is_empty() {
        return Some(format!(
            "no program model for {}: whether and when these init containers end is not known (a \
             real cluster tells, --engine kind)",
            endless.join(", ")
        ));
    }
    if missing.is_empty() {
        return None;
    }
    let all: Vec<_> = missing.iter().map(Program::to_string).collect();
    let mut described: Vec<&str> = Vec::new();
    let suggestions = missing.iter().filter_map(|program| {
        let image = repository(program.image());
        let is_new = !described.contains(&image);
        described.push(image);
        is_new.then(|| {
            let port = declared_port(request, &target, program.image());
            suggestion(request, program, port.unwrap_or(8080))
        })
    });
    Some(format!(
        "no program model for {}: whether they keep running, and what they answer, is not known (a \
         real cluster tells, --engine kind)\n\
         add to seatrial.toml, if it is so:{}",
        all.join(", "),
        suggestions.collect::<String>()
    ))
}

/// An entry of `seatrial.toml` that says of `program` what its manifest takes for granted.
fn suggestion(request: &RunRequest, program: &Program<'_>, port: u64) -> String {
    let mut text = format!(
        "\n[[app]]\n\
         image = \"{}\"\n\
         port = {port}\n\
         start_ms = 1000\n\
         cpu_per_request_ms = 5\n\
         memory_mib = 64",
        repository(program.image())
    );
    let (probes, hooks) = (program.commands(&PROBES), program.commands(&HOOKS));
    let needs_shell = |command: &Vec<&str>| first_words(command).is_some_and(|(shell, _)| shell);
    if probes.iter().chain(&hooks).any(needs_shell) {
        text.push_str("\nshell = true");
    }
    let names = probes.iter().filter_map(|command| first_words(command)).map(|(_, name)| name);
    let mut probes: Vec<&str> = names.filter(|name| is_program(name)).collect();
    probes.sort_unstable();
    probes.dedup();
    if !probes.is_empty() {
        text.push_str(&format!("\nprobes = {probes:?}"));
    }
    if is_denied(&request.stack.unmodelled(), program) {
        text.push_str("\nunprivileged = true");
    }
    text
}

/// Whether `name` is that of a program which not every shell brings.
fn is_program(name: &str) -> bool {
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_syntax = matches!(name, "case" | "exit" | "for" | "if" | "set" | "until" | "while");
    is_word && !is_syntax && !is_common_tool(name)
}

/// Whether `command` runs in a shell, and the name of the program it begins with.
fn first_words<'c>(command: &[&'c str]) -> Option<(bool, &'c str)> {
    let name = |path: &'c str| path.rsplit('/').next().unwrap_or(path);
    let first = name(command.first()?);
    if !matches!(first, "sh" | "bash" | "ash" | "dash") {
        return Some((is_common_tool(first), first));
    }
    let mut words = command.last()?.split_whitespace().skip_while(|word| *word == "exec");
    Some((true, words.next().map_or(first, name)))
}

/// The image without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// The containers of a workload.
pub(super) fn programs(manifest: &Manifest) -> Vec<Program<'_>> {
    let lists = ["initContainers", "containers"].into_iter();
    let programs = lists.flat_map(|list| {
        let at = format!("/spec/template/spec/{list}");
        let containers = manifest.value.pointer(&at).and_then(Value::as_array);
        let containers = containers.into_iter().flatten().enumerate();
        containers.map(move |(idx, container)| Program { manifest, list, idx, container })
    });
    programs.collect()
}

/// The port that a container of `image` listens on, as far as it is told: where the front's Service
/// leads to, or the only one that is declared.
fn declared_port(request: &RunRequest, target: &StackTarget, image: &str) -> Option<u64> {
    let front = &target.front;
    let mut workloads = std::iter::once(&front.workload).chain(&target.database);
    workloads.find_map(|workload| {
        let manifest = request.stack.manifest(&workload.reference())?;
        let containers = manifest.value.pointer("/spec/template/spec/containers")?.as_array()?;
        let idx = containers.iter().position(|each| each["image"] == image)?;
        let ports = containers.get(idx)?["ports"].as_array().map_or(&[][..], Vec::as_slice);
        if workload.is(&front.workload) && idx == workload.container {
            return match served_port(request, front)? {
                IntOrString::Int(number) => u64::try_from(number).ok(),
                IntOrString::String(name) => {
                    ports.iter().find(|port| port["name"] == *name)?["containerPort"].as_u64()
                }
            };
        }
        match ports {
            [port] => port["containerPort"].as_u64(),
            _ => None,
        }
    })
}

/// Where the front's Service leads to in its pods.
fn served_port(request: &RunRequest, front: &Front) -> Option<IntOrString> {
    let service = ObjectRef::new("Service", &front.workload.namespace, &front.service);
    let ports = request.stack.manifest(&service)?.value.pointer("/spec/ports")?.as_array()?;
    let port = ports.iter().find(|port| port["port"].as_i64() == Some(front.port))?;
    Some(target_port(Some(port)))
}
