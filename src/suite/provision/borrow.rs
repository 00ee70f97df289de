//! Borrowing: a cluster that exists, with nothing taken away from it that is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;

use super::make::probe;
use super::{
    Provisioned, Wanted, Workshop, check_version, load, needed, objects, or_nothing,
    unless_interrupted,
};
use crate::addons::{self, AddOn, Plan, Setup};
use crate::base::{Error, secs};
use crate::engine::FrontDoor;
use crate::engine::host::{LEASE_LABEL, Lease, Thing};
use crate::engine::real::{Access, Given, RealCluster, find_front_door};
use crate::load::Target;
use crate::stack::Stack;
use crate::wait::{Deadline, doing, until_ok};

/// Why Rook is not brought along. Its operator clears disks only while it runs, and nodes keep
/// `/var/lib/rook` (Rook's `ceph-teardown.md`).
const CEPH_STAYS: &str = "a Ceph cluster that Rook makes on the nodes of a cluster that exists could not be \
     taken away again; install Rook by its own means, or name a folder with --addons whose CephCluster \
     is external";

/// Takes the cluster of `access` into use.
pub(super) async fn borrow(
    wanted: &Wanted,
    access: &Access,
    install_addons: bool,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<Provisioned, Error> {
    let client = access.client()?;
    let looking = doing("look for the add-ons of the cluster", missing(&client, stack));
    let missing = unless_interrupted(workshop, looking).await??;
    if !missing.is_empty() && !install_addons {
        return Err(complaint(access, &missing));
    }
    let id = crate::engine::kind::fresh_name();
    let lease = Lease::take(&workshop.paths.leases(), &id, wanted.purpose)?;
    let heartbeat = lease.heartbeat();
    let engine = or_nothing(workshop, &lease, async {
        lease.will_make(Thing::Objects {
            kubeconfig: access.kubeconfigs()?,
            context: access.context.clone().unwrap_or_default(),
        })?;
        if !missing.is_empty() {
            let names = missing.keys().copied().collect();
            let loaded = load(wanted, &names, &workshop.paths).await?;
            if loaded.iter().any(addons::runs_ceph) {
                return Err(Error::environment(CEPH_STAYS));
            }
            let plan = Plan { addons: loaded, setup: setup(&id, stack), probe: None };
            addons::install(&client, &plan).await?;
        }
        let front_door = match needed(stack).contains(&AddOn::IngressNginx) {
            true => {
                let door = find_front_door(access, &client).await?;
                answers(&door.http).await?;
                door
            }
            // A stack without Ingress is reached through its node port.
            false => nowhere(),
        };
        // Nodes of a cluster that others use are neither stopped nor changed.
        let given = Given {
            name: "kubeconfig",
            front_door,
            capabilities: Vec::new(),
            nodes: None,
            containers: None,
            memory_kills: None,
            logs: None,
        };
        let engine = RealCluster::connect_with(access, client.clone(), given).await?;
        check_version(&engine, wanted.kubernetes)?;
        Ok(engine)
    })
    .await?;
    Ok(Provisioned {
        engine: Arc::new(engine),
        lease,
        _heartbeat: heartbeat,
        workshop: workshop.clone(),
        made: None,
    })
}

/// How add-ons are installed under `lease`.
pub(super) fn setup(lease: &str, stack: &Stack) -> Setup {
    Setup {
        borrowed: true,
        labels: BTreeMap::from([(LEASE_LABEL.to_owned(), lease.to_owned())]),
        storage: addons::storage_of(objects(stack)),
        ..Setup::default()
    }
}

async fn answers(door: &Target) -> Result<(), Error> {
    let ask = probe(door.clone());
    let within = Deadline::new(secs(30), "a controller that runs answers at once");
    let expected = format!("the front door at {}:{} answers", door.host, door.port);
    until_ok(&expected, within, || ask())
        .await
        .map(drop)
        .map_err(|error| Error::environment(error.to_string()))
}

fn nowhere() -> FrontDoor {
    let target = Target { host: "127.0.0.1".to_owned(), port: 0, tls: None };
    FrontDoor { http: target.clone(), https: target }
}

/// The add-ons that the stack needs and the cluster lacks, with what needs each, and what was found.
async fn missing(client: &Client, stack: &Stack) -> Result<BTreeMap<AddOn, String>, Error> {
    let mut missing = BTreeMap::new();
    for (addon, by) in addons::needed(objects(stack)) {
        match addons::present(client, addon).await? {
            None => {
                missing.insert(addon, format!("{addon}, which {by} needs"));
            }
            Some(found) => {
                if let Some(trouble) = found.trouble {
                    return Err(Error::environment(format!(
                        "{addon} is in the cluster ({}), but would not work: {trouble}",
                        found.evidence
                    )));
                }
            }
        }
    }
    Ok(missing)
}

fn complaint(access: &Access, missing: &BTreeMap<AddOn, String>) -> Error {
    let lines: Vec<_> = missing.values().map(|line| format!("  {line}")).collect();
    let of_rook = match missing.contains_key(&AddOn::RookCeph) {
        true => "; Rook only with a Ceph outside the cluster, from --addons DIR",
        false => "",
    };
    Error::environment(format!(
        "the cluster of {access} lacks\n{}\ninstall them, or pass --install-addons to have it done \
         and undone by this run{of_rook}",
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_listed_with_what_can_be_done() {
        let access = Access { kubeconfig: None, context: Some("theirs".into()) };
        let lacking = |addon: AddOn| {
            let missing = BTreeMap::from([(addon, format!("{addon}, which X needs"))]);
            complaint(&access, &missing).to_string()
        };
        assert_eq!(
            lacking(AddOn::MetricsServer),
            "the cluster of context `theirs` lacks\n  metrics-server, which X needs\ninstall them, or \
             pass --install-addons to have it done and undone by this run"
        );
        let rook = lacking(AddOn::RookCeph);
        assert!(
            rook.ends_with("; Rook only with a Ceph outside the cluster, from --addons DIR"),
            "{rook}"
        );
    }
}
