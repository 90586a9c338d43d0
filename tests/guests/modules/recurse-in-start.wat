;; Calls itself for ever while it is instantiated: `trapped`.
(module
  (func $again (call $again))
  (start $again)
  (func (export "_start")))
