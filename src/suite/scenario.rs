//! Suites and scenarios: themes and stories.

use futures::future::LocalBoxFuture;

use crate::engine::Capability;

use super::stop::Stop;
use super::trial::Trial;

/// What a scenario saw, in a sentence, when its claim holds.
pub type Held = String;

/// A story: acts on the cluster and judges what it saw.
pub type Claim = for<'a> fn(&'a Trial) -> LocalBoxFuture<'a, Result<Held, Stop>>;

/// A theme.
#[derive(Debug)]
pub struct Suite {
    /// Its name, as in `rollout`.
    pub name: &'static str,
    /// What it stands for, in a sentence.
    pub charter: &'static str,
    /// Its scenarios, in the order in which they are reported.
    pub scenarios: &'static [Scenario],
}

/// One story.
#[derive(Debug)]
pub struct Scenario {
    /// Its name within the suite.
    pub name: &'static str,
    /// What it claims, in a sentence.
    pub claim: &'static str,
    /// What the engine must be able to do.
    pub needs: &'static [Capability],
    /// Which parts of the stack it judges: an unmodelled field there makes it unknown.
    pub aspects: &'static [Aspect],
    /// What setup leaves behind.
    pub start: Start,
    /// Done before the stack is applied.
    pub prepare: Option<Claim>,
    /// The story.
    pub run: Claim,
}

/// What setup leaves behind for a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The stack is applied and ready, its front door answers, the app is installed.
    Serving,
    /// The stack is applied and ready; nobody has asked it anything.
    Ready,
    /// As `Ready`, and the stack was not in the cluster before `prepare` had done its work.
    Fresh,
    /// An empty cluster.
    Empty,
}

/// Which part of a stack a scenario judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Where pods run.
    Scheduling,
    /// How pods start, get ready and stop.
    Lifecycle,
    /// Which pod gets which request, and what the program answers.
    Traffic,
    /// How many replicas there are.
    Scaling,
    /// Where data lives.
    Storage,
    /// Certificates and redirects.
    Tls,
}

impl Aspect {
    /// As the field table spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Aspect::Scheduling => "scheduling",
            Aspect::Lifecycle => "lifecycle",
            Aspect::Traffic => "traffic",
            Aspect::Scaling => "scaling",
            Aspect::Storage => "storage",
            Aspect::Tls => "tls",
        }
    }
}
