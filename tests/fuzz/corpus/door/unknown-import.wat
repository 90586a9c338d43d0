;; A command that wants what no host of preview 1 has. Refused when it is added, naming `env` and `frobnicate`.
(module
  (import "env" "frobnicate" (func $frobnicate (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $frobnicate (i32.const 0)))))
