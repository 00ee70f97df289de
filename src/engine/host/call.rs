//! Calls of programs, before they are made: what is called, with what, for how long.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::secs;

/// A call that names no limit of its own: most answer within a second.
const DEFAULT_LIMIT: Duration = secs(60);

/// One call of a program.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) program: String,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<String, OsString>,
    pub(super) stdin: Option<PathBuf>,
    pub(super) limit: Duration,
    pub(super) dry_answer: String,
}

impl Call {
    /// A call of `program` with `args`.
    pub fn new<A: Into<OsString>>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Call {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            stdin: None,
            limit: DEFAULT_LIMIT,
            dry_answer: String::new(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// With a file as standard input; otherwise there is none.
    #[must_use]
    pub fn stdin(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = Some(file.into());
        self
    }

    /// With a time limit; the process and its children are killed when it is over.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// What standard output is taken to be when nothing is run (`--dry-run`).
    #[must_use]
    pub fn when_dry(mut self, answer: impl Into<String>) -> Self {
        self.dry_answer = answer.into();
        self
    }

    /// As a shell would be given it.
    pub fn command_line(&self) -> String {
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(&value.to_string_lossy())));
        let words = std::iter::once(self.program.clone())
            .chain(self.args.iter().map(|arg| quoted(&arg.to_string_lossy())));
        let mut line = env.chain(words).collect::<Vec<_>>().join(" ");
        if let Some(file) = &self.stdin {
            line.push_str(&format!(" < {}", quoted(&file.to_string_lossy())));
        }
        line
    }
}

/// `word` in single quotes where a shell would read it otherwise.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
