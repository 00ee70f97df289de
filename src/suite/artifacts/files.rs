//! Files of one trial: each text is redacted, and all of them together are bounded.

use std::fs;
use std::path::{Path, PathBuf};

use super::redact::Redactor;

/// Longest text of one file.
const FILE_BYTES_MAX: usize = 2 << 20;
/// All files of a trial together.
const TRIAL_BYTES_MAX: usize = 64 << 20;

/// A folder that is being filled.
pub(super) struct Files {
    folder: PathBuf,
    redactor: Redactor,
    n_bytes: usize,
    trouble: Option<String>,
}

impl Files {
    /// Files below `folder`, without what `redactor` knows.
    pub(super) fn new(folder: PathBuf, redactor: Redactor) -> Self {
        Files { folder, redactor, n_bytes: 0, trouble: None }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `text` as `name`, its end where it is too long; nothing once there is too much.
    pub(super) fn write(&mut self, name: &str, text: &str) {
        if text.is_empty() || self.trouble.is_some() {
            return;
        }
        let clean = self.redactor.clean(text);
        let kept = tail(&clean, FILE_BYTES_MAX);
        if self.n_bytes + kept.len() > TRIAL_BYTES_MAX {
            self.trouble = Some(format!("more than {} MiB", TRIAL_BYTES_MAX >> 20));
            return;
        }
        self.n_bytes += kept.len();
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, kept));
        if let Err(error) = written {
            self.trouble = Some(format!("{}: {error}", path.display()));
        }
    }

    /// The line that says where they are.
    pub(super) fn summary(&self) -> String {
        let folder = self.folder.display();
        match &self.trouble {
            None => format!("artifacts: {folder}"),
            Some(trouble) => format!("artifacts: {folder} (incomplete: {trouble})"),
        }
    }
}

/// The last `max` bytes of `text`, from the start of a line.
fn tail(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let end = &text[from..];
    end.split_once('\n').map_or(end, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_kept_from_a_line_on() {
        assert_eq!(tail("one\ntwo\nthree\n", 9), "three\n");
        assert_eq!(tail("short", 9), "short");
    }
}
