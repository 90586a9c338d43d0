//! What one attempt reaches of the host, and what it was denied.
//!
//! Most tasks are granted nothing and reach for nothing: what stands here is made when it is first asked for.

use std::sync::Arc;

use taskhost_core::spec::{Grants, Limit};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use crate::grant::denials::Denials;
use crate::grant::http::Http;
use crate::grant::net::Net;
use crate::output::Output;
use crate::report::{Broken, Returned};
use crate::setup::Setup;

/// The grants of one attempt at work.
pub(crate) struct Reach {
    pub(crate) setup: Arc<Setup>,
    denials: Denials,
    /// Grants that it asked for and that are empty. Programs ask for what they never use, so that is told only of an attempt
    /// that did not succeed.
    asked_for_dirs: bool,
    asked_for_env: bool,
    succeeded: bool,
    net: Option<Arc<Net>>,
    http: Option<Box<Http>>,
}

/// A guest took more than a limit allows that is not its memory's, and must not go on.
#[derive(Debug, thiserror::Error)]
#[error("the limit `{}` was exceeded", .0.as_str())]
pub(crate) struct TooMuch(pub(crate) Limit);

impl Reach {
    pub(crate) fn new(setup: Arc<Setup>, output: Arc<Output>) -> Self {
        let hosts = !setup.spec.grants().hosts.is_empty();
        let mut reach = Self {
            setup,
            denials: Denials::new(output),
            asked_for_dirs: false,
            asked_for_env: false,
            succeeded: false,
            net: None,
            http: None,
        };
        if hosts {
            // What checks addresses has to be there when the guest's world is made.
            reach.net();
        }
        reach
    }

    pub(crate) fn grants(&self) -> &Grants {
        self.setup.spec.grants()
    }

    /// The network of an attempt that has hosts granted.
    pub(crate) fn granted_net(&self) -> Option<&Arc<Net>> {
        self.net.as_ref().filter(|_| !self.grants().hosts.is_empty())
    }

    /// The network, made now if it is not there.
    pub(crate) fn net(&mut self) -> &Arc<Net> {
        self.net.get_or_insert_with(|| Arc::new(Net::new(Arc::clone(&self.setup), self.denials.in_background())))
    }

    /// Opens sockets and lookups to an attempt whose task has hosts granted; to all others they are closed.
    pub(crate) fn give_network(&self, wasi: &mut WasiCtxBuilder) {
        let granted = self.granted_net();
        wasi.allow_tcp(granted.is_some()).allow_udp(granted.is_some()).allow_ip_name_lookup(granted.is_some());
        if let Some(net) = granted {
            let net = Arc::clone(net);
            wasi.socket_addr_check(move |address, usage| {
                let allowed = net.allows(address, usage);
                Box::pin(async move { allowed })
            });
        }
    }

    /// HTTP, made now if it is not there.
    pub(crate) fn http(&mut self) -> &mut Http {
        let http = match self.http.take() {
            Some(http) => http,
            None => Box::new(Http::new(Arc::clone(self.net()))),
        };
        self.http.insert(http)
    }

    /// Writes the first denial of the attempt to the task's log.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        // Once there is a network, the flag is there: it is shared with what goes on in the background.
        self.net.as_ref().map_or(&self.denials, |net| &net.denials).tell(line);
    }

    pub(crate) fn asks_for_dirs(&mut self) {
        self.asked_for_dirs = self.grants().dirs.is_empty();
    }

    pub(crate) fn asks_for_env(&mut self) {
        self.asked_for_env = self.grants().env.is_empty();
    }

    /// The limit that the guest ran into, if it did.
    pub(crate) fn limit_hit(&self) -> Option<Limit> {
        self.net.as_ref().and_then(|net| net.limit_hit())
    }

    /// The limit for which the guest may not go on, if there is one.
    pub(crate) fn must_end(&self) -> Option<Limit> {
        self.limit_hit().filter(|limit| *limit == Limit::ResponseBytes)
    }

    /// The attempt has ended, and its instance is kept.
    pub(crate) fn end(&mut self) {
        self.tell_what_was_empty();
        (self.asked_for_dirs, self.asked_for_env) = (false, false);
    }

    /// The next attempt of a kept instance begins, with the same grants.
    pub(crate) fn begin_again(&mut self) {
        self.denials.begin_again();
        if let Some(net) = &self.net {
            net.begin_again();
        }
    }

    /// The guest came back or broke off.
    pub(crate) fn ended(&mut self, returned: &Result<Returned, Broken>) {
        self.succeeded = match returned {
            Ok(Returned::Summary(_) | Returned::Exit(0)) => true,
            Ok(_) => false,
            Err(broken) => matches!(broken.error().downcast_ref(), Some(I32Exit(0))),
        };
    }

    fn tell_what_was_empty(&self) {
        if self.succeeded {
            return;
        }
        let line = match (self.asked_for_dirs, self.asked_for_env) {
            (false, false) => return,
            (true, false) => "the plugin asked for folders and has none; grant one with --dir HOST::GUEST",
            (false, true) => "the plugin asked for environment variables and has none; set one with --env NAME=VALUE",
            (true, true) => {
                "the plugin asked for folders and environment variables and has none; grant them with \
                 --dir HOST::GUEST and --env NAME=VALUE"
            }
        };
        self.tell(|| line.to_owned());
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.tell_what_was_empty();
    }
}
