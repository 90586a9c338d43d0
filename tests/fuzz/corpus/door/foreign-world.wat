;; A component of somebody else's world: it imports `acme:db/query@1.0.0` and exports nothing of ours. Refused when it is
;; added, naming both.
(component
  (import "acme:db/query@1.0.0" (instance $query
    (export "count" (func (param "table" string) (result u64)))))
  (core module $module
    (func (export "handle")))
  (core instance $instance (instantiate $module))
  (func $handle (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "acme:db/handler@1.0.0" (instance $handler)))
