//! Models of the engine: its queue of requests, its end, and the one end that each lane has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::thread;

use super::mailbox::Mailbox;
use super::serve::retire;
use super::*;
use crate::host::FloatBlock;
use crate::native::{Lane as _, LastCall};
use crate::protocol::message::{Event, Limit, Reply, StopReason};
use crate::sync::checked::{explore, perhaps};

/// How many tokens a run of these models has.
pub(crate) const TOKENS: usize = 3;
const LONG: Duration = Duration::from_secs(3600);

/// An engine without a library: [`serve`] plays its thread.
pub(crate) fn engine(out: &Arc<dyn Outbox>) -> Arc<Engine> {
    Arc::new(Engine {
        only_one: None,
        messages: Mailbox::new(),
        beside: None,
        watch: Arc::new(Watch::default()),
        aborter: Arc::new(Aborter::new()),
        desk: Arc::new(Desk::new(Arc::clone(out))),
        closed: AtomicBool::new(false),
        gone: Gone::default(),
        lanes: Mutex::default(),
    })
}

/// A plain run of one prompt.
pub(crate) fn spec() -> (RunSpec, Terms) {
    let terms = Terms {
        limit: Limit {
            tokens: 100,
            by_library: true,
        },
        stop: Vec::new(),
        constraint: None,
        choosing: None,
        stepping: false,
        by_token: false,
    };
    (RunSpec::of_tokens(&[1]), terms)
}

/// What the engine's thread does, with a library that gives [`TOKENS`] tokens. Returns the runs that it served.
pub(crate) fn serve(engine: &Engine, out: &dyn Outbox) -> Vec<u64> {
    let mut served = Vec::new();
    while !engine.is_closed() {
        match engine.messages.take(None).expect("waited for") {
            Message::Run(_, lanes) => {
                if lanes.iter().all(|lane| lane.has_ended()) {
                    continue;
                }
                served.push(lanes[0].run());
                engine.watch.set_current(Some(Arc::clone(&lanes)));
                lanes[0].start();
                for id in 0..TOKENS {
                    if !lanes[0].abort_wanted() {
                        let _ = lanes[0].token(&[b'a' + id as u8], id as i32);
                    }
                }
                lanes[0].last_call(LastCall::Finish(None));
                engine.watch.set_current(None);
                lanes[0].end(Ok(()));
            }
            Message::Ask { number, .. } => {
                let outcome = Ok(Reply::Done);
                out.put(Event::Replied { number, outcome }, Side::Vendor);
            }
            Message::Resume { .. } | Message::Look => {}
            Message::Close => break,
        }
    }
    retire(engine, None, out);
    served
}

/// Notes what one lane is told.
#[derive(Default)]
struct Told {
    tokens: Mutex<Vec<i32>>,
    ends: Mutex<usize>,
    ended: Condvar,
}

impl Outbox for Told {
    fn put(&self, event: Event<'_>, _side: Side) {
        match event {
            Event::Piece { token_id, .. } => {
                assert_eq!(*self.ends.lock(), 0, "a token behind the end");
                self.tokens.lock().push(token_id);
            }
            Event::Ended(_) => {
                *self.ends.lock() += 1;
                self.ended.notify_all();
            }
            _ => {}
        }
    }
    fn lend(&self, _number: u64, _block: FloatBlock) {
        unreachable!("nobody lends rows here")
    }
}

impl Told {
    /// Waits for the end.
    fn wait(&self) {
        let mut ends = self.ends.lock();
        while *ends == 0 {
            self.ended.wait(&mut ends);
        }
    }
}

fn submit(engine: &Engine, run: u64, told: &Arc<Told>) -> Result<(), Failure> {
    let (spec, terms) = spec();
    let command = Command::Run {
        run,
        spec: Box::new(spec),
        terms,
    };
    engine.take(command, vec![Arc::clone(told) as _], Side::Host)
}

#[test]
fn a_message_is_taken_in_its_order_or_given_back_or_refused() {
    explore(|| {
        let mailbox = Arc::new(Mailbox::new());
        let putting: Vec<_> = (0..2)
            .map(|who| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || (0..3).filter(|n| mailbox.put((who, *n))).count())
            })
            .collect();
        let emptied = Arc::clone(&mailbox);
        let taking = thread::spawn(move || {
            let mut taken = Vec::new();
            loop {
                match emptied.take(None).expect("waited for") {
                    (2, _) => break,
                    message => taken.push(message),
                }
            }
            taken.extend(emptied.close());
            taken
        });
        if perhaps() {
            thread::yield_now();
        }
        mailbox.put((2, 0));
        let put: Vec<usize> = putting.into_iter().map(|one| one.join().unwrap()).collect();
        let taken = taking.join().unwrap();
        for who in 0..2 {
            let of: Vec<i32> = taken.iter().filter(|m| m.0 == who).map(|m| m.1).collect();
            let all: Vec<i32> = (0..put[who as usize] as i32).collect();
            assert_eq!(of, all, "of {who}");
        }
    });
}

#[test]
fn a_lane_has_one_end_whoever_is_first_and_nobody_waits_for_ever() {
    explore(|| {
        let out: Arc<dyn Outbox> = Arc::new(Told::default());
        let engine = engine(&out);
        let serving = Arc::clone(&engine);
        let thread = thread::spawn(move || serve(&serving, out.as_ref()));
        let watching = Arc::clone(&engine);
        let watch = thread::spawn(move || watching.watch.watch(&watching.aborter));
        let cancelling = Arc::clone(&engine);
        let canceller = thread::spawn(move || {
            let command = Command::Stop {
                run: 1,
                lane: 0,
                reason: StopReason::Cancelled,
            };
            cancelling.take(command, Vec::new(), Side::Host).unwrap();
        });
        let readers: Vec<_> = [[1, 2], [3, 4]]
            .into_iter()
            .map(|runs| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let all = runs.map(|run| {
                        let told = Arc::new(Told::default());
                        submit(&engine, run, &told).is_ok().then_some(told)
                    });
                    all.into_iter().flatten().for_each(|told| {
                        told.wait();
                        thread::yield_now();
                        assert_eq!(*told.ends.lock(), 1);
                        let tokens = told.tokens.lock();
                        assert!(tokens.iter().copied().eq(0..tokens.len() as i32));
                    });
                })
            })
            .collect();
        if perhaps() {
            for reader in readers {
                reader.join().unwrap();
            }
            engine.close(Side::Host);
        } else {
            engine.close(Side::Host);
            for reader in readers {
                reader.join().unwrap();
            }
        }
        assert!(engine.wait_until_gone(LONG));
        assert!(submit(&engine, 5, &Arc::default()).is_err());
        let served = thread.join().unwrap();
        for [first, second] in [[1, 2], [3, 4]] {
            let at = |run| served.iter().position(|one| *one == run);
            if let (Some(first), Some(second)) = (at(first), at(second)) {
                assert!(first < second, "{served:?}");
            }
        }
        canceller.join().unwrap();
        watch.join().unwrap();
    });
}

#[test]
fn who_came_first_is_served_first() {
    explore(|| {
        let out: Arc<dyn Outbox> = Arc::new(Told::default());
        let engine = engine(&out);
        let came = Arc::new(AtomicUsize::new(0));
        let coming: Vec<_> = (1..=3)
            .map(|run| {
                let (engine, came) = (Arc::clone(&engine), Arc::clone(&came));
                thread::spawn(move || {
                    let told = Arc::new(Told::default());
                    let before = came.fetch_add(1, Ordering::SeqCst);
                    submit(&engine, run, &told).unwrap();
                    let after = came.fetch_add(1, Ordering::SeqCst);
                    told.wait();
                    assert_eq!(*told.tokens.lock(), [0, 1, 2]);
                    (run, before, after)
                })
            })
            .collect();
        let serving = Arc::clone(&engine);
        let thread = thread::spawn(move || serve(&serving, out.as_ref()));
        let came: Vec<_> = coming.into_iter().map(|one| one.join().unwrap()).collect();
        engine.close(Side::Host);
        let served = thread.join().unwrap();
        let at = |run| served.iter().position(|one| *one == run).expect("served");
        for (run, _, after) in &came {
            for (other, before, _) in &came {
                if after < before {
                    assert!(at(*run) < at(*other), "{came:?} as {served:?}");
                }
            }
        }
    });
}
