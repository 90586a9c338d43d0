//! What both databases have in common: how they are connected to, and how their write-ahead logs are kept.
//!
//! A commit is one `fsync` of the write-ahead log. Where the file system must also find blocks for it, that takes many
//! times as long (measured: 3.9 ms against 0.1 ms), so the log is grown once at start and then overwritten from its
//! beginning: it is never truncated while the host runs, and a checkpoint that copies all of it lets SQLite start over.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use taskhost_core::ports::{Clock, SystemClock};

/// How long a connection waits for another of this process, which holds a lock only for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The page cache while the log is grown, in pages: what does not fit goes to the log.
const GROWING_CACHE_PAGES: i64 = 16;

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Durability {
    /// When it has returned.
    Full,
    /// When the log has been synced: at a checkpoint, or by [`sync_wal`].
    Normal,
}

/// Connects for writing. The file must be there.
pub(crate) fn connect(file: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // Finds more damage where it is read, instead of where it has done harm.
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    set_durability(&conn, durability)?;
    // Checkpoints are made by the writer between its commits, not within one that somebody waits for.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(conn)
}

/// From the next transaction on.
pub(crate) fn set_durability(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Normal => "normal",
    };
    conn.pragma_update(None, "synchronous", synchronous)
}

/// Connects for reading, beside the writer.
pub(crate) fn connect_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}

/// Looks for damage in one table, and reads all of it to do so.
pub(crate) fn check_table(conn: &Connection, table: &str) -> rusqlite::Result<Result<(), String>> {
    let mut words = None;
    conn.pragma(None, "quick_check", table, |row| {
        let found: String = row.get(0)?;
        if found != "ok" && words.is_none() {
            words = Some(found.lines().next_back().unwrap_or_default().to_owned());
        }
        Ok(())
    })?;
    Ok(words.map_or(Ok(()), Err))
}

/// Makes an empty file that only its owner may read, where there is none; SQLite gives its other files the same rights.
pub(crate) fn create_private(file: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file).map(drop)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes durable what was committed with [`Durability::Normal`].
pub(crate) fn sync_wal(file: &Path) -> io::Result<()> {
    File::open(with_suffix(file, "-wal"))?.sync_data()
}

/// Grows the log to at least `bytes`, with blocks that were written: a transaction that spills out of its page cache into
/// the log, and is then taken back.
pub(crate) fn grow_wal(conn: &mut Connection, file: &Path, bytes: u64) -> rusqlite::Result<()> {
    let wal = with_suffix(file, "-wal");
    if fs::metadata(&wal).is_ok_and(|metadata| metadata.len() >= bytes) {
        return Ok(());
    }
    let cache: i64 = conn.pragma_query_value(None, "cache_size", |row| row.get(0))?;
    conn.pragma_update(None, "cache_size", GROWING_CACHE_PAGES)?;
    let grown = spill(conn, bytes);
    conn.pragma_update(None, "cache_size", cache)?;
    grown?;
    if let Err(error) = sync_wal(file) {
        tracing::warn!("failed to sync {}: {error}", wal.display());
    }
    Ok(())
}

fn spill(conn: &mut Connection, bytes: u64) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("CREATE TABLE filler (data BLOB NOT NULL) STRICT")?;
    // Some pages stay in the cache.
    let page_size: i64 = transaction.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let filler = bytes.cast_signed() + 2 * GROWING_CACHE_PAGES * page_size;
    transaction.execute("INSERT INTO filler VALUES (zeroblob(?1))", [filler])?;
    transaction.rollback()
}

/// Copies the log into the database if at least `frames` pages of it were not copied yet. The next commit then starts
/// over at the log's beginning.
pub(crate) fn checkpoint(conn: &Connection, frames: i64) -> rusqlite::Result<()> {
    let waiting = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>("log")? - row.get::<_, i64>("checkpointed")?);
    if frames == 0 || conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], waiting)? >= frames {
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Renames a damaged database with its log, so that nothing writes to it any more and somebody may look into it. No
/// connection to it may be open.
pub(crate) fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let now = SystemClock.now().to_timestamp().strftime("%Y%m%dT%H%M%SZ");
    let mut aside = with_suffix(file, &format!(".damaged-{now}"));
    for number in 2.. {
        if !aside.exists() {
            break;
        }
        aside = with_suffix(file, &format!(".damaged-{now}-{number}"));
    }
    for suffix in ["", "-wal"] {
        match fs::rename(with_suffix(file, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove_if_there(&with_suffix(file, "-shm"))?;
    file.parent().map_or(Ok(()), sync_dir)?;
    Ok(aside)
}

/// Removes a file that may not be there; says whether it was.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
