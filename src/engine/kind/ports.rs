//! Host ports for the front door, chosen by the kernel.

use std::net::{Ipv4Addr, TcpListener};

use crate::base::Error;

/// Ports on 127.0.0.1 that lead to the ingress controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// For HTTP.
    pub http: u16,
    /// For HTTPS.
    pub https: u16,
}

impl Ports {
    /// What a dry run shows.
    pub(super) const DRY: Ports = Ports { http: 8080, https: 8443 };

    /// Two ports that are free now. Somebody may take one before the engine does: then the
    /// creation fails with a known text and is tried once more.
    pub(super) fn free() -> Result<Ports, Error> {
        let taken = |error| Error::environment(format!("no free port on 127.0.0.1: {error}"));
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(taken);
        // Both are held until both are known, so that they differ.
        let (first, second) = (listen()?, listen()?);
        let port = |listener: &TcpListener| listener.local_addr().map_err(taken).map(|a| a.port());
        Ok(Ports { http: port(&first)?, https: port(&second)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_differ_and_can_be_bound() {
        let ports = Ports::free().expect("there are free ports");
        assert_ne!(ports.http, ports.https);
        let _http = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.http)).expect("free");
        let _https = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.https)).expect("free");
    }
}
