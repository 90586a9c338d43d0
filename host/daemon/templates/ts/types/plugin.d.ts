/// <reference path="./interfaces/taskhost-plugin-context.d.ts" />
/// <reference path="./interfaces/taskhost-plugin-guest.d.ts" />
/// <reference path="./interfaces/taskhost-plugin-types.d.ts" />
/// <reference path="./interfaces/wasi-config-store.d.ts" />
/// <reference path="./interfaces/wasi-keyvalue-atomics.d.ts" />
/// <reference path="./interfaces/wasi-keyvalue-store.d.ts" />
/// <reference path="./interfaces/wasi-logging-logging.d.ts" />
declare module 'local:plugin/plugin' {
  export type * as TaskhostPluginContext010 from 'taskhost:plugin/context@0.1.0'; // import taskhost:plugin/context@0.1.0
  export type * as TaskhostPluginTypes010 from 'taskhost:plugin/types@0.1.0'; // import taskhost:plugin/types@0.1.0
  export type * as WasiConfigStore020Rc1 from 'wasi:config/store@0.2.0-rc.1'; // import wasi:config/store@0.2.0-rc.1
  export type * as WasiKeyvalueAtomics020Draft from 'wasi:keyvalue/atomics@0.2.0-draft'; // import wasi:keyvalue/atomics@0.2.0-draft
  export type * as WasiKeyvalueStore020Draft from 'wasi:keyvalue/store@0.2.0-draft'; // import wasi:keyvalue/store@0.2.0-draft
  export type * as WasiLoggingLogging010Draft from 'wasi:logging/logging@0.1.0-draft'; // import wasi:logging/logging@0.1.0-draft
  export * as guest from 'taskhost:plugin/guest@0.1.0'; // export taskhost:plugin/guest@0.1.0
}
