use std::future::Future;
use std::pin::Pin;

/// A future in a box that any thread may drive.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
