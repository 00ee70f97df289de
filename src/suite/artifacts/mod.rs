//! Artifacts: the evidence of a trial as files: what it was judged, events, objects, logs, the
//! timeline, journals of the nodes. Secrets are taken out, and there is an upper bound to it all.

mod files;
mod gather;
mod nodes;
mod redact;
mod telling;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::observe::Verdict;
use crate::wait::Board;

/// When evidence is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After trials that did not pass.
    OnFailure,
    /// After every trial.
    Always,
}

/// Where evidence goes, and when it is gathered.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
    when: When,
    board: Option<Arc<Board>>,
}

impl Artifacts {
    /// Evidence below `report`, the folder of the run's reports.
    pub fn new(report: &Path, when: When) -> Self {
        Artifacts { folder: report.join("artifacts"), when, board: None }
    }

    /// With what is under way on `board`.
    #[must_use]
    pub fn with_board(mut self, board: Arc<Board>) -> Self {
        self.board = Some(board);
        self
    }

    /// Whether a trial with `verdict` leaves evidence.
    pub(super) fn wanted(&self, verdict: Verdict) -> bool {
        match self.when {
            When::Always => true,
            When::OnFailure => {
                matches!(verdict, Verdict::Failed | Verdict::Errored | Verdict::Inconclusive)
            }
        }
    }
}
