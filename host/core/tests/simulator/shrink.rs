//! Makes a plan that fails as short as it goes.

use crate::plan::Plan;

/// How many plans are tried.
const MAX_TRIALS: u32 = 2_000;

/// Takes events out of a plan for as long as it fails.
pub(crate) fn shrink(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut least = plan.clone();
    let mut trials = 0;
    let mut chunk = least.events.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < least.events.len() && trials < MAX_TRIALS {
            trials += 1;
            let mut trial = least.clone();
            trial.events.drain(at..(at + chunk).min(trial.events.len()));
            if fails(&trial) {
                least = trial;
                shorter = true;
            } else {
                at += chunk;
            }
        }
        if !shorter || chunk > 1 {
            chunk /= 2;
        }
    }
    least
}
