;; Takes table elements until it is refused, then traps: `limit_exceeded`, for memory is not all that a guest can take.
(module
  (memory (export "memory") 1)
  (table $table 0 funcref)
  (func (export "_start")
    (loop $again
      (br_if $again
        (i32.ne (table.grow $table (ref.null func) (i32.const 65536)) (i32.const -1))))
    unreachable))
