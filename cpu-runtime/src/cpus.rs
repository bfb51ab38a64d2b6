//! How many threads a model gets, and what is said about it.

use crate::log;

/// CPUs of the machine, whether this process may use them or not.
pub(crate) fn machine() -> usize {
    let listed = std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|text| count_list(text.trim()));
    listed
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}

/// CPUs that this process may use: affinity and container quota are taken off.
fn allowed() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The default of `enabled_cpus_mask`, as the vendor's library fills it.
pub(crate) fn default_mask(cpus: usize) -> u32 {
    match cpus {
        8 => 0xF0,
        4 => 0x0F,
        _ => 0,
    }
}

/// A thread count, and warnings about what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) threads: usize,
    pub(crate) warnings: Vec<String>,
}

/// Decides for a machine of `machine` CPUs of which `allowed` may be used.
pub(crate) fn plan(wanted: usize, mask: u32, machine: usize, allowed: usize) -> Plan {
    let mut warnings = Vec::new();
    let present = if machine >= 32 {
        u32::MAX
    } else {
        (1 << machine) - 1
    };
    if mask & !present != 0 {
        warnings.push(format!(
            "enabled_cpus_mask {mask:#x} selects CPUs that this machine with {machine} CPUs does not have; they are ignored"
        ));
    }
    if mask != 0 && mask.count_ones() as usize != wanted {
        warnings.push(format!(
            "enabled_cpus_mask {mask:#x} has {} CPUs, but enabled_cpus_num is {wanted}; \
             the NPU runtime refuses that",
            mask.count_ones()
        ));
    }
    let threads = wanted.min(machine).min(allowed).max(1);
    if allowed < wanted.min(machine) {
        warnings.push(format!(
            "{wanted} CPUs are enabled, but affinity or a container limit leaves {allowed}; using {threads}"
        ));
    }
    Plan { threads, warnings }
}

/// [`plan`] for this machine, with its warnings logged.
pub(crate) fn threads(wanted: usize, mask: u32) -> usize {
    let plan = plan(wanted, mask, machine(), allowed());
    for text in &plan.warnings {
        log::warning!("{text}");
    }
    plan.threads
}

/// Counts a kernel list such as `0-3,6`.
fn count_list(text: &str) -> Option<usize> {
    let mut count = 0;
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        count += to.checked_sub(from)? + 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lists_are_counted() {
        assert_eq!(count_list("0-7"), Some(8));
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,6,8-9"), Some(7));
        assert_eq!(count_list("x"), None);
        assert_eq!(count_list("3-1"), None);
    }

    #[test]
    fn masks_follow_the_vendor() {
        assert_eq!([1, 2, 4, 8, 16].map(default_mask), [0, 0, 0x0F, 0xF0, 0]);
    }

    #[test]
    fn the_machine_caps_in_silence() {
        let expected = Plan {
            threads: 2,
            warnings: vec![],
        };
        assert_eq!(plan(4, 0, 2, 2), expected);
    }

    #[test]
    fn lacking_cpus_and_limits_are_told() {
        let told = |plan: Plan| (plan.threads, plan.warnings.len());
        assert_eq!(told(plan(4, 0xF0, 4, 4)), (4, 1));
        assert_eq!(told(plan(4, 0, 8, 2)), (2, 1));
        assert_eq!(told(plan(4, 0xF0, 64, 64)), (4, 0));
        assert_eq!(told(plan(2, 0xF0, 64, 64)), (2, 1));
    }
}
