//! `taskctl runs`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{Run, RunsRequest, TaskUnitApiClient};

use super::{outcome, remark, took};
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::table::Column;
use crate::text::{clock, length, quoted, relative};
use crate::value::{number, when};

// What a run can be cancelled by, and what went wrong: with 80 columns there is no room for more, which `-o json` has.
const COLUMNS: [Column; 5] = [
    Column::text("RUN"),
    Column::text("DUE"),
    Column::text("OUTCOME"),
    Column::number("TOOK"),
    Column::elastic("REMARK"),
];

/// Show the last runs of a task, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Times are in UTC. A line like `success ×599` stands for due times in a row that
went alike, the newest of which it shows; its remark tells over how long.
A whole run id, as guests and `-o json` have it, begins with one of the task.

Examples:
  taskctl runs backup --outcome error,timed_out
  taskctl runs backup --from -2h --until -1h")]
pub(crate) struct Runs {
    /// The task
    name: String,

    /// At most so many, 1 to 1000 [the host's default: 20]
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u32>)]
    limit: Option<u32>,

    /// Only runs that ended so, with commas between: success, error, trapped, timed_out, …
    #[arg(long = "outcome", value_name = "OUTCOMES", value_delimiter = ',')]
    outcomes: Vec<String>,

    /// Only due times from this one on: RFC 3339, or from now like -1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,

    /// Only due times before this one
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
}

impl Runs {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, limit, outcomes, from, until } = self;
        let time = |text: String| when(&text, output.now);
        let request = RunsRequest {
            name: name.clone(),
            limit,
            outcomes: (!outcomes.is_empty()).then_some(outcomes),
            outcome: None,
            from: from.map(time),
            until: until.map(time),
        };
        let runs = client.runs(request).await.doing(|| format!("show the runs of {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&runs)?;
            return Ok(Exit::Done);
        }
        if runs.runs.is_empty() {
            output.note(&format!("no such runs of {name}"));
        } else {
            let rows: Vec<_> = runs.runs.iter().map(|run| row(run, output.now)).collect();
            output.table(&COLUMNS, &rows)?;
        }
        if runs.history_lost > 0 {
            output.note(&format!("{} records of {name} were lost before they were stored", runs.history_lost));
        }
        Ok(Exit::Done)
    }
}

/// The part of a run's id that tells it from others of its task.
fn short(run_id: &str) -> &str {
    run_id.split_once('-').map_or(run_id, |(_, short)| short)
}

fn row(run: &Run, now: Timestamp) -> [Cell; COLUMNS.len()] {
    let outcome = outcome(run);
    let times = run.span.map(|span| format!(" ×{}", span.times)).unwrap_or_default();
    let over = run.span.map(|span| format!("over {}", length(span.first_due, run.due)));
    let again = run.next_attempt.map(|next| relative(next, now));
    let attempts = (run.attempts > 1).then(|| format!("{} attempts", run.attempts));
    let trigger = run.trigger.as_ref().map(|trigger| format!("triggered by {}: {}", trigger.task, trigger.outcome));
    let remarks = [over, again, attempts, trigger, remark(run).map(ToOwned::to_owned)];
    [
        Cell::plain(short(&run.run_id)),
        Cell::plain(clock(run.due, now)),
        Cell::new(format!("{outcome}{times}"), Style::of_outcome(outcome)),
        Cell::plain(took(run).unwrap_or_else(|| "-".to_owned())),
        Cell::plain(remarks.into_iter().flatten().collect::<Vec<_>>().join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, runs, time};

    fn shown(runs: &[Run]) -> String {
        let rows: Vec<_> = runs.iter().map(|run| row(run, time(testing::NOW))).collect();
        let table = crate::table::render(&COLUMNS, &rows, Some(80), false);
        assert!(table.lines().all(|line| console::measure_text_width(line) <= 80), "{table}");
        assert!(runs.iter().all(|run| table.contains(short(&run.run_id))), "{table}");
        table
    }

    #[test]
    fn runs_keep_what_they_are_cancelled_by_whole_in_eighty_columns() {
        insta::assert_snapshot!(shown(&runs()));
    }

    #[test]
    fn a_span_is_whole_beside_runs_of_a_schedule() {
        let runs: Vec<_> = runs().into_iter().filter(|run| run.reason == "schedule").collect();
        let table = shown(&runs);
        assert!(table.contains("success ×599") && table.contains("over 9m"), "{table}");
        insta::assert_snapshot!(table);
    }
}
