;; Throws an exception that nobody catches: `trapped`.
(module
  (tag $oops)
  (func (export "_start") (throw $oops)))
