//! Trips that fred does not carry: the relay sends their requests between those of fred, and takes
//! their replies out of the stream.
//!
//! fred builds a command, a channel and a tree of frames for each command of a pipeline. A trip is
//! one piece of bytes in either direction.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use fred::prelude::{Error, FredResult};
use fred::types::Value;
use tokio::sync::{mpsc, oneshot};

use super::reply_scanner::{ReplyScanner, ReplyViolation};
use crate::backend::redis::schema::reply::decode_reply;
use crate::sync::Mutex;

/// The commands of a trip, as bytes.
#[derive(Debug, Default)]
pub struct TripRequest {
    bytes: Vec<u8>,
    replies: usize,
    value_bytes: usize,
}

/// A trip on its way to the relay.
pub struct SentTrip {
    request: TripRequest,
    answer: oneshot::Sender<Bytes>,
}

/// Sends trips over one connection.
#[derive(Clone)]
pub struct DirectTrips(mpsc::UnboundedSender<SentTrip>);

/// The replies that a connection owes, in their order.
#[derive(Default)]
pub struct OwedReplies(Mutex<VecDeque<Owed>>);

enum Owed {
    /// Number of replies to fred.
    Fred(usize),
    Trip(OwedTrip),
}

struct OwedTrip {
    left: usize,
    /// Bytes of replies that are still accepted.
    room: usize,
    replies: BytesMut,
    answer: oneshot::Sender<Bytes>,
}

/// Separates the replies to trips from those to fred.
pub struct ReplyRouter<'a> {
    scanner: ReplyScanner,
    owed: &'a OwedReplies,
    /// The owner of the reply that has begun.
    current: Option<Owner>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Fred,
    /// A message to fred, which answers no request.
    Push,
    Trip,
}

// === impl TripRequest ===

impl TripRequest {
    /// Adds a command whose reply has at most about `value_bytes` bytes beside what any reply may
    /// have.
    pub fn command(&mut self, arguments: &[&[u8]], value_bytes: usize) {
        self.begin(arguments.len(), value_bytes);
        arguments.iter().for_each(|argument| self.argument(argument));
    }

    /// Begins a command of so many arguments, which are added next.
    pub fn begin(&mut self, arguments: usize, value_bytes: usize) {
        self.length(b'*', arguments);
        self.replies += 1;
        self.value_bytes += value_bytes;
    }

    /// Adds an argument to the command that was begun.
    pub fn argument(&mut self, argument: &[u8]) {
        self.length(b'$', argument.len());
        self.bytes.extend_from_slice(argument);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Adds a number as an argument.
    pub fn number(&mut self, number: u64) {
        self.argument(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Reserves room for so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The bytes to send.
    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of commands.
    pub fn commands(&self) -> usize {
        self.replies
    }
}

// === impl DirectTrips ===

impl DirectTrips {
    /// Creates the sending end, and the end of the relay.
    pub fn channel() -> (DirectTrips, mpsc::UnboundedReceiver<SentTrip>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (DirectTrips(sender), receiver)
    }

    /// Sends a trip. Returns the reply to each command.
    pub async fn exchange(&self, request: TripRequest) -> Result<Vec<FredResult<Value>>, Error> {
        let expected = request.replies;
        let (answer, replies) = oneshot::channel();
        self.0.send(SentTrip { request, answer }).map_err(|_| Error::new_canceled())?;
        let replies = replies.await.map_err(|_| Error::new_canceled())?;
        let mut rest = &replies[..];
        let decoded: Vec<_> = (0..expected).map_while(|_| decode_reply(&replies, &mut rest)).collect();
        if decoded.len() == expected { Ok(decoded) } else { Err(Error::new_canceled()) }
    }
}

// === impl OwedReplies ===

impl OwedReplies {
    /// Records requests of fred. Call it before their last byte is sent.
    pub fn owe_fred(&self, requests: usize) {
        let mut owed = self.0.lock();
        match owed.back_mut() {
            _ if requests == 0 => {}
            Some(Owed::Fred(replies)) => *replies += requests,
            _ => owed.push_back(Owed::Fred(requests)),
        }
    }

    /// Records a trip, and adds its bytes to `requests`, which are sent next.
    pub fn owe_trip(&self, SentTrip { request, answer }: SentTrip, max_reply: usize, requests: &mut Vec<u8>) {
        let TripRequest { bytes, replies, value_bytes } = request;
        requests.extend_from_slice(&bytes);
        let room = max_reply.saturating_add(value_bytes);
        let trip = OwedTrip { left: replies, room, replies: BytesMut::new(), answer };
        self.0.lock().push_back(Owed::Trip(trip));
    }

    fn next_owner(&self) -> Owner {
        match self.0.lock().front() {
            Some(Owed::Trip(_)) => Owner::Trip,
            _ => Owner::Fred,
        }
    }

    fn fred_was_answered(&self) {
        let mut owed = self.0.lock();
        if let Some(Owed::Fred(replies)) = owed.front_mut() {
            *replies -= 1;
            if *replies == 0 {
                owed.pop_front();
            }
        }
    }

    /// Adds bytes of a reply to the first trip. Answers the trip after its last reply.
    fn add_to_trip(&self, bytes: &[u8], ended: bool) -> Result<(), ReplyViolation> {
        let mut owed = self.0.lock();
        let Some(Owed::Trip(trip)) = owed.front_mut() else { return Ok(()) };
        trip.room = trip.room.checked_sub(bytes.len()).ok_or(ReplyViolation::TripTooLarge)?;
        trip.replies.extend_from_slice(bytes);
        trip.left -= usize::from(ended);
        if trip.left == 0
            && let Some(Owed::Trip(trip)) = owed.pop_front()
        {
            // Its caller may have left.
            let _ = trip.answer.send(trip.replies.freeze());
        }
        Ok(())
    }
}

// === impl ReplyRouter ===

impl<'a> ReplyRouter<'a> {
    /// Creates a router at the start of a stream.
    pub fn new(scanner: ReplyScanner, owed: &'a OwedReplies) -> ReplyRouter<'a> {
        ReplyRouter { scanner, owed, current: None }
    }

    /// Follows the next bytes of the stream. Returns the length of the first run, and true if it is
    /// for fred. The replies of trips are taken.
    pub fn run(&mut self, bytes: &[u8]) -> Result<(usize, bool), ReplyViolation> {
        let mut length = 0;
        while length < bytes.len() {
            let owner = self.current.unwrap_or_else(|| match bytes[length] {
                b'>' => Owner::Push,
                _ => self.owed.next_owner(),
            });
            self.current = Some(owner);
            if owner == Owner::Trip && length > 0 {
                break;
            }
            let (followed, ended) = self.scanner.scan_reply(&bytes[length..])?;
            match owner {
                Owner::Trip => self.owed.add_to_trip(&bytes[..followed], ended)?,
                Owner::Fred if ended => self.owed.fred_was_answered(),
                Owner::Fred | Owner::Push => {}
            }
            self.current = Some(owner).filter(|_| !ended);
            length += followed;
            if owner == Owner::Trip {
                return Ok((length, false));
            }
        }
        Ok((length, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::redis::connection::reply_limits::ReplyLimits;

    const REPLY: usize = 1 << 20;

    fn sent(owed: &OwedReplies, commands: usize) -> oneshot::Receiver<Bytes> {
        let mut request = TripRequest::default();
        (0..commands).for_each(|_| request.command(&[b"GET", b"k"], 8));
        let (answer, replies) = oneshot::channel();
        owed.owe_trip(SentTrip { request, answer }, REPLY, &mut Vec::new());
        replies
    }

    #[test]
    fn each_owner_gets_its_replies_at_any_cut() {
        let stream =
            b"+OK\r\n:1\r\n$3\r\na\r\n\r\n*2\r\n$1\r\nb\r\n_\r\n>2\r\n+message\r\n+x\r\n-ERR no\r\n$0\r\n\r\n+END\r\n";
        for cut in 0..=stream.len() {
            let owed = OwedReplies::default();
            owed.owe_fred(1);
            owed.owe_fred(1);
            let mut first = sent(&owed, 3);
            let mut second = sent(&owed, 1);
            owed.owe_fred(1);
            let mut router = ReplyRouter::new(ReplyScanner::new(ReplyLimits::both(REPLY)), &owed);
            let mut to_fred = Vec::new();
            for mut bytes in [&stream[..cut], &stream[cut..]] {
                while !bytes.is_empty() {
                    let (run, is_freds) = router.run(bytes).expect("legal");
                    if is_freds {
                        to_fred.extend_from_slice(&bytes[..run]);
                    }
                    bytes = &bytes[run..];
                }
            }
            assert_eq!(to_fred, b"+OK\r\n:1\r\n>2\r\n+message\r\n+x\r\n+END\r\n", "cut at {cut}");
            assert_eq!(first.try_recv().expect("ended"), "$3\r\na\r\n\r\n*2\r\n$1\r\nb\r\n_\r\n-ERR no\r\n", "{cut}");
            assert_eq!(second.try_recv().expect("ended"), "$0\r\n\r\n", "{cut}");
            assert!(owed.0.lock().is_empty());
        }
    }

    #[test]
    fn a_trip_whose_caller_left_takes_its_replies_all_the_same() {
        let owed = OwedReplies::default();
        drop(sent(&owed, 1));
        owed.owe_fred(1);
        let mut router = ReplyRouter::new(ReplyScanner::new(ReplyLimits::both(REPLY)), &owed);
        assert_eq!(router.run(b"+a\r\n+b\r\n"), Ok((4, false)));
        assert_eq!(router.run(b"+b\r\n"), Ok((4, true)));
    }

    #[test]
    fn the_replies_of_a_trip_have_a_limit() {
        let owed = OwedReplies::default();
        let _waits = sent(&owed, 3);
        let mut router = ReplyRouter::new(ReplyScanner::new(ReplyLimits::both(REPLY)), &owed);
        let reply = format!("${}\r\n{}\r\n", REPLY / 2, "x".repeat(REPLY / 2));
        assert!(router.run(reply.as_bytes()).is_ok() && router.run(reply.as_bytes()).is_ok());
        assert_eq!(router.run(reply.as_bytes()), Err(ReplyViolation::TripTooLarge));
    }

    #[test]
    fn a_command_is_a_list_of_blobs() {
        let mut request = TripRequest::default();
        request.command(&[b"GETRANGE", b"a\r\n", b"0", b"65536"], 65536);
        assert_eq!(request.bytes, b"*4\r\n$8\r\nGETRANGE\r\n$3\r\na\r\n\r\n$1\r\n0\r\n$5\r\n65536\r\n");
        assert_eq!(request.commands(), 1);
    }
}
