;; A plugin for a host of the future. Refused when it is added, naming the versions that this host has.
(component
  (core module $module
    (func (export "run")))
  (core instance $instance (instantiate $module))
  (func $run (canon lift (core func $instance "run")))
  (instance $guest (export "run" (func $run)))
  (export "taskhost:plugin/guest@9.0.0" (instance $guest)))
