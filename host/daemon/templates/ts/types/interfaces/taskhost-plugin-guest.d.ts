/// <reference path="./taskhost-plugin-types.d.ts" />
declare module 'taskhost:plugin/guest@0.1.0' {
  /**
   * Called once for each attempt. The text of a success is a summary that is kept with the run, at most 4 KiB of it.
   */
  export function run(tick: Tick): string | undefined;
  export type Tick = import('taskhost:plugin/types@0.1.0').Tick;
  export type Failure = import('taskhost:plugin/types@0.1.0').Failure;
}
