//! The scheduler against a real API server, without the rest of the cluster.

mod placement;
mod rig;
mod volumes;
mod waiting;
