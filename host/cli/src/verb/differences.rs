//! What is different between two definitions, in words.

use serde_json::Value;
use taskhost_api::{Difference, Dir, Schedule};

use super::schedule_words::in_words;
use crate::text::{dir, limit};

/// A difference as a line has it: `timeout: 1m → 5m`.
pub(super) fn told(difference: &Difference) -> String {
    let Difference { member, from, to } = difference;
    format!("{member}: {} → {}", value(member, from.as_ref()), value(member, to.as_ref()))
}

fn value(member: &str, value: Option<&Value>) -> String {
    match value {
        // A label and a grant have no default to go back to.
        None if member.starts_with("labels.") || member.starts_with("grants.") => "(none)".to_owned(),
        None => "(default)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) if member == "schedules" => {
            let schedules: Result<Vec<Schedule>, _> = serde_json::from_value(value.clone());
            schedules.map_or_else(|_| value.to_string(), |schedules| in_words(&schedules, None))
        }
        Some(value) if member == "grants.dirs" => {
            let dirs: Result<Vec<Dir>, _> = serde_json::from_value(value.clone());
            dirs.map_or_else(|_| value.to_string(), |dirs| dirs.iter().map(dir).collect::<Vec<_>>().join(" "))
        }
        Some(Value::Array(names)) if member.starts_with("grants.") => names
            .iter()
            .map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Some(value) => match (member.strip_prefix("limits."), value.as_u64()) {
            (Some(name), Some(most)) => limit(name, most),
            _ => value.to_string(),
        },
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
            (json!({"member": "limits.cpu_ms", "from": 250, "to": 5000}), "limits.cpu_ms: 250ms → 5s"),
            (json!({"member": "limits.log_lines", "from": 7}), "limits.log_lines: 7 → (default)"),
            (json!({"member": "grants.env.A", "to": "b"}), "grants.env.A: (none) → b"),
            (json!({"member": "grants.kv", "to": true}), "grants.kv: (none) → true"),
            (json!({"member": "grants.hosts", "from": ["a:1", "b:2"], "to": ["a:1"]}), "grants.hosts: a:1 b:2 → a:1"),
            (
                json!({"member": "grants.dirs", "to": [{"host": "/a", "guest": "/b", "read_only": true}, {"host": "/c", "guest": "/c"}]}),
                "grants.dirs: (none) → /a::/b:ro /c",
            ),
            (json!({"member": "retry", "to": {"attempts": 3}}), "retry: (default) → {\"attempts\":3}"),
        ] {
            assert_eq!(told(&serde_json::from_value(difference).expect("a difference")), line);
        }
    }
}
