declare module 'taskhost:plugin/context@0.1.0' {
  /**
   * How many milliseconds are left until the deadline; none if there is no deadline.
   */
  export function remainingMs(): number | undefined;
  /**
   * Whether somebody cancelled this run. A hard stop follows after the grace.
   */
  export function cancelled(): boolean;
}
