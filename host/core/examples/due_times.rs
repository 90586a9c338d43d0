//! Prints the due times of cron expressions, for `tests/cron/compare.py` to compare: a question per line on the standard input, its
//! answer per line on the standard output, both JSON.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use taskhost_core::schedule::{Schedule, ScheduleText, Timetable, Zone, parse_time};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    cron: String,
    timezone: String,
    from: String,
    until: String,
    /// How many due times at most.
    n: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Slots(Vec<Slot>),
    Refused(String),
}

#[derive(Serialize)]
struct Slot {
    due: String,
    /// How many local times do not exist, and the first of them.
    gap: Option<(u64, String)>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut output, &answer(question)?)?;
        output.write_all(b"\n")?;
    }
    Ok(output.flush()?)
}

fn answer(question: Question) -> Result<Answer, Box<dyn std::error::Error>> {
    let Question { cron, timezone, from, until, n } = question;
    let (from, until) = (parse_time(&from)?, parse_time(&until)?);
    let text = ScheduleText { cron: Some(cron), timezone: Some(timezone), ..ScheduleText::default() };
    let schedules = match Schedule::parse_all(vec![text], &Zone::utc()) {
        Ok(schedules) => schedules,
        Err(error) => return Ok(Answer::Refused(error.to_string())),
    };
    let table = Timetable { schedules: &schedules, anchor: from, starts_at: None, expires_at: Some(until) };
    let slots = std::iter::successors(table.next_after(from), |slot| table.next_after(slot.due));
    let told = |slot: taskhost_core::schedule::Slot| Slot {
        due: slot.due.to_string(),
        gap: slot.gap.map(|gap| (gap.times, gap.local)),
    };
    Ok(Answer::Slots(slots.take(n).map(told).collect()))
}
