//! Why a scenario ends without its claim.

use crate::base::{Error, ErrorClass};
use crate::observe::{Cause, Verdict};
use crate::wait::WaitError;

/// The end of a trial that did not pass.
#[derive(Clone, Debug)]
pub struct Stop {
    /// What it means.
    pub verdict: Verdict,
    /// Expected, seen, last state: one or more lines.
    pub message: String,
    /// Why, as far as known.
    pub causes: Vec<Cause>,
    /// Whose fault an error is, where that is known.
    pub error_class: Option<ErrorClass>,
}

impl Stop {
    fn new(verdict: Verdict, message: String) -> Self {
        Stop { verdict, message, causes: Vec::new(), error_class: None }
    }

    /// The claim is broken.
    pub fn failed(expected: impl AsRef<str>, seen: impl AsRef<str>) -> Self {
        let message = format!("expected: {}\nseen: {}", expected.as_ref(), seen.as_ref());
        Stop::new(Verdict::Failed, message)
    }

    /// There was too little to see.
    pub fn inconclusive(expected: impl AsRef<str>, seen: impl AsRef<str>) -> Self {
        Stop { verdict: Verdict::Inconclusive, ..Stop::failed(expected, seen) }
    }

    /// The model lacks something that matters.
    pub fn unknown(message: impl Into<String>) -> Self {
        Stop::new(Verdict::Unknown, message.into())
    }

    /// The scenario does not apply.
    pub fn ignored(reason: impl Into<String>) -> Self {
        Stop::new(Verdict::Ignored, reason.into())
    }

    /// The harness or the environment broke.
    pub fn errored(message: impl Into<String>) -> Self {
        Stop::new(Verdict::Errored, message.into())
    }

    /// With one more cause.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.causes.push(cause);
        self
    }

    /// With one more line to the message.
    #[must_use]
    pub fn line(mut self, line: impl AsRef<str>) -> Self {
        self.message.push('\n');
        self.message.push_str(line.as_ref());
        self
    }
}

impl From<WaitError> for Stop {
    fn from(error: WaitError) -> Self {
        let verdict = if error.is_timeout() { Verdict::Failed } else { Verdict::Errored };
        Stop::new(verdict, error.to_string())
    }
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        let text = match &error {
            kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
            other => other.to_string(),
        };
        Stop::errored(format!("the API refused a request of the scenario: {text}"))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop { error_class: Some(error.class()), ..Stop::errored(error.to_string()) }
    }
}
