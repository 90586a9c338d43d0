//! What the ceilings of tasks and the memory of all guests may be.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhost_core::spec::{Ceilings, Limit, MAX_MAX_RUNNING, MAX_TIMEOUT, MIN_MEMORY_BYTES, MIN_TIMEOUT};
use taskhost_core::time::{format_duration, parse_duration};

use super::layer::Amount;

pub(super) fn check_ceilings(given: BTreeMap<String, Amount>) -> Result<Ceilings, String> {
    let mut ceilings = Ceilings::default();
    for (name, amount) in given {
        let set = match name.as_str() {
            "timeout" => check_timeout(&amount).map(|timeout| ceilings.timeout = Some(timeout)),
            "max_running" => check_running(&amount).map(|most| ceilings.max_running = Some(most)),
            _ => check_ceiling(&mut ceilings, &name, &amount),
        };
        set?;
    }
    Ok(ceilings)
}

fn check_ceiling(ceilings: &mut Ceilings, name: &str, amount: &Amount) -> Result<(), String> {
    let limit: Limit = name.parse().map_err(|error| format!("{error}, and the ceilings timeout and max_running"))?;
    let most = match amount {
        Amount::Number(number) => *number,
        Amount::Text(text) => taskhost_api::limit_value(name, text).map_err(|error| format!("`{name}`: {error}"))?,
    };
    ceilings.set(limit, most).map_err(|error| error.to_string())
}

fn check_timeout(amount: &Amount) -> Result<Duration, String> {
    match parse_duration(&amount.to_string()).map_err(|error| format!("`timeout`: {error}"))? {
        timeout if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) => Ok(timeout),
        timeout => {
            let [given, min, max] = [timeout, MIN_TIMEOUT, MAX_TIMEOUT].map(format_duration);
            Err(format!("`timeout`: {given} is out of range; it must be from {min} to {max}"))
        }
    }
}

fn check_running(amount: &Amount) -> Result<u32, String> {
    match amount {
        Amount::Number(most) => u32::try_from(*most).ok().filter(|most| (1..=MAX_MAX_RUNNING).contains(most)),
        Amount::Text(_) => None,
    }
    .ok_or_else(|| format!("`max_running`: {amount} is no number from 1 to {MAX_MAX_RUNNING}"))
}

pub(super) fn check_budget(amount: Amount) -> Result<u64, String> {
    let bytes = match &amount {
        Amount::Number(number) => *number,
        Amount::Text(text) => text.parse::<taskhost_api::Size>().map_err(|error| error.to_string())?.0,
    };
    if bytes < MIN_MEMORY_BYTES { Err(format!("{amount} is less than any guest needs, 64KiB")) } else { Ok(bytes) }
}
