//! What the autoscaler's settings say beforehand: whether there is anything to see, and for how long.

use std::time::Duration;

use crate::base::secs;
use crate::suite::{Autoscaler, Stop, Trial};
use crate::wait::{Deadline, SCALE_DOWN_SLACK};

/// A scenario does not wait longer than this for replicas to go.
const LONGEST: Duration = secs(3600);

/// The autoscaler of the front, which has replicas to add.
///
/// # Errors
/// There is none. Ignored when its minimum is its maximum.
pub fn autoscaler(trial: &Trial) -> Result<&Autoscaler, Stop> {
    let autoscaler = trial.target().front.autoscaler.as_ref();
    let autoscaler = autoscaler.ok_or_else(|| trial.no_autoscaler())?;
    if !autoscaler.can_scale() {
        return Err(Stop::ignored(autoscaler.fixed_size()));
    }
    Ok(autoscaler)
}

/// The same, and until when its replicas are back at the minimum after the load.
///
/// # Errors
/// Also ignored when that is too long to wait for, or never.
pub fn returning(trial: &Trial) -> Result<(&Autoscaler, Deadline), Stop> {
    let autoscaler = autoscaler(trial)?;
    let takes = autoscaler.scale_in().ok_or_else(|| {
        Stop::ignored(format!(
            "HorizontalPodAutoscaler {} never takes replicas away: \
             behavior.scaleDown.selectPolicy is Disabled",
            autoscaler.name
        ))
    })?;
    let within = takes + SCALE_DOWN_SLACK.within;
    if within > LONGEST {
        return Err(Stop::ignored(format!(
            "HorizontalPodAutoscaler {} may take more than an hour to let its replicas go \
             (behavior.scaleDown): nobody waits so long here",
            autoscaler.name
        )));
    }
    let because = "the stabilisation window, the policies of scale-down and a few syncs";
    Ok((autoscaler, Deadline::new(within, because)))
}
