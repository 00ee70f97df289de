//! Why a wait ended without its condition.

use std::fmt;
use std::time::Duration;

use super::deadline::Deadline;
use crate::base::in_full;

/// A condition that was not met by its deadline, or could not be looked at.
#[derive(Clone, Debug)]
pub struct WaitError {
    /// Name of the condition.
    pub expected: String,
    /// What is unmet.
    pub unmet: String,
    /// Time allowed and why; `None` when the wait ended early because the API failed.
    pub deadline: Option<Deadline>,
    /// Why the API could not be read, if it could not to the end.
    pub trouble: Option<String>,
    /// The object that was looked at last, with its status.
    pub last_object: Option<String>,
    /// What changed last, and how long before the end.
    pub last_change: Option<(String, Duration)>,
    /// Who waits for whom, from the workload down to the reason.
    pub chain: Vec<String>,
}

impl WaitError {
    /// The API refused or failed to answer.
    pub fn api(expected: &str, error: &kube::Error) -> Self {
        WaitError {
            expected: expected.to_owned(),
            unmet: api_failed(error),
            deadline: None,
            trouble: None,
            last_object: None,
            last_change: None,
            chain: Vec::new(),
        }
    }

    /// Whether the condition was looked at, and was unmet to the end.
    pub fn is_timeout(&self) -> bool {
        self.deadline.is_some() && self.trouble.is_none()
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected: {}", self.expected)?;
        if let Some(deadline) = self.deadline {
            write!(f, " within {} s ({})", deadline.within.as_secs(), deadline.because)?;
        }
        write!(f, "\nseen: {}", self.unmet)?;
        if let Some(trouble) = &self.trouble {
            write!(f, "\nat last: {trouble}")?;
        }
        if let Some(object) = &self.last_object {
            write!(f, "\nlast state: {object}")?;
        }
        if let Some((change, before)) = &self.last_change {
            write!(f, "\nchanged last: {change}, {:.1} s before", before.as_secs_f64())?;
        }
        for line in &self.chain {
            write!(f, "\nblocked: {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for WaitError {}

/// That the API could not be read, and why, down to the first cause.
pub(super) fn api_failed(error: &kube::Error) -> String {
    format!("the API could not be read: {}", in_full(error))
}
