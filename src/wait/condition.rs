//! Conditions: named, pure questions about a set of objects, with the answer's reason.

use std::fmt;
use std::sync::Arc;

type Check<K> = dyn Fn(&[Arc<K>]) -> Result<(), String> + Send + Sync;

/// A predicate over the objects of a scope. `Err` says what is unmet.
pub struct Condition<K> {
    name: String,
    check: Arc<Check<K>>,
}

impl<K> Clone for Condition<K> {
    fn clone(&self) -> Self {
        Condition { name: self.name.clone(), check: Arc::clone(&self.check) }
    }
}

impl<K> fmt::Debug for Condition<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.name).finish()
    }
}

impl<K: 'static> Condition<K> {
    /// A condition called `name`, as in `three pods are Ready`.
    pub fn new(
        name: impl Into<String>,
        check: impl Fn(&[Arc<K>]) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Condition { name: name.into(), check: Arc::new(check) }
    }

    /// What it asks for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `objects` meet it.
    ///
    /// # Errors
    /// What is unmet.
    pub fn check(&self, objects: &[Arc<K>]) -> Result<(), String> {
        (self.check)(objects)
    }

    /// Both must hold; every unmet part is named.
    #[must_use]
    pub fn and(self, other: Condition<K>) -> Condition<K> {
        let name = format!("{} and {}", self.name, other.name);
        Condition::new(name, move |objects| match (self.check(objects), other.check(objects)) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(unmet), Ok(())) | (Ok(()), Err(unmet)) => Err(unmet),
            (Err(first), Err(second)) => Err(format!("{first}; {second}")),
        })
    }

    /// One of the two must hold.
    #[must_use]
    pub fn or(self, other: Condition<K>) -> Condition<K> {
        let name = format!("{} or {}", self.name, other.name);
        Condition::new(name, move |objects| {
            let Err(first) = self.check(objects) else { return Ok(()) };
            other.check(objects).map_err(|second| format!("neither: {first}; nor: {second}"))
        })
    }
}
