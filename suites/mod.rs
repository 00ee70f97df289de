//! Suites: what a stack must be fit for before it enters service, one folder a theme, one file a story.
//! Owns: the claims, what is done to the cluster for each, and when a claim counts as broken.
//! Imports: suite, wait, observe, stack, load, k8s, base. Never: sim, engine, cli.
//! Time and errors: nothing sleeps and looks; waits are conditions with reasons, or every watch event is judged.
//! Source: the tutorial's stages and the table. Proof: tests/stages.rs, every stage over many seeds.

pub mod autoscale;
pub mod https;
pub mod persistence;
pub mod readiness;
pub mod rollout;
pub mod spread;

use crate::suite::Suite;

static ALL: [Suite; 6] = [
    spread::SUITE,
    readiness::SUITE,
    rollout::SUITE,
    autoscale::SUITE,
    persistence::SUITE,
    https::SUITE,
];

/// All suites, in the order in which they are reported.
pub fn all() -> &'static [Suite] {
    &ALL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{full_names, select};

    #[test]
    fn names_select_suites_and_scenarios_in_declaration_order() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|w| (*w).to_owned()).collect();
            select(all(), &wanted).map(|chosen| {
                chosen.iter().map(|(s, c)| format!("{}::{}", s.name, c.name)).collect::<Vec<_>>()
            })
        };
        assert_eq!(names(&[]).expect("all"), full_names(all()));
        let some = names(&["https", "spread::node_lost"]).expect("known names");
        assert_eq!(some[0], "spread::node_lost");
        assert!(some[1..].iter().all(|name| name.starts_with("https::")) && some.len() > 2);
        let error = names(&["rolout"]).expect_err("unknown").to_string();
        assert!(error.contains("did you mean `rollout`?"), "{error}");
    }

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        let mut names = full_names(all());
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
