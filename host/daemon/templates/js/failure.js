// How a run fails.

/** What a run throws to fail with a message: `permanent` if trying again is of no use, and after how long it is to be tried again. */
export const failure = (message, { permanent = false, retryAfterMs } = {}) => ({ message, permanent, retryAfterMs });

/** Has what an import throws and nobody catches fail the run by what it says, where it would be a trap. */
export const catching = (run) => async (tick) => {
  try {
    return await run(tick);
  } catch (error) {
    const answer = error?.payload;
    throw answer === undefined || typeof answer?.message === "string" ? error : failure(text(answer));
  }
};

/** An `err` in words: a string, a record, or a case of a variant with what comes with it. */
function text(answer) {
  if (typeof answer === "string") return answer;
  if (answer?.tag === undefined) return JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? `${value}` : value));
  return answer.val === undefined ? answer.tag : `${answer.tag}: ${text(answer.val)}`;
}
