declare module 'taskhost:plugin/types@0.1.0' {
  /**
   * A point in time since the Unix epoch. Our own record, so that no other package's version freezes with ours.
   */
  export interface Instant {
    seconds: number,
    /**
     * 0 to 999,999,999.
     */
    nanoseconds: number,
  }
  /**
   * The run of another task that caused this one.
   */
  export interface Trigger {
    task: string,
    runId: string,
    outcome: string,
  }
  /**
   * Why this run came to be.
   */
  export type Reason = ReasonSchedule | ReasonCatchUp | ReasonBackfill | ReasonManual | ReasonTriggered;
  export interface ReasonSchedule {
    tag: 'schedule',
  }
  export interface ReasonCatchUp {
    tag: 'catch-up',
  }
  export interface ReasonBackfill {
    tag: 'backfill',
  }
  export interface ReasonManual {
    tag: 'manual',
  }
  export interface ReasonTriggered {
    tag: 'triggered',
    val: Trigger,
  }
  /**
   * What a plugin is handed when a due time comes.
   */
  export interface Tick {
    /**
     * The task's name.
     */
    task: string,
    /**
     * The idempotency key: the same on every attempt, and never the same for two runs.
     */
    runId: string,
    /**
     * Counts the attempts of this run, from 1.
     */
    attempt: number,
    /**
     * The due time; of a manual run, when it was asked for.
     */
    due: Instant,
    /**
     * The same in RFC 3339 with the offset of the schedule's time zone.
     */
    dueLocal: string,
    /**
     * The due time of the task's last success.
     */
    since?: Instant,
    reason: Reason,
  }
  /**
   * How a plugin says that it failed.
   */
  export interface Failure {
    /**
     * For people; at most 1 KiB of it is kept.
     */
    message: string,
    /**
     * Whether trying again is useless.
     */
    permanent: boolean,
    /**
     * When to try again, in milliseconds from now, if the task retries at all.
     */
    retryAfterMs?: number,
  }
}
