;; Traps at once. The run's outcome is `trapped`.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    unreachable))
