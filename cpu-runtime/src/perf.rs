//! Figures of a run and of the process.

use std::time::Duration;

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Perf {
    /// From the start of the run to the first logits.
    pub(crate) prefill: Duration,
    /// Positions computed in prefill; those taken from the cache are not among them.
    pub(crate) prefill_tokens: usize,
    /// From the first logits to the end.
    pub(crate) generate: Duration,
    /// Tokens handed to the callback.
    pub(crate) generate_tokens: usize,
}

impl Perf {
    /// The lines of `RKLLM_LOG_LEVEL` 1.
    pub(crate) fn report(&self) -> [String; 3] {
        let row = |stage: &str, time: Duration, tokens: usize| {
            let seconds = time.as_secs_f64().max(1e-9);
            let each = time.as_secs_f64() * 1e3 / tokens.max(1) as f64;
            let rate = tokens as f64 / seconds;
            let total = time.as_secs_f64() * 1e3;
            format!(
                "{stage}: {total:.2} ms, {tokens} tokens, {each:.2} ms per token, {rate:.2} tokens/s"
            )
        };
        [
            row("Prefill", self.prefill, self.prefill_tokens),
            row("Generate", self.generate, self.generate_tokens),
            format!("Peak memory usage: {:.2} MB", peak_memory_mb()),
        ]
    }
}

/// `VmHWM`, the peak resident size of the process; 0 where the kernel does not tell.
pub(crate) fn peak_memory_mb() -> f32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_peak(&status))
        .unwrap_or(0.0)
}

fn parse_peak(status: &str) -> Option<f32> {
    let row = status.lines().find_map(|row| row.strip_prefix("VmHWM:"))?;
    let kilobytes: f32 = row.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status_file() {
        assert_eq!(
            parse_peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"),
            Some(2.0)
        );
        assert_eq!(parse_peak("Name:\tx\n"), None);
        assert!(peak_memory_mb() > 0.0);
    }
}
