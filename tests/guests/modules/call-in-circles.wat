;; Two functions call each other through a table for ever: the stack ends, `trapped`.
(module
  (type $void (func))
  (table funcref (elem $one $other))
  (func $one (call_indirect (type $void) (i32.const 1)))
  (func $other (call_indirect (type $void) (i32.const 0)))
  (func (export "_start") (call $one)))
