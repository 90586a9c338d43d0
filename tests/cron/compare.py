"""Compares our due times with those that croniter and zoneinfo come to, on thousands of expressions made by chance.

Three questions are asked about each expression, zone and time, most of them around a change of the clock:

1. Which local times match? Ours against croniter, which is given local times without a zone. Where the two read an expression
   differently, the difference must be one of DIALECTS, and croniter must come to the same when the expression is put together
   from parts on whose meaning both agree (`by_parts`).
2. When is that, and what does not exist? Ours against those local times, put into the zone by zoneinfo and by our rule.
3. What does croniter do with the zone itself? It has other rules for changes of the clock: differences must be of CLOCK.

Ends with 1 if there is a difference that none of this explains. `docs/schedules.md` explains them to users.

    compare.py PROGRAM [CASES] [SEED]

PROGRAM is the built example `due_times` of host/core.
"""

import calendar
import collections
import datetime as dt
import heapq
import itertools
import json
import random
import re
import subprocess
import sys
import zoneinfo

from croniter import CroniterBadDateError, croniter

UTC = dt.timezone.utc
SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)

# Due times per case, and how far ahead.
TIMES = 12
AHEAD = dt.timedelta(days=12 * 365)

# Two days: more than any clock is ever set.
MARGIN = 2 * DAY

ZONES = """
    UTC Europe/Berlin Europe/London Europe/Dublin Europe/Lisbon Europe/Moscow America/New_York America/St_Johns America/Sao_Paulo
    America/Santiago America/Havana America/Asuncion America/Caracas America/Los_Angeles America/Nuuk America/Scoresbysund
    Australia/Lord_Howe Australia/Sydney Pacific/Apia Pacific/Auckland Pacific/Chatham Pacific/Kiritimati Pacific/Kwajalein
    Asia/Beirut Asia/Gaza Asia/Tehran Asia/Kolkata Asia/Kathmandu Asia/Pyongyang Asia/Amman Africa/Cairo Africa/Casablanca
    Africa/Monrovia Antarctica/Troll Antarctica/Casey
""".split()

DIALECTS = {
    "all": "a list of all days (`1-31`, `*/1`, `0-6`) beside the other day field: croniter takes it for `*`, we for days",
    "both": "`#`, `5L` or `15W` beside the other day field: croniter wants both to match, we want either",
    "equal": "a range with one end (`17-17`): croniter takes it for the whole cycle, we for that number",
    "long": "`30W` in a month without such a day: croniter takes the last weekday, we none",
    "unread": "croniter can't read `LW`, `W` in a list, `+`, or `#` in a list with plain days",
}

CLOCK = {
    "moved": "a time that does not exist: croniter is due after the gap, we skip it and say so",
    "second": "a time that exists twice: croniter is due in the second pass too, we once",
}


# Expressions


def field(chance, low, high):
    """A field of numbers."""
    number = lambda: chance.randint(low, high)
    kind = chance.random()
    if kind < 0.3:
        return "*"
    if kind < 0.5:
        return str(number())
    if kind < 0.65:
        return f"*/{chance.randint(1, max(2, high // 2))}"
    first, last = sorted((number(), number()))
    if kind < 0.75:
        return f"{first}-{last}"
    if kind < 0.85:
        return f"{first}-{last}/{chance.randint(1, 7)}"
    return ",".join(str(number()) for _ in range(chance.randint(2, 4)))


def name(chance, names, text):
    """Puts a name for a lone number at times, in any case."""
    if text.isdigit() and int(text) < len(names) and chance.random() < 0.5:
        return chance.choice([str.upper, str.lower, str.title])(names[int(text)])
    return text


def expression(chance):
    hour = chance.choice(["*", "0", "1", "2", "3", "23", "0-3", "1,2,3"]) if chance.random() < 0.5 else field(chance, 0, 23)
    day = field(chance, 1, 31) if chance.random() < 0.4 else "*"
    if chance.random() < 0.15:
        day = chance.choice(["L", "LW", "1W", "15W", "30W", "31W", "1,L", "1W,15W", "28-31", "1-31", "?"])
    month = name(chance, calendar.month_abbr, field(chance, 1, 12)) if chance.random() < 0.3 else "*"
    weekday = name(chance, WEEKDAYS, field(chance, 0, 7)) if chance.random() < 0.4 else "*"
    if chance.random() < 0.15:
        weekday = chance.choice(["5L", "SUNL", "0L", "1#1", "SUN#2", "7#3", "1#5", "MON,5L", "0-6", "FRI-SUN", "+FRI", "+1-5", "?"])
    fields = [field(chance, 0, 59), hour, day, month, weekday]
    if chance.random() < 0.2:
        fields.insert(0, chance.choice(["0", "30", "*/20", "5,50"]))
    return " ".join(fields)


EQUAL_RANGE = r"\b(\d+)-\1(/\d+)?\b"
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def numbers(weekday):
    """A weekday field without names."""
    weekday = weekday.replace("-sun", "-7")
    for number, day in enumerate(WEEKDAYS[:7]):
        weekday = weekday.replace(day, str(number))
    return weekday


def weekday_items(weekday):
    """The items of a weekday field, as croniter writes them: `L5` for `5L`."""
    items = weekday.split(",")
    return [re.sub(r"^(\d+)l$", r"l\1", item).replace("l7", "l0") for item in items]


def split(text):
    """Second to weekday, in lower case, with numbers for weekdays and `*` for `?`."""
    fields = ["*" if item == "?" else item for item in text.lower().split()]
    fields[-1] = numbers(fields[-1])
    return fields if len(fields) == 6 else ["0", *fields]


# What croniter finds


def occurrences(fields, start, keep=lambda time: True):
    """The local times that croniter finds for six fields, from a start on."""
    try:
        times = croniter(" ".join(fields), start - SECOND, second_at_beginning=True, max_years_between_matches=40)
        while True:
            time = times.get_next(dt.datetime)
            if time > start + AHEAD + 2 * MARGIN:
                return
            if keep(time):
                yield time
    except CroniterBadDateError:
        return


def month_days(time):
    return calendar.monthrange(time.year, time.month)[1]


def last_weekday(time):
    days = (time.replace(day=day) for day in range(month_days(time), 0, -1))
    return next(day.day for day in days if day.weekday() < 5)


def days_of_month(fields, start):
    """By the day of the month only."""
    *clock, day, month, _ = fields
    plain = [item for item in day.split(",") if "w" not in item]
    parts = []
    if plain:
        parts.append(occurrences([*clock, ",".join(plain), month, "*"], start))
    for item in day.split(","):
        if item == "lw":
            parts.append(occurrences([*clock, "*", month, "*"], start, lambda time: time.day == last_weekday(time)))
        elif "w" in item:
            nearest = int(item[:-1])
            parts.append(occurrences([*clock, item, month, "*"], start, lambda time, n=nearest: month_days(time) >= n))
    return heapq.merge(*parts)


def days_of_week(fields, start):
    """By the day of the week only."""
    *clock, _, month, weekday = fields
    items = weekday_items(weekday)
    plain = [item for item in items if not ("l" in item or "#" in item)]
    groups = ([",".join(plain)] if plain else []) + [item for item in items if item not in plain]
    return heapq.merge(*(occurrences([*clock, "*", month, group], start) for group in groups))


def by_parts(fields, start):
    """The local times that match, from parts on whose meaning croniter and we agree."""
    fields = [re.sub(EQUAL_RANGE, r"\1", field) for field in fields]
    day, weekday = fields[3], fields[5]
    fields[5] = weekday.removeprefix("+")
    if weekday == "*" or day == "*":
        matching = days_of_month(fields, start) if weekday == "*" else days_of_week(fields, start)
    elif weekday.startswith("+"):
        matching = both(days_of_month(fields, start), days_of_week(fields, start))
    else:
        matching = heapq.merge(days_of_month(fields, start), days_of_week(fields, start))
    return (time for time, _ in itertools.groupby(matching))


def both(one, other):
    other = iter(other)
    second = next(other, None)
    for first in one:
        while second is not None and second < first:
            second = next(other, None)
        if second == first:
            yield first


def dialects(fields):
    """In which ways croniter may read an expression differently."""
    day, weekday = fields[3], fields[5]
    items = weekday_items(weekday)
    if any(re.search(EQUAL_RANGE, field) for field in fields):
        yield "equal"
    special = ["l" in item or "#" in item for item in items]
    if "lw" in day or ("w" in day and "," in day) or weekday.startswith("+") or any(special) != all(special):
        yield "unread"
    if day != "*" and weekday != "*":
        # `croniter` makes a set of each field and compares its size, so that any way to write all days is `*`.
        if len(set(plain_days(day, 1, 31))) == 31 or len({n % 7 for n in plain_days(",".join(items), 0, 7)}) == 7:
            yield "all"
        if "w" in day or any(special):
            yield "both"
    if re.search("(29|30|31)w", day):
        yield "long"


def plain_days(text, low, high):
    for item in text.split(","):
        found = re.fullmatch(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?", item)
        if found:
            first, last, step = found.groups()
            start = low if first == "*" else int(first)
            end = high if first == "*" else int(last or first)
            yield from range(start, end + 1, int(step or 1))


# Where local times stand


def place(zone, local):
    """The instant of a local time by our rule; None if it does not exist."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == local else None


def change(zone, local):
    """When the clock was set forward over a local time."""
    return change_between(zone, *sorted(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)))


def change_between(zone, start, end):
    """When the offset changes between two instants."""
    same, changed = int(start.timestamp()), int(end.timestamp())
    offset = lambda second: dt.datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    before = offset(same)
    while changed - same > 1:
        middle = (same + changed) // 2
        same, changed = (middle, changed) if offset(middle) == before else (same, middle)
    return dt.datetime.fromtimestamp(changed, UTC)


def slots(zone, locals_, start, until):
    """Due times and gaps as our program prints them."""
    gap = None
    for local in locals_:
        instant = place(zone, local)
        if instant is None:
            at = change(zone, local)
            if gap and gap[0] == at:
                gap[1] += 1
            else:
                gap = [at, 1, local]
            continue
        if gap:
            if start < gap[0] < until:
                yield shown(gap[0] - SECOND).replace("Z", ".999999999Z"), [gap[1], gap[2].isoformat()]
            gap = None
        if instant >= until:
            return
        if instant > start:
            yield shown(instant), None


def shown(instant):
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def changes_of(zone, year):
    """When a clock is changed in a year."""
    days = [dt.datetime(year, 1, 1, tzinfo=UTC) + day * DAY for day in range(366)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [change_between(zone, days[i], days[i + 1]) for i in range(365) if offsets[i] != offsets[i + 1]]


# What croniter does with the zone


def clock_classes(zone, text, start, ours):
    """What differs between our due times and croniter's, which is given the zone."""
    local = start.astimezone(zone)
    end = dt.datetime.fromisoformat(ours[-1].replace("Z", "+00:00"))
    times = croniter(" ".join(text), local, second_at_beginning=True)
    theirs = set()
    while not theirs or max(theirs) < end:
        theirs.add(times.get_next(dt.datetime).astimezone(UTC))
    mine = {dt.datetime.fromisoformat(due.replace("Z", "+00:00")) for due in ours}
    found = []
    for time in sorted(time for time in theirs - mine if time <= end):
        if time.astimezone(zone).fold:
            found.append("second")
        elif time.astimezone(zone).utcoffset() != (time - dt.timedelta(seconds=61)).astimezone(zone).utcoffset():
            found.append("moved")
        else:
            found.append(f"croniter alone has {time}")
    return found + [f"croniter lacks {time}" for time in sorted(mine - theirs)]


# Cases


def case(chance):
    zone_name = chance.choice(ZONES)
    zone = zoneinfo.ZoneInfo(zone_name)
    year = chance.randint(1971, 2045)
    changes = changes_of(zone, year) if chance.random() < 0.8 else []
    if changes:
        before, after = chance.choice([(1200, 0), (7200, 0), (7200, 7200), (2 * 86_400, 86_400)])
        start = chance.choice(changes) + dt.timedelta(seconds=chance.randint(-before, after))
    else:
        start = dt.datetime(year, 1, 1, tzinfo=UTC) + dt.timedelta(seconds=chance.randint(0, 365 * 86_400))
    if chance.random() < 0.5:
        start = start.replace(minute=chance.choice([0, 30]), second=0)
    return {
        "cron": expression(chance),
        "timezone": zone_name,
        "from": shown(start),
        "until": shown(start + AHEAD),
        "n": TIMES,
    }


def ask(program, cases):
    """Our answers: to each case in its zone, and for its local times in UTC."""
    questions = []
    for question in cases:
        local = dt.datetime.fromisoformat(question["from"].replace("Z", "+00:00"))
        local = local.astimezone(zoneinfo.ZoneInfo(question["timezone"])).replace(tzinfo=UTC)
        naive = {**question, "timezone": "UTC", "from": shown(local), "until": shown(local + AHEAD)}
        questions += [question, naive]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    output = subprocess.run([program], input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    answers = [json.loads(line) for line in output.splitlines()]
    return list(zip(cases, answers[::2], questions[1::2], answers[1::2], strict=True))


def compare(question, answer, naive_question, naive_answer, tally, complain):
    fields = split(question["cron"])
    zone = zoneinfo.ZoneInfo(question["timezone"])
    moment = lambda text: dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    start, until = moment(question["from"]), moment(question["until"])
    local = moment(naive_question["from"]).replace(tzinfo=None)

    if "refused" in answer:
        expected = next(by_parts(fields, local), None)
        if "never comes" in answer["refused"] and expected is None:
            tally["never comes, for both"] += 1
        else:
            complain(f"we refuse: {answer['refused']}")
        return

    # 1. The local times that match.
    ours = [slot["due"] for slot in naive_answer["slots"]]
    until_local = moment(naive_question["until"]).replace(tzinfo=None)
    within = lambda times: (shown(time) for time in times if local < time < until_local)
    expected = list(itertools.islice(within(by_parts(fields, local)), TIMES))
    if ours != expected:
        complain(f"1: local times: ours {ours}, by parts {expected}")
    different = list(dialects(fields))
    if "unread" in different:
        tally["dialect: unread"] += 1
    else:
        whole = occurrences([*fields[:5], ",".join(weekday_items(fields[5]))], local)
        theirs = list(itertools.islice(within(whole), TIMES))
        if ours == theirs:
            tally["1: local times: equal to croniter's"] += 1
        elif different:
            tally["dialect: " + different[0]] += 1
        else:
            complain(f"1: local times: ours {ours}, croniter's {theirs}")

    # 2. Where they stand.
    ours = [(slot["due"], slot["gap"]) for slot in answer["slots"]]
    early = start.astimezone(zone).replace(tzinfo=None) - MARGIN
    expected = list(itertools.islice(slots(zone, by_parts(fields, early), start, until), TIMES))
    if ours == expected:
        tally["2: due times and gaps: equal to croniter's local times in zoneinfo's zones"] += 1
        tally["   of these with a gap"] += any(gap for _, gap in ours)
    else:
        complain(f"2: due times: ours {ours}, expected {expected}")

    # 3. By croniter alone.
    due = [due for due, gap in ours if gap is None]
    if different or not due:
        return
    found = clock_classes(zone, [*fields[:5], ",".join(weekday_items(fields[5]))], start, due)
    if not found:
        tally["3: due times: equal to croniter's own in the zone"] += 1
    for kind in sorted(set(found) & CLOCK.keys()):
        tally["clock: " + kind] += 1
    if unexplained := [kind for kind in found if kind not in CLOCK]:
        complain(f"3: {unexplained}; ours {due}")


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    chance = random.Random(seed)
    tally = collections.Counter()
    complaints = []
    for asked in ask(program, [case(chance) for _ in range(count)]):
        question = asked[0]
        told = f"{question['cron']!r} in {question['timezone']} from {question['from']}"
        compare(*asked, tally, lambda what, told=told: complaints.append(f"{told}\n    {what}"))
    print(f"{count} cases (seed {seed})")
    for line, times in sorted(tally.items()):
        kind = line.partition(": ")[2]
        why = (DIALECTS if line.startswith("dialect") else CLOCK if line.startswith("clock") else {}).get(kind)
        print(f"{times:6} {line}" + (f": {why}" if why else ""))
    print(f"{len(complaints):6} unexplained")
    for complaint in complaints[:20]:
        print(complaint)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
