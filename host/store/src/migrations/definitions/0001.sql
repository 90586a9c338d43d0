-- What the host is told to do. Ids are unsigned 64-bit numbers kept with their bits in SQLite's signed ones; times are
-- nanoseconds since the Unix epoch; `format` is the version of the JSON beside it.

-- `paused`: since when and why, as JSON.
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    format INTEGER NOT NULL,
    spec TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    due_at_once INTEGER NOT NULL,
    paused TEXT
) STRICT;

-- Who changed what when. A deletion has a revision of its own, without a spec. `paused` is of pauses only.
CREATE TABLE revisions (
    task INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('add', 'edit', 'pause', 'resume', 'delete')),
    format INTEGER NOT NULL,
    spec TEXT,
    paused TEXT,
    PRIMARY KEY (task, revision)
) STRICT, WITHOUT ROWID;

-- For pruning at start.
CREATE INDEX deletions ON revisions (at) WHERE kind = 'delete';

CREATE TABLE plugins (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    format INTEGER NOT NULL,
    facts TEXT NOT NULL,
    added_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
