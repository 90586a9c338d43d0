//! The built-in plugin: what a task runs when its author brings none.
//!
//! It does what the program did that taskhost began as: say, at every tick, which task ticks.

use taskhost_plugin::{Tick, println};

taskhost_plugin::plugin!(run);

fn run(tick: Tick) {
    println!("Task {} tick at {}", tick.task, tick.due_local);
}
