//! Does what the task's first argument says, so that a test can have any outcome that a well-behaved plugin can have.
//! Badly behaved ones are the .wat files beside it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use taskhost_plugin::{Failure, Reason, Tick, context, eprintln, println};

/// How often a waiting guest looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(10);

/// More than the host keeps of a summary.
const BIG_SUMMARY_BYTES: usize = 64 * 1024;

/// A piece of what a greedy guest takes.
const ALLOCATION_BYTES: usize = 1024 * 1024;

taskhost_plugin::plugin!(run);

fn run(tick: Tick) -> Result<Option<String>, Failure> {
    let arguments = taskhost_plugin::args();
    let Some((verb, rest)) = arguments.split_first() else {
        return Err(Failure::permanent("no verb"));
    };
    let text = rest.join(" ");
    match verb.as_str() {
        "ok" => {}
        "summary" => return Ok(Some(text)),
        "big-summary" => return Ok(Some("é".repeat(BIG_SUMMARY_BYTES / 2))),
        "fail" => return Err(Failure::new(text)),
        "fail-permanent" => return Err(Failure::permanent(text)),
        "fail-retry-after" => return Err(Failure::new("later").retry_after(milliseconds(rest)?)),
        "fail-first-attempts" => {
            let failures: u32 = rest.first().map_or(Ok(1), |count| count.parse()).map_err(Failure::permanent)?;
            if tick.attempt <= failures {
                return Err(Failure::new(format!("attempt {}", tick.attempt)));
            }
        }
        "panic" => panic!("{text}"),
        "print" => rest.iter().for_each(|line| println!("{line}")),
        "print-error" => rest.iter().for_each(|line| eprintln!("{line}")),
        "sleep" => taskhost_plugin::sleep(milliseconds(rest)?),
        "wait-cancel" => {
            println!("waiting");
            while !context::cancelled() {
                taskhost_plugin::sleep(POLL);
            }
            return Ok(Some("saw the cancel".to_owned()));
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        "allocate" => allocate(),
        "remaining" => return Ok(context::remaining().map(|remaining| remaining.as_millis().to_string())),
        "calls" => return Ok(Some(calls().to_string())),
        "tick" => print_tick(&tick),
        _ => return Err(Failure::permanent(format!("unknown verb {verb}"))),
    }
    Ok(None)
}

fn milliseconds(rest: &[String]) -> Result<Duration, Failure> {
    let number = rest.first().ok_or_else(|| Failure::permanent("no number of milliseconds"))?;
    Ok(Duration::from_millis(number.parse().map_err(Failure::permanent)?))
}

/// Takes memory until an allocation fails, which traps.
fn allocate() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; ALLOCATION_BYTES]);
    }
}

/// How often this instance was called: 1, unless something of an earlier run is left.
fn calls() -> u32 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

fn print_tick(tick: &Tick) {
    let Tick { task, run_id, attempt, due, due_local, since, reason } = tick;
    println!("task {task}");
    println!("run_id {run_id}");
    println!("attempt {attempt}");
    println!("due_ms {}", unix_ms(*due));
    println!("due_local {due_local}");
    match since {
        Some(since) => println!("since_ms {}", unix_ms(*since)),
        None => println!("since_ms none"),
    }
    match reason {
        Reason::Schedule => println!("reason schedule"),
        Reason::CatchUp => println!("reason catch_up"),
        Reason::Backfill => println!("reason backfill"),
        Reason::Manual => println!("reason manual"),
        Reason::Triggered(by) => println!("reason triggered {} {} {}", by.task, by.run_id, by.outcome),
    }
}

fn unix_ms(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since_epoch| since_epoch.as_millis())
}
