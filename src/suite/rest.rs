//! A front with an autoscaler at rest: it has the autoscaler's minimum of replicas, neither those of
//! its own manifest nor more, which would come or go while a scenario looks.

use serde_json::json;

use crate::observe::Verdict;
use crate::wait::{self, STACK_READY};

use super::autoscaler::Autoscaler;
use super::stop::Stop;
use super::target::Workload;
use super::trial::Trial;

impl Trial {
    /// The autoscaler of `workload`.
    pub(super) fn autoscaler_of(&self, workload: &Workload) -> Option<&Autoscaler> {
        let front = &self.target().front;
        front.autoscaler.as_ref().filter(|_| front.workload.is(workload))
    }

    /// Takes replicas away that the manifest asks for beyond the autoscaler's minimum. The autoscaler
    /// would do so itself, but a window later, in the middle of a scenario, or never without metrics.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn lower_to_wish(&self, workload: &Workload) -> Result<(), Stop> {
        let wish = self.target().wish();
        if self.autoscaler_of(workload).is_none() || workload.replicas <= wish {
            return Ok(());
        }
        self.patch(workload, json!({"spec": {"replicas": wish}})).await
    }

    /// Waits until `workload`, which has an autoscaler, has exactly the replicas it has at rest.
    ///
    /// # Errors
    /// There are fewer. Inconclusive when the autoscaler keeps more.
    pub(super) async fn await_rest(&self, workload: &Workload) -> Result<(), Stop> {
        let wish = usize::try_from(self.target().wish()).unwrap_or(0);
        let rests = wait::exactly_n_pods_ready(wish);
        let Err(error) = wait::until(&self.scope_of(workload), &rests, STACK_READY).await else {
            return Ok(());
        };
        let held = error.is_timeout() && self.live_pods_of(workload).await?.len() > wish;
        let mut stop = Stop::from(error);
        if held {
            stop.verdict = Verdict::Inconclusive;
            let why = "the autoscaler keeps more replicas than its minimum, without any load";
            stop = stop.line(why);
        }
        Err(stop)
    }
}
