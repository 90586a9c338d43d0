//! The real network, by the SDK.

use std::time::Duration;

use taskhost_plugin::http;

use crate::exchange::{Answer, Body, Exchange, Fault, Request};

pub(crate) struct Wasi;

impl Exchange for Wasi {
    type Body = http::Body;

    fn now(&self) -> Duration {
        taskhost_plugin::monotonic()
    }

    fn send(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Answer<http::Body>, Fault> {
        let mut outgoing = http::Request::new(request.method, request.target.url());
        outgoing
            .headers
            .extend(request.headers.iter().map(|header| (header.name.clone(), header.value.clone().into())));
        outgoing.body = request.body.map(<[u8]>::to_vec);
        outgoing.timeout = deadline.saturating_sub(self.now());
        let http::Response { status, headers, body, .. } = outgoing.send()?;
        Ok(Answer { status, headers, body })
    }
}

impl Body for http::Body {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.next_piece()
    }
}
