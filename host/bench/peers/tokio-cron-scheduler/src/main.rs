//! Native jobs, each due every second, by tokio-cron-scheduler: no sandbox.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio_cron_scheduler::{Job, JobScheduler};

const EVERY_SECOND: &str = "* * * * * *";
const WARM_UP: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tasks, seconds] = arguments.as_slice() else {
        return Err("usage: peer-tokio-cron-scheduler TASKS SECONDS".into());
    };
    let (tasks, seconds): (u32, u64) = (tasks.parse()?, seconds.parse()?);
    // Whole seconds are when they are due, so what is past one is lateness, as long as that is less than a second.
    let lateness = Arc::new(Mutex::new(Vec::<Duration>::new()));
    let out = Arc::new(File::options().write(true).open("/dev/null")?);

    let empty_bytes = resident_bytes()?;
    let mut scheduler = JobScheduler::new().await?;
    for number in 0..tasks {
        let (lateness, out) = (Arc::clone(&lateness), Arc::clone(&out));
        let job = Job::new_async(EVERY_SECOND, move |_, _| {
            let (lateness, out) = (Arc::clone(&lateness), Arc::clone(&out));
            Box::pin(async move {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
                lateness.lock().expect("nobody panics").push(Duration::from_nanos(now.subsec_nanos().into()));
                writeln!(&*out, "Task tick-{number} tick at {now:?}").expect("it takes all");
            })
        })?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    tokio::time::sleep(WARM_UP).await;
    let bytes_per_task = (resident_bytes()?.saturating_sub(empty_bytes)) as f64 / f64::from(tasks);
    lateness.lock().expect("nobody panics").clear();

    let (started, cpu) = (Instant::now(), cpu());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (took, cpu) = (started.elapsed(), self::cpu() - cpu);
    let mut lateness = std::mem::take(&mut *lateness.lock().expect("nobody panics"));
    lateness.sort_unstable();
    let ticks = lateness.len() as f64;
    let part = |part: f64| lateness.get((ticks * part) as usize).map_or(f64::NAN, |late| late.as_secs_f64() * 1e3);
    if ticks == 0.0 {
        return Err("no job ran".into());
    }
    println!(
        concat!(
            r#"{{"ticks_per_second": {:.1}, "due_per_second": {}, "cpu_per_tick_us": {:.3}, "bytes_per_task": {:.0}, "#,
            r#""lateness_p50_ms": {:.3}, "lateness_p99_ms": {:.3}}}"#
        ),
        ticks / took.as_secs_f64(),
        tasks,
        cpu.as_secs_f64() * 1e6 / ticks,
        bytes_per_task,
        part(0.5),
        part(0.99)
    );
    scheduler.shutdown().await?;
    Ok(())
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("the kernel's `statm` makes no sense")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
