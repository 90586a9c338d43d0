//! `taskctl runs`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{Run, RunsRequest, TaskUnitApiClient};

use super::{outcome, remark, took};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::{Cell, Output};
use crate::table::Column;
use crate::text::{quoted, relative};
use crate::value::number;

// An id that can be cancelled by, and what went wrong: with 80 columns there is no room for more, which `-o json` has.
const COLUMNS: [Column; 5] = [
    Column::text("RUN"),
    Column::text("DUE"),
    Column::text("OUTCOME"),
    Column::number("TOOK"),
    Column::elastic("REMARK"),
];

/// Show the last runs of a task, the newest first
#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// The task
    name: String,

    /// At most so many, 1 to 1000 [the host's default: 20]
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u32>)]
    limit: Option<u32>,

    /// Only runs that ended so: success, error, trapped, timed_out, …
    #[arg(long)]
    outcome: Option<String>,
}

impl Runs {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, limit, outcome } = self;
        let request = RunsRequest { name: name.clone(), limit, outcome };
        let runs = client.runs(request).await.doing(|| format!("show the runs of {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&runs)?;
        } else if runs.runs.is_empty() {
            output.note(&format!("no such runs of {name}"));
        } else {
            let rows: Vec<_> = runs.runs.iter().map(|run| row(run, output.now)).collect();
            output.table(&COLUMNS, &rows)?;
        }
        Ok(Exit::Done)
    }
}

fn row(run: &Run, now: Timestamp) -> [Cell; COLUMNS.len()] {
    [
        Cell::plain(&run.run_id),
        Cell::plain(relative(run.due, now)),
        Cell::outcome(outcome(run)),
        Cell::plain(took(run).unwrap_or_else(|| "-".to_owned())),
        Cell::plain(remark(run).unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, tasks, time};

    #[test]
    fn runs_keep_their_ids_whole_in_eighty_columns() {
        let runs: Vec<_> = tasks().into_iter().filter_map(|task| task.last_run).collect();
        let rows: Vec<_> = runs.iter().map(|run| row(run, time(testing::NOW))).collect();
        let table = crate::table::render(&COLUMNS, &rows, Some(80), false);
        assert!(table.lines().all(|line| console::measure_text_width(line) <= 80), "{table}");
        assert!(runs.iter().all(|run| table.contains(&run.run_id)), "{table}");
        insta::assert_snapshot!(table);
    }
}
