;; Answers `Task ` and what it was given.
(module
  (import "extism:host/env" "input_length" (func $input-length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input-load (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output-set (param i64 i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "Task ")
  (func (export "run") (result i32)
    (local $line i64) (local $bytes i64) (local $at i64)
    (local.set $bytes (i64.add (call $input-length) (i64.const 5)))
    (local.set $line (call $alloc (local.get $bytes)))
    (loop $word
      (call $store
        (i64.add (local.get $line) (local.get $at))
        (i32.load8_u (i32.wrap_i64 (local.get $at))))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br_if $word (i64.lt_u (local.get $at) (i64.const 5))))
    (loop $rest
      (call $store
        (i64.add (local.get $line) (local.get $at))
        (call $input-load (i64.sub (local.get $at) (i64.const 5))))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br_if $rest (i64.lt_u (local.get $at) (local.get $bytes))))
    (call $output-set (local.get $line) (local.get $bytes))
    (i32.const 0)))
