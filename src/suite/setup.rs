//! Setup: applies the stack, waits until it is whole, finds the way in, installs the app.

use std::cell::RefCell;

use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, ResourceExt as _};

use crate::base::secs;
use crate::k8s::annotation_flag;
use crate::load::Target;
use crate::observe::{CauseClass, Verdict};
use crate::wait::{self, Deadline, STACK_READY, Scope};

use super::blame::cause_of;
use super::discover::{missing_port, objects_of, unheard_port};
use super::http::Door;
use super::paths::{Unserved, candidates};
use super::stop::Stop;
use super::target::{Front, IngressHost, Program, WayIn, Workload};
use super::trial::{Entry, Trial};

/// Fresh connections that must be answered in a row before a scenario begins: with three
/// replicas behind a random choice, one that does not answer is missed once in 3,000 trials.
const N_ANSWERED: usize = 20;
/// Redirects to HTTPS without a certificate of the host's own as well.
const FORCE_HTTPS: &str = "nginx.ingress.kubernetes.io/force-ssl-redirect";
/// Kubernetes labels its control-plane nodes so (since 1.20; the older label went in 1.24).
const CONTROL_PLANE_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// A whole stack that is up answers soon.
const ANSWERS: Deadline =
    Deadline::new(secs(300), "the database initialises and restarts back off for up to 80 s");
/// Without a database there is less to wait for; the limit is the same.
const ANSWERS_ALONE: Deadline =
    Deadline::new(secs(300), "programs start and restart, and the proxies learn of their pods");

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
        let (door, cheap_path) = self.find_cheap_path(door).await?;
        let page_path = match self.target().front.program {
            Program::WordPress => "/".to_owned(),
            Program::Other => cheap_path.clone(),
        };
        self.set_entry(Entry { door, cheap_path, page_path });
        self.await_steady().await
    }

    async fn await_workload(&self, workload: &Workload) -> Result<(), Stop> {
        self.lower_to_wish(workload).await?;
        let stop = match self.settled(workload).await {
            Ok(()) => return Ok(()),
            Err(stop) if stop.verdict != Verdict::Failed || !stop.causes.is_empty() => stop,
            Err(stop) => match self.blocked(workload).await.or_else(|| self.idle_database()) {
                Some(cause) => stop.because(cause),
                None => {
                    let (field, object) = (workload.container_field(""), workload.reference());
                    stop.because(self.cause_at(CauseClass::NeverReady, &object, &field))
                }
            },
        };
        Err(stop)
    }

    async fn settled(&self, workload: &Workload) -> Result<(), Stop> {
        self.rolled_out(workload, STACK_READY).await?;
        if self.autoscaler_of(workload).is_some() {
            return self.await_rest(workload).await;
        }
        wait::until(&self.scope_of(workload), &wait::pods_ready(), STACK_READY).await?;
        Ok(())
    }

    /// The way in to the front: the Ingress host, or a node port.
    async fn find_door(&self) -> Result<Door, Stop> {
        let front = &self.target().front;
        let doors = self.engine().front_door();
        match &front.way_in {
            WayIn::Ingress(Some(host)) => {
                let is_secure = host.secret.is_some() || self.forces_https(host);
                Ok(if is_secure { self.secure_door(host) } else { self.plain_door(host) })
            }
            WayIn::Ingress(None) => Ok(Door { host: authority(&doors.http), target: doors.http }),
            WayIn::NodePort => self.node_port(front).await,
            WayIn::OtherIngress => Err(self
                .left_to_others()
                .unwrap_or_else(|| Stop::errored("no Ingress of another class is known"))),
        }
    }

    /// The plain way in to `host`.
    pub fn plain_door(&self, host: &IngressHost) -> Door {
        Door { target: self.engine().front_door().http, host: host.name() }
    }

    /// The way in over TLS to `host`.
    pub fn secure_door(&self, host: &IngressHost) -> Door {
        let name = host.name();
        let target = Target { tls: Some(name.clone()), ..self.engine().front_door().https };
        Door { target, host: name }
    }

    /// Whether the Ingress of `host` redirects to HTTPS whether or not it has a certificate
    /// (ingress-nginx `rootfs/etc/nginx/lua/lua_ingress.lua:redirect_to_https`).
    fn forces_https(&self, host: &IngressHost) -> bool {
        let ingress = self.stack().manifest(&host.ingress);
        let flag = ingress.and_then(|it| it.value["metadata"]["annotations"][FORCE_HTTPS].as_str());
        flag.and_then(annotation_flag) == Some(true)
    }

    async fn node_port(&self, front: &Front) -> Result<Door, Stop> {
        let services: Api<Service> = Api::namespaced(self.client(), &front.workload.namespace);
        let service = services.get(&front.service).await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let front_port = ports.iter().find(|port| i64::from(port.port) == front.port);
        let port = front_port.and_then(|port| port.node_port);
        let port = port.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
            self.failed(
                CauseClass::NoIngress,
                "a way in from outside the cluster",
                format!("port {} of Service {} has no node port", front.port, front.service),
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
        Ok(Door { host: authority(&target), target })
    }

    /// Until when a whole stack answers.
    pub(super) fn answers(&self) -> Deadline {
        let target = self.target();
        let has_database = target.database.is_some() || target.front.program == Program::WordPress;
        if has_database { ANSWERS } else { ANSWERS_ALONE }
    }

    /// With the field on the way to the front that leads nowhere, if one does.
    fn misled(&self, stop: Stop, unserved: &Unserved) -> Stop {
        let (objects, front) = (objects_of(self.stack()), &self.target().front);
        let unheard = || unserved.is_refused().then(|| unheard_port(&objects, front)).flatten();
        match missing_port(&objects, front).or_else(unheard) {
            Some(found) => {
                let cause = cause_of(self.stack(), CauseClass::NotServed, &found);
                stop.line(&found.seen).because(cause)
            }
            None if unserved.is_erring => stop.because(self.cause(CauseClass::AppError)),
            None => stop,
        }
    }

    /// A path that is answered, and through which door: where plain HTTP leads to the host's own HTTPS,
    /// that is the door, as it is for a browser.
    async fn find_cheap_path(&self, door: Door) -> Result<(Door, String), Stop> {
        let front = &self.target().front;
        let candidates = candidates(front, self.probed_path());
        let last = RefCell::new(Unserved::default());
        let search = async || {
            let mut door = door.clone();
            let mut served = self.served_path(&door, &candidates).await;
            if let (Err(unserved), WayIn::Ingress(Some(host))) = (&served, &front.way_in)
                && unserved.leads_to_https
            {
                door = self.secure_door(host);
                served = self.served_path(&door, &candidates).await;
            }
            served.map(|path| (door, path)).map_err(|unserved| {
                let seen = unserved.to_string();
                last.replace(unserved);
                seen
            })
        };
        let expected = format!("a page of {} is answered with 200", door.url(front.routes.base()));
        wait::until_ok(&expected, self.answers(), search).await.map_err(|error| {
            let unserved = last.take();
            if unserved.is_up {
                let seen = format!("{unserved}: it is up, and no path is known to ask for");
                return Stop::inconclusive(&expected, seen);
            }
            self.misled(Stop::from(error), &unserved)
        })
    }

    /// The path that the readiness probe of the container that serves asks for.
    fn probed_path(&self) -> Option<String> {
        let front = &self.target().front.workload;
        let field = format!(
            "/spec/template/spec/containers/{}/readinessProbe/httpGet/path",
            front.container
        );
        let manifest = self.stack().manifest(&front.reference())?;
        let path = manifest.value.pointer(&field)?.as_str()?;
        path.starts_with('/').then(|| path.to_owned())
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
        wait::until_ok("every replica answers", self.answers(), try_all).await?;
        Ok(())
    }
}

/// The name to ask for where an address is all there is.
fn authority(target: &Target) -> String {
    let host = match target.host.contains(':') {
        true => format!("[{}]", target.host),
        false => target.host.clone(),
    };
    if target.port == 80 { host } else { format!("{host}:{}", target.port) }
}
