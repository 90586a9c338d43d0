;; Is a command of WASI 0.3, and returns `ok`.
(component
  (core module $m (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (type $run (func async (result (result))))
  (func $run (type $run) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $command)))
