;; A component that imports nothing and exports something that is not our `guest`. Refused when it is added.
(component
  (core module $module
    (func (export "handle")))
  (core instance $instance (instantiate $module))
  (func $handle (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "acme:db/handler@1.0.0" (instance $handler)))
