;; A WASI 0.2 command: exports `wasi:cli/run`. Prints `hello from a command` and returns `ok`.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-resource))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $output-stream (sub resource)))
    (alias outer 1 $error-resource (type $error-outer))
    (export "error" (type $error-in (eq $error-outer)))
    (type $own-error (own $error-in))
    (type $stream-error-shape (variant (case "last-operation-failed" $own-error) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error-shape)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream))
      (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $output-stream-outer))
    (export "output-stream" (type $output-stream-in (eq $output-stream-outer)))
    (export "get-stdout" (func (result (own $output-stream-in))))))

  ;; The memory has a module of its own, for lowering `write` needs it before the program is there.
  (core module $memory-module
    (memory (export "memory") 1)
    (data (i32.const 0) "hello from a command\n"))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $texts))

  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") (memory $texts)))
  (core module $module
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "write" (func $write (param $self i32) (param $text i32) (param $bytes i32) (param $result i32)))
    ;; 0 is `ok`.
    (func (export "run") (result i32)
      (call $write (call $get-stdout) (i32.const 0) (i32.const 21) (i32.const 64))
      (i32.const 0)))
  (core instance $instance (instantiate $module
    (with "host" (instance
      (export "get-stdout" (func $get-stdout))
      (export "write" (func $write))))))

  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run-interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run-interface)))
