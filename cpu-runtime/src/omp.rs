//! The part of an OpenMP runtime that ggml uses, in place of libgomp.
//!
//! ggml's threads meet at hundreds of barriers per token. libgomp spins at each of them for
//! milliseconds, which on busy cores takes the time that the missing thread needs: two threads then
//! make less than one token a second. Here a thread spins only as long as spinning has lately been
//! rewarded, and sleeps otherwise; README.md has figures beside libgomp and ggml's own threads. It
//! also leaves the library without a dependency that small images lack and that cannot always be
//! loaded late.
//!
//! The C names are defined with hidden visibility, so that they serve this library alone.
#![allow(
    unsafe_code,
    reason = "an OpenMP runtime is called from C and shares memory between threads"
)]

mod gate;
mod team;

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use team::{Body, Pool};

/// A thread's place in the region it is in.
#[derive(Clone, Copy)]
struct Place {
    team: *const team::Team,
    number: u32,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place { team: std::ptr::null(), number: 0 }) };
    /// The calling thread's helpers, one pool for each number of threads it has asked for.
    static POOLS: RefCell<Vec<Pool>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` as thread `number` of a team.
fn in_place(team: &team::Team, number: u32, work: impl FnOnce()) {
    let before = PLACE.replace(Place { team, number });
    work();
    PLACE.set(before);
}

/// The team of the region that the calling thread is in.
fn present<R>(work: impl FnOnce(&team::Team) -> R) -> Option<R> {
    let place = PLACE.get();
    // SAFETY: `in_place` sets the pointer for the time that it borrows the team, and resets it.
    unsafe { place.team.as_ref() }.map(work)
}

unsafe extern "C" fn parallel(body: Body, data: *mut c_void, threads: c_uint, _: c_uint) {
    let alone = PLACE.get().team.is_null();
    let threads = match threads as usize {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    // A region inside a region has one thread, as OpenMP allows; so has one that gets no helpers.
    let pool = (alone && threads > 1).then(|| POOLS.with_borrow_mut(|pools| take(pools, threads)));
    let Some(pool) = pool.flatten() else {
        let single = team::Team::new(1);
        // SAFETY: the compiler passes a body and the data that it takes.
        in_place(&single, 0, || unsafe { body(data) });
        return;
    };
    // SAFETY: as above; the data outlives the region, which `run` waits for.
    unsafe { pool.run(body, data) };
    POOLS.with_borrow_mut(|pools| pools.push(pool));
}

/// Takes the pool for a number of threads out of the list, or makes it.
fn take(pools: &mut Vec<Pool>, threads: usize) -> Option<Pool> {
    match pools.iter().position(|pool| pool.size() == threads) {
        Some(at) => Some(pools.swap_remove(at)),
        None => Pool::new(threads),
    }
}

extern "C" fn barrier() {
    present(team::Team::meet);
}

/// One thread does what the others wait for; which one is free to choose.
extern "C" fn single_start() -> bool {
    PLACE.get().number == 0
}

extern "C" fn thread_number() -> c_int {
    PLACE.get().number as c_int
}

extern "C" fn team_size() -> c_int {
    present(|team| team.size() as c_int).unwrap_or(1)
}

/// Loops are used while quantising only: the first thread does them whole.
unsafe extern "C" fn loop_start(
    start: c_long,
    end: c_long,
    _: c_long,
    _: c_long,
    first: *mut c_long,
    last: *mut c_long,
) -> bool {
    if PLACE.get().number != 0 || start == end {
        return false;
    }
    // SAFETY: the compiler passes room for both bounds.
    unsafe {
        *first = start;
        *last = end;
    }
    true
}

extern "C" fn loop_next(_: *mut c_long, _: *mut c_long) -> bool {
    false
}

static ATOMIC: AtomicBool = AtomicBool::new(false);

extern "C" fn atomic_start() {
    while ATOMIC.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn atomic_end() {
    ATOMIC.store(false, Ordering::Release);
}

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp {target}@PLT"
    };
}
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
macro_rules! jump {
    () => {
        "b {target}"
    };
}

/// Defines a C symbol that stays inside the library: a plain `no_mangle` one would be exported.
macro_rules! hidden {
    ($($name:literal => $target:path;)*) => {$(
        std::arch::global_asm!(
            concat!(".section .text.", $name, ",\"ax\",%progbits"),
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".type ", $name, ",%function"),
            concat!($name, ":"),
            jump!(),
            concat!(".size ", $name, ", .-", $name),
            ".text",
            target = sym $target,
        );
    )*};
}

hidden! {
    "GOMP_parallel" => parallel;
    "GOMP_barrier" => barrier;
    "GOMP_single_start" => single_start;
    "GOMP_loop_nonmonotonic_dynamic_start" => loop_start;
    "GOMP_loop_nonmonotonic_dynamic_next" => loop_next;
    "GOMP_loop_end" => barrier;
    "GOMP_atomic_start" => atomic_start;
    "GOMP_atomic_end" => atomic_end;
    "omp_get_thread_num" => thread_number;
    "omp_get_num_threads" => team_size;
}

#[cfg(test)]
mod tests;
