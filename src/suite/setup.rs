//! Setup: applies the stack, waits until it is whole, finds the way in, installs the app.

use http::Method;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, ResourceExt as _};

use crate::base::secs;
use crate::load::{Connection, Target};
use crate::observe::{CauseClass, Verdict};
use crate::wait::{self, Deadline, STACK_READY, Scope};

use super::http::Door;
use super::stop::Stop;
use super::target::{Program, Workload};
use super::trial::{Entry, Trial};
use super::wordpress::WordPress;

/// Fresh connections that must be answered in a row before a scenario begins: with three
/// replicas behind a random choice, one that does not answer is missed once in 3,000 trials.
const N_ANSWERED: usize = 20;
/// Paths of static files, cheapest first, and the front page.
const CHEAP_PATHS: [&str; 4] =
    ["/wp-includes/images/blank.gif", "/readme.html", "/license.txt", "/"];
/// Kubernetes labels its control-plane nodes so (since 1.20; the older label went in 1.24).
const CONTROL_PLANE_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// A whole stack that is up answers soon.
const ANSWERS: Deadline =
    Deadline::new(secs(300), "the database initialises and restarts back off for up to 80 s");

impl Trial {
    /// Applies the stack.
    ///
    /// # Errors
    /// What the API refused.
    pub(super) async fn apply(&self) -> Result<(), Stop> {
        Ok(self.stack().apply(&self.client()).await?)
    }

    /// Waits until the front and the database are rolled out and ready.
    ///
    /// # Errors
    /// What blocks it.
    pub async fn await_ready(&self) -> Result<(), Stop> {
        let front = self.target().front.workload.clone();
        for workload in std::iter::once(&front).chain(&self.target().database) {
            self.await_workload(workload).await?;
        }
        Ok(())
    }

    /// Waits until the applied stack is ready and serves, and the app is installed.
    ///
    /// # Errors
    /// What blocks it.
    pub async fn await_serving(&self) -> Result<(), Stop> {
        self.await_ready().await?;
        let door = self.find_door().await?;
        if self.target().front.program == Program::WordPress {
            self.install(&door).await?;
        }
        let cheap_path = self.find_cheap_path(&door).await?;
        self.set_entry(Entry { door, cheap_path });
        self.await_steady().await
    }

    async fn await_workload(&self, workload: &Workload) -> Result<(), Stop> {
        let blame = |stop: Stop| {
            let field = "spec.template.spec.containers[0]";
            stop.because(self.cause_at(CauseClass::NeverReady, &workload.reference(), field))
        };
        self.lower_to_wish(workload).await?;
        self.rolled_out(workload, STACK_READY).await.map_err(blame)?;
        if self.autoscaler_of(workload).is_some() {
            let rested = self.await_rest(workload).await;
            return rested.map_err(|stop| match stop.verdict {
                Verdict::Inconclusive => stop,
                _ => blame(stop),
            });
        }
        let ready = wait::pods_ready();
        wait::until(&self.scope_of(workload), &ready, STACK_READY)
            .await
            .map_err(|error| blame(Stop::from(error)))?;
        Ok(())
    }

    /// The way in: the first Ingress host, else a node port.
    async fn find_door(&self) -> Result<Door, Stop> {
        if let Some(host) = self.target().hosts.first() {
            let doors = self.engine().front_door();
            let target = if host.secret.is_some() {
                Target { tls: Some(host.host.clone()), ..doors.https }
            } else {
                doors.http
            };
            return Ok(Door { target, host: host.host.clone() });
        }
        let front = &self.target().front;
        let services: Api<Service> = Api::namespaced(self.client(), &front.workload.namespace);
        let service = services.get(&front.service).await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports.iter().find_map(|port| port.node_port);
        let port = port.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
            self.failed(
                CauseClass::NoIngress,
                "a way in from outside the cluster",
                format!("Service {} has no node port, and no Ingress has a host", front.service),
            )
        })?;
        let nodes = Scope::all(Api::<Node>::all(self.client())).list().await?;
        // The control-plane node: no scenario stops it.
        let is_control_plane = |node: &Node| {
            CONTROL_PLANE_LABELS.iter().any(|label| node.labels().contains_key(*label))
        };
        let node = nodes.iter().find(|node| is_control_plane(node)).or(nodes.first());
        let address = node
            .and_then(|node| node.status.as_ref()?.addresses.as_ref())
            .and_then(|addresses| addresses.iter().find(|address| address.type_ == "InternalIP"))
            .ok_or_else(|| Stop::errored("no node has an internal address"))?;
        let target = Target { host: address.address.clone(), port, tls: None };
        Ok(Door { host: format!("{}:{port}", address.address), target })
    }

    async fn install(&self, door: &Door) -> Result<(), Stop> {
        let wordpress = WordPress::new(self, door.clone());
        let installed =
            wait::until_ok("WordPress can be installed", ANSWERS, || wordpress.install());
        installed.await.map_err(|error| {
            let class = CauseClass::AppError;
            Stop::from(error).because(self.cause(class))
        })
    }

    async fn find_cheap_path(&self, door: &Door) -> Result<String, Stop> {
        let try_all = async || {
            let mut seen = String::new();
            for path in CHEAP_PATHS {
                let template = door.template(Method::GET, path)?;
                match self.send(&template, Connection::Fresh).await {
                    Ok(reply) if reply.status == 200 => return Ok(path.to_owned()),
                    Ok(reply) => seen = format!("GET {path}: {}", reply.status),
                    Err(error) => seen = error,
                }
            }
            Err(seen)
        };
        let expected = format!("{} answers with 200", door.url("/"));
        Ok(wait::until_ok(&expected, ANSWERS, try_all).await?)
    }

    /// Waits until every replica answers: many fresh connections in a row.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn await_steady(&self) -> Result<(), Stop> {
        let path = self.cheap_path().to_owned();
        let try_all = async || {
            for _ in 0..N_ANSWERED {
                self.get_ok(&path).await?;
            }
            Ok(())
        };
        wait::until_ok("every replica answers", ANSWERS, try_all).await?;
        Ok(())
    }
}
