;; Waits for a million timers in one call: denied, or slow for itself alone.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  ;; 48 bytes a subscription and 32 an event.
  (memory (export "memory") 1400)
  (func (export "_start")
    (local $at i32)
    (loop $fill
      (i64.store (i32.add (local.get $at) (i32.const 24)) (i64.const 3600000000000))
      (i32.store (i32.add (local.get $at) (i32.const 16)) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 48)))
      (br_if $fill (i32.lt_u (local.get $at) (i32.const 48000000))))
    (if (i32.eqz (call $poll_oneoff (i32.const 0) (i32.const 48000000) (i32.const 1000000) (i32.const 88000000)))
      (then (return)))
    unreachable))
