//! A new version comes, or goes back, without a user noticing.

mod no_failed_request;
mod ready_capacity;
mod rollback;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "rollout",
    charter: "A new version comes, or goes back, without a user noticing.",
    scenarios: &[no_failed_request::SCENARIO, ready_capacity::SCENARIO, rollback::SCENARIO],
};
