;; Wants an array of four thousand million elements of the garbage-collected heap.
(module
  (type $array (array (mut i8)))
  (func (export "_start")
    (drop (array.new_default $array (i32.const -1)))))
