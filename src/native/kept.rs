//! What stays allocated for ever, on purpose: a library may look at it, and call back, after a model was destroyed.

/// Keeps a value. All that is kept is allocated here, or is reached from that: `scripts/leaks.txt` names this
/// function, so that any other leak is told.
#[inline(never)]
pub(super) fn for_ever<T>(value: T) -> &'static mut T {
    let kept = allocated(value);
    Box::leak(kept)
}

/// A frame of its own: a sanitizer can miss the caller of the allocator, whose code has no frame pointers.
#[inline(never)]
#[allow(
    clippy::unnecessary_box_returns,
    reason = "it is the allocation that this is for"
)]
fn allocated<T>(value: T) -> Box<T> {
    Box::new(value)
}
