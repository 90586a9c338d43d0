;; Grows its memory page by page and touches each, until it is refused, and then succeeds: a guest that gets on with what it
;; has fails for nothing.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $page i32)
    (loop $again
      (local.set $page (memory.grow (i32.const 1)))
      (if (i32.ne (local.get $page) (i32.const -1))
        (then
          (i32.store8 (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1))
          (br $again))))))
