;; Loops for ever without a call. Only its deadline ends it: `timed_out`.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (br $again))))
