;; Says which attempt it is, so that a test can tell every one that was ever begun: prints `begin TASK RUN-ID ATTEMPT REASON`,
;; sleeps for the milliseconds in its first argument, prints the same with `end`, and succeeds, or fails if the attempt is not past
;; the number in its second argument. Without arguments it succeeds at once.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-resource))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
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
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $pollable-outer))
    (export "pollable" (type $pollable-in (eq $pollable-outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable-in))))))

  ;; Apart from the program, which imports functions whose lowering needs both.
  (core module $memory-module
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $old-bytes i32) (param $align i32) (param $bytes i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $place) (local.get $bytes)))
      (local.get $place))
    (data (i32.const 0) "begin end \nattempt ")
    ;; The names of the reasons in their order, each with its length before it.
    (data (i32.const 32) "\08schedule")
    (data (i32.const 48) "\08catch_up")
    (data (i32.const 64) "\08backfill")
    (data (i32.const 80) "\06manual")
    (data (i32.const 96) "\09triggered"))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $texts))
  (alias core export $memory "realloc" (core func $realloc))

  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") (memory $texts)))
  (core func $get-arguments (canon lower (func $environment "get-arguments") (memory $texts) (realloc $realloc)))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $drop-pollable (canon resource.drop $pollable))
  (core module $module
    (import "memory" "memory" (memory 1))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "write" (func $write (param $self i32) (param $text i32) (param $bytes i32) (param $result i32)))
    (import "host" "get-arguments" (func $get-arguments (param $list i32)))
    (import "host" "subscribe" (func $subscribe (param $nanoseconds i64) (result i32)))
    (import "host" "block" (func $block (param $pollable i32)))
    (import "host" "drop-pollable" (func $drop-pollable (param $pollable i32)))
    ;; Where results are put: of `write` 128, of `get-arguments` 144, of `run` 160. A text is put together from 1024 on.
    (global $end (mut i32) (i32.const 1024))

    (func $append (param $text i32) (param $bytes i32)
      (memory.copy (global.get $end) (local.get $text) (local.get $bytes))
      (global.set $end (i32.add (global.get $end) (local.get $bytes))))
    (func $append-number (param $number i32)
      (if (i32.ge_u (local.get $number) (i32.const 10))
        (then (call $append-number (i32.div_u (local.get $number) (i32.const 10)))))
      (i32.store8 (global.get $end) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (global.set $end (i32.add (global.get $end) (i32.const 1))))
    (func $append-space
      (call $append (i32.const 5) (i32.const 1)))

    (func $say (param $word i32) (param $word-bytes i32) (param $tick i32)
      (local $reason i32)
      (global.set $end (i32.const 1024))
      (call $append (local.get $word) (local.get $word-bytes))
      (call $append (i32.load (local.get $tick)) (i32.load offset=4 (local.get $tick)))
      (call $append-space)
      (call $append (i32.load offset=8 (local.get $tick)) (i32.load offset=12 (local.get $tick)))
      (call $append-space)
      (call $append-number (i32.load offset=16 (local.get $tick)))
      (call $append-space)
      (local.set $reason (i32.add (i32.const 32) (i32.mul (i32.const 16) (i32.load8_u offset=72 (local.get $tick)))))
      (call $append (i32.add (local.get $reason) (i32.const 1)) (i32.load8_u (local.get $reason)))
      (call $append (i32.const 10) (i32.const 1))
      (call $write (call $get-stdout) (i32.const 1024) (i32.sub (global.get $end) (i32.const 1024)) (i32.const 128)))

    ;; The number in an argument, of which `$at` is the place in the list.
    (func $number (param $at i32) (result i32)
      (local $text i32) (local $last i32) (local $number i32)
      (local.set $text (i32.load (local.get $at)))
      (local.set $last (i32.add (local.get $text) (i32.load offset=4 (local.get $at))))
      (block $done
        (loop $digit
          (br_if $done (i32.ge_u (local.get $text) (local.get $last)))
          (local.set $number (i32.add
            (i32.mul (local.get $number) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $text)) (i32.const 48))))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (br $digit)))
      (local.get $number))

    (func $sleep (param $milliseconds i32)
      (local $pollable i32)
      (local.set $pollable
        (call $subscribe (i64.mul (i64.extend_i32_u (local.get $milliseconds)) (i64.const 1000000))))
      (call $block (local.get $pollable))
      (call $drop-pollable (local.get $pollable)))

    (func (export "run") (param $tick i32) (result i32)
      (local $arguments i32) (local $count i32)
      (call $say (i32.const 0) (i32.const 6) (local.get $tick))
      (call $get-arguments (i32.const 144))
      ;; The first one is the plugin's own name.
      (local.set $arguments (i32.load (i32.const 144)))
      (local.set $count (i32.load (i32.const 148)))
      (if (i32.gt_u (local.get $count) (i32.const 1))
        (then
          (call $sleep (call $number (i32.add (local.get $arguments) (i32.const 8))))
          (call $say (i32.const 6) (i32.const 4) (local.get $tick))))
      (if (i32.gt_u (local.get $count) (i32.const 2))
        (then
          (if (i32.le_u
              (i32.load offset=16 (local.get $tick))
              (call $number (i32.add (local.get $arguments) (i32.const 16))))
            (then
              ;; A failure whose message is `attempt N`.
              (global.set $end (i32.const 1024))
              (call $append (i32.const 11) (i32.const 8))
              (call $append-number (i32.load offset=16 (local.get $tick)))
              (i32.store8 (i32.const 160) (i32.const 1))
              (i32.store (i32.const 168) (i32.const 1024))
              (i32.store (i32.const 172) (i32.sub (global.get $end) (i32.const 1024)))))))
      (i32.const 160)))
  (core instance $instance (instantiate $module
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "get-stdout" (func $get-stdout))
      (export "write" (func $write))
      (export "get-arguments" (func $get-arguments))
      (export "subscribe" (func $subscribe))
      (export "block" (func $block))
      (export "drop-pollable" (func $drop-pollable))))))

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
