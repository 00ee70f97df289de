//! Everybody is served over HTTPS, with the stack's own certificate.

mod certificate;
mod certificates;
mod every_host;
mod hosts;
mod redirect;
mod serves;

use crate::suite::Suite;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "https",
    charter: "Everybody is served over HTTPS, with the stack's own certificate.",
    scenarios: &[redirect::SCENARIO, serves::SCENARIO, certificate::SCENARIO, every_host::SCENARIO],
};
