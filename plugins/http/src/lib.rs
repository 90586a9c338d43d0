//! Asks for a URL and checks the answer: what the curl lines of a crontab do.
//!
//! [`options`] reads what is wanted, [`secret`] puts secrets into it, [`check`] asks, follows and judges over an
//! [`exchange`], and [`wasi`] is the real one. A [`target`] is a URL taken apart, a [`header`] what goes with it, a [`body`] what is kept
//! of an answer.

mod body;
mod check;
mod exchange;
mod header;
mod options;
mod secret;
mod target;
mod wasi;

use taskhost_plugin::{Failure, Tick, config, context, println};

use crate::options::Call;
use crate::secret::Secrets;
use crate::wasi::Wasi;

taskhost_plugin::plugin!(run);

fn run(_: Tick) -> Result<Option<String>, Failure> {
    let options = match options::read(taskhost_plugin::args())? {
        Call::Help => {
            options::HELP.lines().for_each(|line| println!("{line}"));
            return Ok(None);
        }
        Call::Check(options) => options,
    };
    let secrets =
        Secrets::resolve(&options.secret_headers, |name| config::get(name).map_err(|error| error.to_string()))?;
    check::check(&mut Wasi, &options, &secrets, context::remaining(), |line| println!("{line}")).map(Some)
}
