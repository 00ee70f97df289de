//! Images that nodes say they hold.

use k8s_openapi::api::core::v1::Node;

/// An image whose repository ends in `name`, as in `registry.k8s.io/pause:3.10` for `pause`, that
/// every one of `nodes` reports, by tag. Images tagged `latest` are left out: they would be pulled.
/// The first in order of name where there are several.
pub fn reported_image(nodes: &[Node], name: &str) -> Option<String> {
    let (first, others) = nodes.split_first()?;
    let mut found: Vec<&str> = images(first)
        .filter(|image| is_tagged(image, name))
        .filter(|image| others.iter().all(|node| images(node).any(|other| other == *image)))
        .collect();
    found.sort_unstable();
    found.first().map(|image| (*image).to_owned())
}

fn images(node: &Node) -> impl Iterator<Item = &str> {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    images.flat_map(|image| image.names.iter().flatten()).map(String::as_str)
}

/// Whether the last part of the reference is `name` with a tag that means one image.
fn is_tagged(image: &str, name: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((repository, tag)) => repository == name && tag != "latest" && !tag.contains('@'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(images: &[&[&str]]) -> Node {
        let images: Vec<_> = images
            .iter()
            .map(|names| serde_json::json!({"names": names, "sizeBytes": 1}))
            .collect();
        serde_json::from_value(serde_json::json!({"metadata": {}, "status": {"images": images}}))
            .expect("a node")
    }

    #[test]
    fn an_image_is_found_by_the_last_part_of_its_repository() {
        let digest =
            "registry.k8s.io/pause@sha256:7031c1b283388d2c2e09b57badb803c05ebed362dc88d84b";
        let one = node(&[&[digest, "registry.k8s.io/pause:3.10"], &["r.example:5000/nginx:1"]]);
        let other = node(&[&["registry.k8s.io/pause:3.10", "k8s.gcr.io/pause:3.2"]]);
        let both = [one.clone(), other];
        assert_eq!(reported_image(&both, "pause").as_deref(), Some("registry.k8s.io/pause:3.10"));
        assert_eq!(reported_image(&both, "nginx"), None, "not on both");
        let one = [one];
        assert_eq!(reported_image(&one, "nginx").as_deref(), Some("r.example:5000/nginx:1"));
        let unfit =
            [node(&[&["nginx:latest", "nginx", "x/nginx-unprivileged:1", "nginx@sha256:ab"]])];
        assert_eq!(reported_image(&unfit, "nginx"), None);
        assert_eq!(reported_image(&[], "nginx"), None);
    }
}
