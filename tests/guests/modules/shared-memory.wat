;; Wants memory that it could share with threads, which would escape the host's count: refused.
(module
  (memory 1 65536 shared)
  (func (export "_start")))
