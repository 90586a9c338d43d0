;; Takes memory, 1 MiB at a time, until it is refused; then it traps, as a program whose allocation fails does. Each new
;; MiB is written to, so that it is there in earnest. The host says which limit it was: `limit_exceeded`.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $grown_pages i32)
    (loop $again
      (local.set $grown_pages (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $grown_pages) (i32.const -1))
        (then unreachable))
      (memory.fill
        (i32.mul (local.get $grown_pages) (i32.const 65536))
        (i32.const 0x55)
        (i32.const 1048576))
      (br $again))))
