//! Access-log lines in the combined format of Apache and nginx.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::base::SimTime;

/// Formats lines; remembers the text of the current second.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    second: Option<u64>,
    date: String,
}

impl AccessLog {
    /// The line of one request, with full path and query.
    pub(super) fn line(
        &mut self,
        now: SimTime,
        request: &http::Request<Bytes>,
        status: u16,
        n_bytes: usize,
    ) -> String {
        let second = now.whole_seconds();
        if self.second != Some(second) {
            self.second = Some(second);
            self.date = now.timestamp().strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        }
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-")
        };
        // mod_remoteip: the address that the proxy in front reports.
        let client = match header("x-forwarded-for") {
            "-" => "10.244.0.1",
            forwarded => forwarded,
        };
        let target = request.uri().path_and_query().map_or("/", |pq| pq.as_str());
        let mut line = String::with_capacity(96 + target.len());
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "{client} - - [{}] \"{} {target} HTTP/1.1\" {status} {n_bytes} \"-\" \"{}\"",
            self.date,
            request.method(),
            header("user-agent"),
        );
        line
    }
}
