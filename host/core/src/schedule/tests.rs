use super::*;

mod properties;

fn time(text: &str) -> Time {
    parse_time(text).expect(text)
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).expect(name)
}

fn cron(expression: &str, name: &str) -> Schedule {
    Schedule::Cron(Cron::parse(expression, zone(name)).expect(expression))
}

fn every(text: &str) -> Schedule {
    Schedule::Every(Every::of(Interval::parse(text).expect(text)))
}

fn timetable(schedules: &[Schedule]) -> Timetable<'_> {
    Timetable { schedules, anchor: Time(0), starts_at: None, expires_at: None }
}

/// The next `count` places after a time, as they are read by people.
fn next(schedules: &[Schedule], after: &str, count: usize) -> Vec<String> {
    let table = timetable(schedules);
    let slots = std::iter::successors(table.next_after(time(after)), |slot| table.next_after(slot.due));
    let told = |slot: Slot| match slot.gap {
        None => table.local(slot.due),
        Some(gap) => format!("{} times from {} are not in {}", gap.times, gap.local, gap.zone.name()),
    };
    slots.take(count).map(told).collect()
}

#[test]
fn a_fixed_rate_is_due_after_its_anchor() {
    let second = Duration::from_secs(1);
    let due = |phase, align, after| {
        let rate = Every { interval: Interval::new(10 * second).expect("in range"), phase, align };
        let schedules = [Schedule::Every(rate)];
        let table = Timetable { anchor: Time(3_000_000_000), ..timetable(&schedules) };
        table.next_after(Time(after)).map(|slot| slot.due.0 / 1_000_000_000)
    };
    assert_eq!(due(Duration::ZERO, false, 0), Some(13));
    assert_eq!(due(Duration::ZERO, false, 13_000_000_000), Some(23));
    assert_eq!(due(2 * second, false, 0), Some(5), "the anchor and the phase");
    assert_eq!(due(2 * second, false, 5_000_000_000), Some(15));
    assert_eq!(due(Duration::ZERO, true, 0), Some(10), "on the epoch's grid");
    assert_eq!(due(3 * second, true, 0), Some(13), "the anchor itself is not due");
    assert_eq!(due(4 * second, true, 0), Some(4));
}

#[test]
fn a_time_whose_offset_has_seconds_is_told_in_utc() {
    let schedules = [cron("0 0 1 1 *", "America/New_York")];
    assert_eq!(next(&schedules, "1879-06-01T00:00:00Z", 1), ["1880-01-01T04:56:02Z"]);
    assert_eq!(next(&schedules, "1899-06-01T00:00:00Z", 1), ["1900-01-01T00:00:00-05:00"]);
}

#[test]
fn a_time_comes_once_and_a_task_that_waits_for_nothing_has_no_due_time() {
    let at = [Schedule::At(time("2027-01-31T03:00:00Z"))];
    assert_eq!(next(&at, "2027-01-31T02:59:59Z", 5), ["2027-01-31T03:00:00Z"]);
    assert_eq!(next(&at, "2027-01-31T03:00:00Z", 5), [""; 0]);
    let delay = Schedule::Delay(Interval::parse("1s").expect("valid"));
    assert_eq!(next(&[delay], "2027-01-31T02:59:59Z", 5), [""; 0]);
    assert_eq!(next(&[Schedule::Manual], "2027-01-31T02:59:59Z", 5), [""; 0]);
}

#[test]
fn a_local_time_that_does_not_exist_is_skipped_and_said() {
    let daily = [cron("30 2 * * *", "Europe/Berlin")];
    assert_eq!(
        next(&daily, "2027-03-27T00:00:00Z", 3),
        [
            "2027-03-27T02:30:00+01:00",
            "1 times from 2027-03-28T02:30:00 are not in Europe/Berlin",
            "2027-03-29T02:30:00+02:00",
        ]
    );
    let often = [cron("*/20 * * * *", "Europe/Berlin")];
    assert_eq!(
        next(&often, "2027-03-28T00:39:00Z", 3),
        [
            "2027-03-28T01:40:00+01:00",
            "3 times from 2027-03-28T02:00:00 are not in Europe/Berlin",
            "2027-03-28T03:00:00+02:00",
        ]
    );
}

#[test]
fn the_place_of_a_gap_is_just_before_the_clock_is_set_forward() {
    let often = [cron("*/20 * * * *", "Europe/Berlin")];
    let slot = timetable(&often).next_after(time("2027-03-28T00:40:00Z")).expect("a gap");
    assert_eq!(slot.due.to_string(), "2027-03-28T00:59:59.999999999Z");
    assert!(slot.gap.is_some());
}

#[test]
fn a_local_time_that_exists_twice_is_due_at_the_first() {
    let daily = [cron("30 2 * * *", "Europe/Berlin")];
    assert_eq!(next(&daily, "2027-10-30T12:00:00Z", 2), ["2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"]);
    let often = [cron("*/20 * * * *", "Europe/Berlin")];
    let expected = ["2027-10-31T02:40:00+02:00", "2027-10-31T03:00:00+01:00"];
    assert_eq!(next(&often, "2027-10-31T00:39:00Z", 2), expected, "it rests in the second pass");
    for within in ["2027-10-31T01:00:00Z", "2027-10-31T01:25:30Z", "2027-10-31T01:59:59.999999999Z"] {
        assert_eq!(next(&often, within, 1), expected[1..], "{within} is in the second pass");
    }
    let seven = [cron("*/7 * * * *", "Europe/Berlin")];
    assert_eq!(next(&seven, "2027-10-31T01:59:00Z", 1), ["2027-10-31T03:00:00+01:00"]);
}

#[test]
fn changes_of_the_clock_of_all_kinds_are_survived() {
    for (expression, name, after, expected) in [
        // Half an hour.
        (
            "10,40 * * * *",
            "Australia/Lord_Howe",
            "2026-10-03T14:50:00Z",
            [
                "2026-10-04T01:40:00+10:30",
                "1 times from 2026-10-04T02:10:00 are not in Australia/Lord_Howe",
                "2026-10-04T02:40:00+11:00",
            ],
        ),
        (
            "10,40 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            ["2026-04-05T01:10:00+11:00", "2026-04-05T01:40:00+11:00", "2026-04-05T02:10:00+10:30"],
        ),
        // A whole day.
        (
            "0 */12 * * *",
            "Pacific/Apia",
            "2011-12-30T00:00:00Z",
            [
                "2 times from 2011-12-30T00:00:00 are not in Pacific/Apia",
                "2011-12-31T00:00:00+14:00",
                "2011-12-31T12:00:00+14:00",
            ],
        ),
        // Midnight.
        (
            "0 0 * * *",
            "America/Sao_Paulo",
            "2018-11-03T03:00:00Z",
            [
                "1 times from 2018-11-04T00:00:00 are not in America/Sao_Paulo",
                "2018-11-05T00:00:00-02:00",
                "2018-11-06T00:00:00-02:00",
            ],
        ),
        (
            "30 23 * * *",
            "America/Sao_Paulo",
            "2018-02-17T12:00:00Z",
            ["2018-02-17T23:30:00-02:00", "2018-02-18T23:30:00-03:00", "2018-02-19T23:30:00-03:00"],
        ),
        (
            "0 0 * * *",
            "Asia/Beirut",
            "2026-03-27T22:00:00Z",
            [
                "1 times from 2026-03-29T00:00:00 are not in Asia/Beirut",
                "2026-03-30T00:00:00+03:00",
                "2026-03-31T00:00:00+03:00",
            ],
        ),
        // Before there were zones, and a day twice; in UTC, as the offsets have seconds.
        (
            "0 0 * * *",
            "America/Juneau",
            "1867-10-17T00:00:00Z",
            ["1867-10-17T08:57:41Z", "1867-10-18T08:57:41Z", "1867-10-20T08:57:41Z"],
        ),
    ] {
        assert_eq!(next(&[cron(expression, name)], after, 3), expected, "{expression} in {name}");
    }
}

#[test]
fn what_several_schedules_have_in_common_is_one_slot() {
    let both = [cron("0 * * * *", "Europe/Berlin"), cron("*/30 * * * *", "UTC"), every("30m")];
    let expected = ["2027-01-01T00:30:00Z", "2027-01-01T02:00:00+01:00", "2027-01-01T01:30:00Z"];
    assert_eq!(next(&both, "2027-01-01T00:00:00Z", 3), expected);
    let day = (time("2027-01-01T00:00:00Z"), time("2027-01-02T00:00:00Z"));
    assert_eq!(timetable(&both).count_between(day.0, day.1), Passed { due: 48, nonexistent: 0 });

    let twice = [
        cron("30 2 * * *", "Europe/Berlin"),
        cron("*/30 * * * *", "Europe/Berlin"),
        cron("15 2 * * *", "Europe/Paris"),
    ];
    let expected = ["3 times from 2027-03-28T02:00:00 are not in Europe/Berlin"];
    assert_eq!(next(&twice, "2027-03-28T00:30:00Z", 1), expected);
    let (after, until) = (time("2027-03-28T00:30:00Z"), time("2027-03-28T01:00:00Z"));
    assert_eq!(timetable(&twice).count_between(after, until), Passed { due: 1, nonexistent: 3 });
}

#[test]
fn bounds_take_in_the_start_and_leave_out_the_end() {
    let hourly = [cron("0 * * * *", "UTC")];
    let bounds = (Some(time("2027-01-01T05:00:00Z")), Some(time("2027-01-01T07:00:00Z")));
    let table = Timetable { starts_at: bounds.0, expires_at: bounds.1, ..timetable(&hourly) };
    let (long_ago, far) = (time("2020-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(table.next_after(long_ago).map(|slot| slot.due), bounds.0);
    assert_eq!(table.next_after(time("2027-01-01T06:00:00Z")), None);
    assert_eq!(table.newest_until(long_ago, far), Some(time("2027-01-01T06:00:00Z")));
    assert_eq!(table.count_between(long_ago, far).due, 2);
    assert_eq!(table.gap_to_next(time("2027-01-01T05:00:00Z")), Some(Duration::from_secs(3600)));
    assert_eq!(table.gap_to_next(time("2027-01-01T06:00:00Z")), None);
}

#[test]
fn the_distance_to_the_next_due_time_passes_over_what_does_not_exist() {
    let daily = [cron("30 2 * * *", "Europe/Berlin")];
    let distance = timetable(&daily).gap_to_next(time("2027-03-27T01:30:00Z"));
    assert_eq!(distance, Some(Duration::from_secs(47 * 3600)));
}

#[test]
fn nothing_overflows_at_the_ends_of_time() {
    let schedules = [
        every("10y"),
        every("10ms"),
        Schedule::Every(Every { align: true, phase: Duration::from_millis(9), ..rate("10ms") }),
        Schedule::Every(Every { phase: Duration::MAX, ..rate("10ms") }),
        cron("* * * * * *", "UTC"),
        cron("0 0 1 1 *", "Pacific/Kiritimati"),
        cron("30 2 * * *", "America/Juneau"),
        Schedule::At(Time(i64::MAX)),
        Schedule::At(Time(i64::MIN)),
    ];
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX].map(Time);
    for schedule in &schedules {
        for (anchor, after, until) in combinations(ends) {
            for (starts_at, expires_at) in [(None, None), (Some(after), Some(until)), (Some(until), Some(after))] {
                let table = Timetable { schedules: std::slice::from_ref(schedule), anchor, starts_at, expires_at };
                let next = table.next_after(after);
                assert!(next.is_none_or(|slot| slot.due > after), "{schedule:?}");
                let newest = table.newest_until(after, until);
                assert!(newest.is_none_or(|due| after < due && due <= until), "{schedule:?}");
                let count = table.count_between(after, until);
                assert_eq!(count.due > 0, newest.is_some(), "{schedule:?} {after:?} {until:?} {count:?}");
                table.gap_to_next(after);
                table.local(until);
            }
        }
    }
}

fn combinations(ends: [Time; 7]) -> impl Iterator<Item = (Time, Time, Time)> {
    let pairs = move |anchor| ends.into_iter().flat_map(move |after| ends.map(|until| (anchor, after, until)));
    ends.into_iter().flat_map(pairs)
}

fn rate(text: &str) -> Every {
    Every::of(Interval::parse(text).expect(text))
}

#[test]
fn long_stretches_are_counted_without_walking() {
    let (after, until) = (time("2020-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    let passed = |schedules: &[Schedule]| {
        let table = timetable(schedules);
        assert!(table.newest_until(after, until).is_some());
        table.count_between(after, until)
    };
    let minutes = 3653 * 24 * 60;
    assert_eq!(passed(&[every("10ms")]).due, minutes * 6_000);
    assert_eq!(passed(&[cron("* * * * *", "UTC")]).due, minutes);
    let berlin = passed(&[cron("* * * * *", "Europe/Berlin")]);
    assert_eq!(berlin, Passed { due: minutes - 600, nonexistent: 600 }, "an hour a year rests, and an hour is not");
    let beside = passed(&[every("1s"), cron("0 3 * * *", "UTC")]);
    assert_eq!(beside.due, minutes * 60, "each daily time is one of the rate's");
    assert_eq!(
        passed(&[every("1s"), every("1s")]).due,
        minutes * 60 * 2,
        "past the bound, what is shared counts for each"
    );
}

#[test]
fn an_expression_that_is_wrong_is_refused_with_what_would_do() {
    let refused = |expression: &str| Cron::parse(expression, Zone::utc()).expect_err(expression).to_string();
    let minute = "0 to 59, ranges upwards like `2-5`, steps like `*/2` or `2-10/2`, and lists of them";
    for (expression, problem) in [
        ("", "is empty; it has five fields, as in `0 3 * * *`".to_owned()),
        ("* * *", "has 3 fields; it has five (minute, hour, day of the month, month, day of the week), or six with the second first".into()),
        ("0 0 0 1 1 * 2030", "has 7 fields, and a year can't be one; use `at` for a single time, or `starts_at` and `expires_at`".into()),
        ("@reboot", "names no time; a task can't wait for its host to start, only for a time like `@daily`".into()),
        ("@every 5m", "is a rate; give that as `every`".into()),
        ("@never", "is no nickname; those are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly".into()),
        ("CRON_TZ=UTC 0 3 * * *", "has a `=`; the time zone stands beside it, as `timezone`".into()),
        ("60 * * * *", format!("has `60` for its minute; that is {minute}")),
        ("1,5/15 * * * *", format!("has `5/15` for its minute; that is {minute}")),
        ("MON * * * *", format!("has `MON` for its minute; that is {minute}")),
        ("1,,2 * * * *", "has an empty item in the list of its minute".into()),
        ("0 0 30 2 *", "never comes: no calendar has such a day".into()),
        ("0 0 31 2,4,6,9,11 *", "never comes: no calendar has such a day".into()),
        ("0 0 30W 2 *", "never comes: no calendar has such a day".into()),
        ("0 0 L,LW * *", "has both `L` and `LW` for its day of the month; give each a schedule of its own".into()),
    ] {
        assert_eq!(refused(expression), format!("the cron expression `{expression}` {problem}"));
    }
    for (expression, field) in [
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of the month"),
        ("* * 5L * *", "day of the month"),
        ("* * 15W5 * *", "day of the month"),
        ("* * L-3 * *", "day of the month"),
        ("* * * JAN1 *", "month"),
        ("* * * 1JAN *", "month"),
        ("* * * */FEB *", "month"),
        ("* * * MON *", "month"),
        ("* * * * 8", "day of the week"),
        ("* * * * L", "day of the week"),
        ("* * * * MONTUE", "day of the week"),
        ("* * * * FRI-MON", "day of the week"),
        ("* * * * 1#6", "day of the week"),
        ("* * * * 1#1L", "day of the week"),
        ("* * * * */0", "day of the week"),
        ("61 * * * * *", "second"),
    ] {
        assert!(refused(expression).contains(&format!("for its {field}; ")), "{expression}: {}", refused(expression));
    }
}

#[test]
fn an_expression_is_bounded_and_its_message_safe_to_print() {
    let message = Cron::parse(&"*".repeat(257), Zone::utc()).expect_err("too long").to_string();
    assert!(message.ends_with("…` has 257 bytes; at most 256 are allowed"), "{message}");
    let message = Cron::parse("* * * *\u{1b}[2J *\u{202e}", Zone::utc()).expect_err("an escape").to_string();
    assert_eq!(
        message,
        "the cron expression `* * * *\\u{1b}[2J *\\u{202e}` has the character U+001B, which means nothing in one"
    );
    let longest = format!("{}1 * * * *", "0,".repeat(123));
    assert_eq!(longest.len(), 255);
    assert!(Cron::parse(&longest, Zone::utc()).is_ok());
}

#[test]
fn expressions_mean_what_the_documentation_says() {
    for (expression, expected) in [
        ("@midnight", ["2027-01-02T00:00:00Z", "2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"]),
        ("@Weekly", ["2027-01-03T00:00:00Z", "2027-01-10T00:00:00Z", "2027-01-17T00:00:00Z"]),
        ("*/20 * * * * *", ["2027-01-01T12:00:20Z", "2027-01-01T12:00:40Z", "2027-01-01T12:01:00Z"]),
        ("0 9 L * *", ["2027-01-31T09:00:00Z", "2027-02-28T09:00:00Z", "2027-03-31T09:00:00Z"]),
        ("0 9 LW * *", ["2027-01-29T09:00:00Z", "2027-02-26T09:00:00Z", "2027-03-31T09:00:00Z"]),
        // The 16th of January is a Saturday, that of May a Sunday.
        ("0 9 16W 1,5,6 *", ["2027-01-15T09:00:00Z", "2027-05-17T09:00:00Z", "2027-06-16T09:00:00Z"]),
        // The 1st of May is a Saturday, and the nearest weekday in that month its third day.
        ("0 9 1W 5 *", ["2027-05-03T09:00:00Z", "2028-05-01T09:00:00Z", "2029-05-01T09:00:00Z"]),
        ("0 9 * * MON#2", ["2027-01-11T09:00:00Z", "2027-02-08T09:00:00Z", "2027-03-08T09:00:00Z"]),
        ("0 9 * * FRIL", ["2027-01-29T09:00:00Z", "2027-02-26T09:00:00Z", "2027-03-26T09:00:00Z"]),
        ("0 9 * * MON#5", ["2027-03-29T09:00:00Z", "2027-05-31T09:00:00Z", "2027-08-30T09:00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"]),
        // Either of the two days, when both fields are given; `*/2` counts as given.
        ("0 0 13 * FRI", ["2027-01-08T00:00:00Z", "2027-01-13T00:00:00Z", "2027-01-15T00:00:00Z"]),
        ("0 0 */10 * FRI", ["2027-01-08T00:00:00Z", "2027-01-11T00:00:00Z", "2027-01-15T00:00:00Z"]),
        ("0 0 13 * *", ["2027-01-13T00:00:00Z", "2027-02-13T00:00:00Z", "2027-03-13T00:00:00Z"]),
        ("0 0 ? * 0,7", ["2027-01-03T00:00:00Z", "2027-01-10T00:00:00Z", "2027-01-17T00:00:00Z"]),
        // Both.
        ("0 0 13 * +FRI", ["2027-08-13T00:00:00Z", "2028-10-13T00:00:00Z", "2029-04-13T00:00:00Z"]),
        ("0 0 * JAN-MAR/2 SAT-SUN", ["2027-01-02T00:00:00Z", "2027-01-03T00:00:00Z", "2027-01-09T00:00:00Z"]),
    ] {
        assert_eq!(next(&[cron(expression, "UTC")], "2027-01-01T12:00:00Z", 3), expected, "{expression}");
    }
}

#[test]
fn the_rarest_expression_is_found() {
    // 29 February is a Monday every 28 years, and 40 around 2100.
    let rare = [cron("0 0 29 2 +MON", "UTC")];
    assert_eq!(
        next(&rare, "2027-01-01T00:00:00Z", 3),
        ["2044-02-29T00:00:00Z", "2072-02-29T00:00:00Z", "2112-02-29T00:00:00Z"]
    );
}

#[test]
fn a_schedule_is_stored_and_read_back_as_it_was() {
    let schedules = [cron(" 0  3 * *\t1 ", "europe/berlin"), every("1s"), Schedule::At(Time(5)), Schedule::Manual];
    for schedule in schedules {
        let json = serde_json::to_string(&schedule).expect("plain");
        assert_eq!(serde_json::from_str::<Schedule>(&json).expect(&json), schedule);
        assert_eq!(Schedule::parse(schedule.to_text(), &Zone::utc()), Ok(schedule));
    }
    let text = cron(" 0  3 * *\t1 ", "europe/berlin").to_text();
    assert_eq!((text.cron.as_deref(), text.timezone.as_deref()), (Some("0 3 * * 1"), Some("Europe/Berlin")));
}

#[test]
fn a_zone_is_known_by_its_iana_name_in_any_case() {
    assert_eq!(zone("europe/BERLIN").name(), "Europe/Berlin");
    assert_eq!(zone("utc").name(), "UTC");
    for name in [
        "",
        "Berlin",
        "Etc/Unknown",
        "EST5EDT4",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "../UTC",
        "/etc/localtime",
        "+01:00",
        "right/UTC",
    ] {
        let refused = Zone::parse(name).expect_err(name).to_string();
        assert_eq!(
            refused,
            format!("`{name}` is no time zone that this host knows; write it like `Europe/Berlin` or `UTC`")
        );
    }
}

#[test]
fn a_time_needs_an_offset() {
    assert_eq!(parse_time("2027-01-31T03:00:00+01:00"), parse_time("2027-01-31T02:00:00Z"));
    let refused = |text: &str| parse_time(text).expect_err(text).to_string();
    assert_eq!(
        refused("2027-01-31T03:00"),
        "`2027-01-31T03:00` leaves open in which time zone; write it like `2027-01-31T03:00:00Z`, or with an offset from UTC like `2027-01-31T03:00:00+01:00`"
    );
    for text in ["", "tomorrow", "2027-02-30T00:00:00Z", "2027-01-31T03:00:00Z[Europe/Berlin]", " 2027-01-31T03:00:00Z"]
    {
        assert_eq!(refused(text), format!("`{text}` is no point in time; write it like `2027-01-31T03:00:00Z`"));
    }
    assert_eq!(
        refused("2300-01-01T00:00:00Z"),
        "`2300-01-01T00:00:00Z` is out of range; it must be in the years 1678 to 2261"
    );
}

#[test]
fn a_preview_warns_of_what_may_surprise() {
    let now = time("2027-01-01T00:00:00Z");
    let hour = Duration::from_secs(3600);
    let warnings = |schedules: &[Schedule], timeout, delay| {
        let warnings = timetable(schedules).warnings(now, timeout, delay);
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let daily = [cron("30 2 * * *", "Europe/Berlin"), cron("30 2 * * 0", "Europe/Berlin")];
    assert_eq!(
        warnings(&daily, hour, None),
        [
            "02:30 does not exist on 2027-03-28 in Europe/Berlin: that due time is skipped",
            "02:30 exists twice on 2027-10-31 in Europe/Berlin: it runs once, at the first",
        ]
    );
    let often = [cron("*/5 * * * *", "Europe/Berlin")];
    assert_eq!(
        warnings(&often, hour, None),
        [
            "02:00 to 02:55 do not exist on 2027-03-28 in Europe/Berlin: those 12 due times are skipped",
            "02:00 to 02:55 exist twice on 2027-10-31 in Europe/Berlin: those 12 due times run once, at the first",
            "due times are 5m apart, and an attempt may take 1h: what comes during a run goes by `overlap`",
        ]
    );
    let past = [Schedule::At(time("2026-12-31T00:00:00Z"))];
    assert_eq!(warnings(&past, hour, None), ["it is due no more: the last due time was 2026-12-31T00:00:00Z"]);
    // The last Sunday of March is when the clock is set forward.
    let never = [cron("30 2 * 3 SUNL", "Europe/Berlin")];
    let starts_at = Some(time("2026-01-01T00:00:00Z"));
    let never = Timetable { starts_at, ..timetable(&never) }.warnings(now, hour, None);
    assert_eq!(never[0].to_string(), "it is never due: no due time is left, and none has been");
    assert_eq!(warnings(&[Schedule::Manual], hour, None), [""; 0]);
    let delay = [Schedule::Delay(Interval::new(hour).expect("valid"))];
    assert_eq!(warnings(&delay, hour, Some(hour)), [""; 0]);
}
