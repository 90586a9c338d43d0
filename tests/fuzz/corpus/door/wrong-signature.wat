;; Has our export by name, and not its `run`: this one takes no tick. Refused when it is added.
(component
  (core module $module
    (func (export "run")))
  (core instance $instance (instantiate $module))
  (func $run (canon lift (core func $instance "run")))
  (instance $guest (export "run" (func $run)))
  (export "taskhost:plugin/guest@0.1.0" (instance $guest)))
