//! Image names, in the one form that nodes use.

use std::fmt;

/// An image name with its registry, as container runtimes complete it
/// (`github.com/distribution/reference`, `ParseDockerRef`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// The registry, as in `docker.io`.
    pub host: String,
    /// The path in it, as in `library/nginx`.
    pub repository: String,
    /// The tag; `latest` where there is neither tag nor digest.
    pub tag: Option<String>,
    /// The digest, as in `sha256:...`.
    pub digest: Option<String>,
}

impl ImageName {
    /// Reads a name as manifests and archives have it; `None` if it names nothing.
    pub fn parse(text: &str) -> Option<ImageName> {
        let (rest, digest) = match text.trim().split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text.trim(), None),
        };
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[last..].rfind(':') {
            Some(colon) => (&rest[..last + colon], Some(rest[last + colon + 1..].to_owned())),
            None => (rest, None),
        };
        if path.is_empty() || path.ends_with('/') || path.contains(char::is_whitespace) {
            return None;
        }
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (host, repository) = match path.split_once('/') {
            Some(("index.docker.io", rest)) => ("docker.io", rest.to_owned()),
            Some((host, rest)) if is_host(host) => (host, rest.to_owned()),
            _ => ("docker.io", path.to_owned()),
        };
        let repository = match repository.contains('/') {
            false if host == "docker.io" => format!("library/{repository}"),
            _ => repository,
        };
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Some(ImageName { host: host.to_owned(), repository, tag, digest })
    }

    /// Registry and path, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// With the tag, and without the digest.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.repository()))
    }

    /// What the kubelet asks its runtime for: with a digest the tag does not count.
    pub fn asked_for(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.repository()),
            (None, tag) => format!("{}:{}", self.repository(), tag.as_deref().unwrap_or("latest")),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::bare("nginx", "docker.io/library/nginx:latest")]
    #[case::tagged("wordpress:6", "docker.io/library/wordpress:6")]
    #[case::owner("rook/ceph:v1", "docker.io/rook/ceph:v1")]
    #[case::host("quay.io/ceph/ceph:v20", "quay.io/ceph/ceph:v20")]
    #[case::port("localhost:5000/a:1", "localhost:5000/a:1")]
    #[case::port_without_tag("localhost:5000/a", "localhost:5000/a:latest")]
    #[case::old_docker("index.docker.io/library/nginx:1", "docker.io/library/nginx:1")]
    #[case::digest("a.b/c:1@sha256:ff", "a.b/c:1@sha256:ff")]
    #[case::digest_alone("nginx@sha256:ff", "docker.io/library/nginx@sha256:ff")]
    fn names_are_completed(#[case] text: &str, #[case] full: &str) {
        assert_eq!(ImageName::parse(text).expect("a name").to_string(), full);
    }

    #[test]
    fn a_digest_decides_what_the_kubelet_asks_for() {
        let image = ImageName::parse("a.b/c:1@sha256:ff").expect("a name");
        assert_eq!(image.asked_for(), "a.b/c@sha256:ff");
        assert_eq!(image.tagged().as_deref(), Some("a.b/c:1"));
        assert_eq!(ImageName::parse("a b"), None);
        assert_eq!(ImageName::parse(""), None);
    }
}
