//! The journal in `history.db`: patches of tasks' states, one row for each batch of them. To write a row costs little for each task
//! in it; the states themselves would be as many rows in as many places.
//!
//! When the journal has grown so much that a start would take long to read it, it is folded: the newest patch of each task is put
//! into its state, and the rows go. That is done in small steps between the batches, so many for each batch that the journal does
//! not get longer than twice that.

use rusqlite::{Connection, OptionalExtension, params};
use taskhost_core::outcome::TaskId;
use taskhost_core::patch::{PATCH_FORMAT, Patch, Patches};
use taskhost_core::ports::{JournalEntry, UnitState};

use crate::encoding;
use crate::faults::{Faults, Subject};
use crate::ids::TaskMap;

/// How many bytes of patches there are before they are folded.
const FOLD_BYTES: u64 = 64 << 20;

/// How many states are written in one step of folding: few, since runs that are about to start wait meanwhile.
const FOLDED_AT_ONCE: usize = 500;

/// The writing side.
#[derive(Debug)]
pub(crate) struct Journal {
    fold_bytes: u64,
    /// How many bytes of patches are stored; `None` if that is to be counted.
    bytes: Option<u64>,
    fold: Option<Fold>,
    /// How many steps of folding may be done until there is another batch.
    steps: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::folded_at(FOLD_BYTES)
    }
}

impl Journal {
    fn folded_at(fold_bytes: u64) -> Self {
        Self { fold_bytes, bytes: None, fold: None, steps: 0 }
    }

    /// Writes an entry.
    pub(crate) fn append(&mut self, conn: &Connection, entry: &JournalEntry) -> rusqlite::Result<()> {
        let stored = match self.bytes {
            Some(bytes) => bytes,
            None => count(conn)?,
        };
        conn.prepare_cached("INSERT OR REPLACE INTO journal VALUES (?1, ?2, ?3)")?.execute(params![
            entry.start.cast_signed(),
            PATCH_FORMAT,
            &entry.patches[..]
        ])?;
        let added = entry.patches.len() as u64;
        self.bytes = Some(stored + added);
        if self.fold.is_none() && stored + added >= self.fold_bytes {
            self.fold = Some(Fold::begin(conn)?);
        }
        if let Some(fold) = &self.fold {
            // Done when half as much has come again.
            self.steps += (2 * fold.steps() * added / self.fold_bytes).max(1);
        }
        Ok(())
    }

    /// Whether a step of folding is to be done now.
    pub(crate) fn wants_step(&self) -> bool {
        self.fold.is_some() && self.steps > 0
    }

    /// Does one step of folding.
    pub(crate) fn step(&mut self, conn: &Connection, faults: &Faults) -> rusqlite::Result<()> {
        self.steps = self.steps.saturating_sub(1);
        let Some(fold) = &mut self.fold else { return Ok(()) };
        if !fold.step(conn, faults)? {
            self.forget();
        }
        Ok(())
    }

    /// What was written may have been taken back, or is gone: rows that were folded are folded again.
    pub(crate) fn forget(&mut self) {
        *self = Self::folded_at(self.fold_bytes);
    }
}

fn count(conn: &Connection) -> rusqlite::Result<u64> {
    let bytes: i64 = conn.query_row("SELECT coalesce(sum(length(patches)), 0) FROM journal", [], |row| row.get(0))?;
    Ok(bytes.cast_unsigned())
}

/// A fold that is going on.
#[derive(Debug)]
struct Fold {
    /// Rows from here on have come since.
    until: i64,
    rows: u64,
    newest: Newest,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Rows before this one are yet to be read.
    Read(i64),
    /// The states of these tasks are yet to be written; the first of them last.
    Write(Vec<TaskId>),
    Remove,
}

impl Fold {
    fn begin(conn: &Connection) -> rusqlite::Result<Self> {
        let (rows, last): (i64, Option<i64>) =
            conn.query_row("SELECT count(*), max(start) FROM journal", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let until = last.map_or(i64::MIN, |last| last.saturating_add(1));
        Ok(Self { until, rows: rows.cast_unsigned(), newest: Newest::default(), stage: Stage::Read(until) })
    }

    /// About how many steps it takes, all in all.
    fn steps(&self) -> u64 {
        2 * self.rows + (self.newest.patches.len() / FOLDED_AT_ONCE) as u64 + 1
    }

    /// Does one step; answers whether there are more.
    fn step(&mut self, conn: &Connection, faults: &Faults) -> rusqlite::Result<bool> {
        match &mut self.stage {
            Stage::Read(before) => match self.newest.read(conn, *before, |_| true, faults)? {
                Some(start) => *before = start,
                None => {
                    let mut tasks: Vec<TaskId> = self.newest.tasks().collect();
                    // In the order of their rows, so that those that share a page are written together.
                    tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.cast_signed()));
                    self.stage = Stage::Write(tasks);
                }
            },
            Stage::Write(tasks) => {
                let some = tasks.split_off(tasks.len().saturating_sub(FOLDED_AT_ONCE));
                for task in some.into_iter().rev() {
                    self.newest.fold(conn, task, self.until, faults)?;
                }
                if tasks.is_empty() {
                    self.stage = Stage::Remove;
                }
            }
            Stage::Remove => {
                let removed = conn
                    .prepare_cached(
                        "DELETE FROM journal WHERE start = (SELECT min(start) FROM journal WHERE start < ?1)",
                    )?
                    .execute([self.until])?;
                return Ok(removed > 0);
            }
        }
        Ok(true)
    }
}

/// The newest patch of each task in a part of the journal, which is read from its end.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    patches: TaskMap<Found>,
    bytes: Vec<u8>,
    /// Where the journal ends, as far as it was read.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    /// Its place in the journal,
    place: u64,
    /// and in `bytes`.
    at: usize,
    len: u8,
}

impl Newest {
    /// Of these tasks. The journal is read until each of them is found: most ran of late. What can't be read is told as a fault.
    pub(crate) fn of<V>(conn: &Connection, tasks: &TaskMap<V>, faults: &Faults) -> Self {
        let mut newest = Self::default();
        let mut before = i64::MAX;
        loop {
            match newest.read(conn, before, |task| tasks.contains_key(&task), faults) {
                Ok(Some(start)) if newest.patches.len() < tasks.len() => before = start,
                Ok(_) => return newest,
                Err(error) => {
                    tell(faults, &error.to_string());
                    return newest;
                }
            }
        }
    }

    /// The tasks that there are patches of.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.patches.keys().copied()
    }

    /// Reads what the last row before one has of tasks that are wanted; answers where it starts, or with `None` if there is none.
    fn read(
        &mut self,
        conn: &Connection,
        before: i64,
        wanted: impl Fn(TaskId) -> bool,
        faults: &Faults,
    ) -> rusqlite::Result<Option<i64>> {
        let mut statement = conn.prepare_cached(
            "SELECT start, format, patches FROM journal WHERE start < ?1 ORDER BY start DESC LIMIT 1",
        )?;
        let mut rows = statement.query([before])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (start, format): (i64, u32) = (row.get(0)?, row.get(1)?);
        let patches = row.get_ref(2)?.as_blob()?;
        self.end = self.end.max(start.cast_unsigned().saturating_add(patches.len() as u64));
        if format == PATCH_FORMAT {
            self.take_in(start.cast_unsigned(), patches, wanted, faults);
        } else {
            tell(faults, &format!("it has format {format}, and this binary knows format {PATCH_FORMAT}"));
        }
        Ok(Some(start))
    }

    fn take_in(&mut self, start: u64, patches: &[u8], wanted: impl Fn(TaskId) -> bool, faults: &Faults) {
        let mut found = Vec::with_capacity(patches.len() / 32);
        for patch in Patches::of(patches) {
            match patch {
                Ok(patch) => found.push(patch),
                Err(error) => tell(faults, &error.to_string()),
            }
        }
        for (task, at, patch) in found.into_iter().rev().filter(|(task, ..)| wanted(*task)) {
            self.patches.entry(task).or_insert_with(|| {
                let found = Found { place: start + at as u64, at: self.bytes.len(), len: patch.len() as u8 };
                self.bytes.extend_from_slice(patch);
                found
            });
        }
    }

    /// Brings a state up to date; answers whether there was anything to do.
    pub(crate) fn apply(&self, task: TaskId, state: &mut UnitState, faults: &Faults) -> bool {
        let Some(found) = self.patches.get(&task).filter(|found| found.place >= state.journal) else { return false };
        let patch = Patch::decode(&self.bytes[found.at..][..usize::from(found.len)]);
        let applied = patch.is_some_and(|patch| patch.apply(state));
        if !applied {
            tell(faults, &format!("one of task {task:016x} does not fit its state"));
        }
        applied
    }

    /// Brings a stored state up to date, which then has all that stands in the journal before `until`.
    fn fold(&self, conn: &Connection, task: TaskId, until: i64, faults: &Faults) -> rusqlite::Result<()> {
        let stored: Option<(u32, Vec<u8>, i64)> = conn
            .prepare_cached("SELECT format, state, journal FROM unit_state WHERE task = ?1")?
            .query_row([task.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        // One that is not there is of a task that is gone; one that can't be read was told at the start.
        let Some((format, bytes, journal)) = stored else { return Ok(()) };
        let Ok(state) = encoding::decode::<UnitState>(format, &bytes) else { return Ok(()) };
        let mut state = UnitState { journal: journal.cast_unsigned(), ..state };
        if self.apply(task, &mut state, faults)
            && let Ok(bytes) = encoding::encode(&state)
        {
            conn.prepare_cached("UPDATE unit_state SET format = ?2, state = ?3, journal = ?4 WHERE task = ?1")?
                .execute(params![task.cast_signed(), encoding::FORMAT, bytes, until])?;
        }
        Ok(())
    }
}

fn tell(faults: &Faults, reason: &str) {
    let words = format!(
        "what some tasks did last before the host stopped is not known: the journal of it can't be read ({reason})"
    );
    faults.set(Subject::Journal, words);
}

#[cfg(test)]
mod tests {
    use taskhost_core::outcome::{Counts, Outcome, Reason, RunKey, RunRecord, Span};
    use taskhost_core::patch::Rest;
    use taskhost_core::time::Time;

    use super::*;
    use crate::migrate::{HISTORY, migrate};

    const TEST_FOLD_BYTES: u64 = 1 << 20;

    fn memory() -> Connection {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("a schema");
        conn
    }

    fn patch(successes: u64) -> Patch {
        let due = Time(successes.cast_signed());
        Patch {
            due,
            lateness_us: Some(1),
            took_us: 2,
            times: successes,
            took_total_us: 300,
            took_max_us: 4,
            lateness_max_us: 5,
            successes,
            accounted: Time(due.0 + 6),
            rest: Rest::Since(Time(due.0 - 7)),
            scheduled_runs: successes + 8,
            log_seq: successes - 9,
            log_lost: 10,
        }
    }

    fn insert(conn: &Connection, task: TaskId, successes: u64, journal: u64) {
        let span = Span { first_due: Time(1), times: successes, took_total_us: 0, took_max_us: 0, lateness_max_us: 0 };
        let record = RunRecord {
            key: RunKey::of(Time(successes.cast_signed())),
            reason: Reason::Schedule,
            outcome: Outcome::Success,
            attempts: 1,
            revision: 1,
            lateness_us: None,
            took_us: 0,
            span: Some(Box::new(span)),
            more: None,
        };
        let mut counts = Counts::default();
        counts.add(Outcome::Success, successes);
        let state = UnitState { counts, last_runs: vec![record], ..UnitState::default() };
        let bytes = encoding::encode(&state).expect("encodes");
        let row = params![task.cast_signed(), encoding::FORMAT, bytes, journal.cast_signed()];
        conn.execute("INSERT INTO unit_state VALUES (?1, ?2, ?3, ?4)", row).expect("inserts");
    }

    /// How many successes each task's stored state has.
    fn stored(conn: &Connection) -> Vec<u64> {
        let mut statement = conn.prepare("SELECT format, state FROM unit_state ORDER BY task").expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).expect("rows");
        let state = |row: rusqlite::Result<(u32, Vec<u8>)>| {
            let (format, bytes) = row.expect("a row");
            encoding::decode::<UnitState>(format, &bytes).expect("decodes").counts.get(Outcome::Success)
        };
        rows.map(state).collect()
    }

    fn rows(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).expect("a count")
    }

    /// Bytes that were written by format 1. If this fails, patches have another shape than when the format got its number, and
    /// what is stored would be misread: see [`PATCH_FORMAT`].
    #[test]
    fn what_format_1_wrote_is_still_read() {
        let mut bytes = Vec::new();
        patch(300).encode(0x0102, &mut bytes);
        let running = Patch { lateness_us: None, rest: Rest::Running(Time(306)), ..patch(300) };
        running.encode(u64::MAX, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = "2c01000000000000ac02ac020c";
        assert_eq!(
            hex,
            format!("0201000000000000{:02x}02{numbers}0d0102ac02040510110a", 24)
                + &format!("ffffffffffffffff{:02x}01{numbers}0c0002ac02040510110a", 24)
        );
        let read: Vec<_> = Patches::of(&bytes).map(|patch| Patch::decode(patch.expect("whole").2)).collect();
        assert_eq!(read, [Some(patch(300)), Some(running)]);
        assert_eq!(PATCH_FORMAT, 1);
    }

    #[test]
    fn a_journal_that_has_grown_is_folded_in_small_steps_and_loses_nothing() {
        let conn = memory();
        let tasks: Vec<TaskId> = (0..2 * FOLDED_AT_ONCE as TaskId + 1).map(|task| task << 40).collect();
        tasks.iter().for_each(|task| insert(&conn, *task, 10, 0));
        let (mut journal, faults) = (Journal::folded_at(TEST_FOLD_BYTES), Faults::default());
        let mut start = 0;
        let mut append = |journal: &mut Journal, successes, tasks: &[TaskId], padding: usize| {
            let mut bytes = Vec::new();
            tasks.iter().for_each(|task| patch(successes).encode(*task, &mut bytes));
            // As if there were many more tasks, that are gone.
            let gone = bytes.clone();
            (0..padding).for_each(|_| bytes.extend(&gone));
            let entry = JournalEntry { start, patches: bytes.into() };
            start += entry.patches.len() as u64;
            journal.append(&conn, &entry).expect("appends");
            entry.patches.len() as u64
        };
        let mut successes = 11;
        let mut bytes = 0;
        while bytes < TEST_FOLD_BYTES {
            assert!(!journal.wants_step());
            bytes += append(&mut journal, successes, &tasks, 9);
            successes += 1;
        }
        let newest = successes - 1;
        let (mut steps, mut more_bytes) = (0, 0);
        // One task has a newer state meanwhile, which says more.
        insert_over(&conn, tasks[0], 1000, bytes + 1);
        while journal.fold.is_some() {
            while journal.wants_step() {
                journal.step(&conn, &faults).expect("steps");
                steps += 1;
            }
            if journal.fold.is_some() {
                more_bytes += append(&mut journal, successes, &tasks[1..2], 999);
            }
        }
        assert!(more_bytes <= TEST_FOLD_BYTES / 2 + 100_000, "{more_bytes}");
        assert!(steps > 5, "{steps}");
        let found = stored(&conn);
        assert_eq!((found[0], &found[1..]), (1000, &vec![newest; tasks.len() - 1][..]));
        assert!(rows(&conn) > 0, "what has come since is still there");
        let loaded = Newest::of(&conn, &tasks.iter().map(|task| (*task, ())).collect(), &faults);
        assert_eq!(loaded.tasks().collect::<Vec<_>>(), [tasks[1]]);
        assert_eq!(loaded.end, start);
    }

    #[test]
    fn the_journal_is_read_until_each_task_that_is_wanted_was_found() {
        let (conn, mut journal, faults) = (memory(), Journal::default(), Faults::default());
        let mut start = 0;
        for (successes, tasks) in [(21, [1, 2]), (22, [1, 2]), (23, [1, 3]), (24, [1, 3])] {
            let mut bytes = Vec::new();
            tasks.iter().for_each(|task| patch(successes).encode(*task, &mut bytes));
            let entry = JournalEntry { start, patches: bytes.into() };
            start += entry.patches.len() as u64;
            journal.append(&conn, &entry).expect("appends");
        }
        // To read this would be told.
        conn.execute("UPDATE journal SET format = 9 WHERE start = 0", []).expect("updates");
        let newest = |tasks: &[TaskId]| {
            let newest = Newest::of(&conn, &tasks.iter().map(|task| (*task, ())).collect(), &faults);
            let mut found: Vec<_> = newest.patches.iter().map(|(task, found)| (*task, found.place)).collect();
            found.sort_unstable();
            (found, newest.end)
        };
        let row = start / 4;
        assert_eq!(newest(&[1, 2]), (vec![(1, 3 * row), (2, row + row / 2)], start));
        assert_eq!(newest(&[]), (vec![], start));
        assert_eq!(faults.list(), Vec::<String>::new());
        assert_eq!(newest(&[1, 4]), (vec![(1, 3 * row)], start));
        assert_eq!(faults.list().len(), 1, "one that is not there is looked for everywhere");
    }

    fn insert_over(conn: &Connection, task: TaskId, successes: u64, journal: u64) {
        conn.execute("DELETE FROM unit_state WHERE task = ?1", [task.cast_signed()]).expect("deletes");
        insert(conn, task, successes, journal);
    }

    #[test]
    fn what_was_taken_back_is_counted_anew() {
        let conn = memory();
        let mut journal = Journal::default();
        let entry = |start| JournalEntry { start, patches: vec![0; 100].into() };
        journal.append(&conn, &entry(0)).expect("appends");
        conn.execute("DELETE FROM journal", []).expect("deletes");
        journal.forget();
        journal.append(&conn, &entry(100)).expect("appends");
        assert_eq!(journal.bytes, Some(100));
    }
}
