// How a run fails.

import type { Failure, Tick } from "taskhost:plugin/types@0.1.0";

/** What a run throws to fail with a message: `permanent` if trying again is of no use, and after how long it is to be tried again. */
export function failure(message: string, options: { permanent?: boolean; retryAfterMs?: number } = {}): Failure {
  return { message, permanent: options.permanent ?? false, retryAfterMs: options.retryAfterMs };
}

type Run = (tick: Tick) => string | undefined;

/** Has what an import throws and nobody catches fail the run by what it says, where it would be a trap. */
export const catching = (run: Run): Run => (tick) => {
  try {
    return run(tick);
  } catch (error) {
    const answer = (error as { payload?: unknown } | null)?.payload ?? error;
    throw typeof (answer as Partial<Failure> | null)?.message === "string" ? error : failure(text(answer));
  }
};

/** An `err` in words: a string, a record, or a case of a variant with what comes with it. */
function text(answer: unknown): string {
  if (typeof answer === "string") return answer;
  const { tag, val } = (answer ?? {}) as { tag?: string; val?: unknown };
  if (tag === undefined) return JSON.stringify(answer);
  return val === undefined ? tag : `${tag}: ${text(val)}`;
}
