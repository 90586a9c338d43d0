//! Records of runs in `history.db`: written over while they grow, read newest first, and dropped when they are too old or
//! too many.
//!
//! How many a task has is counted once and then kept in mind, and whatever drops records drops few at a time: a batch of
//! ten thousand tasks that all have too many takes little longer than any other, and the next batches do the rest.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use taskhost_core::outcome::{Outcome, RunRecord, TaskId};
use taskhost_core::ports::{Clock, RunsQuery, SystemClock};
use taskhost_core::time::Time;

use crate::encoding;
use crate::faults::{Faults, Subject};
use crate::ids::{MAX_KNOWN_TASKS, TaskMap};

/// How long a record is kept after the newest due time that it stands for, counted back from the task's newest, or from now if that is still
/// to come.
pub const MAX_RUN_AGE: Duration = Duration::from_secs(90 * 86_400);

/// The most records that a task has of anything but success; the oldest go.
pub const MAX_NON_SUCCESSES: u64 = 1000;

/// The most records that a task has altogether; the oldest go.
pub const MAX_RUN_RECORDS: u64 = 10_000;

/// How many records one new record may drop for each of these reasons.
const DROPPED_AT_ONCE: u64 = 100;

/// How many tasks' records a batch counts at most, of those that were not counted since start.
const COUNTED_AT_ONCE: usize = 64;

/// The writing side of all tasks' records.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// What each task has, as far as it was counted; at most [`MAX_KNOWN_TASKS`].
    usage: TaskMap<Usage>,
}

impl Runs {
    /// Writes records, each in place of the stored one that it goes on from, and drops what is too much.
    pub(crate) fn write<'r>(
        &mut self,
        conn: &Connection,
        records: impl Iterator<Item = &'r (TaskId, RunRecord)>,
    ) -> rusqlite::Result<()> {
        if self.usage.len() >= MAX_KNOWN_TASKS {
            self.usage.clear();
        }
        let mut counts_left = COUNTED_AT_ONCE;
        for (task, record) in records {
            let bytes = match encoding::encode(record) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!("failed to encode a record of task {task:016x}: {error}");
                    continue;
                }
            };
            let usage = match self.usage.get_mut(task) {
                Some(usage) => {
                    let replaced = is_success(conn, *task, record)?;
                    upsert(conn, *task, record, &bytes)?;
                    usage.add(record, replaced);
                    usage
                }
                None => {
                    upsert(conn, *task, record, &bytes)?;
                    if counts_left == 0 {
                        continue;
                    }
                    counts_left -= 1;
                    self.usage.entry(*task).or_insert(count(conn, *task)?)
                }
            };
            if usage.is_over() {
                drop_surplus(conn, *task, usage)?;
            }
        }
        Ok(())
    }

    /// The task is gone.
    pub(crate) fn forget(&mut self, task: TaskId) {
        self.usage.remove(&task);
    }

    /// What was counted may be wrong: it was taken back.
    pub(crate) fn count_anew(&mut self) {
        self.usage.clear();
    }
}

/// How many records a task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    records: u64,
    non_successes: u64,
    /// A due time that no record's newest is before.
    oldest: Time,
    newest: Time,
}

impl Usage {
    /// A record was written, over one that was a success or not, or over none.
    fn add(&mut self, record: &RunRecord, replaced: Option<bool>) {
        match replaced {
            Some(success) => self.non_successes = self.non_successes.saturating_sub(u64::from(!success)),
            None => self.records += 1,
        }
        self.non_successes += u64::from(record.outcome != Outcome::Success);
        self.oldest = self.oldest.min(record.key.due);
        self.newest = self.newest.max(record.key.due);
    }

    fn drop(&mut self, success: bool) {
        self.records = self.records.saturating_sub(1);
        self.non_successes = self.non_successes.saturating_sub(u64::from(!success));
    }

    /// What is still to come, of a clock that was ahead once, makes nothing old.
    fn is_old(&self, newest_due: Time) -> bool {
        self.newest.min(SystemClock.now()).since(newest_due) > MAX_RUN_AGE
    }

    fn is_over(&self) -> bool {
        self.records > MAX_RUN_RECORDS || self.non_successes > MAX_NON_SUCCESSES || self.is_old(self.oldest)
    }
}

fn upsert(conn: &Connection, task: TaskId, record: &RunRecord, bytes: &[u8]) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET due = excluded.due, outcome = excluded.outcome, reason = excluded.reason,
             format = excluded.format, record = excluded.record",
    )?
    .execute(params![
        task.cast_signed(),
        record.first_due().0,
        record.key.backfill,
        record.key.due.0,
        record.outcome.as_str(),
        record.reason.as_str(),
        encoding::FORMAT,
        bytes,
    ])?;
    Ok(())
}

/// Whether the stored record that this one goes on from is a success, if there is one.
fn is_success(conn: &Connection, task: TaskId, record: &RunRecord) -> rusqlite::Result<Option<bool>> {
    conn.prepare_cached("SELECT outcome = 'success' FROM runs WHERE task = ?1 AND first_due = ?2 AND backfill = ?3")?
        .query_row(params![task.cast_signed(), record.first_due().0, record.key.backfill], |row| row.get(0))
        .optional()
}

fn count(conn: &Connection, task: TaskId) -> rusqlite::Result<Usage> {
    let task = task.cast_signed();
    let non_successes: i64 = conn
        .prepare_cached("SELECT count(*) FROM runs WHERE task = ?1 AND outcome <> 'success'")?
        .query_row([task], |row| row.get(0))?;
    let (records, oldest, newest): (i64, Option<i64>, Option<i64>) = conn
        .prepare_cached("SELECT count(*), min(due), max(due) FROM runs WHERE task = ?1")?
        .query_row([task], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Usage {
        records: records.cast_unsigned(),
        non_successes: non_successes.cast_unsigned(),
        oldest: Time(oldest.unwrap_or(i64::MAX)),
        newest: Time(newest.unwrap_or(i64::MIN)),
    })
}

/// Drops some of what is too old or too much, the oldest first.
fn drop_surplus(conn: &Connection, task: TaskId, usage: &mut Usage) -> rusqlite::Result<()> {
    let mut delete = conn.prepare_cached("DELETE FROM runs WHERE task = ?1 AND first_due = ?2 AND backfill = ?3")?;
    let mut drop_row = |row: Row, usage: &mut Usage| -> rusqlite::Result<()> {
        delete.execute(params![task.cast_signed(), row.first_due, row.backfill])?;
        usage.drop(row.success);
        Ok(())
    };
    let sql = "SELECT first_due, backfill, due, outcome = 'success' FROM runs WHERE task = ?1 ORDER BY due LIMIT ?2";
    let surplus = usage.records.saturating_sub(MAX_RUN_RECORDS);
    for row in oldest(conn, sql, task, |row, number| usage.is_old(row.due) || number < surplus)? {
        drop_row(row, usage)?;
    }
    let surplus = usage.non_successes.saturating_sub(MAX_NON_SUCCESSES);
    if surplus > 0 {
        let sql = "SELECT first_due, backfill, due, 0 FROM runs
                   WHERE task = ?1 AND outcome <> 'success' ORDER BY due LIMIT ?2";
        for row in oldest(conn, sql, task, |_, number| number < surplus)? {
            drop_row(row, usage)?;
        }
    }
    let oldest: Option<i64> = conn
        .prepare_cached("SELECT min(due) FROM runs WHERE task = ?1")?
        .query_row([task.cast_signed()], |row| row.get(0))?;
    usage.oldest = Time(oldest.unwrap_or(i64::MAX));
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Row {
    first_due: i64,
    backfill: u32,
    due: Time,
    success: bool,
}

/// The rows that a statement finds, up to the first that is not wanted: asked with how many came before it.
fn oldest(
    conn: &Connection,
    sql: &str,
    task: TaskId,
    wanted: impl Fn(&Row, u64) -> bool,
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![task.cast_signed(), DROPPED_AT_ONCE.cast_signed()], |row| {
        Ok(Row { first_due: row.get(0)?, backfill: row.get(1)?, due: Time(row.get(2)?), success: row.get(3)? })
    })?;
    (0..).zip(rows).map_while(|(number, row)| row.map(|row| wanted(&row, number).then_some(row)).transpose()).collect()
}

/// The records that a query asks for, newest first. Those that can't be read are told as a fault.
pub(crate) fn query(conn: &Connection, query: &RunsQuery, faults: &Faults) -> rusqlite::Result<Vec<RunRecord>> {
    // An index has those that are no successes, so that they are found among many that are.
    let mut statement = if query.outcomes.is_empty() || query.outcomes.contains(&Outcome::Success) {
        conn.prepare_cached(
            "SELECT outcome, format, record FROM runs INDEXED BY runs_by_due
             WHERE task = ?1 AND due >= ?2 AND first_due < ?3
             ORDER BY due DESC, first_due DESC, backfill DESC",
        )?
    } else {
        conn.prepare_cached(
            "SELECT outcome, format, record FROM runs INDEXED BY non_successes_by_due
             WHERE task = ?1 AND due >= ?2 AND first_due < ?3 AND outcome <> 'success'
             ORDER BY due DESC, first_due DESC, backfill DESC",
        )?
    };
    let mut rows = statement.query(params![query.task.cast_signed(), query.from.0, query.until.0])?;
    let mut records = Vec::new();
    while records.len() < query.limit
        && let Some(row) = rows.next()?
    {
        let outcome = row.get_ref(0)?.as_str()?;
        if !query.outcomes.is_empty() && !query.outcomes.iter().any(|wanted| wanted.as_str() == outcome) {
            continue;
        }
        match encoding::decode(row.get(1)?, row.get_ref(2)?.as_blob()?) {
            Ok(record) => records.push(record),
            Err(reason) => {
                let words = format!("records of task {:016x} are left out: they can't be read ({reason})", query.task);
                faults.set(Subject::Runs(query.task), words);
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use taskhost_core::outcome::{Reason, RunKey, Span};

    use super::*;
    use crate::migrate::{HISTORY, migrate};

    const TASK: TaskId = u64::MAX;

    fn memory() -> (Connection, Runs) {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("a schema");
        (conn, Runs::default())
    }

    fn record(due: i64, outcome: Outcome) -> RunRecord {
        RunRecord {
            key: RunKey::of(Time(due)),
            reason: Reason::Schedule,
            outcome,
            attempts: 1,
            revision: 1,
            lateness_us: None,
            took_us: 0,
            span: None,
            more: None,
        }
    }

    fn span(first: i64, last: i64) -> RunRecord {
        let span = Span { first_due: Time(first), times: 2, took_total_us: 0, took_max_us: 0, lateness_max_us: 0 };
        RunRecord { span: Some(Box::new(span)), ..record(last, Outcome::Success) }
    }

    /// Writes in one batch, and checks what is kept in mind against what is there.
    fn write(conn: &Connection, runs: &mut Runs, records: impl IntoIterator<Item = RunRecord>) {
        let records: Vec<_> = records.into_iter().map(|record| (TASK, record)).collect();
        runs.write(conn, records.iter()).expect("writes");
        let (known, found) = (runs.usage[&TASK], count(conn, TASK).expect("counts"));
        assert_eq!((known.records, known.non_successes), (found.records, found.non_successes));
        assert!(known.oldest <= found.oldest && known.newest >= found.newest, "{known:?} {found:?}");
    }

    /// Writes as if there were no bounds.
    fn fill(conn: &Connection, records: impl IntoIterator<Item = RunRecord>) {
        for record in records {
            upsert(conn, TASK, &record, &[]).expect("writes");
        }
    }

    fn dues(conn: &Connection, outcome: Outcome) -> Vec<i64> {
        let mut statement = conn.prepare("SELECT due FROM runs WHERE outcome = ?1 ORDER BY due").expect("a statement");
        let dues = statement.query_map([outcome.as_str()], |row| row.get(0)).expect("rows");
        dues.collect::<Result<_, _>>().expect("rows")
    }

    #[test]
    fn of_too_many_that_did_not_succeed_the_oldest_go_and_no_success() {
        let (conn, mut runs) = memory();
        let most = MAX_NON_SUCCESSES.cast_signed();
        write(&conn, &mut runs, [record(-1, Outcome::Success)]);
        for (first, outcome) in [(0, Outcome::Missed), (1, Outcome::Error)] {
            write(&conn, &mut runs, (0..most / 2).map(|number| record(first + 2 * number, outcome)));
        }
        assert_eq!(runs.usage[&TASK].records, MAX_NON_SUCCESSES + 1);
        write(&conn, &mut runs, [record(most, Outcome::Trapped), record(most + 1, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Success), [-1, most + 1]);
        assert_eq!((dues(&conn, Outcome::Missed)[0], dues(&conn, Outcome::Error)[0]), (2, 1));
        assert_eq!(dues(&conn, Outcome::Trapped), [most]);
    }

    #[test]
    fn of_too_many_altogether_the_oldest_go() {
        let (conn, mut runs) = memory();
        let most = MAX_RUN_RECORDS.cast_signed();
        fill(&conn, [record(0, Outcome::Error)]);
        fill(&conn, (1..most).map(|due| record(due, Outcome::Success)));
        write(&conn, &mut runs, [record(most - 1, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Error), [0]);
        write(&conn, &mut runs, [record(most, Outcome::Success), record(most + 1, Outcome::Success)]);
        assert!(dues(&conn, Outcome::Error).is_empty());
        assert_eq!(dues(&conn, Outcome::Success), (2..=most + 1).collect::<Vec<_>>());
    }

    #[test]
    fn old_records_go_and_a_span_stays_whole_until_its_newest_due_time_is_old() {
        let (conn, mut runs) = memory();
        let age = MAX_RUN_AGE.as_nanos() as i64;
        write(&conn, &mut runs, [record(0, Outcome::Error), span(1, 9), record(age, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Error), [0]);
        write(&conn, &mut runs, [record(age + 9, Outcome::Success)]);
        assert!(dues(&conn, Outcome::Error).is_empty());
        assert_eq!(dues(&conn, Outcome::Success), [9, age, age + 9]);
        write(&conn, &mut runs, [record(age + 10, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Success), [age, age + 9, age + 10]);
    }

    #[test]
    fn a_record_of_a_clock_that_was_far_ahead_makes_no_other_old() {
        let (conn, mut runs) = memory();
        let now = SystemClock.now().0;
        let ahead = now + 2 * MAX_RUN_AGE.as_nanos() as i64;
        write(&conn, &mut runs, [record(now - 2, Outcome::Success), record(ahead, Outcome::Success)]);
        write(&conn, &mut runs, [record(now - 1, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Success), [now - 2, now - 1, ahead]);
    }

    #[test]
    fn the_oldest_span_is_not_old_if_it_grew() {
        let (conn, mut runs) = memory();
        let age = MAX_RUN_AGE.as_nanos() as i64;
        write(&conn, &mut runs, [span(0, 1)]);
        write(&conn, &mut runs, [span(0, age), record(age + 9, Outcome::Success)]);
        assert_eq!(dues(&conn, Outcome::Success), [age, age + 9]);
        assert_eq!(runs.usage[&TASK].oldest, Time(age), "it is not looked for again with each record");
    }

    #[test]
    fn a_record_that_changes_its_outcome_counts_as_what_it_is() {
        let (conn, mut runs) = memory();
        write(&conn, &mut runs, [record(0, Outcome::Abandoned), record(1, Outcome::Success)]);
        write(&conn, &mut runs, [record(0, Outcome::Success), record(1, Outcome::Error)]);
        write(&conn, &mut runs, [record(0, Outcome::Success), record(1, Outcome::Trapped)]);
        assert_eq!((runs.usage[&TASK].records, runs.usage[&TASK].non_successes), (2, 1));
    }

    #[test]
    fn one_record_drops_few_and_the_next_ones_the_rest() {
        let (conn, mut runs) = memory();
        let at_once = DROPPED_AT_ONCE.cast_signed();
        let surplus = 2 * at_once + 10;
        let many = MAX_NON_SUCCESSES.cast_signed() + surplus;
        fill(&conn, (0..many).map(|due| record(due, Outcome::Error)));
        for left in [surplus - at_once, surplus - 2 * at_once, 0] {
            write(&conn, &mut runs, [record(many - 1, Outcome::Error)]);
            assert_eq!(runs.usage[&TASK].non_successes.cast_signed(), MAX_NON_SUCCESSES.cast_signed() + left);
        }
    }

    #[test]
    fn one_batch_counts_few_tasks_and_the_next_ones_the_rest() {
        let (conn, mut runs) = memory();
        let batch: Vec<_> =
            (0..2 * COUNTED_AT_ONCE as TaskId + 1).map(|task| (task, record(1, Outcome::Success))).collect();
        for counted in [COUNTED_AT_ONCE, 2 * COUNTED_AT_ONCE, 2 * COUNTED_AT_ONCE + 1] {
            runs.write(&conn, batch.iter()).expect("writes");
            assert_eq!(runs.usage.len(), counted);
        }
    }

    #[test]
    fn nothing_is_sorted_or_read_whole_to_find_the_newest() {
        let (conn, _) = memory();
        for index in ["runs_by_due", "non_successes_by_due"] {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT record FROM runs INDEXED BY {index}
                 WHERE task = 1 AND due >= 2 AND first_due < 3 AND outcome <> 'success'
                 ORDER BY due DESC, first_due DESC, backfill DESC"
            );
            let mut statement = conn.prepare(&sql).expect("a statement");
            let plan = statement.query_map([], |row| row.get::<_, String>(3)).expect("rows");
            let plan: Vec<_> = plan.collect::<Result<_, _>>().expect("rows");
            assert_eq!(plan, [format!("SEARCH runs USING INDEX {index} (task=? AND due>?)")]);
        }
    }
}
