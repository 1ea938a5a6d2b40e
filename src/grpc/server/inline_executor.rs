//! Runs the streams of a connection in the task of the connection.
//!
//! Most calls are answered at their first poll. A task for each of them would cost more than the
//! answer, and would write the answers one by one.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::rt::Executor;
use tokio::io::AsyncWrite;

use super::write_buffer::WriteBuffer;
use crate::sync::Mutex;

/// Time after which a connection begins no further streams in its turn.
const TURN_TIME: Duration = Duration::from_millis(1);
/// Number of streams that a connection begins in each turn, however long they take.
const UNTIMED_STREAMS: usize = 8;

/// A stream of a connection: its call, and the transfer of the response.
type StreamTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the new streams of a connection, for [`ConnectionTask`].
#[derive(Clone, Default)]
pub(super) struct InlineExecutor(Arc<Mutex<VecDeque<StreamTask>>>);

/// A connection with the streams that its executor took.
///
/// Completes when the connection does. Streams that still run are dropped: their peer is gone.
pub(super) struct ConnectionTask<C, W> {
    connection: Pin<Box<C>>,
    output: WriteBuffer<W>,
    executor: InlineExecutor,
    /// The streams that begin.
    begun: VecDeque<StreamTask>,
    /// Streams that wait.
    waiting: FuturesUnordered<StreamTask>,
}

// === impl InlineExecutor ===

impl<F> Executor<F> for InlineExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // A panic ends the stream. The connection and its other streams continue.
        self.0.lock().push_back(Box::pin(AssertUnwindSafe(stream).catch_unwind().map(drop)));
    }
}

// === impl ConnectionTask ===

impl<C, W> ConnectionTask<C, W> {
    /// Joins a connection with the executor and the output that it uses.
    pub fn new(connection: C, executor: InlineExecutor, output: WriteBuffer<W>) -> ConnectionTask<C, W> {
        ConnectionTask {
            connection: Box::pin(connection),
            output,
            executor,
            begun: VecDeque::new(),
            waiting: FuturesUnordered::new(),
        }
    }

    /// Returns the connection.
    pub fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }

    /// Polls the new streams, for at most a turn. Those that are not done wait.
    ///
    /// Other connections of the thread have their turn before the streams that are left.
    fn begin(&mut self, context: &mut Context<'_>) {
        self.begun.append(&mut self.executor.0.lock());
        let count = self.begun.len();
        // Few streams, as most turns have, need no clock.
        let deadline = (count > UNTIMED_STREAMS).then(|| Instant::now() + TURN_TIME);
        let is_over = |polled: usize| polled >= UNTIMED_STREAMS && deadline.is_some_and(|at| Instant::now() >= at);
        let mut polled = 0;
        while polled < count && !is_over(polled) {
            if let Some(mut stream) = self.begun.pop_front()
                && stream.as_mut().poll(context).is_pending()
            {
                self.waiting.push(stream);
            }
            polled += 1;
        }
        if polled < count {
            context.waker().wake_by_ref();
        }
    }
}

impl<C: Future, W: AsyncWrite + Unpin> Future for ConnectionTask<C, W> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        let ended = this.connection.as_mut().poll(context);
        if ended.is_pending() {
            this.begin(context);
            // Answers wake the connection, which then writes them together.
            while let Poll::Ready(Some(())) = this.waiting.poll_next_unpin(context) {}
        }
        this.output.poll_write_out(context);
        ended
    }
}

impl<C, W> Drop for ConnectionTask<C, W> {
    fn drop(&mut self) {
        // Each stream has a clone of the executor, which would keep itself alive.
        drop(std::mem::take(&mut *self.executor.0.lock()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use futures_util::task::noop_waker_ref;
    use tokio::io::{Sink, sink};
    use tokio::sync::oneshot;

    use super::*;

    /// An executor, and a connection that uses it and never ends.
    fn open() -> (InlineExecutor, ConnectionTask<impl Future<Output = ()>, Sink>) {
        let executor = InlineExecutor::default();
        (executor.clone(), ConnectionTask::new(pending(), executor, WriteBuffer::new(sink())))
    }

    fn poll(task: &mut ConnectionTask<impl Future<Output = ()>, Sink>) -> Poll<()> {
        task.poll_unpin(&mut Context::from_waker(noop_waker_ref()))
    }

    #[test]
    fn a_stream_that_waits_is_polled_again_when_it_is_woken() {
        let (executor, mut task) = open();
        let polls = Arc::new(Mutex::new(0));
        let (wake, mut woken) = oneshot::channel::<()>();
        executor.execute(poll_fn({
            let polls = polls.clone();
            move |context| {
                *polls.lock() += 1;
                woken.poll_unpin(context).map(drop)
            }
        }));
        assert!(poll(&mut task).is_pending());
        let at_begin = *polls.lock();
        assert!(poll(&mut task).is_pending());
        assert_eq!(*polls.lock(), at_begin);
        wake.send(()).expect("a stream that waits");
        assert!(poll(&mut task).is_pending());
        assert_eq!((*polls.lock(), task.waiting.len()), (at_begin + 1, 0));
    }

    #[test]
    fn other_connections_have_their_turn_while_streams_begin() {
        let (executor, mut task) = open();
        let count = Arc::new(Mutex::new(0));
        for _ in 0..100 {
            let count = count.clone();
            executor.execute(async move {
                std::thread::sleep(TURN_TIME);
                *count.lock() += 1;
            });
        }
        assert!(poll(&mut task).is_pending());
        assert_eq!(*count.lock(), UNTIMED_STREAMS);
        while *count.lock() < 100 {
            assert!(poll(&mut task).is_pending());
        }
    }

    #[test]
    fn a_panic_ends_its_stream_only() {
        let (executor, mut task) = open();
        let (answer, mut answered) = oneshot::channel();
        executor.execute(async { panic!("a bug") });
        executor.execute(async { answer.send(()).expect("a receiver") });
        assert!(poll(&mut task).is_pending());
        assert_eq!(answered.try_recv(), Ok(()));
        assert!(task.waiting.is_empty());
    }

    #[test]
    fn streams_end_with_their_connection() {
        let (executor, mut task) = open();
        let (held, mut dropped) = oneshot::channel::<()>();
        executor.execute(async move {
            pending::<()>().await;
            drop(held);
        });
        let (clone, (queued, mut unpolled)) = (executor.clone(), oneshot::channel::<()>());
        assert!(poll(&mut task).is_pending());
        executor.execute(async move { drop((queued, clone)) });
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(task);
        assert_eq!(unpolled.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
