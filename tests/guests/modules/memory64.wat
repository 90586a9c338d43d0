;; Wants 64 GiB of 64-bit memory from the start: refused.
(module
  (memory i64 1048576)
  (func (export "_start")))
