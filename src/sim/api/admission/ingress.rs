//! The webhook of ingress-nginx, `validate.nginx.ingress.kubernetes.io`: no two Ingresses for one host
//! and path (`internal/ingress/controller/controller.go:CheckIngress`). It is taken to know every
//! Ingress that is stored; the real one learns of them some milliseconds later.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressClass};

use crate::k8s::is_nginx_ingress;
use crate::sim::api::{Api, Status};

/// Name of the webhook.
const WEBHOOK: &str = "validate.nginx.ingress.kubernetes.io";
/// The annotation of an Ingress that takes a share of another's requests.
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
/// The server of rules without a host (`controller.go:defServerName`).
const NO_HOST: &str = "_";

/// Checks an Ingress about to be stored.
///
/// # Errors
/// 400 (`internal/admission/controller/main.go`), in the words of `webhook/errors/statuserror.go`.
pub(super) fn review(api: &Api, ingress: &Ingress) -> Result<(), Status> {
    if ingress.metadata.deletion_timestamp.is_some() || !is_ours(api, ingress) {
        return Ok(());
    }
    let Some((host, path, owner)) = overlap(&others(api, ingress), ingress) else { return Ok(()) };
    Err(Status::bad_request(format!(
        "admission webhook \"{WEBHOOK}\" denied the request: host \"{host}\" and path \"{path}\" \
         is already defined in ingress {}/{}",
        owner.metadata.namespace.as_deref().unwrap_or(""),
        owner.metadata.name.as_deref().unwrap_or("")
    )))
}

fn is_ours(api: &Api, ingress: &Ingress) -> bool {
    is_nginx_ingress(ingress, |name| api.get::<IngressClass>("", name).map(Arc::as_ref))
}

/// The controller's Ingresses beside `ingress`, the oldest first (`store.go:ListIngresses`).
fn others<'a>(api: &'a Api, ingress: &Ingress) -> Vec<&'a Ingress> {
    let key = |each: &Ingress| (each.metadata.namespace.clone(), each.metadata.name.clone());
    let (all, own) = (api.list::<Ingress>().map(Arc::as_ref), key(ingress));
    let mut others: Vec<&Ingress> =
        all.filter(|each| is_ours(api, each) && key(each) != own).collect();
    others.sort_by_key(|each| each.metadata.creation_timestamp.as_ref().map(|time| time.0));
    others
}

/// The host and path of `ingress` that another has, and which (`controller.go:checkOverlap`). It
/// looks no further than the first path that anyone has, be it `ingress` itself, and whoever bears
/// the canary annotation, with whatever value, is let through.
fn overlap<'a>(
    others: &[&'a Ingress],
    ingress: &'a Ingress,
) -> Option<(String, String, &'a Ingress)> {
    let mut servers = Servers::default();
    others.iter().chain([&ingress]).for_each(|each| servers.add_catch_all(each));
    others.iter().chain([&ingress]).for_each(|each| servers.add(each));
    let (host, path, owners) = paths(ingress).find_map(|(host, path)| {
        let owners = servers.owners(host, path_of(path));
        (!owners.is_empty()).then(|| (host.to_owned(), path_of(path).to_owned(), owners))
    })?;
    if is_marked(ingress) || owners.iter().any(|owner| std::ptr::eq(*owner, ingress)) {
        return None;
    }
    let owner = owners.into_iter().find(|owner| !is_marked(owner))?;
    Some((host, path, owner))
}

/// What nginx would be configured with: the locations of each host (`controller.go:createServers`,
/// `getBackendServers`).
#[derive(Default)]
struct Servers<'a> {
    by_host: BTreeMap<String, Vec<Location<'a>>>,
}

struct Location<'a> {
    path: String,
    is_exact: bool,
    /// None is the backend that answers for what no Ingress defines.
    owner: Option<&'a Ingress>,
}

impl<'a> Servers<'a> {
    /// An Ingress with a backend and no rules has the root of requests that no other host takes.
    fn add_catch_all(&mut self, ingress: &'a Ingress) {
        let spec = ingress.spec.as_ref();
        let backend = spec.and_then(|spec| spec.default_backend.as_ref()?.service.as_ref());
        let has_rules = spec.is_some_and(|spec| spec.rules.iter().flatten().next().is_some());
        let root = &mut self.locations(NO_HOST)[0].owner;
        if backend.is_some() && !has_rules && !is_canary(ingress) && root.is_none() {
            *root = Some(ingress);
        }
    }

    /// The first location of a path tells whether one of the same type is there.
    fn add(&mut self, ingress: &'a Ingress) {
        if is_canary(ingress) {
            return;
        }
        for (host, path) in paths(ingress) {
            // Any other type is a prefix (`internal/k8s/main.go:SetDefaultNGINXPathType`).
            let is_exact = path.path_type == "Exact";
            let locations = self.locations(host);
            match locations.iter_mut().find(|location| location.path == path_of(path)) {
                Some(known) if known.is_exact == is_exact => {
                    known.owner.get_or_insert(ingress);
                }
                _ => {
                    let (path, owner) = (path_of(path).to_owned(), Some(ingress));
                    locations.push(Location { path, is_exact, owner });
                }
            }
        }
    }

    /// The locations of a host, of which the root is there from the start.
    fn locations(&mut self, host: &str) -> &mut Vec<Location<'a>> {
        let root = || vec![Location { path: "/".to_owned(), is_exact: false, owner: None }];
        self.by_host.entry(host.to_owned()).or_insert_with(root)
    }

    fn owners(&self, host: &str, path: &str) -> Vec<&'a Ingress> {
        let locations = self.by_host.get(host).into_iter().flatten();
        locations.filter(|each| each.path == path).filter_map(|each| each.owner).collect()
    }
}

/// The host and path of each rule that leads to a Service.
fn paths(ingress: &Ingress) -> impl Iterator<Item = (&str, &HTTPIngressPath)> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.flat_map(|rule| {
        let host = rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(NO_HOST);
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        paths.filter(|path| path.backend.service.is_some()).map(move |path| (host, path))
    })
}

fn path_of(path: &HTTPIngressPath) -> &str {
    path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/")
}

/// As Go reads a truth value (`annotations/parser/main.go:parseBool`).
fn is_canary(ingress: &Ingress) -> bool {
    matches!(canary(ingress), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn is_marked(ingress: &Ingress) -> bool {
    canary(ingress).is_some()
}

fn canary(ingress: &Ingress) -> Option<&str> {
    ingress.metadata.annotations.as_ref()?.get(CANARY).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::sim::api::{Part, Typed};
    use crate::sim::profile::Profile;

    /// A server with the class `nginx` and another controller's, and the Ingress `default/first` for
    /// `/` and `/blog` of shop.test.
    fn server() -> Api {
        let mut api = Api::new(Profile::NEWEST, 1);
        create::<Namespace>(&mut api, json!({"metadata": {"name": "default"}}));
        for (name, controller) in [("nginx", "k8s.io/ingress-nginx"), ("other", "a.test/b")] {
            let class = json!({"metadata": {"name": name}, "spec": {"controller": controller}});
            create::<IngressClass>(&mut api, class);
        }
        let paths = [("/", "Prefix"), ("/blog", "Exact")];
        api.create(ingress("first", "shop.test", &paths)).expect("the first");
        api
    }

    fn create<T: Typed>(api: &mut Api, value: Value) {
        let object: T = serde_json::from_value(value).expect("an object");
        api.create(object).expect("it is accepted");
    }

    fn ingress(name: &str, host: &str, paths: &[(&str, &str)]) -> Ingress {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let path = |(path, kind): &(&str, &str)| match path.is_empty() {
            true => json!({"pathType": kind, "backend": backend}),
            false => json!({"path": path, "pathType": kind, "backend": backend}),
        };
        let paths: Vec<Value> = paths.iter().map(path).collect();
        let mut rule = json!({"http": {"paths": paths}});
        if !host.is_empty() {
            rule["host"] = host.into();
        }
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"ingressClassName": "nginx", "rules": [rule]},
        }))
        .expect("an Ingress")
    }

    fn annotated(mut ingress: Ingress, key: &str, value: &str) -> Ingress {
        let annotations = ingress.metadata.annotations.get_or_insert_default();
        annotations.insert(key.into(), value.into());
        ingress
    }

    #[rstest]
    #[case::taken("shop.test", &[("/", "Prefix")], Some("/"))]
    #[case::no_path("shop.test", &[("", "ImplementationSpecific")], Some("/"))]
    #[case::taken_exactly("shop.test", &[("/blog", "Exact")], Some("/blog"))]
    #[case::other_host("blog.test", &[("/", "Prefix")], None)]
    #[case::no_host("", &[("/", "Prefix")], None)]
    #[case::other_path("shop.test", &[("/api", "Prefix")], None)]
    #[case::other_type("shop.test", &[("/blog", "Prefix")], None)]
    // The check ends at the first path that is the Ingress's own.
    #[case::taken_after_its_own("shop.test", &[("/api", "Prefix"), ("/", "Prefix")], None)]
    fn a_host_and_path_belong_to_one_ingress(
        #[case] host: &str,
        #[case] paths: &[(&str, &str)],
        #[case] refused: Option<&str>,
    ) {
        let answer = server().create(ingress("second", host, paths));
        let answer = answer.err().map(|status| (status.code, status.reason, status.message));
        let refusal = |path| {
            let message = format!(
                "admission webhook \"validate.nginx.ingress.kubernetes.io\" denied the request: \
                 host \"shop.test\" and path \"{path}\" is already defined in ingress default/first"
            );
            (400, "BadRequest", message)
        };
        assert_eq!(answer, refused.map(refusal));
    }

    #[test]
    fn canaries_and_other_controllers_ingresses_are_not_compared() {
        let second = || ingress("second", "shop.test", &[("/", "Prefix")]);
        let canary = "nginx.ingress.kubernetes.io/canary";
        assert!(server().create(annotated(second(), canary, "true")).is_ok());
        let mut other = annotated(second(), "kubernetes.io/ingress.class", "b");
        other.spec.get_or_insert_default().ingress_class_name = None;
        assert!(server().create(other).is_ok());
        let mut other = second();
        other.spec.get_or_insert_default().ingress_class_name = Some("other".into());
        let mut api = server();
        assert!(api.create(other).is_ok());
        assert!(api.create(ingress("third", "shop.test", &[("/", "Prefix")])).is_err());
    }

    #[test]
    fn a_canary_takes_no_path_and_what_is_deleted_gives_it_back() {
        let mut api = server();
        let canary = "nginx.ingress.kubernetes.io/canary";
        let second = ingress("second", "blog.test", &[("/", "Prefix")]);
        api.create(annotated(second, canary, "true")).expect("a canary");
        api.create(ingress("third", "blog.test", &[("/", "Prefix")])).expect("not taken");
        let options = crate::sim::api::DeleteOptions::default();
        api.delete(crate::sim::api::Kind::INGRESS, "default", "first", &options).expect("deleted");
        api.create(ingress("fourth", "shop.test", &[("/", "Prefix")])).expect("free again");
    }

    #[test]
    fn an_update_may_keep_its_paths_and_may_not_take_anothers() {
        let mut api = server();
        api.create(ingress("second", "blog.test", &[("/", "Prefix")])).expect("its own host");
        let move_to = |api: &mut Api, name: &str, host: &str| {
            let host = host.to_owned();
            api.patch::<Ingress>(Part::Main, "default", name, move |ingress| {
                for rule in ingress.spec.iter_mut().flat_map(|spec| spec.rules.iter_mut()).flatten()
                {
                    rule.host = Some(host.clone());
                }
                ingress.metadata.labels = Some([("a".into(), "b".into())].into());
            })
        };
        assert!(move_to(&mut api, "first", "shop.test").is_ok());
        assert!(move_to(&mut api, "second", "shop.test").is_err_and(|status| status.code == 400));
    }

    #[test]
    fn a_catch_all_takes_the_root_of_requests_without_a_host() {
        let mut api = server();
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let catch_all = json!({
            "metadata": {"name": "all", "namespace": "default"},
            "spec": {"ingressClassName": "nginx", "defaultBackend": backend},
        });
        create::<Ingress>(&mut api, catch_all);
        let refused = api.create(ingress("second", "", &[("/", "Prefix")])).expect_err("taken");
        let taken = "host \"_\" and path \"/\" is already defined in ingress default/all";
        assert!(refused.message.ends_with(taken), "{}", refused.message);
    }
}
