//! What happens in a run of the simulator: random specs and events from a seed. An event holds all that it needs, so that a plan
//! goes on to mean the same when others are taken out of it.

use std::fmt;
use std::time::Duration;

use taskhost_core::name::TaskName;
use taskhost_core::outcome::Outcome;
use taskhost_core::schedule::{Cron, Every, Interval, Schedule, Zone};
use taskhost_core::spec::{Jitter, Missed, Overlap, Retry, TaskSpec};
use taskhost_core::time::{Time, format_duration};

use crate::random::Random;

const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const SECS: fn(u64) -> Duration = Duration::from_secs;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// How many events a plan has, at most.
const MAX_EVENTS: u64 = 40;

/// Where plans begin: before the clock is set forward in Berlin and on Lord Howe Island (by half an hour), before it is set back in
/// New York, and on a common day.
const BEGINNINGS: [i64; 4] = [1_806_177_600, 1_791_028_800, 1_793_491_200, 1_782_000_000];

/// How long after that, at most.
const MAX_LATER_NANOS: u64 = 6 * 3600 * 1_000_000_000;

/// A run of the simulator.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) start: Time,
    pub(crate) events: Vec<Event>,
}

/// What happens next. Tasks are told by their number: task 2 is named `t2`.
#[derive(Clone)]
pub(crate) enum Event {
    Add {
        task: usize,
        spec: Box<TaskSpec>,
        now: bool,
    },
    Edit {
        task: usize,
        spec: Box<TaskSpec>,
    },
    Pause {
        task: usize,
        until: Option<Duration>,
    },
    Resume {
        task: usize,
    },
    Run {
        task: usize,
        overlap: Option<Overlap>,
    },
    /// Of so much of the past.
    Backfill {
        task: usize,
        past: Duration,
    },
    Cancel {
        task: usize,
        all: bool,
    },
    Delete {
        task: usize,
        cancel: bool,
    },
    /// Time passes, at most so many steps of it.
    Pass {
        time: Duration,
        steps: u32,
    },
    /// The worker does not look for a while.
    Stall {
        time: Duration,
    },
    /// The clock is set.
    SetClock {
        by: i64,
    },
    /// The store refuses so many of the next batches.
    Refuse {
        batches: u32,
    },
    /// The host stops in good order, and starts after a while with its clock set.
    Restart {
        down: Duration,
        by: i64,
    },
    /// So many steps later it dies.
    Crash {
        steps: u32,
        down: Duration,
        by: i64,
    },
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::of(seed);
        let start = Time(random.pick(&BEGINNINGS) * 1_000_000_000 + random.below(MAX_LATER_NANOS) as i64);
        let tasks = 1 + random.below(4) as usize;
        let mut maker = Maker { random, tasks, specs: Vec::new(), start };
        let mut events: Vec<_> = (0..tasks).map(|task| maker.add(task)).collect();
        let count = 5 + maker.random.below(MAX_EVENTS - 5);
        for _ in 0..count {
            let event = maker.event();
            let changes = !matches!(event, Event::Pass { .. });
            events.push(event);
            if changes && maker.random.chance(70) {
                events.push(maker.pass());
            }
        }
        Self { seed, start, events }
    }
}

/// How many tasks the week has, and how many days.
const WEEK_TASKS: usize = 24;
const WEEK_DAYS: u32 = 7;

impl Plan {
    /// A week of tasks of every kind, with a crash and a restart in good order each day, over the night in which clocks are set
    /// forward in Berlin.
    pub(crate) fn week(seed: u64) -> Self {
        let start = Time((BEGINNINGS[0] - 3 * 86_400) * 1_000_000_000);
        let mut maker = Maker { random: Random::of(seed), tasks: WEEK_TASKS, specs: Vec::new(), start };
        let mut events: Vec<_> = (0..WEEK_TASKS).map(|task| maker.add_for_week(task)).collect();
        let pass = |time| Event::Pass { time, steps: u32::MAX };
        for _ in 0..WEEK_DAYS {
            events.push(pass(7 * HOUR + SECS(maker.random.below(3600))));
            let steps = maker.random.below(500) as u32;
            events.push(Event::Crash { steps, down: SECS(maker.random.below(7200)), by: 0 });
            events.push(pass(9 * HOUR + SECS(maker.random.below(3600))));
            events.push(Event::Restart { down: SECS(maker.random.below(600)), by: 0 });
            events.push(pass(5 * HOUR));
        }
        Self { seed, start, events }
    }
}

/// Makes events that suit the tasks that there are.
struct Maker {
    random: Random,
    tasks: usize,
    specs: Vec<TaskSpec>,
    start: Time,
}

impl Maker {
    fn event(&mut self) -> Event {
        let task = self.random.below(self.tasks as u64) as usize;
        match self.random.below(100) {
            0..22 => self.pass(),
            22..36 => self.edit(task),
            36..42 => {
                let until = self.random.chance(50).then(|| self.random.duration(MILLIS(100), DAY));
                Event::Pause { task, until }
            }
            42..48 => Event::Resume { task },
            48..56 => {
                let overlap = self.random.chance(50).then(|| self.random.pick(&Overlap::ALL));
                Event::Run { task, overlap }
            }
            56..59 => Event::Backfill { task, past: self.random.duration(SECS(1), DAY) },
            59..64 => Event::Cancel { task, all: self.random.chance(50) },
            64..67 => Event::Delete { task, cancel: self.random.chance(50) },
            67..70 => self.add(task),
            70..75 => Event::Stall { time: self.random.duration(MILLIS(10), DAY) },
            75..80 => Event::SetClock { by: self.clock_change() },
            80..84 => Event::Refuse { batches: 1 + self.random.below(5) as u32 },
            84..89 => Event::Restart { down: self.down(), by: self.some_clock_change() },
            _ => Event::Crash { steps: self.random.below(60) as u32, down: self.down(), by: self.some_clock_change() },
        }
    }

    fn pass(&mut self) -> Event {
        let time = self.random.duration(MILLIS(1), 3 * DAY);
        Event::Pass { time, steps: 20 + self.random.below(200) as u32 }
    }

    fn down(&mut self) -> Duration {
        self.random.duration(MILLIS(1), 3 * DAY)
    }

    fn some_clock_change(&mut self) -> i64 {
        if self.random.chance(20) { self.clock_change() } else { 0 }
    }

    fn clock_change(&mut self) -> i64 {
        let by = match self.random.below(6) {
            0 => self.random.duration(MILLIS(1), SECS(5)),
            1 => self.random.duration(SECS(1), HOUR),
            2 => HOUR,
            3 => self.random.duration(HOUR, DAY),
            4 => self.random.duration(DAY, 3 * DAY),
            _ => 365 * DAY,
        };
        let by = by.as_nanos() as i64;
        if self.random.chance(50) { by } else { -by }
    }

    fn add(&mut self, task: usize) -> Event {
        let mut spec = TaskSpec::default();
        self.set_timing(&mut spec);
        for part in 0..PARTS {
            if self.random.chance(30) {
                self.set_part(&mut spec, part);
            }
        }
        self.specs.resize(self.specs.len().max(task + 1), spec.clone());
        self.specs[task] = spec.clone();
        Event::Add { task, spec: Box::new(spec), now: self.random.chance(25) }
    }

    /// Of each kind some, none so fast for so long that a week of it takes minutes.
    fn add_for_week(&mut self, task: usize) -> Event {
        let mut spec = TaskSpec::default();
        let every = |interval| Schedule::Every(Every::of(Interval::new(interval).expect("in range")));
        let cron = |expression, zone| {
            let zone = Zone::parse(zone).expect("a zone");
            Schedule::Cron(Cron::parse(expression, zone).expect("an expression"))
        };
        let delay = |delay| Schedule::Delay(Interval::new(delay).expect("in range"));
        spec.schedules = Some(match task % 12 {
            0 => vec![every(SECS(30))],
            1 => vec![every(SECS(60))],
            2 => vec![every(HOUR), cron("30 2 * * *", "Europe/Berlin")],
            3 => vec![delay(SECS(90))],
            4 => vec![cron("*/5 * * * *", "America/New_York")],
            5 => vec![cron("0 0 * * *", "UTC"), cron("*/7 1-3 * * *", "Europe/Berlin")],
            6 => vec![Schedule::At(self.start.saturating_add(2 * DAY))],
            7 => vec![Schedule::Manual],
            8 => vec![every(6 * HOUR), delay(HOUR)],
            9 => vec![every(MILLIS(10))],
            10 => vec![every(SECS(61))],
            _ => vec![cron("* * * * *", "Australia/Lord_Howe")],
        });
        if task % 12 == 9 {
            spec.max_runs = Some(2_000);
        }
        for part in [3, 4, 7, 9, 12, 13] {
            if self.random.chance(50) {
                self.set_part(&mut spec, part);
            }
        }
        Event::Add { task, spec: Box::new(spec), now: task.is_multiple_of(4) }
    }

    fn edit(&mut self, task: usize) -> Event {
        let mut spec = self.specs[task].clone();
        if self.random.chance(40) {
            self.set_timing(&mut spec);
        } else {
            let part = self.random.below(PARTS);
            self.set_part(&mut spec, part);
        }
        self.specs[task] = spec.clone();
        Event::Edit { task, spec: Box::new(spec) }
    }

    fn set_timing(&mut self, spec: &mut TaskSpec) {
        let mut schedules = vec![self.schedule()];
        while schedules[0] != Schedule::Manual && schedules.len() < 4 && self.random.chance(30) {
            let schedule = self.schedule();
            if schedule != Schedule::Manual {
                schedules.push(schedule);
            }
        }
        spec.schedules = Some(schedules);
    }

    fn schedule(&mut self) -> Schedule {
        match self.random.below(12) {
            0..5 => {
                let interval = self.interval();
                let phase = if self.random.chance(30) { interval.get() / 3 } else { Duration::ZERO };
                Schedule::Every(Every { interval, phase, align: self.random.chance(30) })
            }
            5..7 => Schedule::Delay(self.interval()),
            7..10 => {
                let zone = self.random.pick(&["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]);
                let expression = self.random.pick(&[
                    "* * * * *",
                    "*/10 * * * * *",
                    "*/7 1-3 * * *",
                    "30 2 * * *",
                    "0 * * * *",
                    "0 0 * * *",
                    "15 1,2 * * SUN",
                ]);
                let zone = Zone::parse(zone).expect("a zone");
                Schedule::Cron(Cron::parse(expression, zone).expect("an expression"))
            }
            10 => Schedule::At(self.start.saturating_add(self.random.duration(MILLIS(100), 4 * DAY))),
            _ => Schedule::Manual,
        }
    }

    fn interval(&mut self) -> Interval {
        let whole = [MILLIS(10), MILLIS(50), SECS(1), SECS(5), SECS(30), SECS(60), SECS(61), SECS(300), HOUR, 6 * HOUR];
        let interval =
            if self.random.chance(70) { self.random.pick(&whole) } else { self.random.duration(MILLIS(10), DAY) };
        Interval::new(interval).expect("in range")
    }

    fn set_part(&mut self, spec: &mut TaskSpec, part: u64) {
        let random = &mut self.random;
        let set = random.chance(80);
        match part {
            0 => {
                spec.starts_at = set.then(|| self.start.saturating_add(random.duration(SECS(1), DAY)));
                spec.expires_at = spec.expires_at.filter(|end| spec.starts_at.is_none_or(|start| start < *end));
            }
            1 => {
                spec.expires_at = set.then(|| self.start.saturating_add(random.duration(SECS(10), 8 * DAY)));
                spec.starts_at = spec.starts_at.filter(|start| spec.expires_at.is_none_or(|end| *start < end));
            }
            2 => spec.max_runs = set.then(|| 1 + random.below(12)),
            3 => {
                let max = random.duration(MILLIS(1), HOUR);
                spec.jitter = set.then(|| Jitter { max, stable: random.chance(30) });
            }
            4..7 => {
                spec.overlap = set.then(|| random.pick(&Overlap::ALL));
                spec.max_running = Some(1 + random.below(4) as u32);
                spec.max_buffered = Some(1 + random.below(4) as u32);
            }
            7..9 => {
                spec.missed = set.then(|| random.pick(&[Missed::Skip, Missed::RunOnce, Missed::RunAll]));
                spec.catchup_window = Some(random.duration(SECS(1), 4 * DAY));
                spec.max_catchup = Some(1 + random.below(8) as u32);
            }
            9..11 => {
                let backoff = random.duration(MILLIS(1), SECS(60));
                let mut on = Retry::DEFAULT_ON.to_vec();
                if random.chance(50) {
                    on.push(Outcome::Abandoned);
                }
                let attempts = 1 + random.below(4) as u32;
                spec.retry = set.then_some(Retry { attempts, backoff, max_backoff: backoff * 4, on });
            }
            11 => spec.pause_on_failure = set.then(|| 1 + random.below(3) as u32),
            12 => spec.on_failure = set.then(|| name(random.below(self.tasks as u64) as usize)),
            13 => spec.on_recovery = set.then(|| name(random.below(self.tasks as u64) as usize)),
            _ => drop(spec.labels.insert("label".to_owned(), random.below(100).to_string())),
        }
    }
}

/// How many parts [`Maker::set_part`] knows.
const PARTS: u64 = 15;

pub(crate) fn name(task: usize) -> TaskName {
    TaskName::new(&format!("t{task}")).expect("a name")
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| format_duration(*time);
        let clock = |by: &i64| match by {
            0 => String::new(),
            1.. => format!(", the clock set forward by {}", format_duration(Duration::from_nanos(by.unsigned_abs()))),
            _ => format!(", the clock set back by {}", format_duration(Duration::from_nanos(by.unsigned_abs()))),
        };
        match self {
            Self::Add { task, spec, now } => {
                write!(f, "add t{task}{}: {}", if *now { " --now" } else { "" }, describe(spec))
            }
            Self::Edit { task, spec } => write!(f, "edit t{task}: {}", describe(spec)),
            Self::Pause { task, until: None } => write!(f, "pause t{task}"),
            Self::Pause { task, until: Some(until) } => write!(f, "pause t{task} for {}", time(until)),
            Self::Resume { task } => write!(f, "resume t{task}"),
            Self::Run { task, overlap: None } => write!(f, "run t{task}"),
            Self::Run { task, overlap: Some(overlap) } => write!(f, "run t{task} --overlap {}", overlap.as_str()),
            Self::Backfill { task, past } => write!(f, "backfill t{task}, the last {}", time(past)),
            Self::Cancel { task, all } => write!(f, "cancel {} of t{task}", if *all { "all" } else { "one" }),
            Self::Delete { task, cancel } => write!(f, "delete t{task}, cancel: {cancel}"),
            Self::Pass { time: length, steps } => write!(f, "{} pass, at most {steps} steps", time(length)),
            Self::Stall { time: length } => write!(f, "the worker stands still for {}", time(length)),
            Self::SetClock { by } => write!(f, "at once{}", clock(by)),
            Self::Refuse { batches } => write!(f, "the store refuses {batches} batches"),
            Self::Restart { down, by } => write!(f, "the host stops, down for {}{}", time(down), clock(by)),
            Self::Crash { steps, down, by } => {
                write!(f, "the host dies after {steps} steps, down for {}{}", time(down), clock(by))
            }
        }
    }
}

/// What of a spec is not default.
fn describe(spec: &TaskSpec) -> String {
    let mut parts: Vec<String> = spec
        .schedules()
        .iter()
        .map(|schedule| {
            let text = schedule.to_text();
            let named = [("every", text.every), ("phase", text.phase), ("delay", text.delay), ("at", text.at)];
            let mut parts: Vec<_> = named.into_iter().filter_map(|(n, v)| v.map(|v| format!("{n} {v}"))).collect();
            parts.extend(text.cron.map(|cron| format!("cron `{cron}` {}", text.timezone.unwrap_or_default())));
            parts.extend(text.align.then(|| "align".to_owned()));
            parts.extend(text.manual.then(|| "manual".to_owned()));
            parts.join(" ")
        })
        .collect();
    let mut tell = |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
    tell("starts", spec.starts_at.map(|time| time.to_string()));
    tell("expires", spec.expires_at.map(|time| time.to_string()));
    tell("max_runs", spec.max_runs.map(|most| most.to_string()));
    let stable = |jitter: Jitter| if jitter.stable { " stable" } else { "" };
    tell("jitter", spec.jitter.map(|jitter| format_duration(jitter.max) + stable(jitter)));
    tell("overlap", spec.overlap.map(|overlap| overlap.as_str().to_owned()));
    tell("max_running", spec.max_running.map(|most| most.to_string()));
    tell("max_buffered", spec.max_buffered.map(|most| most.to_string()));
    tell("missed", spec.missed.map(|missed| missed.as_str().to_owned()));
    tell("window", spec.catchup_window.map(format_duration));
    tell("max_catchup", spec.max_catchup.map(|most| most.to_string()));
    tell(
        "retry",
        spec.retry.as_ref().map(|retry| {
            let abandoned = if retry.on.contains(&Outcome::Abandoned) { " and abandoned" } else { "" };
            format!("{} backoff {}{abandoned}", retry.attempts, format_duration(retry.backoff))
        }),
    );
    tell("pause_on_failure", spec.pause_on_failure.map(|most| most.to_string()));
    tell("on_failure", spec.on_failure.as_ref().map(ToString::to_string));
    tell("on_recovery", spec.on_recovery.as_ref().map(ToString::to_string));
    parts.join(", ")
}
