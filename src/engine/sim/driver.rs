//! The driver: moves the world whenever something in it is due.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::bridge::Bridge;

/// Runs the world along tokio's clock for ever. The paused clock jumps to the next timer when all
/// tasks wait, so sleeping until the next due event is what makes virtual time move.
pub(super) async fn drive(bridge: Arc<Bridge>) {
    loop {
        let Some(due) = bridge.drive() else {
            bridge.wake.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = bridge.wake.notified() => {}
            () = sleep_until(bridge.instant_of(due)) => {}
        }
    }
}
