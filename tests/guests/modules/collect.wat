;; Makes a list of garbage-collected structs without end and keeps all of it: the heap has an end, and so has the run.
(module
  (type $link (struct (field (ref null $link)) (field i64)))
  (func (export "_start")
    (local $list (ref null $link))
    (loop $again
      (local.set $list (struct.new $link (local.get $list) (i64.const 1)))
      (br $again))))
