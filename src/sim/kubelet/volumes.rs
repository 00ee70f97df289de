//! Volumes of a pod: what is mounted where, and what has to be waited for
//! (`pkg/kubelet/volumemanager/volume_manager.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{ConfigMap, Container, KeyToPath, Secret, Volume};

use super::agent::Desk;
use super::worker::Worker;
use crate::base::{millis, secs};
use crate::sim::machines::Mount;
use crate::sim::volumes::MountState;

/// A pod polls for its volumes this often (`podAttachAndMountRetryInterval`).
const POLL: Duration = millis(300);
/// Later polls of a long wait; the result is noticed within the same order of time.
const SLOW_POLL: Duration = secs(1);
const FAST_POLLS: u32 = 10;
/// A sync gives up after this (`podAttachAndMountTimeout`).
const GIVE_UP: Duration = secs(123);
/// Longest delay between tries to set a volume up (`exponentialbackoff`).
const RETRY_MAX: Duration = secs(122);

/// What came of a try to mount a pod's volumes.
pub(super) enum Mounting {
    /// Volume identities by the name of the pod's volume.
    Done(Vec<(String, String)>),
    Retry(Duration),
    GaveUp,
}

/// Tries to mount all volumes.
pub(super) fn mount(worker: &Worker, desk: &mut Desk<'_, '_>) -> Mounting {
    let pod = std::sync::Arc::clone(&worker.pod);
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or(&[]);
    let mut mounted = Vec::with_capacity(volumes.len());
    let mut waits = Vec::new();
    for volume in volumes {
        match set_up(worker, volume, desk) {
            Ok(Some(identity)) => mounted.push((volume.name.clone(), identity)),
            Ok(None) => {}
            Err(cause) => {
                let text =
                    format!("MountVolume.SetUp failed for volume {:?} : {cause}", volume.name);
                desk.warn(&pod, "FailedMount", text);
                waits.push(volume.name.as_str());
            }
        }
    }
    let set_up_failed = !waits.is_empty();
    let claims =
        |volume: &&Volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
    let has_claims = volumes.iter().any(|volume| claims(&volume));
    if let Some(storage) = desk.volumes.filter(|_| has_claims) {
        match storage.mounts(&pod, &desk.agent.name, desk.cx) {
            MountState::Ready(identities) => {
                for (_, identity) in
                    identities.iter().filter(|each| storage.is_ext(&each.1, desk.cx))
                {
                    desk.machines.format_ext(identity);
                }
                mounted.extend(identities);
            }
            MountState::Waiting(_) => {
                waits.extend(volumes.iter().filter(claims).map(|volume| volume.name.as_str()));
            }
        }
    }
    if waits.is_empty() {
        return Mounting::Done(mounted);
    }
    if desk.now().since(worker.mounting_since) >= GIVE_UP {
        let all: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        let text = format!(
            "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[{}]: \
             timed out waiting for the condition",
            waits.join(" "),
            all.join(" ")
        );
        desk.warn(&pod, "FailedMount", text);
        return Mounting::GaveUp;
    }
    if set_up_failed {
        return Mounting::Retry((millis(500) * 2u32.pow(worker.mount_tries.min(8))).min(RETRY_MAX));
    }
    Mounting::Retry(if worker.mount_tries < FAST_POLLS { POLL } else { SLOW_POLL })
}

/// The identity of a volume that needs no storage; `None` for claims.
fn set_up(
    worker: &Worker,
    volume: &Volume,
    desk: &mut Desk<'_, '_>,
) -> Result<Option<String>, String> {
    let of_pod = |class: &str| format!("{class}/{}/{}", worker.uid, volume.name);
    if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
        return Ok(None);
    }
    if let Some(path) = &volume.host_path {
        return Ok(Some(format!("hostPath/{}{}", desk.agent.name, path.path)));
    }
    if let Some(nfs) = &volume.nfs {
        return Ok(Some(format!("nfs/{}{}", nfs.server, nfs.path)));
    }
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let content = config_map(worker, &source.name, source.items.as_deref(), optional, desk)?;
        desk.machines.fill_volume(&of_pod("configMap"), content);
        return Ok(Some(of_pod("configMap")));
    }
    if let Some(source) = &volume.secret {
        let (name, optional) = (source.secret_name.as_deref(), source.optional == Some(true));
        let content = secret(worker, name.unwrap_or(""), source.items.as_deref(), optional, desk)?;
        desk.machines.fill_volume(&of_pod("secret"), content);
        return Ok(Some(of_pod("secret")));
    }
    if let Some(projected) = &volume.projected {
        let mut content = BTreeMap::new();
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                let items = map.items.as_deref();
                content.extend(config_map(worker, &map.name, items, optional, desk)?);
            }
            if let Some(from) = &source.secret {
                let optional = from.optional == Some(true);
                let items = from.items.as_deref();
                content.extend(secret(worker, &from.name, items, optional, desk)?);
            }
        }
        desk.machines.fill_volume(&of_pod("projected"), content);
        return Ok(Some(of_pod("projected")));
    }
    let class = if volume.downward_api.is_some() { "downwardAPI" } else { "emptyDir" };
    Ok(Some(of_pod(class)))
}

type Content = BTreeMap<String, Bytes>;

fn config_map(
    worker: &Worker,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: bool,
    desk: &Desk<'_, '_>,
) -> Result<Content, String> {
    let Some(map) = desk.cx.api.get::<ConfigMap>(&worker.namespace, name) else {
        let missing = format!("configmap {name:?} not found");
        return if optional { Ok(Content::new()) } else { Err(missing) };
    };
    let texts = map.data.iter().flatten();
    let binary = map.binary_data.iter().flatten();
    let all = texts
        .map(|(key, value)| (key.clone(), Bytes::from(value.clone())))
        .chain(binary.map(|(key, value)| (key.clone(), Bytes::from(value.0.clone()))))
        .collect();
    select(all, items, optional)
}

fn secret(
    worker: &Worker,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: bool,
    desk: &Desk<'_, '_>,
) -> Result<Content, String> {
    let Some(secret) = desk.cx.api.get::<Secret>(&worker.namespace, name) else {
        let missing = format!("secret {name:?} not found");
        return if optional { Ok(Content::new()) } else { Err(missing) };
    };
    let data = secret.data.iter().flatten();
    let all = data.map(|(key, value)| (key.clone(), Bytes::from(value.0.clone()))).collect();
    select(all, items, optional)
}

/// The keys that are asked for, at their paths.
fn select(all: Content, items: Option<&[KeyToPath]>, optional: bool) -> Result<Content, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else { return Ok(all) };
    let mut content = Content::new();
    for item in items {
        match all.get(&item.key) {
            Some(value) => {
                content.insert(item.path.clone(), value.clone());
            }
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(content)
}

/// The mounts of a container.
pub(super) fn mounts_of(container: &Container, volumes: &[(String, String)]) -> Vec<Mount> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .filter_map(|mount| {
            let (_, identity) = volumes.iter().find(|(name, _)| *name == mount.name)?;
            let computed = ["configMap/", "secret/", "projected/", "downwardAPI/"];
            let of_kubelet = computed.iter().any(|class| identity.starts_with(class));
            Some(Mount {
                path: mount.mount_path.clone(),
                volume: identity.clone(),
                sub_path: mount.sub_path.clone().unwrap_or_default(),
                read_only: mount.read_only == Some(true) || of_kubelet,
            })
        })
        .collect()
}
