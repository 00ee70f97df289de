//! Files of one trial: each text is redacted, and all of them together are bounded.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::redact::Redactor;

/// Longest text of one file.
const FILE_BYTES_MAX: usize = 2 << 20;
/// All files of a trial together.
const TRIAL_BYTES_MAX: usize = 64 << 20;
/// A secret of several lines is no longer than this; the end of a text begins as much earlier, so
/// that no secret is cut in two before it is known for one.
const SECRET_BYTES_MAX: usize = 64 << 10;

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

    /// Writes `text` as `name`, its end where it is too long; nothing once there is too much.
    pub(super) fn write(&mut self, name: &str, text: &str) {
        if text.is_empty() || self.trouble.is_some() {
            return;
        }
        let clean = self.redactor.clean(tail(text, FILE_BYTES_MAX + SECRET_BYTES_MAX));
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

    /// Writes the text in `file` as `name`; what is no text is left out.
    pub(super) fn import(&mut self, name: &str, file: &Path) -> io::Result<()> {
        let mut file = fs::File::open(file)?;
        let max = u64::try_from(FILE_BYTES_MAX + SECRET_BYTES_MAX).unwrap_or(u64::MAX);
        let from = file.metadata()?.len().saturating_sub(max);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes)?;
        if !bytes.contains(&0) {
            self.write(name, &String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    /// Writes nothing more, and says why.
    pub(super) fn withhold(&mut self, why: &str) {
        self.write("withheld.txt", &format!("{why}\n"));
        self.trouble.get_or_insert_with(|| why.to_owned());
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
