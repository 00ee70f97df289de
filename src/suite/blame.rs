//! From a cause class to the line of the manifests where it can be mended.

use crate::base::ObjectRef;
use crate::observe::{Cause, CauseClass, Fix};
use crate::stack::Stack;

use super::scenario::Held;
use super::stop::Stop;
use super::target::Workload;
use super::trial::Trial;

impl Trial {
    /// A cause that concerns the front workload.
    pub fn cause(&self, class: CauseClass) -> Cause {
        let front = self.target().front.workload.reference();
        match class.workload_field() {
            Some(field) => self.cause_at(class, &front, field),
            None => Cause { object: Some(front), ..cause_in(self.stack(), class, None) },
        }
    }

    /// A cause to be mended at `field` of `object`.
    pub fn cause_at(&self, class: CauseClass, object: &ObjectRef, field: &str) -> Cause {
        cause_in(self.stack(), class, Some((object, field)))
    }

    /// A broken claim with one cause about the front workload.
    pub fn failed(
        &self,
        class: CauseClass,
        expected: impl AsRef<str>,
        seen: impl AsRef<str>,
    ) -> Stop {
        Stop::failed(expected, seen).because(self.cause(class))
    }

    /// A broken claim with one cause at `field` of `object`.
    pub fn failed_at(
        &self,
        class: CauseClass,
        object: &ObjectRef,
        field: &str,
        expected: impl AsRef<str>,
        seen: impl AsRef<str>,
    ) -> Stop {
        Stop::failed(expected, seen).because(self.cause_at(class, object, field))
    }

    /// A claim about several replicas cannot hold for one.
    ///
    /// # Errors
    /// The stack wishes for a single replica.
    pub fn several_replicas(&self) -> Result<Held, Stop> {
        let wish = self.target().wish();
        if wish >= 2 {
            return Ok(format!("{wish} replicas"));
        }
        Err(self.failed(
            CauseClass::SingleReplica,
            "at least two replicas",
            format!("{} asks for {wish}", self.target().front.workload.reference()),
        ))
    }

    /// Data of `workload` that did not survive: blames its missing volume, or the volume.
    pub fn data_loss(&self, workload: &Workload, expected: &str, seen: &str) -> Stop {
        let class = if workload.mounts.is_empty() {
            CauseClass::DataInContainer
        } else {
            CauseClass::DataLost
        };
        let field = "spec.template.spec.containers[0].volumeMounts";
        let stop = self.failed_at(class, &workload.reference(), field, expected, seen);
        match workload.mounts.first() {
            Some(mount) => stop.line(format!("volume: {} at {}", mount.claim, mount.path)),
            None => stop.line(format!("{} mounts no persistent volume", workload.reference())),
        }
    }
}

/// A cause to be mended at a field of an object, if one is known.
pub(super) fn cause_in(stack: &Stack, class: CauseClass, at: Option<(&ObjectRef, &str)>) -> Cause {
    let fix = at.and_then(|(object, field)| {
        let location = stack.locate(object, field)?;
        Some(Fix {
            file: location.file.display().to_string(),
            line: location.line,
            path: field.to_owned(),
            advice: class.advice().to_owned(),
        })
    });
    let object = at.map(|(object, _)| object.clone());
    Cause { class: class.to_string(), count: 1, object, at_ms: None, fix }
}
