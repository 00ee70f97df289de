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

/// Which answers serve the user. A status that was never seen before says that something is amiss,
/// even where it is not the server's fault: a program that still starts may answer 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Those with this status, which is known to be the right one.
    With(u16),
    /// Those with any 2xx.
    Successfully,
    /// Those with any status below 500: the program worked for it.
    BelowServerError,
}

impl Served {
    fn by(self, status: u16) -> bool {
        match self {
            Served::With(right) => status == right,
            Served::Successfully => (200..300).contains(&status),
            Served::BelowServerError => status < 500,
        }
    }
}

/// The fate of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A response with a status that serves the user.
    Answered(u16),
    /// A response with another status below 500, as `404` for a page that is there.
    Unexpected(u16),
    /// A response with a 5xx status.
    ServerError(u16),
    /// No response.
    Failed(Failure),
}

impl Outcome {
    /// The fate of a finished call that `served` judges, and who was at the other end.
    pub fn of(result: Result<Answer, Failed>, served: Served) -> (Outcome, Option<Backend>) {
        match result {
            Ok(answer) => {
                let status = answer.response.status().as_u16();
                let outcome = if served.by(status) {
                    Outcome::Answered(status)
                } else if status >= 500 {
                    Outcome::ServerError(status)
                } else {
                    Outcome::Unexpected(status)
                };
                (outcome, answer.backend)
            }
            Err(failed) => (Outcome::Failed(failed.failure), failed.backend),
        }
    }

    /// Whether the user was served.
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Answered(_))
    }

    /// Why it was never sent, if so: then it is no failure of whom it was meant for.
    pub fn not_sent(&self) -> Option<&str> {
        match self {
            Outcome::Failed(Failure::NotSent(why)) => Some(why),
            _ => None,
        }
    }

    /// The class in reports: `2xx`, `404`, `502`, `refused`, ...
    pub fn class(&self) -> String {
        match self {
            Outcome::Answered(status) => format!("{}xx", status / 100),
            Outcome::Unexpected(status) | Outcome::ServerError(status) => status.to_string(),
            Outcome::Failed(Failure::Refused) => "refused".into(),
            Outcome::Failed(Failure::Reset) => "reset".into(),
            Outcome::Failed(Failure::ConnectTimeout) => "connect-timeout".into(),
            Outcome::Failed(Failure::ResponseTimeout) => "response-timeout".into(),
            Outcome::Failed(Failure::Tls(_)) => "tls".into(),
            Outcome::Failed(Failure::NotSent(_)) => "not-sent".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outcome(status: u16, served: Served) -> Outcome {
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        let answer = Answer { response, tls: None, reused: false, backend: None };
        Outcome::of(Ok(answer), served).0
    }

    #[test]
    fn an_answer_with_another_status_does_not_serve() {
        let file = Served::With(200);
        assert!(outcome(200, file).is_ok());
        for status in [204, 302, 401, 403, 404, 429] {
            assert_eq!(outcome(status, file), Outcome::Unexpected(status));
            assert_eq!(outcome(status, file).class(), status.to_string());
        }
        assert_eq!(outcome(503, file), Outcome::ServerError(503));
        let page = Served::Successfully;
        assert!(outcome(204, page).is_ok() && !outcome(302, page).is_ok());
        assert!(outcome(302, Served::With(302)).is_ok(), "as it was from the start");
        let post = Served::BelowServerError;
        assert!(outcome(405, post).is_ok() && !outcome(500, post).is_ok());
    }
}
