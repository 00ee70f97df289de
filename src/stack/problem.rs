//! What is wrong with a stack: every problem in one run, bounded.

use std::path::Path;

use crate::base::Error;

/// Problems shown; a file that is not YAML at all can have thousands.
const SHOWN_MAX: usize = 20;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    lines: Vec<String>,
    count: usize,
}

impl Problems {
    /// A problem at a line of a file.
    pub(super) fn add(&mut self, file: &Path, line: usize, message: &str) {
        self.count += 1;
        if self.lines.len() < SHOWN_MAX {
            self.lines.push(format!("{}:{line}: {message}", file.display()));
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The error that lists them, if there are any.
    pub(super) fn into_result(self) -> Result<(), Error> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut message = self.lines.join("\n");
        let hidden = self.count - self.lines.len();
        if hidden > 0 {
            message.push_str(&format!("\n... and {hidden} more"));
        }
        Err(Error::usage(message))
    }
}
