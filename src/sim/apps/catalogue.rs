//! Which program runs in an image.

use super::generic::{Idle, Server};
use super::model::{App, GenericApp};
use super::mysql::Mysql;
use super::wordpress::WordPress;

/// The model of `image`, from the configured ones or the built-in ones; `None` when there is none.
pub fn catalogue(image: &str, configured: &[GenericApp]) -> Option<Box<dyn App>> {
    let (name, tag) = name_and_tag(image);
    if let Some(app) = configured_for(image, configured) {
        return Some(Box::new(Server::configured(app)));
    }
    if !is_official(name) {
        return None;
    }
    match name.rsplit('/').next().unwrap_or(name) {
        // The fpm variant speaks FastCGI, not HTTP.
        "wordpress" if !tag.contains("fpm") && !tag.starts_with("cli") => {
            Some(Box::new(WordPress::default()))
        }
        "mysql" => Some(Box::new(Mysql::official())),
        "mariadb" => Some(Box::new(Mysql::mariadb(tag))),
        "nginx" => Some(Box::new(Server::nginx(tag))),
        "busybox" => Some(Box::new(Idle::shell())),
        "pause" => Some(Box::new(Idle::pause())),
        _ => None,
    }
}

/// Whether an image is taken for the official one of its name: of Docker Hub's `library`, or a
/// registry's copy of it. Others publish programs of the same names that are set up otherwise.
fn is_official(name: &str) -> bool {
    let path = canonical(name);
    let owner = path.split('/').next().unwrap_or("");
    let is_registry = owner.contains(['.', ':']) || owner == "localhost";
    let of_others = ["bitnami", "bitnamilegacy", "bitnamisecure", "chainguard", "linuxserver"];
    let publishers = ["cgr.dev", "lscr.io", "registry.redhat.io", "quay.io"];
    (is_registry || !path.contains('/'))
        && !publishers.contains(&owner)
        && !path.split('/').any(|part| of_others.contains(&part))
}

/// The configured model of `image`.
pub fn configured_for<'c>(image: &str, configured: &'c [GenericApp]) -> Option<&'c GenericApp> {
    let name = |image| canonical(name_and_tag(image).0);
    configured.iter().find(|app| name(&app.image) == name(image))
}

/// Repository and tag; a digest counts as no tag.
fn name_and_tag(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    }
}

/// The repository without the registry that is assumed anyway.
fn canonical(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("wordpress:6.8-apache", true)]
    #[case("docker.io/library/wordpress", true)]
    #[case("localhost:5000/wordpress", true)]
    #[case("localhost:5000/team/mysql:8.4@sha256:0123", true)]
    #[case("wordpress:6.8-fpm-alpine", false)]
    #[case("ghcr.io/acme/shop:1", false)]
    #[case("mirror.example.com/docker.io/library/wordpress:6", true)]
    #[case("bitnami/wordpress:6.8.3", false)]
    #[case("registry.example.com/bitnami/mysql:8.4", false)]
    #[case("someone/wordpress:2", false)]
    fn images_are_known_by_their_last_path_component(#[case] image: &str, #[case] known: bool) {
        assert_eq!(catalogue(image, &[]).is_some(), known);
    }

    #[test]
    fn a_configured_model_is_for_any_tag_of_its_image() {
        let app = GenericApp {
            image: "ghcr.io/acme/shop".into(),
            port: 8080,
            start: Duration::ZERO,
            cpu_per_request: Duration::ZERO,
            memory_bytes: 0,
            statuses: BTreeMap::new(),
            drains: true,
            has_shell: Some(true),
            unprivileged: false,
            probes: Vec::new(),
        };
        assert!(catalogue("ghcr.io/acme/shop:2", std::slice::from_ref(&app)).is_some());
        assert!(catalogue("ghcr.io/acme/other:2", &[app]).is_none());
    }
}
