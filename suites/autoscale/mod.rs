//! Replicas follow the load, up to the maximum and back.

mod no_failed_request;
mod scales_in;
mod scales_out;
mod settings;
mod staircase;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "autoscale",
    charter: "Replicas follow the load, up to the maximum and back.",
    scenarios: &[scales_out::SCENARIO, scales_in::SCENARIO, no_failed_request::SCENARIO],
};
