;; Wants a table of 400 million elements from the start, 3 GB of pointers on the host: `limit_exceeded`.
(module
  (table 400000000 funcref)
  (func (export "_start")))
