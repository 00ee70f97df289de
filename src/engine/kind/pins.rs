//! Node image pins: one image per Kubernetes minor.

use serde::Deserialize;

use crate::base::Error;
use crate::k8s::Profile;

/// The pins that ship with the product.
const PINS: &str = include_str!("../../../manifests/kind/images.toml");

/// The node image of a minor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePin {
    /// The minor, as in `1.37`.
    pub kubernetes: String,
    /// Name, tag and digest.
    pub image: String,
    /// The kind release that published it; newer ones run it too, older ones may not load images.
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinFile {
    node: Vec<NodePin>,
}

/// All pins, newest minor first.
///
/// # Errors
/// The file that ships with the product is broken.
pub fn node_pins() -> Result<Vec<NodePin>, Error> {
    let file: PinFile = toml::from_str(PINS)
        .map_err(|error| Error::environment(format!("manifests/kind/images.toml: {error}")))?;
    Ok(file.node)
}

/// The pin of `kubernetes`.
///
/// # Errors
/// There is none: a usage error that lists the known minors.
pub fn node_pin(kubernetes: Profile) -> Result<NodePin, Error> {
    let pins = node_pins()?;
    let wanted = kubernetes.to_string();
    if let Some(pin) = pins.iter().find(|pin| pin.kubernetes == wanted) {
        return Ok(pin.clone());
    }
    let known: Vec<_> = pins.iter().map(|pin| pin.kubernetes.as_str()).collect();
    Err(Error::usage(format!(
        "no kind node image is known for Kubernetes {wanted}; known are {}\n\
         name one with --node-image IMAGE, or choose another with --kubernetes",
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorClass;

    #[test]
    fn every_pin_names_its_minor_and_a_digest() {
        let pins = node_pins().expect("the file is right");
        assert_eq!(pins.len(), 8);
        for pin in pins {
            let (tag, digest) = pin.image.split_once("@sha256:").expect("a digest");
            assert!(tag.starts_with(&format!("kindest/node:v{}.", pin.kubernetes)), "{tag}");
            assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()));
        }
    }

    #[test]
    fn an_unknown_minor_lists_the_known_ones() {
        let error = node_pin("1.20".parse().expect("a minor")).expect_err("there is none");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains("1.37, 1.36, 1.35"), "{error}");
        assert!(error.to_string().contains("--node-image"), "{error}");
    }
}
