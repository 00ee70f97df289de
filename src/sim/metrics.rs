//! metrics-server: two samples a container, CPU as their rate
//! (`kubernetes-sigs/metrics-server pkg/storage/pod.go`).

use super::context::Cx;
use super::machines::Machines;

/// What is due at metrics-server.
#[derive(Clone, Debug)]
pub enum MetricsEvent {}

/// What metrics-server serves.
#[derive(Debug, Default)]
pub struct MetricsServer {}

impl MetricsServer {
    /// Starts the scrapes.
    pub fn start(_cx: &mut Cx<'_>) {}

    /// Something is due.
    pub fn on_event(event: MetricsEvent, _machines: &Machines, _cx: &mut Cx<'_>) {
        match event {}
    }
}
