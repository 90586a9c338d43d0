// A taskhost plugin: greets whom the setting `name` says, and counts how often.

#include <inttypes.h>
#include <stdio.h>

#include "bindings/plugin.h"

typedef exports_taskhost_plugin_guest_failure_t failure_t;

static bool fail(failure_t *failure, const char *message);
static bool count(const char *key, uint64_t *total);

// Called for each tick: true with a summary in `summary`, or false with a failure in `failure`.
bool exports_taskhost_plugin_guest_run(exports_taskhost_plugin_guest_tick_t *tick, plugin_option_string_t *summary,
                                       failure_t *failure) {
    plugin_string_t key, name;
    plugin_option_string_t setting;
    wasi_config_store_error_t error;
    plugin_string_set(&key, "name");
    if (!wasi_config_store_get(&key, &setting, &error)) {
        return fail(failure, "the settings can't be read");
    }
    plugin_string_set(&name, "world");
    if (setting.is_some) name = setting.val;
    // Texts of the contract have a length, and no zero at their end.
    printf("hello %.*s, it is %.*s\n", (int)name.len, name.ptr, (int)tick->due_local.len, tick->due_local.ptr);
    // A plugin has no exit that would do it.
    fflush(stdout);

    uint64_t total;
    if (!count("greeted", &total)) {
        return fail(failure, "no keys and values: grant them with --kv");
    }
    char text[64];
    snprintf(text, sizeof text, "greeted %" PRIu64 " times", total);
    // What goes out must be allocated, for it is freed once the host has it. What came in goes with the run's memory.
    summary->is_some = true;
    plugin_string_dup(&summary->val, text);
    return true;
}

// Adds one to a number that stays from run to run.
static bool count(const char *name, uint64_t *total) {
    plugin_string_t bucket_name, key;
    wasi_keyvalue_store_own_bucket_t bucket;
    wasi_keyvalue_store_error_t error;
    plugin_string_set(&bucket_name, "default");
    plugin_string_set(&key, name);
    return wasi_keyvalue_store_open(&bucket_name, &bucket, &error) &&
           wasi_keyvalue_atomics_increment(wasi_keyvalue_store_borrow_bucket(bucket), &key, 1, total, &error);
}

// A failure after which the task may try again.
static bool fail(failure_t *failure, const char *message) {
    plugin_string_dup(&failure->message, message);
    failure->permanent = false;
    failure->retry_after_ms.is_some = false;
    return false;
}
