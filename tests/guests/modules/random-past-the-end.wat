;; Wants four thousand million random bytes at the end of its memory: it fails, and takes nothing of the host.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.eqz (call $random_get (i32.const 65000) (i32.const -1))) (then (return)))
    unreachable))
