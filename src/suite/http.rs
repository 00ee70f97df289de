//! Single requests to the stack, as a user outside sends them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};

use crate::base::secs;
use crate::load::{Backend, Call, Connection, Failure, Target, TlsSeen};

use super::trial::Trial;

/// How long a user waits: longer than ingress-nginx's 5 s connect time-out and its next try.
pub const PATIENCE: Duration = secs(12);

/// A way in: an address and the name asked for.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where to connect.
    pub target: Target,
    /// The `Host` header.
    pub host: String,
}

/// A request that can be sent many times.
#[derive(Clone, Debug)]
pub struct Template {
    target: Target,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// What TLS showed.
    pub tls: Option<TlsSeen>,
    /// Who answered, where the transport knows.
    pub backend: Option<Backend>,
}

impl Door {
    /// A request for `path` through this door.
    ///
    /// # Errors
    /// `path` or the host is malformed.
    pub fn template(&self, method: Method, path: &str) -> Result<Template, String> {
        let uri =
            path.parse::<Uri>().map_err(|error| format!("malformed path `{path}`: {error}"))?;
        let host = HeaderValue::from_str(&self.host)
            .map_err(|_| format!("malformed host `{}`", self.host))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host);
        Ok(Template { target: self.target.clone(), method, uri, headers, body: Bytes::new() })
    }

    /// `path` as a user writes it, for messages.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.target.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host)
    }
}

impl Template {
    /// With a header; malformed values are left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// The call on `connection`.
    pub fn call(&self, connection: Connection) -> Call {
        let mut request = Request::new(self.body.clone());
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        Call { target: self.target.clone(), connection, request, timeout: PATIENCE }
    }
}

impl Reply {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// No answer came.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// What happened, as a user would tell it.
    pub said: String,
    /// Whether it was sent: if not, it is no failure of whom it was meant for.
    pub was_sent: bool,
}

impl From<Unanswered> for String {
    fn from(unanswered: Unanswered) -> String {
        unanswered.said
    }
}

impl Trial {
    /// Sends one request.
    ///
    /// # Errors
    /// How it failed.
    pub async fn send(
        &self,
        template: &Template,
        connection: Connection,
    ) -> Result<Reply, Unanswered> {
        let sent = format!("{} {}", template.method, template.uri);
        match self.transport().call(template.call(connection)).await {
            Ok(answer) => {
                let (parts, body) = answer.response.into_parts();
                Ok(Reply {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body,
                    tls: answer.tls,
                    backend: answer.backend,
                })
            }
            Err(failed) => Err(Unanswered {
                said: format!("{sent}: {:?}", failed.failure),
                was_sent: !matches!(failed.failure, Failure::NotSent(_)),
            }),
        }
    }

    /// GET of `path` through the stack's front door on a fresh connection.
    ///
    /// # Errors
    /// How it failed.
    pub async fn get(&self, path: &str) -> Result<Reply, String> {
        let template = self.door()?.template(Method::GET, path)?;
        Ok(self.send(&template, Connection::Fresh).await?)
    }

    /// GET that must be answered with 200.
    ///
    /// # Errors
    /// What came instead.
    pub async fn get_ok(&self, path: &str) -> Result<Reply, String> {
        let reply = self.get(path).await?;
        if reply.status == 200 { Ok(reply) } else { Err(format!("GET {path}: {}", reply.status)) }
    }
}
