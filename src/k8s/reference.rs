//! The names of images (`github.com/distribution/reference`).

/// The longest path of a repository (`reference.go:RepositoryNameTotalLengthMax`).
const LONGEST_PATH: usize = 255;
/// The longest tag (`regexp.go:tag`).
const LONGEST_TAG: usize = 128;
/// The shortest digest that the grammar takes (`regexp.go:digestPat`).
const SHORTEST_DIGEST: usize = 32;
/// The registry that is meant where none is named.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The whole name of an image, as in `docker.io/library/nginx:latest` for `nginx`
/// (`normalize.go:ParseNormalizedNamed`, and the kubelet's default tag).
///
/// # Errors
/// What is wrong with it, as the package says it.
pub fn image_reference(image: &str) -> Result<String, String> {
    if is_hex(image) && image.len() == 64 {
        let why = "cannot specify 64-byte hexadecimal strings";
        return Err(format!("invalid repository name ({image}), {why}"));
    }
    let (registry, rest) = split_registry(image);
    let library = match registry == DEFAULT_REGISTRY && !rest.contains('/') {
        true => "library/",
        false => "",
    };
    let remainder = format!("{library}{rest}");
    let remote = remainder.split(':').next().unwrap_or("");
    if remote.to_lowercase() != remote {
        let why = format!("repository name ({remote}) must be lowercase");
        return Err(format!("invalid reference format: {why}"));
    }
    let (name, digest) = match remainder.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (&*remainder, None),
    };
    let (path, tag) = match name.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (name, None),
    };
    let is_name = path.split('/').all(is_component)
        && (is_registry(registry) || registry.split('/').all(is_component));
    if !is_name || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return Err("invalid reference format".into());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("repository name must not be more than {LONGEST_PATH} characters"));
    }
    digest.map_or(Ok(()), check_digest)?;
    let default = if tag.is_none() && digest.is_none() { ":latest" } else { "" };
    Ok(format!("{registry}/{remainder}{default}"))
}

/// `normalize.go:splitDockerDomain`.
fn split_registry(image: &str) -> (&str, &str) {
    match image.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, image),
    }
}

/// `regexp.go:domainAndPort`.
fn is_registry(text: &str) -> bool {
    if let Some((address, port)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_port = |port: &str| port.strip_prefix(':').is_some_and(is_number);
        let is_address = |c: char| c.is_ascii_hexdigit() || c == ':';
        return address.chars().all(is_address) && (port.is_empty() || is_port(port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_number)
}

/// `regexp.go:pathComponent`: words of lower case and digits, joined by `.`, `_`, `__` or hyphens.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.chars().all(|c| c == '-');
    text.starts_with(is_word) && text.ends_with(is_word) && text.split(is_word).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= LONGEST_TAG
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= SHORTEST_DIGEST
        && hex.chars().all(|c| c.is_ascii_hexdigit())
}

/// `github.com/opencontainers/go-digest:Digest.Validate`.
fn check_digest(text: &str) -> Result<(), String> {
    let (algorithm, hex) = text.split_once(':').unwrap_or((text, ""));
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm".into()),
    };
    match hex.len() == length {
        false => Err("invalid checksum digest length".into()),
        true if !is_hex(hex) => Err("invalid checksum digest format".into()),
        true => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nginx", "docker.io/library/nginx:latest")]
    #[case("index.docker.io/a/b:1", "docker.io/a/b:1")]
    #[case("localhost:5000/x", "localhost:5000/x:latest")]
    #[case("Upper/case", "Upper/case:latest")]
    #[case("x/a_b.c__d--e:_.-X", "docker.io/x/a_b.c__d--e:_.-X")]
    fn a_reference_is_made_whole(#[case] image: &str, #[case] whole: &str) {
        assert_eq!(image_reference(image).as_deref(), Ok(whole));
    }

    #[test]
    fn a_digest_stands_for_the_tag() {
        let digest = "0".repeat(64);
        let whole = format!("quay.io/x@sha256:{digest}");
        assert_eq!(image_reference(&whole), Ok(whole.clone()));
        let why = "invalid checksum digest length".to_owned();
        assert_eq!(image_reference(&whole[..whole.len() - 1]), Err(why));
        let why = format!(
            "invalid repository name ({digest}), cannot specify 64-byte hexadecimal strings"
        );
        assert_eq!(image_reference(&digest), Err(why));
    }

    #[rstest]
    #[case("docker.io/acme/redis:alpine:v0.3.6")]
    #[case("nginx:")]
    #[case("sp ace")]
    #[case("a//b")]
    #[case("a/b/")]
    #[case("-a")]
    #[case("a___b")]
    #[case("nginx:.1")]
    #[case("https://quay.io/x")]
    #[case("${image}:1")]
    #[case("x@sha256:0123")]
    #[case("")]
    fn what_the_grammar_does_not_take_is_refused(#[case] image: &str) {
        assert_eq!(image_reference(image), Err("invalid reference format".into()));
    }

    #[test]
    fn a_repository_is_in_lower_case() {
        let why = "invalid reference format: repository name (library/Nginx) must be lowercase";
        assert_eq!(image_reference("Nginx:1"), Err(why.into()));
    }
}
