//! How much a template may do with what it is given.

use minijinja::value::{ObjectRepr, Value};

use super::guard::{BYTES, DEEPEST};

/// Fuel for each value of what a template is given: of a message each of its parts is looked at about so often.
const STEPS_EACH: u64 = 100;
/// How often each text may be gone through.
const TIMES_COPIED: u64 = 30;
/// For conversations that are as long as what a template may write.
const MOST_FUEL: u64 = 8_000_000;

/// The `usual` fuel, and that for going over all that a template is given: it grows with the values and bytes of the context, and so
/// do the time and the memory that a template can waste on them.
pub(super) fn fuel_for(context: &Value, usual: u64) -> u64 {
    fn add(fuel: &mut u64, value: &Value, depth: usize) {
        let bytes = value.as_str().map_or(0, str::len) as u64;
        // So many times each value is looked at, and each text is copied.
        *fuel = fuel.saturating_add(STEPS_EACH + bytes * TIMES_COPIED / BYTES as u64);
        let Some(object) = value.as_object().filter(|_| depth < DEEPEST) else {
            return;
        };
        if object.repr() == ObjectRepr::Map {
            let pairs = object.try_iter_pairs().into_iter().flatten();
            pairs.for_each(|(_, one)| add(fuel, &one, depth + 1));
        } else {
            let items = object.try_iter().into_iter().flatten();
            items.for_each(|one| add(fuel, &one, depth + 1));
        }
    }
    let mut fuel = usual;
    add(&mut fuel, context, 0);
    fuel.min(MOST_FUEL)
}
