-- The name of a task is a column, and no part of its definition any more: tasks that differ in nothing else have the same one.
UPDATE tasks SET spec = json_remove(spec, '$.name') WHERE format = 1 AND json_valid(spec);
UPDATE revisions SET spec = json_remove(spec, '$.name') WHERE format = 1 AND spec IS NOT NULL AND json_valid(spec);
