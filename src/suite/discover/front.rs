//! The front: one way in, the rule that a request there takes, and the workload behind it, chosen
//! together, so that load and actions meet the same pods.

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::is_backend_port;
use crate::suite::routes::{Destination, Route, Routes};
use crate::suite::target::{Front, Program, WayIn, Workload};

use super::dangling::backend_without_service;
use super::database::is_engine;
use super::door::other_door;
use super::{
    Found, NoTarget, autoscaler_of, image_name, ingress_hosts, is_custom, items, listening,
    of_kind, selects, surge_of, target_port, text, workload_behind,
};

/// Marks an Ingress that takes a share of another's requests.
const CANARY: &str = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary";
/// What users reach: behind the first host of an Ingress that leads to a workload of the stack, else
/// behind a rule without a host, else behind the first Service with a node port.
///
/// # Errors
/// There is no way in, or none to something that scenarios can act on.
pub(super) fn front(objects: &[(ObjectRef, &Value)]) -> Result<Front, NoTarget> {
    let mut unusable = None;
    for (host, routes) in servers(objects) {
        // What takes the front page first, then what else the host serves.
        let order = Routes::taken(&routes, "/").into_iter().chain(0..routes.len());
        for idx in order {
            let Some(to) = routes.get(idx).map(|route| route.to.clone()) else { continue };
            let Some(service) = service_of(objects, &to) else { continue };
            match behind(objects, service) {
                Ok(workload) => {
                    let port = named_port(service.1, to.port.as_ref());
                    let known = ingress_hosts(objects);
                    let known = known.into_iter().find(|known| Some(&known.host) == host.as_ref());
                    let routes = Routes::new(routes, idx);
                    return Ok(made(
                        objects,
                        service,
                        port,
                        workload,
                        WayIn::Ingress(known),
                        routes,
                    ));
                }
                Err(reason) => _ = unusable.get_or_insert(reason),
            }
        }
    }
    if let Some(reason) = unusable {
        return Err(reason);
    }
    let open = of_kind(objects, "Service").filter(|(_, value)| {
        matches!(
            value.pointer("/spec/type").and_then(Value::as_str),
            Some("NodePort" | "LoadBalancer")
        )
    });
    for service in open {
        match behind(objects, service) {
            Ok(workload) => {
                let (port, routes) = (web_port(service.1), Routes::all(destination(service.0)));
                return Ok(made(objects, service, port, workload, WayIn::NodePort, routes));
            }
            Err(reason) => _ = unusable.get_or_insert(reason),
        }
    }
    let dangling = || backend_without_service(objects).map(Box::new).map(NoTarget::Dangling);
    Err(unusable.or_else(dangling).or_else(|| other_door(objects)).unwrap_or_else(|| {
        NoTarget::NoWayIn(
            closed_door(objects),
            "the stack has no front door: no Ingress that names one of its Services, and no \
             Service of type NodePort"
                .to_owned(),
        )
    }))
}

fn made(
    objects: &[(ObjectRef, &Value)],
    (service, _): Found<'_>,
    port: Option<&Value>,
    mut workload: Workload,
    way_in: WayIn,
    routes: Routes,
) -> Front {
    let manifest = objects.iter().find(|(object, _)| *object == workload.reference());
    workload.container = manifest.map_or(0, |(_, value)| listening(value, &target_port(port)));
    let is_wordpress =
        workload.containers.iter().any(|(_, image)| image_name(image) == "wordpress");
    let autoscaler = autoscaler_of(objects, &workload);
    if let (Some(autoscaler), Some((_, value))) = (&autoscaler, manifest) {
        // Shares are of the replicas there are, not of those in the manifest.
        workload.surge = surge_of(value, workload.kind, autoscaler.min);
    }
    // A WordPress below a path is known to nobody here.
    let is_whole = ["/", "/wp-login.php"].iter().all(|path| routes.lead_to_front(path));
    Front {
        autoscaler,
        service: service.name.clone(),
        port: port.and_then(|port| port.get("port")?.as_i64()).unwrap_or(80),
        program: if is_wordpress && is_whole { Program::WordPress } else { Program::Other },
        workload,
        way_in,
        routes,
    }
}

/// The rules of each host, those without a host last; in one host the first Ingress comes first.
fn servers(objects: &[(ObjectRef, &Value)]) -> Vec<(Option<String>, Vec<Route>)> {
    let mut servers: Vec<(Option<String>, Vec<Route>)> = Vec::new();
    let mut add = |host: Option<String>, routes: Vec<Route>| match servers
        .iter_mut()
        .find(|(known, _)| *known == host)
    {
        Some((_, known)) => known.extend(routes),
        None => servers.push((host, routes)),
    };
    for (ingress, value) in of_kind(objects, "Ingress") {
        if text(value, CANARY).as_deref() == Some("true") {
            continue;
        }
        let all = value
            .pointer("/spec/defaultBackend")
            .or_else(|| value.pointer("/spec/backend"))
            .and_then(|backend| backend_of(ingress, backend))
            .map(Route::all);
        for rule in items(value, "/spec/rules") {
            let routes = items(rule, "/http/paths").filter_map(|path| {
                let to = backend_of(ingress, path.get("backend")?)?;
                let named = text(path, "/path").unwrap_or_default();
                Some(Route::new(&named, &text(path, "/pathType").unwrap_or_default(), to))
            });
            let routes = routes.chain(all.clone()).collect();
            add(text(rule, "/host").filter(|host| !host.is_empty()), routes);
        }
        if items(value, "/spec/rules").next().is_none() {
            add(None, all.into_iter().collect());
        }
    }
    servers.sort_by_key(|(host, _)| host.is_none());
    servers
}

/// A path that the rules of `host` take, the front page if they do, and whether all below it is
/// taken as well.
pub(super) fn main_path(objects: &[(ObjectRef, &Value)], host: &str) -> (String, bool) {
    let mut servers = servers(objects).into_iter();
    let routes = servers.find(|(known, _)| known.as_deref() == Some(host));
    let routes = routes.map_or_else(Vec::new, |(_, routes)| routes);
    if routes.is_empty() {
        return ("/".to_owned(), true);
    }
    let main = Routes::taken(&routes, "/").unwrap_or(0);
    let routes = Routes::new(routes, main);
    (routes.base().to_owned(), routes.below("/seatrial").is_some())
}

fn backend_of(ingress: &ObjectRef, backend: &Value) -> Option<Destination> {
    let service = text(backend, "/service/name").or_else(|| text(backend, "/serviceName"))?;
    let port = ["/service/port/name", "/service/port/number", "/servicePort"];
    let port = port.iter().find_map(|pointer| backend.pointer(pointer));
    Some(Destination {
        namespace: ingress.namespace.clone(),
        service,
        port: port.and_then(|port| serde_json::from_value(port.clone()).ok()),
    })
}

fn destination(service: &ObjectRef) -> Destination {
    Destination { namespace: service.namespace.clone(), service: service.name.clone(), port: None }
}

fn service_of<'a>(objects: &'a [(ObjectRef, &'a Value)], to: &Destination) -> Option<Found<'a>> {
    of_kind(objects, "Service")
        .find(|(object, _)| object.name == to.service && object.namespace == to.namespace)
}

/// The port of a Service that a rule means, as the controller finds it, else its first.
fn named_port<'a>(service: &'a Value, named: Option<&IntOrString>) -> Option<&'a Value> {
    let is_named = |port: &&Value| {
        let port = serde_json::from_value::<ServicePort>((*port).clone());
        named.is_some_and(|named| port.is_ok_and(|port| is_backend_port(&port, named)))
    };
    let mut ports = items(service, "/spec/ports");
    ports.find(is_named).or_else(|| items(service, "/spec/ports").next())
}

/// The port of a Service that users ask for pages: one called so, else one with a usual number, else
/// the first.
fn web_port(service: &Value) -> Option<&Value> {
    let ports = || items(service, "/spec/ports");
    let called = ports().find(|port| is_called_web(port));
    called.or_else(|| ports().find(|port| is_usual_web(port))).or_else(|| ports().next())
}

fn is_called_web(port: &Value) -> bool {
    let name = text(port, "/name").unwrap_or_default();
    name == "web" || (name.starts_with("http") && !name.starts_with("https"))
}

fn is_usual_web(port: &Value) -> bool {
    port.get("port").and_then(Value::as_i64).is_some_and(|port| [80, 8080].contains(&port))
}

/// The Service that users would want to reach: of those with a workload behind them, and no database,
/// one that serves pages, else the only one.
fn closed_door(objects: &[(ObjectRef, &Value)]) -> Option<ObjectRef> {
    let serves = |each: &Found<'_>| {
        let workload = behind(objects, *each);
        workload.is_ok_and(|front| !front.containers.iter().any(|(_, image)| is_engine(image)))
    };
    let services = || of_kind(objects, "Service").filter(serves);
    let serves_pages = |(_, service): &Found<'_>| {
        items(service, "/spec/ports").any(|port| is_called_web(port) || is_usual_web(port))
    };
    let only = || services().next().filter(|_| services().nth(1).is_none());
    let found = services().find(serves_pages).or_else(only);
    found.map(|(service, _)| service.clone())
}

/// The workload behind a Service.
///
/// # Errors
/// Why scenarios cannot act on what is behind it.
fn behind(
    objects: &[(ObjectRef, &Value)],
    (service, value): Found<'_>,
) -> Result<Workload, NoTarget> {
    if let Some(workload) = workload_behind(objects, service, value) {
        return Ok(workload);
    }
    let others = objects.iter().filter(|(object, _)| object.namespace == service.namespace);
    let other = others.clone().find(|(_, other)| selects(value, other));
    if let Some((other, _)) = other {
        return Err(NoTarget::NotJudged(format!(
            "users reach {service}, whose pods are those of {other}: scenarios act on Deployments \
             and StatefulSets"
        )));
    }
    let mut selected = value.pointer("/spec/selector").and_then(Value::as_object).into_iter();
    if selected.all(serde_json::Map::is_empty) {
        return Err(NoTarget::NotJudged(format!(
            "users reach {service}, which has no selector: which pods serve them is not known"
        )));
    }
    let reason = format!("{service} selects no Deployment or StatefulSet of the stack");
    if let Some((custom, _)) = others.into_iter().find(|(_, object)| is_custom(object)) {
        return Err(NoTarget::NotJudged(format!("{reason}; {custom} may make pods for it")));
    }
    Err(NoTarget::NoPods(service.clone(), reason))
}

#[cfg(test)]
mod tests;
