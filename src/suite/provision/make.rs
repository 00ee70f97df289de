//! Making: a kind cluster with add-ons, or nothing at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    Fate, KindWish, Made, Provisioned, Wanted, Workshop, all_gone, check_version, load, needed,
    objects, or_nothing, unless_interrupted,
};
use crate::addons::{self, AddOn, CephMount, Loaded, Plan, Setup};
use crate::base::Error;
use crate::engine::host::loops::{self, LoopDevice};
use crate::engine::host::{FileLock, LEASE_LABEL, Lease, Paths, Programs, Thing, adopt};
use crate::engine::kind::{self, Containers, ExtraMount, Kept, KindCluster, KindNodes, KindSpec};
use crate::engine::real::{Given, RealCluster};
use crate::engine::{Capability, Engine as _, FrontDoor};
use crate::load::{Call, Connection, Target, TcpTransport, Transport as _};
use crate::stack::Stack;
use crate::suite::http::PATIENCE;
use crate::wait::doing;

/// Size of a disk for Ceph: it takes no less than 5 GB; the file is sparse.
const OSD_BYTES: u64 = 10 << 30;
/// What Rook needs to see of the host to use loop devices.
const DEVICE_FOLDERS: [&str; 2] = ["/dev", "/run/udev"];
/// A host that no Ingress has.
const NOBODY: &str = "nobody.seatrial.invalid";

/// Makes the cluster, or takes over one that was kept.
pub(super) async fn make(
    wanted: &Wanted,
    wish: &KindWish,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<Provisioned, Error> {
    let needed = needed(stack);
    let loading = load(wanted, &needed, &workshop.paths);
    let loaded = unless_interrupted(workshop, loading).await??;
    loaded.iter().filter_map(|each| each.warning.as_deref()).for_each(|line| (workshop.tell)(line));
    let name = kind::fresh_name();
    let spec = spec(wanted, wish, stack, &loaded, &name)?;
    let asking = Containers::detect(&workshop.programs, &wish.hints);
    let asking = doing("ask the container engine", asking);
    let containers = unless_interrupted(workshop, asking).await??;
    let reserved = match wish.reuse {
        true => {
            let taking = Reserved::take(&spec, stack, &loaded, &containers, workshop);
            Some(unless_interrupted(workshop, taking).await??)
        }
        false => None,
    };
    let id = reserved.as_ref().map_or(name.as_str(), |reserved| &reserved.id);
    let containers = containers.under(id);
    let kept = match &reserved {
        Some(reserved) => {
            let finding = reserved.find(wanted, &containers, workshop);
            doing("look for a kept cluster", finding).await?
        }
        None => None,
    };
    let (lease, kept) = match kept {
        Some((lease, cluster)) => (lease, Some(cluster)),
        None => (Lease::take(&workshop.paths.leases(), id, wanted.purpose)?, None),
    };
    let heartbeat = lease.heartbeat();
    let site = Site { wanted, stack, workshop, containers: &containers, lease: &lease };
    let raised = site.raise(spec, kept, loaded);
    let (engine, cluster, nodes) = or_nothing(workshop, &lease, raised).await?;
    let made = Made { cluster, nodes, reuse: reserved.map(|reserved| reserved.lock) };
    Ok(Provisioned {
        engine: Arc::new(engine),
        lease,
        _heartbeat: heartbeat,
        workshop: workshop.clone(),
        made: Some(made),
    })
}

/// The place of a cluster that runs share, held by this one.
pub(super) struct Reserved {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) lock: FileLock,
}

impl Reserved {
    async fn take(
        spec: &KindSpec,
        stack: &Stack,
        loaded: &[Loaded],
        containers: &Containers,
        workshop: &Workshop,
    ) -> Result<Reserved, Error> {
        let key = key(spec, stack, loaded, containers)?;
        let lock = doing("wait for the shared cluster", kind::lock(&key, &workshop.paths)).await?;
        Ok(Reserved { id: kind::lease_id(&key), key, lock })
    }

    /// The cluster that was kept, if it can still be used; one that cannot is removed.
    pub(super) async fn find(
        &self,
        wanted: &Wanted,
        containers: &Containers,
        workshop: &Workshop,
    ) -> Result<Option<(Lease, KindCluster)>, Error> {
        let kept = kind::find(&self.key, containers, &workshop.paths).await?;
        let Some(lease) = adopt(&workshop.paths, &self.id, wanted.purpose).await? else {
            return Ok(None);
        };
        match kept {
            Kept::Usable(cluster) => {
                // Who is killed in use leaves cordons, taints and pods behind: nothing for the next user.
                lease.keep_no_more()?;
                return Ok(Some((lease, *cluster)));
            }
            Kept::Broken { name, why } => (workshop.tell)(&format!(
                "cluster {name} cannot be used any more and is made anew: {why}"
            )),
            Kept::None => {}
        }
        all_gone(workshop, &lease).await?;
        Ok(None)
    }
}

/// Whether the cluster that `--reuse` would use runs.
///
/// # Errors
/// As [`make`], until it makes something.
pub(super) async fn is_there(
    wanted: &Wanted,
    wish: &KindWish,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<bool, Error> {
    let Workshop { paths, programs, .. } = workshop;
    // The add-ons are part of the key, and not worth a download before one of them can matter.
    let mut leases = std::fs::read_dir(paths.leases()).into_iter().flatten().flatten();
    let shared = kind::lease_id("");
    let is_any = leases.any(|file| file.file_name().to_string_lossy().starts_with(&shared));
    if !wish.reuse || !is_any {
        return Ok(false);
    }
    let loaded = load(wanted, &needed(stack), paths).await?;
    let spec = spec(wanted, wish, stack, &loaded, "")?;
    let containers = Containers::detect(programs, &wish.hints).await?;
    kind::runs(&key(&spec, stack, &loaded, &containers)?, &containers, paths).await
}

/// The add-ons are part of it as they are installed: a folder can change under its name, and what this
/// program changes in them may be another with each version of it.
pub(super) fn key(
    spec: &KindSpec,
    stack: &Stack,
    loaded: &[Loaded],
    containers: &Containers,
) -> Result<String, Error> {
    let setup = setup(stack);
    let contents = loaded.iter().map(|addon| addons::content(addon, &setup));
    kind::reuse_key(spec, &contents.collect::<Result<Vec<_>, _>>()?, containers.engine())
}

/// Where a cluster is brought up, and for what.
struct Site<'a> {
    wanted: &'a Wanted,
    stack: &'a Stack,
    workshop: &'a Workshop,
    containers: &'a Containers,
    lease: &'a Lease,
}

impl Site<'_> {
    /// Brings up cluster and add-ons; what is made is in the lease before it is.
    async fn raise(
        &self,
        mut spec: KindSpec,
        kept: Option<KindCluster>,
        loaded: Vec<Loaded>,
    ) -> Result<(RealCluster, KindCluster, Arc<KindNodes>), Error> {
        let mut setup = setup(self.stack);
        setup.labels = BTreeMap::from([(LEASE_LABEL.to_owned(), self.lease.id().to_owned())]);
        let is_new = kept.is_none();
        if is_new && addons::wants_devices(&loaded) {
            setup.devices =
                attach_disks(&spec, &self.workshop.paths, self.containers, self.lease).await?;
        }
        let plan = Plan { addons: loaded, setup, probe: None };
        spec.wanted_images.extend(addons::images_of(&plan)?);
        let (paths, tell) = (&self.workshop.paths, &*self.workshop.tell);
        let cluster = match kept {
            Some(mut cluster) => {
                // The machine may have been off since.
                kind::make_sys_writable(&mut cluster, &spec, self.containers, tell).await;
                kind::refresh(&cluster, &spec, self.containers).await?;
                cluster
            }
            None => kind::create(&spec, self.containers, self.lease, paths, tell).await?,
        };
        let nodes = Arc::new(KindNodes::new(self.containers.clone(), &cluster));
        let engine = connect(&cluster, &nodes).await?;
        check_version(&engine, self.wanted.kubernetes)?;
        if is_new {
            let probe = Some(probe(engine_door(&cluster).http));
            addons::install(&engine.client(), &Plan { probe, ..plan }).await?;
        }
        Ok((engine, cluster, nodes))
    }
}

/// The commands of a run, with nothing run: as if the engine had all images.
pub(super) async fn dry_run(
    wanted: &Wanted,
    wish: &KindWish,
    stack: &Stack,
    paths: &Paths,
    fate: Fate,
) -> Result<Vec<String>, Error> {
    let programs = Programs::dry();
    let loaded = load(wanted, &needed(stack), paths).await?;
    let name = "st-example".to_owned();
    let mut spec = spec(wanted, wish, stack, &loaded, &name)?;
    let containers = Containers::detect(&programs, &wish.hints).await?;
    let wants_devices = addons::wants_devices(&loaded);
    let plan = Plan { addons: loaded, setup: setup(stack), probe: None };
    spec.wanted_images.extend(addons::images_of(&plan)?);
    let folder = tempfile::tempdir().map_err(|error| Error::environment(error.to_string()))?;
    let lease = Lease::take(folder.path(), &name, wanted.purpose)?;
    if wants_devices {
        attach_disks(&spec, paths, &containers, &lease).await?;
    }
    kind::create(&spec, &containers, &lease, paths, &|_| {}).await?;
    if fate == Fate::Remove && !wish.reuse {
        kind::delete(&containers, &name, &lease, paths).await?;
        for thing in lease.things() {
            if let Thing::LoopDevice { device, file } = thing {
                loops::detach(&programs, &lease, &LoopDevice { device, file }).await?;
            }
        }
    }
    Ok(programs.written_down())
}

fn spec(
    wanted: &Wanted,
    wish: &KindWish,
    stack: &Stack,
    loaded: &[Loaded],
    name: &str,
) -> Result<KindSpec, Error> {
    let extra_mounts = match addons::wants_devices(loaded) {
        true => DEVICE_FOLDERS.iter().map(|folder| ExtraMount::host_to_container(folder)).collect(),
        false => Vec::new(),
    };
    Ok(KindSpec {
        name: Some(name.to_owned()),
        workers: wish.workers,
        node_image: wish.node_image.clone(),
        kubernetes: wanted.kubernetes,
        topology: wish.topology.clone(),
        images: wish.images.clone(),
        wanted_images: stack.images(),
        // Whoever brings archives means to do without a network.
        registry: wish.images.is_none(),
        extra_mounts,
        writable_sys: loaded.iter().any(|each| each.addon == AddOn::RookCeph),
    })
}

fn setup(stack: &Stack) -> Setup {
    Setup {
        kind: true,
        ceph_mount: if kernel_mounts_ceph() { CephMount::Kernel } else { CephMount::Fuse },
        storage: addons::storage_of(objects(stack)),
        ..Setup::default()
    }
}

/// Whether the kernel, which all nodes share, has the CephFS client, built in or as a module.
fn kernel_mounts_ceph() -> bool {
    let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let module = Path::new("/lib/modules").join(release.trim()).join("kernel/fs/ceph");
    listed.lines().any(|line| line.trim_start_matches("nodev").trim() == "ceph") || module.is_dir()
}

/// A disk for each worker: attached before the cluster is made, because a node sees the devices
/// that were there when it started.
async fn attach_disks(
    spec: &KindSpec,
    paths: &Paths,
    containers: &Containers,
    lease: &Lease,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let name = spec.name.as_deref().unwrap_or_default();
    let mut devices = BTreeMap::new();
    for node in spec.topology()?.nodes(name).into_iter().filter(|node| node.worker) {
        let file = format!("{}.img", node.name);
        let disk = loops::attach(paths, containers.programs(), lease, &file, OSD_BYTES);
        devices.insert(node.name, disk.await?.device);
    }
    Ok(devices)
}

async fn connect(cluster: &KindCluster, nodes: &Arc<KindNodes>) -> Result<RealCluster, Error> {
    let given = Given {
        name: "kind",
        front_door: engine_door(cluster),
        capabilities: vec![
            Capability::NodeLifecycle,
            Capability::NodeChanges,
            Capability::ContainerPause,
        ],
        nodes: Some(Arc::clone(nodes) as _),
        containers: Some(Arc::clone(nodes) as _),
        memory_kills: Some(Arc::clone(nodes) as _),
        logs: Some(Arc::clone(nodes) as _),
    };
    RealCluster::connect(&cluster.access(), given).await
}

fn engine_door(cluster: &KindCluster) -> FrontDoor {
    let target = |port, tls| Target { host: "127.0.0.1".to_owned(), port, tls };
    FrontDoor {
        http: target(cluster.http_port, None),
        https: target(cluster.https_port, Some("localhost".to_owned())),
    }
}

/// Asks the front door for a host that nobody has.
pub(super) fn probe(door: Target) -> addons::Probe {
    let transport = Arc::new(TcpTransport::new());
    Arc::new(move || {
        let (transport, target) = (Arc::clone(&transport), door.clone());
        Box::pin(async move {
            let request = http::Request::get("/").header(http::header::HOST, NOBODY);
            let request = request.body(bytes::Bytes::new()).map_err(|error| error.to_string())?;
            let call = Call { target, connection: Connection::Fresh, request, timeout: PATIENCE };
            match transport.call(call).await {
                Ok(answer) => Ok(answer.response.status().as_u16()),
                Err(failed) => Err(format!("{:?}", failed.failure)),
            }
        })
    })
}
