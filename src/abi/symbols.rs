//! Evidence C: what the set of exported functions says.

use super::{AbiVersion, Layouts};

/// Functions grouped by the release that brought them, oldest first.
const GROUPS: [&[&str]; 5] = [
    &[
        "rkllm_createDefaultParam",
        "rkllm_init",
        "rkllm_run",
        "rkllm_destroy",
    ],
    &["rkllm_abort"],
    &[
        "rkllm_load_lora",
        "rkllm_run_async",
        "rkllm_is_running",
        "rkllm_load_prompt_cache",
        "rkllm_release_prompt_cache",
    ],
    &["rkllm_clear_kv_cache", "rkllm_set_chat_template"],
    &[
        "rkllm_get_kv_cache_size",
        "rkllm_set_function_tools",
        "rkllm_set_cross_attn_params",
    ],
];

/// What the newest group that a library has makes of it.
const LEVELS: [Layouts; 5] = [
    Layouts::V1_0_0,
    Layouts::V1_0_1,
    Layouts::of(AbiVersion::V1_1_0),
    Layouts::of(AbiVersion::V1_2_0),
    Layouts::of(AbiVersion::V1_2_1).or(Layouts::V1_3),
];

/// Which of the documented functions a library exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exports(Vec<&'static str>);

/// What [`Exports`] allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The layouts whose newest functions are there.
    pub allows: Layouts,
    /// Functions that those layouts have and this library lacks.
    pub missing: Vec<&'static str>,
}

impl Exports {
    /// Asks `has` for every documented function.
    pub fn collect(mut has: impl FnMut(&str) -> bool) -> Self {
        let names = GROUPS.into_iter().flatten().copied();
        Self(names.filter(|name| has(name)).collect())
    }

    /// The names, oldest first.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether `name` is exported.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Reads the level off the newest function present; older ones that lack are `missing`.
    #[must_use]
    pub fn level(&self) -> Level {
        let newest = GROUPS
            .iter()
            .rposition(|group| group.iter().any(|name| self.has(name)));
        let Some(newest) = newest else {
            return Level {
                allows: Layouts::NONE,
                missing: GROUPS[0].to_vec(),
            };
        };
        let expected = GROUPS[..=newest].iter().copied().flatten();
        let missing = expected.copied().filter(|name| !self.has(name)).collect();
        Level {
            allows: LEVELS[newest],
            missing,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What an official library of that level exports.
    pub(crate) fn official(level: usize) -> Exports {
        let names: Vec<&str> = GROUPS[..=level]
            .iter()
            .copied()
            .flatten()
            .copied()
            .collect();
        Exports::collect(|name| names.contains(&name))
    }

    #[test]
    fn official_sets_are_exact() {
        for (index, allows) in LEVELS.into_iter().enumerate() {
            let level = official(index).level();
            assert_eq!(
                level,
                Level {
                    allows,
                    missing: Vec::new()
                }
            );
        }
    }

    #[test]
    fn gaps_are_named() {
        let mut exports = official(4);
        exports.0.retain(|name| *name != "rkllm_load_lora");
        let level = exports.level();
        assert_eq!(level.allows, LEVELS[4]);
        assert_eq!(level.missing, ["rkllm_load_lora"]);
        assert_eq!(Exports(Vec::new()).level().allows, Layouts::NONE);
    }

    #[test]
    fn undocumented_functions_say_nothing() {
        let exports =
            Exports::collect(|name| !GROUPS[4].contains(&name) || name == "rkllm_print_timings");
        assert_eq!(exports.level().allows, Layouts::of(AbiVersion::V1_2_0));
    }
}
