//! The trace: one line an observable step, hashed as it grows; the same seed gives the same bytes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::base::SimTime;

/// Lines are hashed in blocks of this many bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// A running hash over the steps of a simulation.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: Sha256,
    buffer: String,
    kept: Option<String>,
    n_lines: u64,
}

impl Trace {
    /// A trace that also keeps its text, for comparison in tests.
    pub fn keeping_text() -> Self {
        Trace { kept: Some(String::new()), ..Trace::default() }
    }

    /// Records that `component` did `what` at `now`.
    pub fn line(&mut self, now: SimTime, component: &str, what: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.buffer, "{} {component} {what}", now.as_micros());
        self.n_lines += 1;
        if self.buffer.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    /// Lines recorded so far.
    pub fn n_lines(&self) -> u64 {
        self.n_lines
    }

    /// The text so far, if it is kept.
    pub fn text(&mut self) -> Option<&str> {
        self.flush();
        self.kept.as_deref()
    }

    /// SHA-256 of all lines so far, in hex.
    pub fn hash(&mut self) -> String {
        self.flush();
        let digest = self.hasher.clone().finalize();
        digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn flush(&mut self) {
        self.hasher.update(self.buffer.as_bytes());
        if let Some(kept) = &mut self.kept {
            kept.push_str(&self.buffer);
        }
        self.buffer.clear();
    }
}
