//! Selection: which scenarios a run is about.

use crate::base::Error;

use super::scenario::{Scenario, Suite};

/// Names this close to an existing one are suggested.
const NEAR: f64 = 0.6;

/// `suite::scenario` of all scenarios, in declaration order.
pub fn full_names(suites: &[Suite]) -> Vec<String> {
    suites
        .iter()
        .flat_map(|suite| suite.scenarios.iter().map(|s| format!("{}::{}", suite.name, s.name)))
        .collect()
}

/// The scenarios that `wanted` names (`suite` or `suite::scenario`), in declaration order; all of
/// them when it names none.
///
/// # Errors
/// A name that fits nothing, with the nearest one.
pub fn select<'a>(
    suites: &'a [Suite],
    wanted: &[String],
) -> Result<Vec<(&'a Suite, &'a Scenario)>, Error> {
    let names = full_names(suites);
    for want in wanted {
        let is_suite = suites.iter().any(|suite| suite.name == want);
        if !is_suite && !names.contains(want) {
            let candidates = suites.iter().map(|suite| suite.name.to_owned()).chain(names.clone());
            let near = candidates
                .map(|name| (strsim::jaro_winkler(want, &name), name))
                .filter(|(closeness, _)| *closeness > NEAR)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = near.map_or(String::new(), |(_, name)| format!("; did you mean `{name}`?"));
            return Err(Error::nothing_selected(format!(
                "no suite or scenario is called `{want}`{hint}\nsuites: {}",
                suites.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
            )));
        }
    }
    let chosen = |suite: &Suite, scenario: &Scenario| {
        wanted.is_empty()
            || wanted.iter().any(|want| {
                want == suite.name || *want == format!("{}::{}", suite.name, scenario.name)
            })
    };
    Ok(suites
        .iter()
        .flat_map(|suite| suite.scenarios.iter().map(move |scenario| (suite, scenario)))
        .filter(|(suite, scenario)| chosen(suite, scenario))
        .collect())
}
