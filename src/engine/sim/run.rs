//! One run: a paused runtime, a fresh world, the driver, and a body that uses the engine.

use std::sync::Arc;
use std::time::Duration;

use super::bridge::Bridge;
use super::driver::drive;
use super::engine::SimEngine;
use crate::base::Error;
use crate::sim::{ClusterSpec, World};

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct SimRun<T> {
    /// What the body returned.
    pub value: T,
    /// SHA-256 of the trace: the same seed gives the same hash.
    pub trace_hash: String,
    /// The text of the trace, if the spec asked to keep it.
    pub trace: Option<String>,
    /// How much virtual time passed.
    pub virtual_time: Duration,
}

/// Boots the cluster of `spec` with `seed` and lets `body` work with it in virtual time.
///
/// # Errors
/// The runtime could not be built.
pub fn run<T>(
    spec: &ClusterSpec,
    seed: u64,
    body: impl AsyncFnOnce(Arc<SimEngine>) -> T,
) -> Result<SimRun<T>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| Error::environment(format!("cannot start the simulator's runtime: {e}")))?;
    Ok(runtime.block_on(async {
        let bridge = Arc::new(Bridge::new(World::new(spec, seed)));
        let driver = tokio::spawn(drive(Arc::clone(&bridge)));
        let value = body(Arc::new(SimEngine::new(spec, Arc::clone(&bridge)))).await;
        driver.abort();
        let virtual_time = bridge.elapsed();
        let (trace_hash, trace) = bridge.act(|world| {
            let trace = world.trace();
            (trace.hash(), trace.text().map(str::to_owned))
        });
        SimRun { value, trace_hash, trace, virtual_time }
    }))
}
