// Says how many days are left until something expires, and fails when they are few. An ordinary program with a `main`:
// nothing in it knows of taskhost.
//
//     expiry YYYY-MM-DD WHAT...
//
// Exits with 0 if all is well, 1 if WHAT has expired or will within two weeks, and 2 if it can't read its arguments. The
// host takes every exit code but 0 as a run that failed, and keeps it with the run.

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define DAY_SECONDS 86400
#define WARN_DAYS 14

enum { ALL_WELL = 0, EXPIRING = 1, USAGE = 2 };

// Reads exactly `digits` digits from `*text`, and moves it behind them.
static bool read_number(const char **text, int digits, int *number) {
    *number = 0;
    for (; digits > 0; digits--, (*text)++) {
        if (**text < '0' || **text > '9') {
            return false;
        }
        *number = *number * 10 + (**text - '0');
    }
    return true;
}

static bool skip(const char **text, char expected) {
    return *(*text)++ == expected;
}

// Reads a date as midnight UTC: true if there is such a day.
static bool read_date(const char *text, time_t *date) {
    int year, month, day;
    if (!read_number(&text, 4, &year) || !skip(&text, '-') || !read_number(&text, 2, &month) || !skip(&text, '-') ||
        !read_number(&text, 2, &day) || *text != '\0') {
        return false;
    }
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    *date = timegm(&tm);
    // timegm makes 3 March of 31 February; then it was no date.
    return tm.tm_mon == month - 1 && tm.tm_mday == day;
}

int main(int argc, char **argv) {
    time_t expires;
    if (argc < 3 || !read_date(argv[1], &expires)) {
        fprintf(stderr, "usage: expiry YYYY-MM-DD WHAT...\n");
        return USAGE;
    }

    const long days = (long)((expires - time(NULL)) / DAY_SECONDS);
    for (int word = 2; word < argc; word++) {
        printf("%s ", argv[word]);
    }
    if (days < 0) {
        printf("expired %ld days ago\n", -days);
    } else {
        printf("expires in %ld days\n", days);
    }
    return days < WARN_DAYS ? EXPIRING : ALL_WELL;
}
