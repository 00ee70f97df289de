//! Phases of a trial and the time each may take.

use std::time::Duration;

use crate::base::secs;

/// A part of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bring the stack up.
    Setup,
    /// Do to it what the story tells.
    Act,
    /// Judge what was seen.
    Assess,
    /// Gather evidence after a failure.
    Diagnose,
    /// Write evidence to files.
    Gather,
    /// Take back what was done to the cluster.
    Cleanup,
}

impl Phase {
    /// As messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Setup => "setup",
            Phase::Act => "act",
            Phase::Assess => "assess",
            Phase::Diagnose => "diagnose",
            Phase::Gather => "gather",
            Phase::Cleanup => "cleanup",
        }
    }

    /// How long it may take; every wait inside has a shorter deadline of its own, so this one is
    /// met only by a story that hangs.
    pub fn limit(self) -> Duration {
        match self {
            Phase::Setup => secs(1200),
            // An autoscaler may take an hour to let its replicas go.
            Phase::Act => secs(4500),
            Phase::Assess => secs(900),
            Phase::Diagnose => secs(60),
            Phase::Gather => secs(120),
            Phase::Cleanup => secs(300),
        }
    }
}
