//! Wait: turns a pure condition into "met by the deadline" or an explained failure.
//! Owns: `Condition` and its combinators, the one waiting loop, the observer of every event, the blocking chain.
//! Imports: base, k8s. Never: sim, engine, suite; nothing else in the product waits for the cluster.
//! Time and errors: checks at once, then on every watch event and re-list; `WaitError` says what is unmet, and why.
//! Source: kube-runtime wait, kubectl wait. Proof: wait/tests.rs and the conformance bodies.

mod board;
mod chain;
mod condition;
mod conditions;
mod deadline;
mod error;
mod observer;
mod sight;
#[cfg(test)]
mod tests;
mod until;
mod watched;

pub use board::{Activity, Board, Doing, News, doing};
pub use chain::blocking_chain;
pub use condition::Condition;
pub use conditions::{
    autoscaler_wants, deployment_rolled_out, exactly_n_pods_ready, exists, n_pods_ready,
    node_ready, none_of, none_terminating, pods_ready, stateful_set_ready,
};
pub use deadline::{
    Deadline, EVICTED, HPA_REACTION, NODE_BACK, NODE_DETECTED, POD_GONE, POD_REPLACED, POD_STARTED,
    REPLICAS_RETURN, ROLLOUT, SCALE_DOWN_SLACK, STACK_READY, TRAFFIC_REACHES,
};
pub use error::WaitError;
pub use observer::{Observer, Sighting, Trust};
pub use until::{EXPLAIN_LIMIT, until, until_ok};
pub use watched::{Change, Object, Scope, Watched};
