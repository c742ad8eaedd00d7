//! Working memory of runs, and its reuse.

use super::CpuError;
use super::conv::scratch_values;
use super::planar::elements;
use super::scratch::Scratch;
use crate::kernel::Spec;
use crate::memory::{self, OutOfMemory};
use crate::plan::{Place, Plan};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum parallel runs. A run takes the threads that are free; one that begins when there is only one has it to itself, and needs to wait
/// for nobody. More would take more memory without saving time.
pub const RUNS_AT_ONCE: usize = 2;

/// Further bytes per thread: lists of tasks and tiles, and temporary memory of packing.
const WORKING_BYTES: usize = 1 << 20;

/// The values of one run.
pub(super) struct State {
    pub(super) input: Vec<f32>,
    pub(super) output: Vec<f32>,
    pub(super) slots: Vec<Vec<f32>>,
    pub(super) scratch: Vec<Scratch>,
}

/// Elements of each slot.
fn slots(plan: &Plan) -> impl Iterator<Item = usize> {
    plan.slots.iter().map(|bytes| bytes.div_ceil(plan.precision().bytes()))
}

impl State {
    pub(super) fn new(plan: &Plan, threads: usize) -> State {
        State {
            input: vec![0.0; elements(plan.input().shape)],
            output: vec![0.0; elements(plan.output().shape)],
            slots: slots(plan).map(|elements| vec![0.0; elements]).collect(),
            scratch: (0..threads).map(|_| Scratch::default()).collect(),
        }
    }

    /// Bytes of one state, with the working memory of `threads` threads.
    pub(super) fn needed(plan: &Plan, threads: usize) -> usize {
        let own = [elements(plan.input().shape), elements(plan.output().shape)];
        let values = slots(plan).chain(own).fold(0, usize::saturating_add);
        let convs =
            plan.dispatches.iter().filter_map(|d| if let Spec::Conv(c) = &d.spec { Some(c) } else { None });
        // Each kind of working memory is as large as the dispatch that needs the most of it.
        let most = |most: [usize; 4], own: [usize; 4]| [0, 1, 2, 3].map(|i| most[i].max(own[i]));
        let scratch = convs.map(scratch_values).fold([0; 4], most);
        let scratch = scratch.into_iter().fold(0, usize::saturating_add).saturating_mul(4);
        let working = WORKING_BYTES.saturating_add(scratch).saturating_mul(threads);
        values.saturating_mul(4).saturating_add(working)
    }

    /// Bytes of the slots.
    pub(super) fn slot_bytes(&self) -> usize {
        4 * self.slots.iter().map(Vec::len).sum::<usize>()
    }

    /// Bytes of input and output.
    pub(super) fn end_bytes(&self) -> usize {
        4 * (self.input.len() + self.output.len())
    }

    /// Bytes of working memory allocated so far.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.scratch.iter().map(Scratch::bytes).sum()
    }

    pub(super) fn place(&mut self, place: Place) -> &mut Vec<f32> {
        match place {
            Place::Input => &mut self.input,
            Place::Output => &mut self.output,
            Place::Slot(s) => &mut self.slots[s],
        }
    }

    pub(super) fn values(&self, place: Place) -> &[f32] {
        match place {
            Place::Input => &self.input,
            Place::Output => &self.output,
            Place::Slot(s) => &self.slots[s],
        }
    }
}

/// The states of one executor. No lock is held while one of them is used.
pub(super) struct States {
    held: Mutex<Held>,
    given_back: Condvar,
}

struct Held {
    free: Vec<State>,
    /// States in use.
    out: usize,
    /// Bytes of slots, input and output, and working memory of the states in use, measured when they were taken.
    out_bytes: [usize; 3],
    /// Callers that may sleep and have no state yet, in the order in which they came.
    queue: VecDeque<u64>,
    /// Callers that have been in the queue so far.
    came: u64,
}

/// A state in use, returned by [`Taken::give_back`]. Dropping it discards the state, since a run that panics leaves values moved out.
pub(super) struct Taken<'a> {
    states: &'a States,
    state: Option<State>,
    bytes: [usize; 3],
}

fn bytes(state: &State) -> [usize; 3] {
    [state.slot_bytes(), state.end_bytes(), state.scratch_bytes()]
}

impl States {
    pub(super) fn new(first: State) -> States {
        let held = Held { free: vec![first], out: 0, out_bytes: [0; 3], queue: VecDeque::new(), came: 0 };
        States { held: Mutex::new(held), given_back: Condvar::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free state. At the maximum number of runs the caller sleeps until one is returned and it is its turn; a thread of the pool
    /// must not sleep, as the run it would wait for may be on its own stack, so it gets an additional state.
    pub(super) fn take(&self, plan: &Plan, threads: usize, may_sleep: bool) -> Result<Taken<'_>, CpuError> {
        let mut held = self.held();
        held.came += 1;
        let own = held.came;
        if may_sleep {
            held.queue.push_back(own);
        }
        loop {
            let turn = !may_sleep || held.queue.front() == Some(&own);
            if turn && let Some(found) = self.try_take(&mut held, plan, threads, may_sleep).transpose() {
                if may_sleep {
                    held.queue.pop_front();
                    // There may be another state for the next one.
                    self.given_back.notify_all();
                }
                return found;
            }
            held = self.given_back.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A free state or a new one; `None` if there is to be no other one now.
    fn try_take(
        &self,
        held: &mut Held,
        plan: &Plan,
        threads: usize,
        may_sleep: bool,
    ) -> Result<Option<Taken<'_>>, CpuError> {
        if let Some(state) = held.free.pop() {
            return Ok(Some(self.taken(held, state)));
        }
        if held.out >= RUNS_AT_ONCE && may_sleep {
            return Ok(None);
        }
        match memory::ask("a run beside another one", State::needed(plan, threads)) {
            Ok(()) => Ok(Some(self.taken(held, State::new(plan, threads)))),
            // Without another run there is none to wait for.
            Err(e) if !may_sleep || held.out == 0 => Err(OutOfMemory::into(e)),
            Err(_) => Ok(None),
        }
    }

    fn taken(&self, held: &mut Held, state: State) -> Taken<'_> {
        let bytes = bytes(&state);
        held.out += 1;
        held.out_bytes.iter_mut().zip(bytes).for_each(|(all, n)| *all += n);
        Taken { states: self, state: Some(state), bytes }
    }

    /// Bytes of slots, of input and output, and of working memory, for all states.
    pub(super) fn bytes(&self) -> [usize; 3] {
        let held = self.held();
        held.free.iter().fold(held.out_bytes, |all, state| {
            let own = bytes(state);
            [0, 1, 2].map(|i| all[i] + own[i])
        })
    }
}

impl Taken<'_> {
    pub(super) fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("it is there until it is given back")
    }

    /// Returns the state for the next run.
    pub(super) fn give_back(mut self) {
        let state = self.state.take();
        let mut held = self.states.held();
        if held.free.len() < RUNS_AT_ONCE {
            held.free.extend(state);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut held = self.states.held();
        held.out -= 1;
        held.out_bytes.iter_mut().zip(self.bytes).for_each(|(all, n)| *all -= n);
        drop(held);
        self.states.given_back.notify_all();
    }
}
