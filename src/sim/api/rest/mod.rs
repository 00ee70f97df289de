//! REST: requests as clients send them: paths, verbs, selectors, patches, watches, subresources, discovery
//! (`apiserver/pkg/endpoints`).

use std::sync::Arc;

use bytes::Bytes;

use super::store::Change;
use crate::base::Streams;
use crate::sim::context::Cx;
use crate::sim::machines::Machines;
use crate::sim::queue::Queue;
use crate::sim::world::Output;

/// The answer to a request.
#[derive(Debug)]
pub enum Served {
    /// A complete response.
    Response(http::Response<Bytes>),
    /// A watch: its lines come as `Output::WatchLine` with this id.
    Watch(u64),
}

/// The open watches of clients outside.
#[derive(Debug, Default)]
pub struct Watches {}

impl Watches {
    /// Schedules `change` for the watches it concerns.
    pub fn publish(&mut self, _change: &Arc<Change>, _queue: &mut Queue, _rng: &mut Streams) {}

    /// A change arrives at the watch `id`.
    pub fn on_change(&mut self, _id: u64, _change: &Change, _cx: &Cx<'_>) {}

    /// Moves finished lines to `outputs`.
    pub fn take_lines(&mut self, _outputs: &mut Vec<Output>) {}

    /// Drops a watch.
    pub fn close(&mut self, _id: u64) {}
}

/// Answers `request`.
pub fn serve(
    _cx: &mut Cx<'_>,
    _watches: &mut Watches,
    _machines: &Machines,
    _request: &http::Request<Bytes>,
) -> Served {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    Served::Response(response)
}
