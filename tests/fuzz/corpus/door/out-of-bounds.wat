;; Reads the last byte of 4 GiB, past the end of its memory of 64 KiB. The run's outcome is `trapped`.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i32.load8_u (i32.const -1)))))
