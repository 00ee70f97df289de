//! From a request to its answer: route, resolve, verb.

use bytes::Bytes;
use http::Method;

use super::answer::{self, Subject};
use super::call::{Call, resolve};
use super::path::{Route, parse};
use super::watch::Watches;
use super::{discovery, list, metrics, patch, pods, scale, verbs};
use crate::sim::api::{Api, Part, Status};
use crate::sim::context::Cx;
use crate::sim::machines::Machines;

/// The answer to a request.
#[derive(Debug)]
pub enum Served {
    /// A complete response.
    Response(http::Response<Bytes>),
    /// A watch: its lines come as `Output::WatchLine` with this id.
    Watch(u64),
}

/// Answers `request`.
pub fn serve(
    cx: &mut Cx<'_>,
    watches: &mut Watches,
    machines: &Machines,
    request: &http::Request<Bytes>,
) -> Served {
    let served = route(cx, watches, machines, request);
    let code = match &served {
        Served::Response(response) => response.status().as_u16(),
        Served::Watch(_) => 200,
    };
    let (method, path) = (request.method(), request.uri().path());
    cx.trace.line(cx.now, "rest", format_args!("{method} {path} {code}"));
    served
}

fn route(
    cx: &mut Cx<'_>,
    watches: &mut Watches,
    machines: &Machines,
    request: &http::Request<Bytes>,
) -> Served {
    let path = match parse(request.uri().path()) {
        Route::Object(path) => path,
        _ if request.method() != Method::GET => return refused(&not_allowed()),
        Route::Unknown => return refused(&unknown_path()),
        route => {
            let answer = discovery::answer(cx.api, &route);
            return Served::Response(
                answer.unwrap_or_else(|| answer::failure(&unknown_path(), &Subject::default())),
            );
        }
    };
    let call = match resolve(cx.api, path, request) {
        None => return refused(&unknown_path()),
        Some(Err(status)) => return refused(&status),
        Some(Ok(call)) => call,
    };
    if metrics::is_meant(&call) {
        let reply = metrics::answer(cx.api, cx.metrics, &call, request.method());
        let reply = reply.unwrap_or_else(|status| answer::failure(&status, &call.subject()));
        return Served::Response(reply);
    }
    let watches_too = call.query.flag("watch") && call.subresource.is_none();
    if request.method() == Method::GET && watches_too {
        return match watches.open(cx, &call) {
            Ok(id) => Served::Watch(id),
            Err(status) => Served::Response(answer::failure(&status, &call.subject())),
        };
    }
    let reply = perform(cx, machines, &call, request.method());
    Served::Response(reply.unwrap_or_else(|status| answer::failure(&status, &call.subject())))
}

fn perform(
    cx: &mut Cx<'_>,
    machines: &Machines,
    call: &Call<'_>,
    method: &Method,
) -> Result<http::Response<Bytes>, Status> {
    if let (Some(_), Some(subresource)) = (&call.name, &call.subresource) {
        return perform_sub(cx, machines, call, method, subresource);
    }
    let api: &mut Api = cx.api;
    let is_named = call.name.is_some();
    match *method {
        Method::GET if is_named => verbs::get(api, call),
        Method::GET => list::list(api, call),
        Method::POST if !is_named && has_space(call) => verbs::create(api, call),
        Method::PUT if is_named => verbs::update(api, call, Part::Main),
        Method::PATCH if is_named => patch::patch(api, call, Part::Main),
        Method::DELETE if is_named => verbs::delete(api, call),
        Method::DELETE if has_space(call) => verbs::delete_collection(api, call),
        _ => Err(not_allowed()),
    }
}

/// Writes to a namespaced resource name their namespace.
fn has_space(call: &Call<'_>) -> bool {
    !call.resource.namespaced || call.namespace.is_some()
}

fn perform_sub(
    cx: &mut Cx<'_>,
    machines: &Machines,
    call: &Call<'_>,
    method: &Method,
    subresource: &str,
) -> Result<http::Response<Bytes>, Status> {
    let api: &mut Api = cx.api;
    let (kind, resource) = (call.resource.kind.as_str(), &call.resource);
    match (subresource, method) {
        ("status", &Method::GET) if resource.has_status => verbs::get(api, call),
        ("status", &Method::PUT) if resource.has_status => verbs::update(api, call, Part::Status),
        ("status", &Method::PATCH) if resource.has_status => patch::patch(api, call, Part::Status),
        ("scale", &Method::GET) if resource.has_scale => scale::get(api, call),
        ("scale", &Method::PUT) if resource.has_scale => scale::update(api, call),
        ("scale", &Method::PATCH) if resource.has_scale => scale::patch(api, call),
        ("binding", &Method::POST) if kind == "Pod" => pods::bind(api, call),
        ("eviction", &Method::POST) if kind == "Pod" => pods::evict(api, call),
        ("log", &Method::GET) if kind == "Pod" => pods::log(api, machines, call),
        ("finalize", &Method::PUT) if kind == "Namespace" => verbs::finalize(api, call),
        ("status" | "scale" | "binding" | "eviction" | "log" | "finalize", _) => {
            Err(if is_known(call, subresource) { not_allowed() } else { unknown_path() })
        }
        _ => Err(unknown_path()),
    }
}

fn is_known(call: &Call<'_>, subresource: &str) -> bool {
    match subresource {
        "status" => call.resource.has_status,
        "scale" => call.resource.has_scale,
        "finalize" => call.resource.kind == "Namespace",
        _ => call.resource.kind == "Pod",
    }
}

fn unknown_path() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
}

fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status::new(405, "MethodNotAllowed", message)
}

fn refused(status: &Status) -> Served {
    Served::Response(answer::failure(status, &Subject::default()))
}
