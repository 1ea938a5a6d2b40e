//! A call in flight: it keeps its place until its answer, even if its caller disconnects.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::cache::tier::BoxFuture;

/// A call that was sent.
///
/// If dropped before its answer, it is completed in a task, because Redis completes it, too.
pub struct InFlight<'a, T: Send + 'static> {
    call: Option<BoxFuture<'static, T>>,
    permit: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
    tasks: &'a TaskTracker,
}

impl<'a, T: Send + 'static> InFlight<'a, T> {
    /// Wraps a call that has begun. It holds its permit, and its room for a large value, until it
    /// ends.
    pub fn new(
        call: BoxFuture<'static, T>,
        permit: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
        tasks: &'a TaskTracker,
    ) -> InFlight<'a, T> {
        InFlight { call: Some(call), permit: Some(permit), tasks }
    }
}

impl<T: Send + 'static> Future for InFlight<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let answer = match self.call.as_mut() {
            Some(call) => ready!(call.as_mut().poll(context)),
            None => return Poll::Pending,
        };
        (self.call, self.permit) = (None, None);
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for InFlight<'_, T> {
    fn drop(&mut self) {
        if let (Some(call), Some(permit)) = (self.call.take(), self.permit.take()) {
            self.tasks.spawn(async move {
                let _ = call.await;
                drop(permit);
            });
        }
    }
}
