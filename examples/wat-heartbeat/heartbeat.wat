;; Says at each tick for which due time it is alive, through wasi:logging. A plugin of the world `task`, against the contract.
(component
  (import "wasi:logging/logging@0.1.0-draft" (instance $logging
    (type $level-cases (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $level-cases)))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))

  ;; The memory stands apart from the program, for the program imports a function whose lowering needs it.
  (core module $memory-module
    (memory (export "memory") 1)
    ;; Where the host puts the texts of a tick: from 4096 on, one behind the other. A run has a fresh instance, so nothing is
    ;; ever freed. What would go past the end of the memory traps.
    (global $free (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $old-bytes i32) (param $align i32) (param $bytes i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $place) (local.get $bytes)))
      (local.get $place))
    (data (i32.const 0) "alive at "))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $texts))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $log (canon lower (func $logging "log") (memory $texts)))

  (core module $module
    (import "memory" "memory" (memory 1))
    (import "host" "log" (func $log
      (param $level i32) (param $context i32) (param $context-bytes i32) (param $message i32) (param $message-bytes i32)))
    ;; A tick comes as the place of its record: the task's name at 0, the due time as text at 40, each as a place and a length.
    ;; The answer is the place of a result that is all zeros: `ok(none)`.
    (func (export "run") (param $tick i32) (result i32)
      (memory.copy (i32.const 9) (i32.load offset=40 (local.get $tick)) (i32.load offset=44 (local.get $tick)))
      (call $log
        (i32.const 2) ;; info
        (i32.load (local.get $tick)) (i32.load offset=4 (local.get $tick))
        (i32.const 0) (i32.add (i32.const 9) (i32.load offset=44 (local.get $tick))))
      (i32.const 2048)))
  (core instance $instance (instantiate $module
    (with "memory" (instance $memory))
    (with "host" (instance (export "log" (func $log))))))

  ;; The contract's types, as they stand in plugin.wit.
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

  ;; The types of an exported function must have names. What follows only gives them: a copy of it does for any plugin.
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
