//! Errors a user can meet, by the exit code they lead to.

use std::fmt;

/// What kind of trouble an error is; each class has its own exit code (see the README's table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Wrong arguments or an invalid manifest: exit 2.
    Usage,
    /// The environment is at fault (no container engine, image missing, cluster lost): exit 3.
    Environment,
    /// Something of ours could not be taken away: exit 3, whatever else ended the run.
    Leftovers,
    /// The selection matched nothing: exit 4.
    NothingSelected,
}

/// An error to be shown to the user as it is: one or more lines, the first says what is wrong.
#[derive(Clone, Debug)]
pub struct Error {
    class: ErrorClass,
    message: String,
}

impl Error {
    /// A mistake in the arguments or the manifests.
    pub fn usage(message: impl Into<String>) -> Self {
        Error { class: ErrorClass::Usage, message: message.into() }
    }

    /// Trouble with the environment.
    pub fn environment(message: impl Into<String>) -> Self {
        Error { class: ErrorClass::Environment, message: message.into() }
    }

    /// Something of ours could not be taken away; the message says what, and how to remove it.
    pub fn leftovers(message: impl Into<String>) -> Self {
        Error { class: ErrorClass::Leftovers, message: message.into() }
    }

    /// Nothing matched the selection.
    pub fn nothing_selected(message: impl Into<String>) -> Self {
        Error { class: ErrorClass::NothingSelected, message: message.into() }
    }

    /// The class, which decides the exit code.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An error with all it was caused by: the outermost alone often says "client error (Connect)".
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
