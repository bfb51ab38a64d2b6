//! The end of the process: before the library's own destructors run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::fork;

/// Lets go of everything; false if the library is still in a run.
type LetGo = fn() -> bool;

static LET_GO: OnceLock<LetGo> = OnceLock::new();
static DONE: AtomicBool = AtomicBool::new(false);
static FORKS: AtomicU64 = AtomicU64::new(0);

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// glibc's `atexit` that is told the exit status.
    fn on_exit(
        f: extern "C" fn(libc::c_int, *mut libc::c_void),
        argument: *mut libc::c_void,
    ) -> libc::c_int;
}

#[cfg(target_env = "gnu")]
extern "C" fn at_exit(status: libc::c_int, _argument: *mut libc::c_void) {
    let Some(let_go) = LET_GO.get() else { return };
    // A forked child has none of the threads that could let go.
    if DONE.load(Ordering::Acquire) || FORKS.load(Ordering::Relaxed) != fork::depth() {
        return;
    }
    if let_go() {
        DONE.store(true, Ordering::Release);
        return;
    }
    // Not fflush(NULL), which waits for every thread that reads from a stream.
    super::stdio::flush_at_end();
    // SAFETY: ends the process at once, since destructors of a library with a live run in it can crash
    // or hang.
    unsafe { libc::_exit(status) }
}

/// Makes the end of the process call `let_go` before the library's own destructors run, and skip
/// those if it returns false.
///
/// To be called after each `rkllm_init`: exit handlers run last in, first out, and the library adds
/// its own. Elsewhere than on glibc this does nothing.
pub(crate) fn guard(let_go: LetGo) {
    FORKS.store(fork::depth(), Ordering::Relaxed);
    let _ = LET_GO.set(let_go);
    DONE.store(false, Ordering::Release);
    #[cfg(target_env = "gnu")]
    // SAFETY: the handler lives in a module that is never unloaded.
    unsafe {
        on_exit(at_exit, std::ptr::null_mut());
    }
}
