//! The data-plane waist: calls into the simulated network.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::bridge::Bridge;
use crate::load::{
    Answer, Backend, BackendState, Call, Connection, Failed, Failure, TlsSeen, Transport,
};
use crate::sim::net::{CallFailure, CallResult, ClientCall, Hop, HopState};

/// Sends requests into the world behind `bridge`.
pub(super) struct SimTransport {
    bridge: Arc<Bridge>,
}

impl SimTransport {
    pub(super) fn new(bridge: Arc<Bridge>) -> Self {
        SimTransport { bridge }
    }
}

impl Transport for SimTransport {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, Failed>> {
        let bridge = Arc::clone(&self.bridge);
        Box::pin(async move {
            let result = bridge.call(client_call(call)).await;
            // The sender goes away unsent only when the world itself is torn down.
            result.map_or(Err(Failed { failure: Failure::Reset, backend: None }), outcome)
        })
    }
}

fn client_call(call: Call) -> ClientCall {
    ClientCall {
        ip: call.target.host,
        port: call.target.port,
        tls: call.target.tls,
        connection: match call.connection {
            Connection::Fresh => None,
            Connection::Kept(number) => Some(number),
        },
        request: call.request,
        timeout: call.timeout,
    }
}

fn outcome(result: CallResult) -> Result<Answer, Failed> {
    match result {
        CallResult::Response { response, tls, reused, hop } => Ok(Answer {
            response,
            tls: tls.map(|facts| TlsSeen { chain: facts.chain }),
            reused,
            backend: hop.map(backend),
        }),
        CallResult::Failed { failure, hop } => Err(Failed {
            failure: match failure {
                CallFailure::Refused => Failure::Refused,
                CallFailure::Reset => Failure::Reset,
                CallFailure::ConnectTimeout => Failure::ConnectTimeout,
                CallFailure::ResponseTimeout => Failure::ResponseTimeout,
            },
            backend: hop.map(backend),
        }),
    }
}

fn backend(hop: Hop) -> Backend {
    let state = match hop.state {
        HopState::Serving => BackendState::Serving,
        HopState::NotListening => BackendState::NotListening,
        HopState::Terminating => BackendState::Terminating,
        HopState::Crashed => BackendState::Crashed,
        HopState::NodeLost => BackendState::NodeLost,
    };
    Backend { object: hop.pod, state }
}
