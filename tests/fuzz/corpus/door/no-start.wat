;; A good module that is no command: it exports `main` and no `_start`. Refused when it is added.
(module
  (memory (export "memory") 1)
  (func (export "main") (result i32)
    (i32.const 0)))
