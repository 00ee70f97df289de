//! Pins: which release of an add-on goes with which Kubernetes minor, and what its files must hash to.

use serde::{Deserialize, Deserializer};

use super::AddOn;
use crate::base::Error;
use crate::k8s::Profile;

/// One release of an add-on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The minors it is chosen for.
    kubernetes: Minors,
    /// The minors that upstream supports it on.
    supported: Minors,
    /// The release, as in `v1.15.1`.
    pub version: String,
    /// The Ceph image, exact; Rook only.
    pub ceph: Option<String>,
    /// Images that its pods use, as far as they are known without its files.
    pub images: Vec<String>,
    /// The files in apply order.
    pub files: Vec<PinnedFile>,
}

/// One file of a release.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Where it is.
    pub url: String,
    /// SHA-256 of its bytes, in small hexadecimal digits.
    pub sha256: String,
}

impl PinnedFile {
    /// Its name, the last part of the URL.
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }
}

/// A range of Kubernetes minors, both ends included.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Minors {
    #[serde(deserialize_with = "minor")]
    from: Profile,
    #[serde(deserialize_with = "minor")]
    to: Profile,
}

impl Minors {
    fn has(self, profile: Profile) -> bool {
        (self.from..=self.to).contains(&profile)
    }
}

fn minor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Profile, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pin: Vec<Pin>,
}

/// The pins of an add-on, newest first.
fn pins(addon: AddOn) -> Result<Vec<Pin>, Error> {
    let text = match addon {
        AddOn::IngressNginx => include_str!("../../manifests/addons/ingress-nginx/pins.toml"),
        AddOn::MetricsServer => include_str!("../../manifests/addons/metrics-server/pins.toml"),
        AddOn::RookCeph => include_str!("../../manifests/addons/rook-ceph/pins.toml"),
    };
    let file: File = toml::from_str(text).map_err(|error| {
        Error::environment(format!("manifests/addons/{addon}/pins.toml: {}", error.message()))
    })?;
    Ok(file.pin)
}

/// The release of `addon` for a Kubernetes minor.
///
/// # Errors
/// Usage: none is pinned for it.
pub fn pin(addon: AddOn, kubernetes: Profile) -> Result<Pin, Error> {
    let pins = pins(addon)?;
    let range = pins.iter().map(|pin| pin.kubernetes);
    let oldest = range.clone().map(|minors| minors.from).min();
    let newest = range.map(|minors| minors.to).max();
    pins.into_iter().find(|pin| pin.kubernetes.has(kubernetes)).ok_or_else(|| {
        let (oldest, newest) = (oldest.unwrap_or_default(), newest.unwrap_or_default());
        Error::usage(format!(
            "no release of {addon} is pinned for Kubernetes {kubernetes} (pinned: {oldest} to {newest})\n\
             choose --kubernetes in that range, or pass --addons DIR with the add-on's manifests in \
             DIR/{addon}/*.yaml"
        ))
    })
}

impl Pin {
    /// What to tell the user when upstream does not support this release on `kubernetes`.
    pub fn warning(&self, addon: AddOn, kubernetes: Profile) -> Option<String> {
        if self.supported.has(kubernetes) {
            return None;
        }
        let (version, Minors { from, to }) = (&self.version, self.supported);
        Some(format!(
            "{addon} {version} is not supported by its makers on Kubernetes {kubernetes} \
             (only {from} to {to}); it is used all the same, for want of a better one"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorClass;

    fn all_minors() -> impl Iterator<Item = Profile> {
        let profile = |minor| format!("1.{minor}").parse().expect("a minor");
        (Profile::OLDEST.minor()..=Profile::NEWEST.minor()).map(profile)
    }

    #[test]
    fn every_minor_has_one_release_or_a_way_out() {
        let oldest = |addon| match addon {
            AddOn::IngressNginx => 29,
            AddOn::MetricsServer => 27,
            AddOn::RookCeph => 30,
        };
        for (addon, profile) in AddOn::ALL.iter().flat_map(|a| all_minors().map(move |p| (*a, p))) {
            let fitting = pins(addon).expect("pins").into_iter();
            let n_fitting = fitting.filter(|pin| pin.kubernetes.has(profile)).count();
            if profile.at_least(oldest(addon)) {
                assert_eq!(n_fitting, 1, "{addon} on {profile}");
                continue;
            }
            let error = pin(addon, profile).expect_err("none is pinned");
            assert_eq!(error.class(), ErrorClass::Usage);
            let text = error.to_string();
            assert!(text.contains("--addons DIR") && text.contains(&profile.to_string()), "{text}");
        }
    }

    #[test]
    fn pins_are_exact() {
        for addon in AddOn::ALL {
            for pin in pins(addon).expect("pins") {
                assert!(!pin.files.is_empty() && !pin.images.is_empty(), "{addon}");
                for file in &pin.files {
                    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                    assert!(file.sha256.len() == 64 && file.sha256.chars().all(is_digit));
                    assert!(file.url.starts_with("https://"), "{}", file.url);
                    assert!(file.url.contains(&format!("{}/", pin.version)), "{}", file.url);
                }
                for image in pin.images.iter().chain(&pin.ceph) {
                    // A tag with a patch level, or it floats.
                    let tag = image.split('@').next().and_then(|name| name.rsplit_once(':'));
                    let (_, tag) = tag.expect("a tag");
                    assert_eq!(tag.split('.').count(), 3, "{image}");
                }
                assert_eq!(pin.ceph.is_some(), addon == AddOn::RookCeph);
            }
        }
    }

    #[test]
    fn what_upstream_does_not_support_is_said() {
        let warning = |addon, minor: &str| {
            let profile = minor.parse().expect("a minor");
            pin(addon, profile).expect("pinned").warning(addon, profile)
        };
        assert_eq!(warning(AddOn::IngressNginx, "1.35"), None);
        let text = warning(AddOn::IngressNginx, "1.37").expect("a warning");
        assert!(text.contains("v1.15.1") && text.contains("1.31 to 1.35"), "{text}");
        assert!(warning(AddOn::RookCeph, "1.37").is_some());
        assert_eq!(warning(AddOn::MetricsServer, "1.37"), None);
    }
}
