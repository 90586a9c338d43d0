;; Prints the wall clock, in seconds; sleeps an hour; prints it again, and by how many seconds the monotonic clock went on.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; One `subscription` (48 bytes at 0): clock 1 (monotonic), 3,600,000,000,000 ns from now.
  (data (i32.const 16) "\01\00\00\00\00\00\00\00")
  (data (i32.const 24) "\00\a0\b8\30\46\03\00\00")

  ;; What this clock shows, in nanoseconds.
  (func $now (param $clock i32) (result i64)
    (if (call $clock_time_get (local.get $clock) (i64.const 1) (i32.const 160)) (then unreachable))
    (i64.load (i32.const 160)))

  ;; Prints nanoseconds in seconds, from the last digit, which stands before the newline at 255.
  (func $print (param $ns i64)
    (local $rest i64)
    (local $at i32)
    (local.set $rest (i64.div_u (local.get $ns) (i64.const 1000000000)))
    (local.set $at (i32.const 255))
    (i32.store8 (i32.const 255) (i32.const 10))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $rest) (i64.const 0))))
    (i32.store (i32.const 176) (local.get $at))
    (i32.store (i32.const 180) (i32.sub (i32.const 256) (local.get $at)))
    (if (call $fd_write (i32.const 1) (i32.const 176) (i32.const 1) (i32.const 184)) (then unreachable)))

  (func (export "_start")
    (local $began i64)
    (call $print (call $now (i32.const 0)))
    (local.set $began (call $now (i32.const 1)))
    (if (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)) (then unreachable))
    (call $print (call $now (i32.const 0)))
    (call $print (i64.sub (call $now (i32.const 1)) (local.get $began)))))
