// Says at each tick what the moon looks like. A plugin in C, against the contract in ../../wit.

#include <string.h>

#include "bindings/moon.h"

// From new moon to new moon, and one that was new: 6 January 2000, 18:14 UTC.
#define MONTH_SECONDS 2551443
#define NEW_MOON_UNIX_SECONDS 947182440

#define MESSAGE ": the moon is "

static const char *const PHASES[] = {
    "new", "a waxing crescent", "at first quarter", "waxing gibbous",
    "full", "waning gibbous", "at last quarter", "a waning crescent",
};

// Writes to stdout by WASI 0.2. stdio of wasi-libc speaks preview 1, which a component has no imports for.
static void print(const char *text, size_t bytes) {
    wasi_cli_stdout_own_output_stream_t out = wasi_cli_stdout_get_stdout();
    moon_list_u8_t contents = {.ptr = (uint8_t *)text, .len = bytes};
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(
            wasi_io_streams_borrow_output_stream(out), &contents, &error)) {
        wasi_io_streams_stream_error_free(&error);
    }
    wasi_io_streams_output_stream_drop_own(out);
}

// Called for each tick: true with a summary in `summary`, or false with a failure in `failure`.
bool exports_taskhost_plugin_guest_run(exports_taskhost_plugin_guest_tick_t *tick, moon_option_string_t *summary,
                                       exports_taskhost_plugin_guest_failure_t *failure) {
    int64_t age_seconds = tick->due.seconds - NEW_MOON_UNIX_SECONDS;
    if (age_seconds < 0) {
        exports_taskhost_plugin_guest_tick_free(tick);
        moon_string_dup(&failure->message, "the moon of the last millennium is not known");
        failure->permanent = true;
        failure->retry_after_ms.is_some = false;
        return false;
    }

    age_seconds %= MONTH_SECONDS;
    // Each phase lies about its middle, so the first one begins half a phase before the new moon.
    const char *phase = PHASES[(age_seconds * 8 + MONTH_SECONDS / 2) / MONTH_SECONDS % 8];

    // The host puts the pieces together: a log line ends where its newline is.
    print((const char *)tick->task.ptr, tick->task.len);
    print(MESSAGE, strlen(MESSAGE));
    print(phase, strlen(phase));
    print("\n", 1);

    // What came in is ours to free, and what goes out must be allocated: the host's side frees it.
    exports_taskhost_plugin_guest_tick_free(tick);
    summary->is_some = true;
    moon_string_dup(&summary->val, phase);
    return true;
}
