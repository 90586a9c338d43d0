;; Loops for ever in its start function, that is while it is instantiated and before `_start` is called. The deadline
;; covers that as well: `timed_out`.
(module
  (memory (export "memory") 1)
  (func $spin
    (loop $again
      (br $again)))
  (start $spin)
  (func (export "_start")))
