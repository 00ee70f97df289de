//! What an examination found, and its text.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// A cluster may come up, and something may fail.
    Warning,
    /// A cluster cannot come up or cannot be used.
    Fatal,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, as in `inotify`.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// The command, or the step, that mends it; empty where all is well.
    pub fix: String,
}

impl Finding {
    pub(super) fn ok(name: &'static str, seen: impl Into<String>) -> Finding {
        let seen = seen.into();
        Finding { name, level: Level::Ok, seen, why: String::new(), fix: String::new() }
    }

    pub(super) fn warning(name: &'static str, trouble: Trouble) -> Finding {
        Finding::bad(name, Level::Warning, trouble)
    }

    pub(super) fn fatal(name: &'static str, trouble: Trouble) -> Finding {
        Finding::bad(name, Level::Fatal, trouble)
    }

    pub(super) fn bad(name: &'static str, level: Level, trouble: Trouble) -> Finding {
        Finding { name, level, seen: trouble.seen, why: trouble.why, fix: trouble.fix }
    }
}

/// What is wrong, why it matters and what mends it.
pub(super) struct Trouble {
    pub(super) seen: String,
    pub(super) why: String,
    pub(super) fix: String,
}

impl Trouble {
    pub(super) fn new(
        seen: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Trouble {
        Trouble { seen: seen.into(), why: why.into(), fix: fix.into() }
    }
}

/// The worst level among `findings`.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// The findings as lines of text: what was seen, and below it why it matters and the fix.
pub fn render(findings: &[Finding]) -> Vec<String> {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Fatal => "fatal",
        };
        lines.push(format!("{level:<8} {:<width$}  {}", finding.name, finding.seen));
        for (label, text) in [("why", &finding.why), ("fix", &finding.fix)] {
            if !text.is_empty() {
                lines.push(format!("{:<8} {:<width$}  {label}: {text}", "", ""));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_troubles_explained() {
        let findings = [
            Finding::ok("container engine", "docker 28.1.1"),
            Finding::warning("disk", Trouble::new("3 GiB free", "it fills up", "docker prune")),
        ];
        assert_eq!(
            render(&findings),
            [
                "ok       container engine  docker 28.1.1",
                "warning  disk              3 GiB free",
                "                           why: it fills up",
                "                           fix: docker prune",
            ]
        );
        assert_eq!(worst(&findings), Level::Warning);
    }
}
