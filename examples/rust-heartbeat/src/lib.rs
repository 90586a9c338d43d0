//! Says at each tick that the host is alive, and notices when it was not: a machine that slept or was down leaves a gap
//! between this due time and that of the last success.
//!
//! Takes one argument, the longest gap in seconds that is nothing to speak of.

use std::time::Duration;

use taskhost_plugin::{Failure, Tick, eprintln, println};

/// Without an argument, gaps longer than this are reported.
const DEFAULT_GAP: Duration = Duration::from_secs(60);

taskhost_plugin::plugin!(run);

fn run(tick: Tick) -> Result<Option<String>, Failure> {
    let allowed = allowed_gap(&taskhost_plugin::args())?;
    println!("{} alive at {}", tick.task, tick.due_local);
    let away = tick.since_last_success().filter(|gap| *gap > allowed);
    // The summary stands beside the run in its history, where `taskctl runs` finds it long after the log is gone.
    Ok(away.map(|gap| {
        let summary = format!("away for {} s", gap.as_secs());
        eprintln!("{} was {summary}", tick.task);
        summary
    }))
}

fn allowed_gap(arguments: &[String]) -> Result<Duration, Failure> {
    let Some(seconds) = arguments.first() else {
        return Ok(DEFAULT_GAP);
    };
    // The same arguments come with every tick, so trying again is of no use.
    let seconds = seconds
        .parse()
        .map_err(|error: std::num::ParseIntError| Failure::permanent(format!("bad gap `{seconds}`: {error}")))?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_the_longest_gap_allowed() {
        assert_eq!(allowed_gap(&[]), Ok(DEFAULT_GAP));
        assert_eq!(allowed_gap(&["5".to_owned()]), Ok(Duration::from_secs(5)));
        assert!(allowed_gap(&["soon".to_owned()]).is_err());
    }
}
