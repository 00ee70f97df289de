//! What became of each planned request.

use tokio::time::Instant;

use super::transport::{Answer, Backend, Failed, Failure};

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which source planned it, as in `GET fresh`.
    pub source: &'static str,
    /// When it was due.
    pub planned: Instant,
    /// When it was sent.
    pub started: Instant,
    /// When its fate was known.
    pub finished: Instant,
    /// Its fate.
    pub outcome: Outcome,
    /// Who served it or was to, where the transport can know it.
    pub backend: Option<Backend>,
}

/// The fate of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A response with a status below 500.
    Answered(u16),
    /// A response with a 5xx status.
    ServerError(u16),
    /// No response.
    Failed(Failure),
}

impl Outcome {
    /// The fate of a finished call, and who was at the other end.
    pub fn of(result: Result<Answer, Failed>) -> (Outcome, Option<Backend>) {
        match result {
            Ok(answer) => {
                let status = answer.response.status().as_u16();
                let outcome = if status >= 500 {
                    Outcome::ServerError(status)
                } else {
                    Outcome::Answered(status)
                };
                (outcome, answer.backend)
            }
            Err(failed) => (Outcome::Failed(failed.failure), failed.backend),
        }
    }

    /// Whether the user got an answer that is not the server's fault.
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Answered(_))
    }

    /// The class in reports: `2xx`, `502`, `refused`, ...
    pub fn class(&self) -> String {
        match self {
            Outcome::Answered(status) => format!("{}xx", status / 100),
            Outcome::ServerError(status) => status.to_string(),
            Outcome::Failed(Failure::Refused) => "refused".into(),
            Outcome::Failed(Failure::Reset) => "reset".into(),
            Outcome::Failed(Failure::ConnectTimeout) => "connect-timeout".into(),
            Outcome::Failed(Failure::ResponseTimeout) => "response-timeout".into(),
            Outcome::Failed(Failure::Tls(_)) => "tls".into(),
        }
    }
}
