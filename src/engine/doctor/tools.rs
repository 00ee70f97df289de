//! kind and kubectl: whether they are there and fit the Kubernetes version.

use std::fmt;

use serde_json::Value;

use super::super::host::{ProgramError, Ran, Trouble as Failure};
use super::Wish;
use super::finding::{Finding, Level, Trouble};

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// The first `N.N` in a text.
    pub(super) fn of(text: &str) -> Option<Version> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut parts = word.split('.').map(str::parse);
            Some(Version(parts.next()?.ok()?, parts.next()?.ok()?))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The kind that our pins are for.
const KIND_PIN: &str = "v0.33.0";
/// Reads the containerd configuration (version 4) of images built from then on.
const KIND_FOR_NEW_IMAGES: Version = Version(0, 32);
/// From then on nodes find registry mirrors in `/etc/containerd/certs.d`.
const KIND_FOR_MIRRORS: Version = Version(0, 27);
/// The oldest minors of which all images, and of which the newest ones, are built so.
const ALL_IMAGES_NEW: u8 = 36;
const PINNED_IMAGES_NEW: u8 = 33;

type Asked = Result<Ran, ProgramError>;

/// kind against the Kubernetes version.
pub(super) fn kind(wish: &Wish, asked: &Asked) -> Finding {
    const NAME: &str = "kind";
    let install = format!(
        "install kind {KIND_PIN}: https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
    );
    let ran = match asked {
        Ok(ran) => ran,
        Err(error) => {
            let level = match error.trouble {
                Failure::TimedOut(_) => Level::Warning,
                _ => Level::Fatal,
            };
            let trouble = Trouble::new(said(error), "it makes the cluster", install);
            return Finding::bad(NAME, level, trouble);
        }
    };
    let seen = ran.stdout.trim().to_owned();
    let Some(version) = Version::of(&seen) else {
        let why = "which node images it can use is not known";
        return Finding::warning(NAME, Trouble::new(format!("said `{seen}`"), why, install));
    };
    let kubernetes = wish.kubernetes;
    let is_own_image = wish.node_image.is_some();
    if version < KIND_FOR_NEW_IMAGES && kubernetes.at_least(PINNED_IMAGES_NEW) {
        let why = format!(
            "node images of Kubernetes {kubernetes} carry a containerd configuration that only kind \
             {KIND_FOR_NEW_IMAGES} and newer can read: loading images fails"
        );
        // An image of the user's choice may be an old one, where there are old ones.
        let level = match kubernetes.at_least(ALL_IMAGES_NEW) || !is_own_image {
            true => Level::Fatal,
            false => Level::Warning,
        };
        return Finding::bad(NAME, level, Trouble::new(seen, why, install));
    }
    if version < KIND_FOR_MIRRORS {
        let why = "its node images do not look for registry mirrors in /etc/containerd/certs.d";
        return Finding::warning(NAME, Trouble::new(seen, why, install));
    }
    Finding::ok(NAME, seen)
}

/// kubectl against the Kubernetes version; only people need it.
pub(super) fn kubectl(wish: &Wish, asked: &Asked) -> Finding {
    const NAME: &str = "kubectl";
    let kubernetes = wish.kubernetes;
    let install = format!("install kubectl {kubernetes}: https://kubernetes.io/docs/tasks/tools/");
    let ran = match asked {
        Ok(ran) => ran,
        Err(error) => {
            let why = "Seatrial does not need it, but those who look into a kept cluster do";
            return Finding::warning(NAME, Trouble::new(said(error), why, install));
        }
    };
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
    let git_version = answer["clientVersion"]["gitVersion"].as_str().unwrap_or("");
    match Version::of(git_version) {
        Some(Version(1, minor)) if minor.abs_diff(u32::from(kubernetes.minor())) <= 1 => {
            Finding::ok(NAME, git_version)
        }
        Some(_) => {
            let why = format!("it is made for clusters within one minor; this one is {kubernetes}");
            Finding::warning(NAME, Trouble::new(git_version, why, install))
        }
        None => {
            let why = "whether it fits the cluster is not known";
            Finding::warning(NAME, Trouble::new("its version is not known", why, install))
        }
    }
}

/// An error in one line.
fn said(error: &ProgramError) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).take(2).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::kind("kind v0.33.0 go1.26.1 linux/amd64", Some(Version(0, 33)))]
    #[case::docker("28.1.1+dfsg1", Some(Version(28, 1)))]
    #[case::no_version("unknown", None)]
    #[case::one_number("version 7", None)]
    fn versions_are_found_in_texts(#[case] text: &str, #[case] version: Option<Version>) {
        assert_eq!(Version::of(text), version);
    }
}
