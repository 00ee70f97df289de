//! Profiles: what differs between Kubernetes minors and matters to a verdict.

use std::fmt;
use std::str::FromStr;

/// A Kubernetes minor, 1.20 to 1.37.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    minor: u8,
}

impl Profile {
    /// The oldest minor modelled.
    pub const OLDEST: Profile = Profile { minor: 20 };
    /// The newest minor modelled, and the default.
    pub const NEWEST: Profile = Profile { minor: 37 };

    /// The minor, as in 20 for 1.20.
    pub fn minor(self) -> u8 {
        self.minor
    }

    /// Whether this is 1.`minor` or newer.
    pub fn at_least(self, minor: u8) -> bool {
        self.minor >= minor
    }
}

impl Default for Profile {
    fn default() -> Self {
        Profile::NEWEST
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl FromStr for Profile {
    type Err = String;

    /// Reads `1.29`, `v1.29` or `1.29.4`.
    fn from_str(text: &str) -> Result<Self, String> {
        let minor = text
            .trim_start_matches('v')
            .strip_prefix("1.")
            .and_then(|rest| rest.split('.').next())
            .and_then(|minor| minor.parse::<u8>().ok());
        match minor {
            Some(minor @ 20..=37) => Ok(Profile { minor }),
            _ => Err(format!(
                "Kubernetes `{text}` is not modelled; choose {} to {}",
                Profile::OLDEST,
                Profile::NEWEST
            )),
        }
    }
}
