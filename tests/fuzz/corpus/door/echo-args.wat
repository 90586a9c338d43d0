;; Prints each of its arguments, without the program's own name, on a line.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param $count i32) (param $bytes i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get"
    (func $args_get (param $pointers i32) (param $texts i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovecs i32) (param $count i32) (param $written i32) (result i32)))
  (memory (export "memory") 3)

  ;; 0: argc, 4: size of the texts, 8: an iovec, 16: bytes written; pointers from the second page on, texts from the third.
  (func (export "_start")
    (local $argument i32)
    (local $start i32)
    (local $end i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $args_get (i32.const 65536) (i32.const 131072)))
    (local.set $argument (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $argument) (i32.load (i32.const 0))))
        (local.set $start
          (i32.load (i32.add (i32.const 65536) (i32.mul (local.get $argument) (i32.const 4)))))
        (local.set $end (local.get $start))
        (block $at_end
          (loop $byte
            (br_if $at_end (i32.eqz (i32.load8_u (local.get $end))))
            (local.set $end (i32.add (local.get $end) (i32.const 1)))
            (br $byte)))
        ;; The NUL becomes the newline.
        (i32.store8 (local.get $end) (i32.const 10))
        (i32.store (i32.const 8) (local.get $start))
        (i32.store (i32.const 12)
          (i32.add (i32.sub (local.get $end) (local.get $start)) (i32.const 1)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
        (local.set $argument (i32.add (local.get $argument) (i32.const 1)))
        (br $next)))))
