//! Work that a disconnect of its caller does not interrupt.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::cache::tier::BoxFuture;

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// Work of one caller, polled by it. If the caller drops it before its end, it is completed in a
/// task.
pub(super) struct Uninterrupted<'a, T: Send + 'static> {
    work: Option<BoxFuture<'static, Result<T, Panic>>>,
    tasks: &'a TaskTracker,
}

// === impl Uninterrupted ===

impl<'a, T: Send + 'static> Uninterrupted<'a, T> {
    /// Wraps `work`, in the current span.
    pub fn new(work: impl Future<Output = T> + Send + 'static, tasks: &'a TaskTracker) -> Uninterrupted<'a, T> {
        let work = AssertUnwindSafe(work.in_current_span()).catch_unwind();
        Uninterrupted { work: Some(Box::pin(work)), tasks }
    }
}

impl<T: Send + 'static> Future for Uninterrupted<'_, T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Panic>> {
        let Some(work) = self.work.as_mut() else { return Poll::Pending };
        let result = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for Uninterrupted<'_, T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.tasks.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_is_completed_after_its_caller_dropped_it() {
        let (tasks, (go, gone)) = (TaskTracker::new(), oneshot::channel::<()>());
        let (done, result) = oneshot::channel();
        let mut work = Uninterrupted::new(
            async move {
                _ = gone.await;
                _ = done.send("done");
            },
            &tasks,
        );
        let begins = poll_fn(|context| Poll::Ready(Pin::new(&mut work).poll(context).is_pending()));
        assert!(begins.await, "it waits");
        drop(work);
        go.send(()).expect("the work goes on");
        assert_eq!(result.await, Ok("done"));
    }

    #[tokio::test]
    async fn a_panic_is_a_result_of_the_work() {
        let tasks = TaskTracker::new();
        assert!(Uninterrupted::<()>::new(async { panic!("of the work") }, &tasks).await.is_err());
        assert!(tasks.is_empty(), "the work has ended");
    }
}
