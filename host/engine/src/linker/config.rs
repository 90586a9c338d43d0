//! `wasi:config/store`: the settings of a task, and its secrets.
//!
//! The guest's settings are its own to list, so `get-all` has the secrets too. wasmtime-wasi-config is not used: it is a wrapper around
//! one map that is filled before the guest begins, and can't say that a secret is gone.

use crate::grant::Granted;
use crate::state::State;

use self::bindings::wasi::config::store;

/// What of it a component may import.
pub(crate) const IMPORTS: &[&str] = &["wasi:config/store@0.2.0-rc.1"];

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/config-0.2.0-rc.1",
        world: "imports",
    });
}

pub(crate) fn add_to_linker(linker: &mut wasmtime::component::Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<State, wasmtime::component::HasSelf<State>>(linker, |state| state)
}

impl store::Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        let granted = &mut self.granted;
        if let Some(value) = granted.setup.spec.grants().config.get(&key) {
            return Ok(Some(value.clone()));
        }
        match granted.secrets.as_ref().and_then(|secrets| secrets.get(&key)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value.to_owned())),
            Some(Err(why)) => {
                let why = why.to_owned();
                Err(self.lacking(&key, &why))
            }
        }
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        let granted = &self.granted;
        let mut all: Vec<(String, String)> =
            granted.setup.spec.grants().config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut lacking = None;
        for (name, value) in granted.secrets.iter().flat_map(|secrets| secrets.iter()) {
            match value {
                Ok(value) => all.push((name.to_owned(), value.to_owned())),
                Err(why) => {
                    lacking = Some((name.to_owned(), why.to_owned()));
                    break;
                }
            }
        }
        match lacking {
            Some((name, why)) => Err(self.lacking(&name, &why)),
            None => Ok(all),
        }
    }
}

impl State {
    /// Tells the task's log, once an attempt, why a secret has no value; the guest learns only that it has none.
    fn lacking(&mut self, name: &str, why: &str) -> store::Error {
        let Granted { told_of_secrets, output, .. } = &mut self.granted;
        if !std::mem::replace(told_of_secrets, true) {
            output.host_line(&format!("the secret `{name}` can't be read: {why}"));
        }
        store::Error::Upstream(format!("the secret `{name}` can't be read; the task's log says why"))
    }
}
