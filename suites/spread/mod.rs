//! Replicas run on different nodes, so that no single node takes the service down.

mod after_rollout;
mod ballast;
mod busy_cluster;
mod distinct_nodes;
mod node_drained;
mod node_lost;
mod placement;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "spread",
    charter: "Replicas run on different nodes, so that no single node takes the service down.",
    scenarios: &[
        distinct_nodes::SCENARIO,
        busy_cluster::SCENARIO,
        after_rollout::SCENARIO,
        node_drained::SCENARIO,
        node_lost::SCENARIO,
    ],
};
