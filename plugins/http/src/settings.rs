//! The task's settings and secrets, by `wasi:config`.

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "taskhost:http-plugin/settings", generate_all });
}

use bindings::wasi::config::store::{self, Error};

/// The setting or secret of this name; `None` if the task was granted none.
pub(crate) fn get(name: &str) -> Result<Option<String>, String> {
    store::get(name).map_err(|error| match error {
        Error::Upstream(why) | Error::Io(why) => why,
    })
}
