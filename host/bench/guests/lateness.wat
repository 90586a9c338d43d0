;; Prints by how many nanoseconds its own clock is past the due time that it runs for: lateness as a guest sees it. `taskbench`
;; gives it to some of its tasks, and reads the lines afterwards.
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
  (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
    (type $datetime-shape (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $datetime-shape)))
    (export "now" (func (result $datetime)))))

  ;; Apart from the program, which imports functions whose lowering needs both.
  (core module $memory-module
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $old-bytes i32) (param $align i32) (param $bytes i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $place) (local.get $bytes)))
      (local.get $place)))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $texts))
  (alias core export $memory "realloc" (core func $realloc))

  (core func $now (canon lower (func $clock "now") (memory $texts)))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") (memory $texts)))
  (core module $module
    (import "memory" "memory" (memory 1))
    (import "host" "now" (func $now (param $result i32)))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "write" (func $write (param $self i32) (param $text i32) (param $bytes i32) (param $result i32)))
    ;; Where results are put: of `now` 112, of `write` 128, of `run` 160, which stays `ok(none)`. The line ends before 1024.

    ;; Writes a number from the right, and answers where it begins.
    (func $put-number (param $number i64) (result i32)
      (local $at i32) (local $rest i64)
      (local.set $at (i32.const 1023))
      (i32.store8 (local.get $at) (i32.const 10))
      (local.set $rest (select
        (i64.sub (i64.const 0) (local.get $number)) (local.get $number) (i64.lt_s (local.get $number) (i64.const 0))))
      (loop $digit
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at)
          (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
        (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
        (br_if $digit (i64.ne (local.get $rest) (i64.const 0))))
      (if (i64.lt_s (local.get $number) (i64.const 0))
        (then
          (local.set $at (i32.sub (local.get $at) (i32.const 1)))
          (i32.store8 (local.get $at) (i32.const 45))))
      (local.get $at))

    ;; The due time stands in the tick as seconds at 24 and nanoseconds at 32.
    (func (export "run") (param $tick i32) (result i32)
      (local $text i32)
      (call $now (i32.const 112))
      (local.set $text (call $put-number (i64.add
        (i64.mul
          (i64.sub (i64.load (i32.const 112)) (i64.load offset=24 (local.get $tick)))
          (i64.const 1000000000))
        (i64.sub
          (i64.load32_u offset=8 (i32.const 112))
          (i64.load32_u offset=32 (local.get $tick))))))
      (call $write
        (call $get-stdout) (local.get $text) (i32.sub (i32.const 1024) (local.get $text)) (i32.const 128))
      (i32.const 160)))
  (core instance $instance (instantiate $module
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "now" (func $now))
      (export "get-stdout" (func $get-stdout))
      (export "write" (func $write))))))

  (type $instant (record (field "seconds" s64) (field "nanoseconds" u32)))
  (type $trigger (record (field "task" string) (field "run-id" string) (field "outcome" string)))
  (type $reason (variant
    (case "schedule") (case "catch-up") (case "backfill") (case "manual") (case "triggered" $trigger)))
  (type $tick (record
    (field "task" string) (field "run-id" string) (field "attempt" u32) (field "due" $instant)
    (field "due-local" string) (field "since" (option $instant)) (field "reason" $reason)))
  (type $failure (record
    (field "message" string) (field "permanent" bool) (field "retry-after-ms" (option u64))))
  (func $run (param "tick" $tick) (result (result (option string) (error $failure)))
    (canon lift (core func $instance "run") (memory $texts) (realloc $realloc)))

  ;; Gives the types of an exported function their names.
  (component $named
    (type $instant-shape (record (field "seconds" s64) (field "nanoseconds" u32)))
    (import "instant" (type $instant (eq $instant-shape)))
    (type $trigger-shape (record (field "task" string) (field "run-id" string) (field "outcome" string)))
    (import "trigger" (type $trigger (eq $trigger-shape)))
    (type $reason-shape (variant
      (case "schedule") (case "catch-up") (case "backfill") (case "manual") (case "triggered" $trigger)))
    (import "reason" (type $reason (eq $reason-shape)))
    (type $tick-shape (record
      (field "task" string) (field "run-id" string) (field "attempt" u32) (field "due" $instant)
      (field "due-local" string) (field "since" (option $instant)) (field "reason" $reason)))
    (import "tick" (type $tick (eq $tick-shape)))
    (type $failure-shape (record
      (field "message" string) (field "permanent" bool) (field "retry-after-ms" (option u64))))
    (import "failure" (type $failure (eq $failure-shape)))
    (import "run" (func $run (param "tick" $tick) (result (result (option string) (error $failure)))))
    (export $instant-out "instant" (type $instant-shape))
    (export $trigger-out "trigger" (type $trigger-shape))
    (type $reason-out-shape (variant
      (case "schedule") (case "catch-up") (case "backfill") (case "manual") (case "triggered" $trigger-out)))
    (export $reason-out "reason" (type $reason-out-shape))
    (type $tick-out-shape (record
      (field "task" string) (field "run-id" string) (field "attempt" u32) (field "due" $instant-out)
      (field "due-local" string) (field "since" (option $instant-out)) (field "reason" $reason-out)))
    (export $tick-out "tick" (type $tick-out-shape))
    (export $failure-out "failure" (type $failure-shape))
    (export "run" (func $run)
      (func (param "tick" $tick-out) (result (result (option string) (error $failure-out))))))
  (instance $guest (instantiate $named
    (with "instant" (type $instant))
    (with "trigger" (type $trigger))
    (with "reason" (type $reason))
    (with "tick" (type $tick))
    (with "failure" (type $failure))
    (with "run" (func $run))))
  (export "taskhost:plugin/guest@0.1.0" (instance $guest)))
