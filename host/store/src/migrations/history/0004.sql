-- The number of each task's newest line in `log_chunks`, so that a start after a crash need not look for it among them.
CREATE TABLE log_seqs (
    task INTEGER PRIMARY KEY,
    newest_seq INTEGER NOT NULL
) STRICT;

INSERT INTO log_seqs SELECT task, max(first_seq + lines - 1) FROM log_chunks GROUP BY task;
