;; Prints 1 GiB without a single newline, 64 KiB at a time, and exits with 0. The host keeps a cut line and no more of it
;; in memory than that.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovecs i32) (param $count i32) (param $written i32) (result i32)))
  (memory (export "memory") 2)

  ;; One iovec: 64 KiB from the second page on.
  (data (i32.const 0) "\00\00\01\00\00\00\01\00")

  (func (export "_start")
    (local $left_bytes i64)
    (memory.fill (i32.const 65536) (i32.const 0x78) (i32.const 65536))
    (local.set $left_bytes (i64.const 1073741824))
    (loop $again
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
        (then unreachable))
      ;; A write may be short.
      (local.set $left_bytes (i64.sub (local.get $left_bytes) (i64.extend_i32_u (i32.load (i32.const 8)))))
      (br_if $again (i64.gt_s (local.get $left_bytes) (i64.const 0))))))
