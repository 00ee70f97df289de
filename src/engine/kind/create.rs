//! Creation: from a spec to a cluster with ready nodes and loaded images, or to nothing at all.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::{Error, secs};
use crate::engine::host::{
    CLUSTER_LABEL, Call, Lease, Paths, ProgramError, Thing, make_private_folder,
};
use crate::wait::doing;

use super::cluster::KindCluster;
use super::container::Containers;
use super::defects::restart_controller_manager;
use super::error::{KindError, explained};
use super::images::{ImagePlan, plan};
use super::load::load;
use super::ports::Ports;
use super::prepare::prepare;
use super::refresh::remember;
use super::spec::KindSpec;
use super::topology::Topology;
use super::{ready, registry, teardown};

/// Boot of all nodes, kubeadm init and joins; on two cores with four nodes about a minute.
const CREATE_LIMIT: Duration = secs(900);
/// Creations in all: the second one only after a port was taken between choice and use.
const MAX_CREATIONS: usize = 2;
/// Symbols of generated names: those that Kubernetes uses, without vowels and look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Symbols after the prefix; short, because node names must fit into host names.
const NAME_SYMBOLS: u32 = 6;
/// kind's own rule for names.
const NAME_CHARS: &str = "abcdefghijklmnopqrstuvwxyz0123456789.-";
/// The kubelet's last words may need this long on a machine in trouble.
const LAST_WORDS_LIMIT: Duration = secs(10);

/// Creates the cluster that `spec` asks for. What is made is written into `lease` first, and is
/// gone again when this fails; when the future is dropped, the lease still names it. `tell` gets
/// remarks for the user.
///
/// # Errors
/// The spec is wrong (usage), images are missing, or a step failed: the reason, its fix if known,
/// the command and its last lines; and what is left, should clean-up fail too.
pub async fn create(
    spec: &KindSpec,
    containers: &Containers,
    lease: &Lease,
    paths: &Paths,
    tell: &dyn Fn(&str),
) -> Result<KindCluster, Error> {
    let topology = spec.topology()?;
    let image = spec.image(&topology)?;
    // Everything that can be found missing is found before anything is made.
    let plan = doing("look for images", plan(spec, containers)).await?;
    for image in &plan.unproven {
        tell(&format!("{image}: the archive has the tag, and no digest to compare"));
    }
    have_node_images(image.as_ref(), &topology, containers).await?;
    let cluster = draft(spec, image, &topology, containers, paths).await?;
    if !containers.programs().is_dry() {
        lease.will_make(Thing::Path { path: cluster.folder.clone() })?;
        lease.will_make(teardown::thing(containers, &cluster.name))?;
    }
    let made = match make(cluster.clone(), &topology, &plan, containers).await {
        Ok(mut cluster) => {
            prepare(&mut cluster, spec, containers, tell).await;
            fill(&cluster, spec, &plan, containers, paths, tell).await.map(|()| cluster)
        }
        Err(error) => Err(error),
    };
    let Err(error) = made else { return made };
    let reason = with_last_words(error, &cluster, containers).await;
    match teardown::after_failure(containers, &cluster.name, lease, paths).await {
        Ok(()) => Err(reason),
        Err(left) => Err(Error::environment(format!("{reason}\n{left}"))),
    }
}

/// Raises the nodes, and saves the images of the engine meanwhile.
pub(super) async fn make(
    cluster: KindCluster,
    topology: &Topology,
    plan: &ImagePlan,
    containers: &Containers,
) -> Result<KindCluster, Error> {
    if !containers.programs().is_dry() {
        make_private_folder(&cluster.folder)?;
    }
    let saved = saved_images(&cluster.folder);
    let raising = doing("create the cluster", raise(cluster, topology, containers));
    let saving = async {
        match plan.local.is_empty() {
            true => Ok(()),
            false => doing("save images", containers.save(&plan.local, &saved)).await,
        }
    };
    let (cluster, ()) = tokio::try_join!(raising, saving)?;
    Ok(cluster)
}

/// Loads the images into the nodes while they become ready.
async fn fill(
    cluster: &KindCluster,
    spec: &KindSpec,
    plan: &ImagePlan,
    containers: &Containers,
    paths: &Paths,
    tell: &dyn Fn(&str),
) -> Result<(), Error> {
    let saved = saved_images(&cluster.folder);
    let from_engine = (!plan.local.is_empty()).then_some(saved.as_path());
    registry::attach(cluster, plan, containers, paths, tell).await?;
    let loading = load(cluster, plan, from_engine, containers);
    if containers.programs().is_dry() {
        return loading.await;
    }
    let client = ready::client(cluster)?;
    let ready = async {
        ready::nodes(&client, cluster).await?;
        restart_controller_manager(&client, cluster, spec.kubernetes, containers).await
    };
    tokio::try_join!(loading, ready)?;
    if from_engine.is_some() {
        std::fs::remove_file(&saved).map_err(|error| {
            Error::environment(format!("cannot remove {}: {error}", saved.display()))
        })?;
    }
    ready::images(&client, cluster, plan, containers).await?;
    remember(cluster, plan)?;
    cluster.write()
}

/// Where the archive of the engine's images is while they are loaded.
pub(super) fn saved_images(folder: &Path) -> PathBuf {
    folder.join("engine-images.tar")
}

/// The cluster as it will be, with a name that no other has.
async fn draft(
    spec: &KindSpec,
    image: Option<String>,
    topology: &Topology,
    containers: &Containers,
    paths: &Paths,
) -> Result<KindCluster, Error> {
    let taken = containers.run(&containers.kind(["get", "clusters"])).await?.stdout;
    let is_taken = |name: &str| taken.lines().any(|line| line.trim() == name);
    let name = match &spec.name {
        Some(name) if name.is_empty() || !name.chars().all(|c| NAME_CHARS.contains(c)) => {
            return Err(Error::usage(format!(
                "`{name}` is no name for a kind cluster: use lower-case letters, digits, `-` and `.`"
            )));
        }
        Some(name) if is_taken(name) => {
            let advice = KindError::NameTaken.advice();
            return Err(Error::environment(format!("kind has a cluster `{name}`: {advice}")));
        }
        Some(name) => name.clone(),
        None => loop {
            let name = fresh_name();
            if !is_taken(&name) && !paths.cluster(&name).exists() {
                break name;
            }
        },
    };
    let nodes = topology.nodes(&name);
    let front_node = nodes.get(topology.front_node()).map(|node| node.name.clone());
    let folder = paths.cluster(&name);
    Ok(KindCluster {
        engine: containers.engine().clone(),
        kubeconfig: folder.join("kubeconfig"),
        folder,
        http_port: 0,
        https_port: 0,
        front_node: front_node.unwrap_or_default(),
        nodes,
        node_image: image,
        writable_sys: false,
        name,
    })
}

/// `st-` and six symbols that differ between processes and calls.
pub fn fresh_name() -> String {
    let mut drawn = RandomState::new().build_hasher().finish();
    let mut name = String::from("st-");
    for _ in 0..NAME_SYMBOLS {
        let symbols = ALPHABET.len() as u64;
        name.push(char::from(ALPHABET[(drawn % symbols) as usize]));
        drawn /= symbols;
    }
    name
}

/// Pulls the node images that are not here: kind would, but without a word and on its own clock.
async fn have_node_images(
    image: Option<&String>,
    topology: &Topology,
    containers: &Containers,
) -> Result<(), Error> {
    let images = match image {
        Some(image) => vec![image.clone()],
        None => topology.images(),
    };
    for image in images {
        if containers.image_id(&image).await?.is_some() {
            continue;
        }
        let pulled = doing(format!("pull the node image {image}"), containers.pull(&image)).await;
        pulled.map_err(|error| {
            Error::environment(format!(
                "the node image {image} is not here and cannot be pulled\n\
                 name one that is here with --node-image IMAGE\n{error}"
            ))
        })?;
    }
    Ok(())
}

/// Runs kind until the containers of all nodes are there.
async fn raise(
    mut cluster: KindCluster,
    topology: &Topology,
    containers: &Containers,
) -> Result<KindCluster, Error> {
    let programs = containers.programs();
    let dry = programs.is_dry();
    let config = cluster.folder.join("topology.yaml");
    for creation in 1.. {
        let ports = if dry { Ports::DRY } else { Ports::free()? };
        (cluster.http_port, cluster.https_port) = (ports.http, ports.https);
        if !dry {
            std::fs::write(&config, topology.render(ports)?).map_err(|error| {
                Error::environment(format!("cannot write {}: {error}", config.display()))
            })?;
        }
        match programs.run(&create_call(&cluster, &config, containers)).await {
            Ok(_) => break,
            Err(error) if creation < MAX_CREATIONS && is_port_taken(&error) => {
                teardown::remove(containers, &cluster.name, &cluster.kubeconfig).await?;
            }
            Err(error) => return Err(explained(&error)),
        }
    }
    let names = cluster.node_names();
    let filter = format!("label={}={}", CLUSTER_LABEL, cluster.name);
    let running = containers.listed(&[], &filter, &names.join("\n")).await?;
    let lost: Vec<_> = names.iter().filter(|name| !running.contains(name)).cloned().collect();
    if !lost.is_empty() {
        let lost = lost.join(", ");
        return Err(Error::environment(format!(
            "kind created the cluster, but these nodes do not run: {lost}"
        )));
    }
    if !dry && !cluster.kubeconfig.exists() {
        return Err(Error::environment(format!(
            "kind created the cluster, but wrote no {}",
            cluster.kubeconfig.display()
        )));
    }
    Ok(cluster)
}

fn is_port_taken(error: &ProgramError) -> bool {
    KindError::of(error) == Some(KindError::PortTaken)
}

fn create_call(cluster: &KindCluster, config: &Path, containers: &Containers) -> Call {
    let call = containers
        // Kept on failure: kind's own removal loses the reason and leaves late containers.
        .kind(["create", "cluster", "--retain", "--name", &cluster.name])
        .arg("--config")
        .arg(config)
        .arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        .limit(CREATE_LIMIT);
    match &cluster.node_image {
        Some(image) => call.arg("--image").arg(image.as_str()),
        None => call,
    }
}

/// Adds what the kubelet of the first node said last, where the error itself has no known reason.
async fn with_last_words(error: Error, cluster: &KindCluster, containers: &Containers) -> Error {
    let programs = containers.programs();
    if programs.is_dry() || KindError::in_text(&error.to_string()).is_some() {
        return error;
    }
    let Some(node) = cluster.nodes.iter().find(|node| !node.worker) else { return error };
    let call = containers
        .call(["exec", &node.name, "journalctl", "--unit=kubelet", "--output=cat"])
        .arg("--no-pager")
        .arg("--lines=5")
        .limit(LAST_WORDS_LIMIT);
    // No words are no further trouble: the node may never have booted.
    let Ok(ran) = programs.run(&call).await else { return error };
    let said: Vec<&str> = ran.stdout.lines().filter(|line| !line.trim().is_empty()).collect();
    if said.is_empty() {
        return error;
    }
    let advice = KindError::in_text(&ran.stdout).map(|reason| format!("{}\n", reason.advice()));
    let words = said.join("\n  ");
    Error::environment(format!(
        "{}{error}\nthe kubelet of {} said last\n  {words}",
        advice.unwrap_or_default(),
        node.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        let (one, two) = (fresh_name(), fresh_name());
        assert!(one.starts_with("st-") && one.len() == 9, "{one}");
        assert_ne!(one, two);
    }
}
