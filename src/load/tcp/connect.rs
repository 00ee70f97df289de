//! One connection: opened, used for one request at a time, closed when dropped.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::tls::Tls;
use crate::base::secs;
use crate::load::transport::{Failure, Target, TlsSeen};

/// A SYN is sent again after 1, 3 and 7 s: a machine that has not answered by then is not there.
const CONNECT_LIMIT: Duration = secs(10);

/// An open connection.
#[derive(Debug)]
pub(super) struct Open {
    sender: SendRequest<Full<Bytes>>,
    tls: Option<TlsSeen>,
}

/// What became of a request handed to a connection.
pub(super) enum Sent {
    /// The head of the response has arrived.
    Response(http::Response<Incoming>),
    /// The connection was closed before any of it was sent; it comes back.
    Not(http::Request<Full<Bytes>>),
}

impl Open {
    /// Opens a connection to `target`.
    pub(super) async fn connect(
        target: &Target,
        tls: &Tls,
        deadline: Instant,
    ) -> Result<Open, Failure> {
        let limit = deadline.min(Instant::now() + CONNECT_LIMIT);
        let stream = match timeout_at(limit, dial(target)).await {
            Ok(connected) => connected.map_err(|error| refusal(&error))?,
            Err(_) => return Err(Failure::ConnectTimeout),
        };
        // Small requests must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|_| Failure::Reset)?;
        let Some(name) = &target.tls else { return Open::speak(stream, None).await };
        // The machine has answered: from here on silence is a response that does not come.
        let shaken = timeout_at(deadline, tls.shake_hands(name, stream)).await;
        let (stream, seen) = shaken.unwrap_or(Err(Failure::ResponseTimeout))?;
        Open::speak(stream, Some(seen)).await
    }

    async fn speak<S>(stream: S, tls: Option<TlsSeen>) -> Result<Open, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = http1::handshake(io).await.map_err(|_| Failure::Reset)?;
        // The task ends when the sender is dropped or the server closes; the sender tells the error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Open { sender, tls })
    }

    /// Sends a request, if the server has not closed the connection.
    pub(super) async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Sent, Failure> {
        // Lets the connection's task see a close that has arrived while nothing was read.
        tokio::task::yield_now().await;
        if self.sender.ready().await.is_err() {
            return Ok(Sent::Not(request));
        }
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(Sent::Response(response)),
            Err(mut error) => error.take_message().map(Sent::Not).ok_or(Failure::Reset),
        }
    }

    /// Whether the server is known to have closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What its handshake showed.
    pub(super) fn tls_seen(&self) -> Option<TlsSeen> {
        self.tls.clone()
    }
}

/// Connects to the first address of `target` that answers.
async fn dial(target: &Target) -> Result<TcpStream, Error> {
    let mut why = None;
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = Some(telling(why, error)),
        }
    }
    Err(why.unwrap_or_else(|| ErrorKind::NotFound.into()))
}

/// Which of the errors of two addresses tells why there is no connection. A name may have an address
/// of a family that this machine does not have, and that looks like a lack of ports.
fn telling(known: Option<Error>, next: Error) -> Error {
    let is_own = |error: &Error| Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL);
    known.filter(|known| !is_own(known)).unwrap_or(next)
}

/// Why there is no connection. A router's "host unreachable" is what a machine that is gone looks
/// like after some seconds of silence, on other networks the silence goes on: both are a machine
/// that does not answer. So is a name that no address is known for.
fn refusal(error: &Error) -> Failure {
    if let Some(limit) = own_limit(error) {
        return Failure::NotSent(limit.to_owned());
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Failure::Reset,
        _ => Failure::ConnectTimeout,
    }
}

/// What this machine has run out of, if that is why.
fn own_limit(error: &Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => "this process may open no more files: raise the hard limit (`ulimit -Hn`)",
        Errno::NFILE => "this machine may open no more files: raise `sysctl fs.file-max`",
        Errno::ADDRNOTAVAIL => {
            "this machine has no local port left: widen `sysctl net.ipv4.ip_local_port_range`"
        }
        Errno::NOBUFS => "this machine has no network buffers left: give it more memory",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_family_that_is_off_hides_no_refusal_of_another() {
        let error = |errno: Errno| Error::from_raw_os_error(errno.raw_os_error());
        for errnos in
            [[Errno::CONNREFUSED, Errno::ADDRNOTAVAIL], [Errno::ADDRNOTAVAIL, Errno::CONNREFUSED]]
        {
            let why = errnos.into_iter().fold(None, |why, errno| Some(telling(why, error(errno))));
            assert_eq!(refusal(&why.expect("two errors")), Failure::Refused, "{errnos:?}");
        }
        let alone = telling(None, error(Errno::ADDRNOTAVAIL));
        assert!(matches!(refusal(&alone), Failure::NotSent(_)));
    }

    #[test]
    fn what_the_sender_lacks_is_no_failure_of_the_other_end() {
        for (errno, limit) in [
            (Errno::MFILE, "ulimit -Hn"),
            (Errno::NFILE, "fs.file-max"),
            (Errno::ADDRNOTAVAIL, "ip_local_port_range"),
            (Errno::NOBUFS, "network buffers"),
        ] {
            let failure = refusal(&Error::from_raw_os_error(errno.raw_os_error()));
            let Failure::NotSent(why) = failure else { panic!("{failure:?}") };
            assert!(why.contains(limit), "{why}");
        }
    }

    #[test]
    fn an_unreachable_host_is_one_that_does_not_answer() {
        let of = |kind: ErrorKind| refusal(&Error::from(kind));
        assert_eq!(of(ErrorKind::HostUnreachable), Failure::ConnectTimeout);
        assert_eq!(of(ErrorKind::NetworkUnreachable), Failure::ConnectTimeout);
        assert_eq!(of(ErrorKind::TimedOut), Failure::ConnectTimeout);
        assert_eq!(of(ErrorKind::ConnectionRefused), Failure::Refused);
        assert_eq!(of(ErrorKind::ConnectionReset), Failure::Reset);
    }
}
