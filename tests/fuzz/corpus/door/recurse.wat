;; Calls itself for ever; the call is no tail call. The stack overflows, which is a trap: `trapped`.
(module
  (memory (export "memory") 1)
  (func $deeper (param $depth i32) (result i32)
    (i32.add
      (call $deeper (i32.add (local.get $depth) (i32.const 1)))
      (i32.const 1)))
  (func (export "_start")
    (drop (call $deeper (i32.const 0)))))
