;; A WASI 0.2 command that returns `err`: the run's outcome is `error`, with exit code 1.
(component
  (core module $module
    ;; 1 is `err`.
    (func (export "run") (result i32)
      (i32.const 1)))
  (core instance $instance (instantiate $module))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run-interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run-interface)))
