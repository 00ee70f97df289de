//! A body: one behaviour, where it can be judged, and what came of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use libtest_mimic::Completion;

use seatrial::engine::Engine;

use super::needs::Need;
use super::support::{Cluster, Outcome};

/// A body takes minutes at most; one that waits for a lost node takes two.
const LIMIT: Duration = Duration::from_secs(600);

type Run = for<'a> fn(&'a Cluster) -> LocalBoxFuture<'a, Outcome>;

/// One behaviour of Kubernetes.
#[derive(Clone, Copy)]
pub struct Body {
    pub name: &'static str,
    run: Run,
    alone: bool,
    needs: &'static [Need],
}

/// The body of the function with this name.
macro_rules! body {
    ($name:ident) => {
        crate::body::Body::new(stringify!($name), |cluster| Box::pin($name(cluster)))
    };
}
pub(crate) use body;

impl Body {
    pub const fn new(name: &'static str, run: Run) -> Self {
        Body { name, run, alone: false, needs: &[] }
    }

    /// It changes nodes or depends on how full they are: nothing else runs meanwhile.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// What a cluster must have for it; without, it is ignored.
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Judges a cluster by this body in a namespace of its own, which is gone afterwards.
    pub async fn judge(
        &self,
        engine: Arc<dyn Engine>,
        namespace: &str,
        label: &str,
    ) -> Result<Completion, String> {
        let cluster = Cluster::new(engine, namespace);
        for need in self.needs {
            if let Some(reason) = need.unmet(&cluster).await? {
                return Ok(Completion::ignored_with(reason));
            }
        }
        cluster.make_namespace(label).await?;
        // A body that panics or does not end leaves its namespace no more than one that fails.
        let running = AssertUnwindSafe((self.run)(&cluster)).catch_unwind();
        let outcome = match tokio::time::timeout(LIMIT, running).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(format!("it panicked: {}", text_of(&*panic))),
            Err(_) => Err(format!("it did not end within {LIMIT:?}")),
        };
        let cleaned = cluster.remove_namespace().await;
        outcome.and(cleaned).map(|()| Completion::Completed)
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
