;; Prints short lines for ever, 8,192 with each write. Bounded by the log bytes of a run and by its deadline:
;; `timed_out`.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovecs i32) (param $count i32) (param $written i32) (result i32)))
  (memory (export "memory") 2)

  ;; One iovec: 64 KiB from the second page on.
  (data (i32.const 0) "\00\00\01\00\00\00\01\00")

  (func (export "_start")
    (local $at i32)
    (local.set $at (i32.const 65536))
    (loop $fill
      ;; "flooded\n"
      (i64.store (local.get $at) (i64.const 0x0a6465646f6f6c66))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $fill (i32.lt_u (local.get $at) (i32.const 131072))))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $again))))
