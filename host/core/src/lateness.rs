//! How late guests are entered, over the last minute or so.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::time::Time;

/// How long one half of the window is.
const HALF_WINDOW: Duration = Duration::from_secs(30);

/// Lateness is told to 1 %, up to an hour.
const SIGNIFICANT_DIGITS: u8 = 2;
const MAX_MICROS: u64 = 3_600_000_000;

/// Two half windows, the older of which is dropped when the younger is full: the last 30 to 60 seconds. One per worker.
pub(crate) struct Lateness {
    current: Histogram<u64>,
    previous: Histogram<u64>,
    since: Time,
}

impl Lateness {
    pub(crate) fn new(now: Time) -> Self {
        Self { current: histogram(), previous: histogram(), since: now }
    }

    pub(crate) fn record(&mut self, micros: u32, now: Time) {
        self.turn(now);
        self.current.saturating_record(u64::from(micros));
    }

    /// Both halves in one.
    pub(crate) fn window(&mut self, now: Time) -> Histogram<u64> {
        self.turn(now);
        let mut window = self.current.clone();
        // Both have the same bounds.
        window.add(&self.previous).expect("histograms of the same bounds add up");
        window
    }

    fn turn(&mut self, now: Time) {
        let age = now.since(self.since);
        if age >= HALF_WINDOW {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.reset();
            if age >= 2 * HALF_WINDOW {
                self.previous.reset();
            }
            self.since = now;
        }
    }
}

/// Guest entry minus due time, over the last `window`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatenessStats {
    pub window: Duration,
    pub count: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl LatenessStats {
    /// Of several workers' windows.
    pub(crate) fn of(windows: impl IntoIterator<Item = Histogram<u64>>) -> Self {
        let mut all = histogram();
        for window in windows {
            all.add(window).expect("histograms of the same bounds add up");
        }
        let micros = Duration::from_micros;
        Self {
            window: 2 * HALF_WINDOW,
            count: all.len(),
            p50: micros(all.value_at_quantile(0.5)),
            p99: micros(all.value_at_quantile(0.99)),
            max: micros(all.max()),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_MICROS, SIGNIFICANT_DIGITS).expect("the bounds are constants and valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default().saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn figures_are_of_all_workers_and_of_the_last_minute() {
        let mut one = Lateness::new(at(0));
        let mut two = Lateness::new(at(0));
        (1..=99).for_each(|_| one.record(100, at(1)));
        two.record(10_000, at(1));
        let stats = LatenessStats::of([one.window(at(2)), two.window(at(2))]);
        assert_eq!(stats.count, 100);
        assert!(stats.p50.as_micros().abs_diff(100) <= 1);
        assert!(stats.max.as_micros().abs_diff(10_000) <= 100);
        assert_eq!(LatenessStats::of([one.window(at(31)), two.window(at(31))]).count, 100, "still in the window");
        assert_eq!(LatenessStats::of([one.window(at(62)), two.window(at(62))]).count, 0, "out of the window");
    }
}
