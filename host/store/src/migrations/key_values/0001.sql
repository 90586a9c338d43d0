-- Keys and values that tasks keep from run to run. Ids as in the definitions. A key is text, kept as its bytes: they are what it is
-- sorted by.
CREATE TABLE key_values (
    task INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (task, key)
) STRICT, WITHOUT ROWID;

-- What a task has there. Every task with keys has a row; it changes with them.
CREATE TABLE usage (
    task INTEGER PRIMARY KEY,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
