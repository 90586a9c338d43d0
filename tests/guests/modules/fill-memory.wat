;; Fills 96 MiB again and again, in one instruction that never looks at the epoch: `timed_out`, and nobody waits for it.
(module
  (memory (export "memory") 1537)
  (func (export "_start")
    (loop $again
      (memory.fill (i32.const 0) (i32.const 255) (i32.const 100663296))
      (br $again))))
