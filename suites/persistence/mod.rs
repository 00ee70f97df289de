//! What a user was told is saved stays saved.

mod ledger;
mod posts;
mod shared_uploads;
mod uploads;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "persistence",
    charter: "What a user was told is saved stays saved.",
    scenarios: &[uploads::SCENARIO, posts::SCENARIO, shared_uploads::SCENARIO, ledger::SCENARIO],
};
