;; Wants 3 GiB of memory before it has done anything. With the default limit its runs never begin: `limit_exceeded`.
(module
  (memory (export "memory") 49152)
  (func (export "_start")))
