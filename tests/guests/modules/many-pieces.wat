;; Has the host write 500 million pieces in one call, which its list of pieces has no room for: it fails.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 500000000) (i32.const 8))) (then (return)))
    unreachable))
