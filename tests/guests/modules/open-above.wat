;; Opens `../secret`, `/etc/passwd` and `link` below its first folder, as preview 1 does, and exits with how many it got.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "../secret")
  (data (i32.const 32) "/etc/passwd")
  (data (i32.const 64) "link-to-secret")
  (data (i32.const 96) "inside/../../secret")
  (func $try (param $path i32) (param $length i32) (result i32)
    ;; Descriptor 3, following links, with every right.
    (i32.eqz (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (local.get $length) (i32.const 0)
      (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 256))))
  (func (export "_start")
    (call $proc_exit
      (i32.add
        (i32.add (call $try (i32.const 0) (i32.const 9)) (call $try (i32.const 32) (i32.const 11)))
        (i32.add (call $try (i32.const 64) (i32.const 14)) (call $try (i32.const 96) (i32.const 19)))))))
