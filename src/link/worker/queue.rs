//! What waits to be sent to a worker. Nobody waits for a worker that does not read.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::{Condvar, Mutex};

use super::frame::{self, Down, Problem};
use crate::host::socket::Socket;

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Arc<[u8]>>,
    ended: bool,
}

/// Frames on their way to one child.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    given: Condvar,
}

/// A message as a frame.
///
/// # Errors
/// When it is longer than a frame may be.
pub(super) fn encode(message: &Down) -> Result<Arc<[u8]>, Problem> {
    let mut bytes = Vec::new();
    frame::write(message, &mut bytes)?;
    Ok(bytes.into())
}

impl Queue {
    /// Sends a short message.
    pub(super) fn say(&self, message: &Down) {
        if let Ok(frame) = encode(message) {
            self.send(frame);
        }
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: Arc<[u8]>) {
        let mut waiting = self.waiting.lock();
        if !waiting.ended {
            waiting.frames.push_back(frame);
            self.given.notify_one();
        }
    }

    /// The child has ended.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        waiting.frames.clear();
        self.given.notify_one();
    }

    /// The sending thread.
    pub(super) fn serve(&self, socket: &Socket) {
        loop {
            let frame = {
                let mut waiting = self.waiting.lock();
                loop {
                    if waiting.ended {
                        return;
                    }
                    match waiting.frames.pop_front() {
                        Some(frame) => break frame,
                        None => self.given.wait(&mut waiting),
                    }
                }
            };
            if socket.send(&frame).is_err() {
                // Whoever reads from it finds out why.
                return self.end();
            }
        }
    }
}
