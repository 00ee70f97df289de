//! What a trial watches, and whether it saw everything: a claim about every moment holds for those alone
//! that were seen.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::wait::{Object, Observer, Scope, Trust};

use super::stop::Stop;
use super::trial::Trial;

impl Trial {
    /// Watches `scope` from now on.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn observe<K: Object>(&self, scope: Scope<K>) -> Result<Observer<K>, kube::Error> {
        let trust = if self.engine().watches_tell_all() { Trust::Full } else { Trust::Checked };
        Observer::start(scope, trust).await
    }

    /// Holds if `observer` has seen everything since it started, for what is `expected` of all that.
    ///
    /// # Errors
    /// Inconclusive: there was a time that it did not see.
    pub async fn seen_by<K: Object>(
        &self,
        observer: &Observer<K>,
        expected: &str,
    ) -> Result<(), Stop> {
        observer.confirm().await;
        let gap = observer.interrupted(observer.started());
        gap.map_or(Ok(()), |gap| Err(Stop::inconclusive(expected, unseen(gap))))
    }

    /// Pods of the front's namespace, watched from now on.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn watch_pods(&self) -> Result<(), kube::Error> {
        if self.pods.borrow().is_none() {
            let observer = self.observe(Scope::all(self.pods_api())).await?;
            *self.pods.borrow_mut() = Some(Rc::new(observer));
        }
        Ok(())
    }

    /// Makes sure that what pods did so far was seen, or that it is known to be unseen.
    pub(super) async fn confirm_pods(&self) {
        let pods = self.pods.borrow().clone();
        if let Some(pods) = pods {
            pods.confirm().await;
        }
    }

    /// Why what pods did since `from` was not all seen, if it was not.
    pub(super) fn unseen_pods(&self, from: Instant) -> Option<String> {
        self.pods.borrow().as_ref()?.interrupted(from).map(unseen)
    }
}

fn unseen(gap: Duration) -> String {
    format!(
        "the watch was interrupted for up to {:.1} s, and what happened then is not known: see that the \
         API server stays up and has CPU to spare",
        gap.as_secs_f64()
    )
}

#[cfg(test)]
mod tests;
