//! A model of what is sent to a worker.

use std::sync::Arc;

use rustix::net::{RecvFlags, recv};
use shuttle::thread;

use super::queue::Queue;
use crate::host::socket::Socket;
use crate::sync::checked::{explore, perhaps};

/// How many threads send, and how many frames each.
const SENDERS: u8 = 2;
const FRAMES: u8 = 3;

/// Reads frames of two bytes until there are `count`, or until `done`.
fn read(socket: &Socket, count: usize, done: impl Fn() -> bool) -> Vec<[u8; 2]> {
    let mut frames = Vec::new();
    let mut frame = [0; 2];
    while frames.len() < count {
        let last = done();
        match recv(socket, &mut frame, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => break,
            Ok((_, length)) => {
                assert_eq!(length, frame.len());
                frames.push(frame);
            }
            Err(_) if last => break,
            Err(_) => thread::yield_now(),
        }
    }
    frames
}

#[test]
fn frames_are_sent_whole_and_in_their_order_until_the_child_ends() {
    explore(|| {
        let (ours, theirs) = Socket::pair().unwrap();
        let queue = Arc::new(Queue::default());
        let serving = Arc::clone(&queue);
        let server = thread::spawn(move || serving.serve(&ours));
        let senders: Vec<_> = (0..SENDERS)
            .map(|who| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || (0..FRAMES).for_each(|n| queue.send([who, n].into())))
            })
            .collect();
        // The child may end at any time: its end of the socket is closed, and whoever sees it says so.
        let (dies, is_seen) = (perhaps(), perhaps());
        let frames = if dies {
            if is_seen {
                queue.end();
            }
            let frames = read(&theirs, usize::from(SENDERS), || is_seen);
            drop(theirs);
            queue.send([SENDERS, 0].into());
            frames
        } else {
            let all = usize::from(SENDERS * FRAMES);
            let frames = read(&theirs, all, || false);
            assert_eq!(frames.len(), all);
            queue.end();
            frames
        };
        // The sending thread ends, too, and nobody waits for it.
        server.join().unwrap();
        for one in senders {
            one.join().unwrap();
        }
        for who in 0..SENDERS {
            let of = frames.iter().filter(|frame| frame[0] == who);
            let numbers: Vec<u8> = of.map(|frame| frame[1]).collect();
            assert!(
                numbers.iter().copied().eq(0..numbers.len() as u8),
                "{frames:?}"
            );
        }
    });
}
