//! Time.

use std::future::Future;

use crate::time::Time;

/// What time it is, and the means to wait for another.
pub trait Clock: Clone + Send + Sync + 'static {
    type Alarm: Alarm;

    fn now(&self) -> Time;

    /// Made inside the runtime that waits by it.
    fn alarm(&self) -> Self::Alarm;
}

/// Waits for times, one at a time.
pub trait Alarm {
    /// Comes back when it is this time, and perhaps earlier, when the clock was set, say: who waits looks at it again.
    fn until(&mut self, time: Time) -> impl Future<Output = ()>;
}
