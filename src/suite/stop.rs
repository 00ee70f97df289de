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

    /// With one more cause. An error has none in the manifests: nobody could look.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        if self.verdict != Verdict::Errored {
            self.causes.push(cause);
        }
        self
    }

    /// With `advice` for its causes, where what their class says does not fit.
    #[must_use]
    pub fn advising(mut self, advice: &str) -> Self {
        for fix in self.causes.iter_mut().filter_map(|cause| cause.fix.as_mut()) {
            advice.clone_into(&mut fix.advice);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secs;
    use crate::wait::Deadline;

    #[test]
    fn a_wait_that_nobody_could_look_through_is_not_blamed_on_the_manifests() {
        let unmet = |trouble: Option<&str>| WaitError {
            expected: "the Deployment is rolled out".into(),
            unmet: "0 of 3 replicas are available".into(),
            deadline: Some(Deadline::new(secs(1), "a test")),
            trouble: trouble.map(str::to_owned),
            last_object: None,
            last_change: None,
            chain: Vec::new(),
        };
        let cause =
            Cause { class: "never-ready".into(), count: 1, object: None, at_ms: None, fix: None };
        let stop = |error| Stop::from(error).because(cause.clone());
        let failed = stop(unmet(None));
        assert_eq!((failed.verdict, failed.causes.len()), (Verdict::Failed, 1));
        let errored = stop(unmet(Some("the API could not be read")));
        assert_eq!((errored.verdict, errored.causes.len()), (Verdict::Errored, 0));
    }
}
