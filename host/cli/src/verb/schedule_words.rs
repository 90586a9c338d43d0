//! Schedules in words.

use taskhost_api::{Schedule, shell_word};

/// What completes "runs …": `every 5m`, `10s after each run`. `name` is of the task, if it has one.
pub(crate) fn in_words(schedules: &[Schedule], name: Option<&str>) -> String {
    let words: Vec<_> = schedules.iter().map(|schedule| one_in_words(schedule, name)).collect();
    words.join(" and ")
}

fn one_in_words(schedule: &Schedule, name: Option<&str>) -> String {
    let Schedule { every, phase, align, delay, cron, timezone, at, manual: _ } = schedule;
    if let Some(every) = every {
        let phase = phase.as_ref().map(|phase| format!(" with a phase of {phase}")).unwrap_or_default();
        let align = if *align { ", on the wall clock" } else { "" };
        format!("every {every}{phase}{align}")
    } else if let Some(delay) = delay {
        format!("{delay} after each run")
    } else if let Some(cron) = cron {
        let daily = daily_time(cron).map(|time| format!("at {time} ")).unwrap_or_default();
        let zone = timezone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
        format!("{daily}by cron `{cron}`{zone}")
    } else if let Some(at) = at {
        format!("once at {at}")
    } else {
        match name {
            Some(name) => format!("only when told (`taskctl run {}`)", shell_word(name)),
            None => "only when told".to_owned(),
        }
    }
}

/// The time of day of an expression like `0 3 * * *`.
fn daily_time(cron: &str) -> Option<String> {
    let mut fields = cron.split_whitespace();
    let (minute, hour): (u8, u8) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let daily = fields.eq(["*", "*", "*"]) && minute < 60 && hour < 24;
    daily.then(|| format!("{hour:02}:{minute:02}"))
}

/// The same as a table has room for.
pub(super) fn in_brief(schedules: &[Schedule]) -> String {
    let Some(first) = schedules.first() else { return "-".to_owned() };
    let Schedule { every, delay, cron, at, .. } = first;
    let brief = match (every, delay, cron, at) {
        (Some(every), ..) => every.clone(),
        (_, Some(delay), ..) => format!("after {delay}"),
        (_, _, Some(cron), _) => cron.clone(),
        (.., Some(_)) => "once".to_owned(),
        _ => "manual".to_owned(),
    };
    match schedules.len() {
        1 => brief,
        several => format!("{brief} +{}", several - 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_schedule_has_its_words() {
        for (schedules, words, brief) in [
            (json!([{"every": "5m"}]), "every 5m", "5m"),
            (
                json!([{"every": "1h", "phase": "10m", "align": true}]),
                "every 1h with a phase of 10m, on the wall clock",
                "1h",
            ),
            (json!([{"delay": "10s"}]), "10s after each run", "after 10s"),
            (
                json!([{"cron": "0 3 * * *", "timezone": "Europe/Berlin"}]),
                "at 03:00 by cron `0 3 * * *` (Europe/Berlin)",
                "0 3 * * *",
            ),
            (json!([{"cron": "0 3 * * 1", "timezone": "UTC"}]), "by cron `0 3 * * 1` (UTC)", "0 3 * * 1"),
            (json!([{"cron": "30 0 3 * * *"}]), "by cron `30 0 3 * * *`", "30 0 3 * * *"),
            (json!([{"at": "2027-01-31T03:00:00Z"}]), "once at 2027-01-31T03:00:00Z", "once"),
            (json!([{"manual": true}]), "only when told (`taskctl run 'a b'`)", "manual"),
            (json!([{"every": "5m"}, {"delay": "1s"}]), "every 5m and 1s after each run", "5m +1"),
        ] {
            let schedules: Vec<Schedule> = serde_json::from_value(schedules).expect("schedules");
            assert_eq!(in_words(&schedules, Some("a b")), words);
            assert_eq!(in_brief(&schedules), brief);
        }
    }
}
