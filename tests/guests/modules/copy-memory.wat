;; Copies 48 MiB to and fro for ever: `timed_out`.
(module
  (memory (export "memory") 1537)
  (func (export "_start")
    (loop $again
      (memory.copy (i32.const 50331648) (i32.const 0) (i32.const 50331648))
      (memory.copy (i32.const 0) (i32.const 50331648) (i32.const 50331648))
      (br $again))))
