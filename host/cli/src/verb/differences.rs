//! What is different between two definitions, in words.

use serde_json::Value;
use taskhost_api::{Difference, Schedule};

use super::schedule_words::in_words;

/// A difference as a line has it: `timeout: 1m → 5m`.
pub(super) fn told(difference: &Difference) -> String {
    let Difference { member, from, to } = difference;
    format!("{member}: {} → {}", value(member, from.as_ref()), value(member, to.as_ref()))
}

fn value(member: &str, value: Option<&Value>) -> String {
    match value {
        // A label has no default to go back to.
        None if member.starts_with("labels.") => "(none)".to_owned(),
        None => "(default)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) if member == "schedules" => {
            let schedules: Result<Vec<Schedule>, _> = serde_json::from_value(value.clone());
            schedules.map_or_else(|_| value.to_string(), |schedules| in_words(&schedules, None))
        }
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_told_from_old_to_new() {
        for (difference, line) in [
            (json!({"member": "timeout", "from": "1m", "to": "5m"}), "timeout: 1m → 5m"),
            (json!({"member": "max_runs", "to": 3}), "max_runs: (default) → 3"),
            (json!({"member": "labels.team", "from": "web"}), "labels.team: web → (none)"),
            (
                json!({"member": "schedules", "from": [{"every": "1s"}], "to": [{"cron": "5 4 * * *", "timezone": "UTC"}]}),
                "schedules: every 1s → at 04:05 by cron `5 4 * * *` (UTC)",
            ),
            (json!({"member": "schedules", "to": [{"moon": "full"}]}), "schedules: (default) → [{\"moon\":\"full\"}]"),
            (json!({"member": "retry", "to": {"attempts": 3}}), "retry: (default) → {\"attempts\":3}"),
        ] {
            assert_eq!(told(&serde_json::from_value(difference).expect("a difference")), line);
        }
    }
}
