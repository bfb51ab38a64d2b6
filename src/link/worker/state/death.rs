//! What becomes of those who wait when a child dies, and of the next one.

use std::time::Duration;

use super::super::crash::{self, Death, Moment};
use super::{LIMIT, News, PAUSE, Phase, Supervisor, WorkerState};
use crate::host::wake::Side;
use crate::protocol::error::Failure;
use crate::protocol::message::{Event, Reply, Work};

impl Supervisor {
    /// The child of that number is dead: sees to those who wait, and to the next one.
    pub(crate) fn died(&self, life: u64, death: &Death) {
        let mut state = self.state.lock();
        if state.life != life || state.phase == Phase::Gone {
            return;
        }
        let child = state.child.take();
        let doom = child.as_ref().and_then(|child| child.doom.clone());
        let killed = child.as_ref().is_some_and(|child| child.killed);
        let served = child.as_ref().is_some_and(|child| child.served);
        let opening = state.opening.take();
        let moment = match state.phase {
            Phase::Open if state.current.is_some() || state.is_paused() => Moment::Run,
            Phase::Open => Moment::Idle,
            Phase::Loading => Moment::Loading,
            _ => Moment::Opening,
        };
        let again = self.policy.restart && state.opened;
        let crash = death.failure(&self.program, moment, again);
        let failure = death.failure.clone().or(doom).unwrap_or(crash);
        let mut news = News {
            out: state.out.clone(),
            ..News::default()
        };
        if let Some(number) = state.asked.take() {
            news.events.push(Event::Unasked { number });
        }
        state.current = None;
        if !state.opened {
            if state.config.is_some() {
                news.events
                    .push(Event::OpenFailed(Box::new(failure.clone())));
            }
            state.loaded.get_or_insert(Err(failure.clone()));
            state.broken = Some(failure);
            state.closed = true;
        } else if !state.closed {
            if moment == Moment::Idle || killed || served {
                // It costs no more than the start of the next one.
                if served {
                    state.barren = 0;
                }
            } else {
                state.barren += 1;
            }
            let worn_out = state.barren >= LIMIT;
            // One that was ended since nobody waited says nothing to those who have come since.
            let lost = !self.policy.restart || worn_out || (moment.is_start() && !killed);
            state.take_failed(&failure, lost, &mut news);
            if worn_out {
                state.broken = Some(crash::worn_out(&failure, LIMIT));
            } else if !self.policy.restart {
                state.broken = Some(failure);
            }
        }
        if state.closed {
            let gone = state.be_gone();
            news.gone = gone.gone;
            news.out = gone.out.or(news.out);
            self.changed.notify_all();
            drop(state);
        } else {
            state.phase = Phase::Down;
            self.changed.notify_all();
            if state.jobs.is_empty() {
                drop(state);
            } else {
                let pause = pause_before(state.barren);
                self.start_next(state, pause);
            }
        }
        if let Some(opening) = opening {
            opening.leave_to_error();
        }
        news.tell(Side::Vendor);
    }
}

impl WorkerState {
    /// Ends what the dead child had begun; with `all`, what waited, too. The rest is for the next child.
    fn take_failed(&mut self, failure: &Failure, all: bool, news: &mut News) {
        for mut job in std::mem::take(&mut self.jobs) {
            if !job.begun && !all {
                job.sent = false;
                if job.lanes.iter().any(Option::is_some) || matches!(job.work, Work::Ask(_)) {
                    self.jobs.push_back(job);
                }
                continue;
            }
            let lanes = job.lanes.into_iter().flatten();
            news.ends.extend(lanes.map(|lane| (lane, failure.clone())));
            if let Work::Ask(number) = job.work {
                let outcome: Result<Reply, _> = Err(failure.clone());
                news.events.push(Event::Replied { number, outcome });
            }
        }
    }
}

/// The pause before another child is started, after so many that have served nothing.
pub(super) fn pause_before(barren: u32) -> Duration {
    match barren {
        0 | 1 => Duration::ZERO,
        more => (PAUSE.0 * 2_u32.saturating_pow(more - 2)).min(PAUSE.1),
    }
}
