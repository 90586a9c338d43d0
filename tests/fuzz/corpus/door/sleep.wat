;; Sleeps for ever, an hour at a time: a guest that is parked in a host call and uses no CPU. `timed_out`.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param $subscriptions i32) (param $events i32) (param $count i32) (param $ready i32) (result i32)))
  (memory (export "memory") 1)

  ;; One `subscription` (48 bytes at 0): userdata 0, tag 0 (clock), clock 1 (monotonic), timeout and precision in
  ;; nanoseconds, flags 0 (relative). 3,600,000,000,000 ns are 0x03_46_30_b8_a0_00.
  (data (i32.const 16) "\01\00\00\00\00\00\00\00")
  (data (i32.const 24) "\00\a0\b8\30\46\03\00\00")

  (func (export "_start")
    (loop $again
      (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (br $again))))
