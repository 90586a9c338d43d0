;; Has the host write what lies past the end of its memory: an error or a trap, and no byte of the host's.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; 4 GiB from 16 on.
  (data (i32.const 0) "\10\00\00\00\ff\ff\ff\ff")
  (func (export "_start")
    (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (then (return)))
    unreachable))
