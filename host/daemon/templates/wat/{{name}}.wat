(module
  ;; A taskhost plugin in WebAssembly text, as a WASI preview-1 command: prints a line at each tick.
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Where the line is and how long, as fd_write wants it; the line itself; and behind it, how much was written.
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\0a")
  (func (export "_start")
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))
      ;; An exit code other than 0 is a failure.
      (then (call $proc_exit (i32.const 1))))))
