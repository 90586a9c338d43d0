//! Keeps the newest files of a folder and removes the others: what `logrotate` or a `find … -delete` in a crontab does.
//!
//! [`options`] reads what is wanted, [`plan`] decides, [`rotation`] does it on a [`folder`], and [`wasi`] is the real one.

mod folder;
mod options;
mod plan;
mod rotation;
mod wasi;

use taskhost_plugin::{Failure, Tick, context, println};

use crate::options::Call;
use crate::wasi::WasiFolder;

taskhost_plugin::plugin!(run);

fn run(_: Tick) -> Result<Option<String>, Failure> {
    let options = match options::read(taskhost_plugin::args())? {
        Call::Help => {
            options::HELP.lines().for_each(|line| println!("{line}"));
            return Ok(None);
        }
        Call::Rotate(options) => options,
    };
    let mut folder = WasiFolder::open(&options.dir)?;
    rotation::rotate(&mut folder, &options, wasi::now(), context::cancelled, |line| println!("{line}")).map(Some)
}
