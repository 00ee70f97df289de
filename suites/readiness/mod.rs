//! A pod gets requests when it is ready, and only then.

mod any_order;
mod broken_rollout;
mod gate;
mod gates;
mod hung_replica;
mod no_early_traffic;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "readiness",
    charter: "A pod gets requests when it is ready, and only then.",
    scenarios: &[
        gate::SCENARIO,
        hung_replica::SCENARIO,
        broken_rollout::SCENARIO,
        no_early_traffic::SCENARIO,
        any_order::SCENARIO,
    ],
};
