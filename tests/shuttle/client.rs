//! Models of the program's side: the answer to one request, the inbox of a run, and all of a run from its
//! request to its last token.
//!
//! Long because each place where threads meet is a model of its own.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::sync::mpsc::channel;
use shuttle::thread;

use super::oneshot::oneshot;
use super::*;
use crate::engine::interleavings::{TOKENS, engine, serve, spec};
use crate::host::wake::{WakePair, is_readable};
use crate::protocol::error::ErrorKind;
use crate::protocol::output::{FinishReason, RowsKind};
use crate::sync::checked::{explore, perhaps};

const LONG: Duration = Duration::from_secs(3600);

/// Waits as an event loop does. When all the others are done and nothing has come, nothing will.
fn sleep_on(number: RawFd, others: &AtomicUsize) {
    loop {
        let done = others.load(Ordering::SeqCst) == 0;
        if is_readable(number) {
            return;
        }
        assert!(!done, "nobody wakes the loop");
        thread::yield_now();
    }
}

/// Somebody else, who has a descriptor that was given back.
struct Next(Vec<WakePair>);

impl Next {
    fn with(number: RawFd) -> Self {
        let mut pairs = Vec::new();
        while pairs.last().map(|pair: &WakePair| pair.host_fd()) != Some(number) {
            pairs.push(WakePair::acquire().unwrap());
        }
        Self(pairs)
    }

    fn check(self) {
        let has = self.0.last().expect("has one");
        assert!(!is_readable(has.host_fd()), "signalled by another");
        self.0.into_iter().for_each(WakePair::release);
    }
}

#[test]
fn an_answer_or_its_loss_reaches_one_who_waits() {
    explore(|| {
        let (sender, answer) = oneshot::<i32>();
        let sends = perhaps();
        thread::spawn(move || {
            if sends {
                assert!(sender.send(Ok(3), Side::Vendor));
            }
        });
        let expected = if sends { Ok(3) } else { Err(Failure::closed()) };
        assert_eq!(answer.wait(LONG), Some(expected));
    });
}

#[test]
fn an_answer_or_its_loss_wakes_a_loop() {
    explore(|| {
        let (sender, answer) = oneshot::<i32>();
        let (sends, others) = (perhaps(), Arc::new(AtomicUsize::new(1)));
        let other = Arc::clone(&others);
        thread::spawn(move || {
            if sends {
                sender.send(Ok(3), Side::Vendor);
            } else {
                drop(sender);
            }
            other.store(0, Ordering::SeqCst);
        });
        if let Some(number) = answer.arm().unwrap() {
            sleep_on(number, &others);
        }
        let expected = if sends { Ok(3) } else { Err(Failure::closed()) };
        assert_eq!(answer.wait(Duration::ZERO), Some(expected));
    });
}

#[test]
fn a_descriptor_that_was_given_back_is_signalled_no_more() {
    explore(|| {
        let (sender, answer) = oneshot::<i32>();
        let number = answer.arm().unwrap().expect("nothing is there");
        let sending = thread::spawn(move || sender.send(Ok(3), Side::Vendor));
        drop(answer);
        let next = Next::with(number);
        sending.join().unwrap();
        next.check();
    });
}

/// A model over an engine that is played.
fn model() -> (Arc<Client>, thread::JoinHandle<Vec<u64>>) {
    let mut server = None;
    let (client, _) = Client::over(|out| {
        let engine = engine(&out);
        let serving = Arc::clone(&engine);
        server = Some(thread::spawn(move || serve(&serving, out.as_ref())));
        Ok(engine)
    })
    .unwrap();
    (client, server.expect("started"))
}

/// The same with a run that has begun, and its inbox.
fn running() -> (Arc<Client>, thread::JoinHandle<Vec<u64>>, Arc<Inbox>) {
    let (client, server) = model();
    let inbox = client.inboxes_for(1, false, None).remove(0);
    let (spec, terms) = spec();
    client
        .begin(spec, terms, std::slice::from_ref(&inbox))
        .unwrap();
    (client, server, inbox)
}

/// Waits for something to come: as a loop does that has this descriptor, or asleep.
fn sleep(inbox: &Inbox, wake: Option<WakePair>, others: &AtomicUsize) {
    match wake {
        None => assert!(inbox.wait(LONG)),
        Some(wake) => {
            if !inbox.arm(wake) {
                sleep_on(wake.host_fd(), others);
            }
        }
    }
}

fn give_back(wake: Option<WakePair>, inbox: &Inbox) {
    if let Some(wake) = wake {
        inbox.disarm();
        wake.release();
    }
}

/// Reads a run to its end.
fn read(inbox: &Inbox, wake: Option<WakePair>, others: &AtomicUsize) -> (String, Vec<i32>, Ending) {
    let mut batch = TextBatch::default();
    let (mut text, mut ids) = (String::new(), Vec::new());
    loop {
        match inbox.take(&mut batch) {
            Taken::Some => {
                text.push_str(&batch.text);
                ids.extend(batch.pieces.iter().map(|piece| piece.id));
            }
            Taken::Nothing => sleep(inbox, wake, others),
            Taken::Ended(ending) => {
                give_back(wake, inbox);
                return (text, ids, ending);
            }
        }
    }
}

/// A run that is read while somebody may cancel it, and somebody may close the model.
fn read_while(cancels: bool, closes: bool, loops: bool) {
    let (client, server) = model();
    let others = Arc::new(AtomicUsize::new(
        1 + usize::from(cancels) + usize::from(closes),
    ));
    let inbox = client.inboxes_for(1, false, None).remove(0);
    if cancels {
        let (inbox, others) = (Arc::clone(&inbox), Arc::clone(&others));
        thread::spawn(move || {
            inbox.cancel();
            others.fetch_sub(1, Ordering::SeqCst);
        });
    }
    if closes {
        let (client, others) = (Arc::clone(&client), Arc::clone(&others));
        thread::spawn(move || {
            client.close();
            others.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let (spec, terms) = spec();
    let begun = client.begin(spec, terms, std::slice::from_ref(&inbox));
    if let Err(failure) = begun {
        assert!(closes && failure.kind == ErrorKind::Closed, "{failure:?}");
        return;
    }
    let closing = (!closes).then(|| (Arc::clone(&client), Arc::clone(&inbox)));
    let other = Arc::clone(&others);
    thread::spawn(move || {
        if let Some((client, inbox)) = closing {
            // The engine's thread has nothing more to do once it has served the run.
            while !inbox.has_ended() {
                thread::yield_now();
            }
            client.close();
        }
        server.join().unwrap();
        other.fetch_sub(1, Ordering::SeqCst);
    });
    let wake = loops.then(|| WakePair::acquire().unwrap());
    let (text, ids, ending) = read(&inbox, wake, &others);
    assert!(ids.iter().copied().eq(0..ids.len() as i32), "{ids:?}");
    assert_eq!(text, "abc"[..ids.len()]);
    match ending.outcome {
        Ok(FinishReason::Stop) => assert_eq!(ids.len(), TOKENS),
        Ok(FinishReason::Cancelled) => assert!(cancels),
        Err(failure) => assert!(closes && failure.kind == ErrorKind::Closed, "{failure:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_token_comes_once_and_in_order() {
    explore(|| read_while(false, false, perhaps()));
}

#[test]
fn cancelling_and_finishing_give_one_end() {
    explore(|| read_while(true, false, perhaps()));
}

#[test]
fn closing_the_model_leaves_no_reader_waiting() {
    explore(|| read_while(perhaps(), true, perhaps()));
}

#[test]
fn a_reader_that_is_dropped_ends_its_run_and_its_descriptor_is_signalled_no_more() {
    explore(|| {
        let (client, server, inbox) = running();
        let handle = Handle::new(Arc::clone(&inbox), fork::depth(), client.desk());
        let armed = handle.arm().unwrap();
        handle.drop_reader();
        let next = armed.map(Next::with);
        client.close();
        server.join().unwrap();
        assert!(inbox.has_ended());
        if let Some(next) = next {
            next.check();
        }
    });
}

#[test]
fn the_end_of_its_last_run_closes_a_model_that_nobody_needs() {
    explore(|| {
        let (client, server, inbox) = running();
        inbox.keep(Arc::new(Keeper::new(&client)));
        assert!(client.wait_until_gone(LONG));
        assert_eq!(server.join().unwrap(), [1]);
    });
}

#[test]
fn rows_come_once_and_in_order_however_the_reader_waits() {
    const BLOCKS: usize = 2;
    explore(|| {
        let (client, server) = model();
        let inbox = client.inboxes_for(1, false, None).remove(0);
        let others = Arc::new(AtomicUsize::new(1));
        let (giving, other) = (Arc::clone(&inbox), Arc::clone(&others));
        let (read, is_read) = channel();
        let waits = perhaps();
        thread::spawn(move || {
            for (block, number) in (0..).zip(0..BLOCKS) {
                let values = FloatBlock::new(RowsKind::Logits, vec![number as f32], 1);
                // Its reader may find that they are there before that is said.
                let early = perhaps();
                if early {
                    giving.lend(block, values.clone());
                }
                giving.put(Event::RowsCome(early.then_some(block)), Side::Vendor);
                thread::yield_now();
                if !early {
                    giving.lend(block, values);
                }
                giving.put(Event::Rows { block, width: 1 }, Side::Vendor);
                // Nothing else may have to come before these are read.
                if waits {
                    is_read.recv().unwrap();
                }
            }
            let ended = Ended::at_once(Ok(FinishReason::Stop));
            giving.put(Event::Ended(Box::new(ended)), Side::Vendor);
            other.store(0, Ordering::SeqCst);
        });
        let wake = perhaps().then(|| WakePair::acquire().unwrap());
        let mut rows = Vec::new();
        loop {
            match inbox.take_rows() {
                Some(Ok(block)) => {
                    rows.push(block.with(|values| values[0]));
                    let _ = read.send(());
                }
                Some(Err(ending)) => break assert!(ending.outcome.is_ok()),
                None => sleep(&inbox, wake, &others),
            }
        }
        assert_eq!(rows, [0.0, 1.0]);
        give_back(wake, &inbox);
        client.close();
        server.join().unwrap();
    });
}

#[test]
fn a_descriptor_that_was_taken_from_an_inbox_is_signalled_no_more() {
    explore(|| {
        let (client, server) = model();
        let inbox = client.inboxes_for(1, false, None).remove(0);
        let giving = Arc::clone(&inbox);
        let giver = thread::spawn(move || {
            let text = "a".into();
            giving.put(Event::Piece { text, token_id: 1 }, Side::Vendor);
        });
        let wake = WakePair::acquire().unwrap();
        inbox.arm(wake);
        inbox.disarm();
        wake.release();
        let next = Next::with(wake.host_fd());
        giver.join().unwrap();
        next.check();
        client.close();
        server.join().unwrap();
    });
}

/// A way to an engine that takes what it is sent, and answers nothing, until it has died.
#[derive(Default)]
struct Dying(AtomicBool);

impl Link for Dying {
    fn send(&self, _: Command, _: Vec<Arc<dyn Outbox>>, _: Side) -> Result<(), Failure> {
        if self.is_closed() {
            return Err(Failure::closed());
        }
        thread::yield_now();
        Ok(())
    }
    fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
    fn wait_until_gone(&self, _: Duration) -> bool {
        true
    }
}

#[test]
fn an_engine_that_dies_leaves_nobody_waiting() {
    explore(|| {
        let link = Arc::new(Dying::default());
        let others = Arc::new(AtomicUsize::new(1));
        let (client, _) = Client::over(|_| Ok(Arc::clone(&link) as _)).unwrap();
        let asking = Arc::clone(&client);
        let asker = thread::spawn(move || {
            let asked = asking.ask(Request::KvCacheSize, |_| ());
            asked.map(|(_, answer)| answer.wait(LONG))
        });
        let (dying, other) = (Arc::clone(&client), Arc::clone(&others));
        thread::spawn(move || {
            link.0.store(true, Ordering::SeqCst);
            dying.put(Event::Gone, Side::Vendor);
            other.store(0, Ordering::SeqCst);
        });
        let inbox = client.inboxes_for(1, false, None).remove(0);
        let (spec, terms) = spec();
        if client
            .begin(spec, terms, std::slice::from_ref(&inbox))
            .is_ok()
        {
            let wake = perhaps().then(|| WakePair::acquire().unwrap());
            let (_, _, ending) = read(&inbox, wake, &others);
            assert_eq!(ending.outcome.unwrap_err().kind, ErrorKind::Closed);
        }
        if let Ok(answer) = asker.join().unwrap() {
            assert_eq!(answer, Some(Err(Failure::closed())));
        }
    });
}

#[test]
fn a_request_is_answered_once_while_the_model_closes() {
    explore(|| {
        let (client, server) = model();
        let told = Arc::new(AtomicUsize::new(0));
        let asking = Arc::clone(&client);
        let telling = Arc::clone(&told);
        let asker = thread::spawn(move || {
            let then = move |_: &Result<Reply, Failure>| {
                telling.fetch_add(1, Ordering::SeqCst);
            };
            let asked = asking.ask(Request::KvCacheSize, then);
            asked.ok().map(|(_, answer)| answer.wait(LONG))
        });
        if perhaps() {
            thread::yield_now();
        }
        client.close();
        match asker.join().unwrap() {
            None => {}
            Some(Some(Ok(Reply::Done) | Err(_))) => assert_eq!(told.load(Ordering::SeqCst), 1),
            Some(other) => panic!("{other:?}"),
        }
        assert!(client.wait_until_gone(LONG));
        server.join().unwrap();
    });
}
