//! Brings a database to the schema that this binary knows.
//!
//! `PRAGMA user_version` counts the migrations that a file has behind it. A migration is never edited once it is
//! released; a change is a new numbered file at the end of its list.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::OpenError;

/// Of `definitions.db`.
pub(crate) const DEFINITIONS: &[&str] =
    &[include_str!("migrations/definitions/0001.sql"), include_str!("migrations/definitions/0002.sql")];

/// Of `key_values.db`.
pub(crate) const KEY_VALUES: &[&str] = &[include_str!("migrations/key_values/0001.sql")];

/// Of `history.db`.
pub(crate) const HISTORY: &[&str] = &[
    include_str!("migrations/history/0001.sql"),
    include_str!("migrations/history/0002.sql"),
    include_str!("migrations/history/0003.sql"),
    include_str!("migrations/history/0004.sql"),
    include_str!("migrations/history/0005.sql"),
];

/// Runs what is missing of `migrations`, each in a transaction with its number; refuses a file with more than these.
pub(crate) fn migrate(conn: &mut Connection, file: &Path, migrations: &[&str]) -> Result<(), OpenError> {
    let found = version(conn).map_err(OpenError::database(file))?;
    let known = migrations.len() as i64;
    if found > known {
        return Err(OpenError::NewerSchema { file: file.to_owned(), found, known });
    }
    for (number, sql) in (1..).zip(migrations).skip_while(|(number, _)| *number <= found) {
        step(conn, number, sql).map_err(OpenError::database(file))?;
    }
    Ok(())
}

/// How many migrations the file has behind it; 0 for a new one.
pub(crate) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn step(conn: &mut Connection, number: i64, sql: &str) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE words (word TEXT NOT NULL) STRICT; INSERT INTO words VALUES ('kept');";
    const SECOND: &str = "ALTER TABLE words ADD COLUMN length INTEGER; UPDATE words SET length = length(word);";

    fn memory() -> Connection {
        Connection::open_in_memory().expect("a database in memory")
    }

    #[test]
    fn an_older_schema_is_brought_forward_with_its_rows() {
        let (mut conn, file) = (memory(), Path::new("test.db"));
        migrate(&mut conn, file, &[FIRST]).expect("from nothing");
        migrate(&mut conn, file, &[FIRST, SECOND]).expect("from version 1");
        migrate(&mut conn, file, &[FIRST, SECOND]).expect("nothing left to do");
        let row = conn.query_row("SELECT word, length FROM words", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok(("kept".to_owned(), 4)));
        assert_eq!(version(&conn), Ok(2));
    }

    #[test]
    fn a_newer_schema_is_refused_with_both_versions() {
        let mut conn = memory();
        conn.pragma_update(None, "user_version", 99).expect("a version");
        let refused = migrate(&mut conn, Path::new("test.db"), DEFINITIONS).expect_err("newer").to_string();
        assert!(
            refused.starts_with("test.db has schema version 99, and this binary knows versions up to 2;"),
            "{refused}"
        );
        assert_eq!(version(&conn), Ok(99));
    }

    #[test]
    fn a_failing_migration_leaves_the_version_before_it() {
        let mut conn = memory();
        let broken = "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);";
        migrate(&mut conn, Path::new("test.db"), &[FIRST, broken]).expect_err("broken");
        assert_eq!(version(&conn), Ok(1));
        conn.execute("INSERT INTO more VALUES (1)", []).expect_err("its table was rolled back");
    }
}
